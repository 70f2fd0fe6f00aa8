//! The binary as a user drives it: rankings to a reward model; stopping, killing, resuming, help and errors.

use model::HeadKind;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_reward");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[model]
init = "{dir}/sft"
dropout = 0.1
[[data.sources]]
path = "{dir}/rankings.jsonl"
[centre]
samples = 8
max_new_tokens = 8
[train]
steps = 10
batch = 4
micro_batch = 2
[eval]
every = 4
valid_fraction = 0.2
[checkpoint]
every = 3
"#;

fn stage() -> Stage {
    let data = |dir: &Path| {
        testkit::tiny_folder(&dir.join("sft"), HeadKind::Lm, 1);
        let row = |i: usize| {
            format!("{{\"prompt\": \"say {i}\", \"answers\": [\"{i}\", \"no\", \"{i} {i}\"], \"ranks\": [1, 3, {}]}}\n", 1 + i % 3)
        };
        std::fs::write(dir.join("rankings.jsonl"), (0..60).map(row).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TOML, data)
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let stage = stage();
    stage.run_ok("whole", &[]);
    let status = stage.signal_at("stopped", 4, "TERM");
    assert_eq!(status.code(), Some(75), "SIGTERM ends with a checkpoint, to be queued again");
    let status = stage.signal_at("stopped", 8, "INT");
    assert_eq!(status.code(), Some(130), "SIGINT ends with a checkpoint");
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
}

#[test]
fn a_killed_run_leaves_no_torn_checkpoint_and_goes_on_to_the_same_bytes() {
    let stage = stage();
    let begun = std::time::Instant::now();
    stage.run_ok("whole", &[]);
    let killed = stage.kill_at_random("killed", 6, begun.elapsed(), 11);
    assert!(killed > 0, "no kill came in time");
    stage.assert_same("whole", "killed");
}

#[test]
fn a_finished_run_is_left_alone_and_an_occupied_folder_refused() {
    let stage = stage();
    stage.run_ok("run", &[]);
    let before = std::fs::read(stage.out("run").join("metrics.jsonl")).unwrap();
    stage.run_ok("run", &["--resume"]);
    assert_eq!(std::fs::read(stage.out("run").join("metrics.jsonl")).unwrap(), before);
    let refused = stage.run("run", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let changed = stage.run("run", &["--resume", "--set", "seed=9"]);
    assert_eq!(changed.status.code(), Some(2));
    insta::assert_snapshot!(format!("{}{}", stage.stderr(&refused), stage.stderr(&changed)));
}

#[test]
fn wrong_input_is_one_clear_error_and_exit_code_2() {
    let stage = stage();
    let mut said = String::new();
    for sets in [
        &["optim.lr=-1"][..],
        &["optim.learning_rate=1"],
        &["train.batch=eight"],
        &["data.sources.0.path={dir}/nowhere.jsonl"],
        &["model.init={dir}/nowhere"],
        &["device=cuda"],
    ] {
        let sets: Vec<String> = sets.iter().map(|s| s.replace("{dir}", &stage.dir.path().display().to_string())).collect();
        let args: Vec<&str> = sets.iter().flat_map(|s| ["--set", s.as_str()]).collect();
        let output = stage.run("wrong", &args);
        assert_eq!(output.status.code(), Some(2), "{sets:?}: {}", stage.stderr(&output));
        said += &stage.stderr(&output);
        let _ = std::fs::remove_dir_all(stage.out("wrong"));
    }
    insta::assert_snapshot!(said);
}

/// The loss is normalised by all targets of a step: eight micro-batches of one are one of eight. A larger ε keeps Adam from making steps of rounding
/// where a gradient is zero.
#[test]
fn micro_batches_of_any_size_take_the_same_steps() {
    let stage = stage();
    let run = |out: &str, micro: &str| {
        let sets = ["train.batch=8", "train.steps=3", "model.dropout=0", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
        let more: Vec<&str> = sets.iter().chain([&micro]).flat_map(|s| ["--set", *s]).collect();
        stage.run_ok(out, &more);
    };
    run("one of eight", "train.micro_batch=8");
    run("eight of one", "train.micro_batch=1");
    stage.assert_near("one of eight", "eight of one", 5e-6);
}

#[test]
fn help() {
    let output = std::process::Command::new(BIN).arg("--help").output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}
