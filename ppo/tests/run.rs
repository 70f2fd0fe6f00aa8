//! The binary as a user drives it: reward model to a policy; stopping, killing, resuming, help and errors.

use model::HeadKind;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_ppo");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[policy]
init = "{dir}/sft"
[reward]
model = "{dir}/reward"
[[data.sources]]
path = "{dir}/prompts.jsonl"
[rollout]
rounds = 10
episodes = 8
max_new_tokens = 10
[ppo]
epochs = 2
minibatches = 2
micro_batch = 2
kl_target = 3.0
kl_horizon = 100.0
[ptx]
coef = 0.1
batch = 2
length = 16
[ptx.data]
cache = "{dir}/cache"
[[ptx.data.sources]]
path = "{dir}/text.txt"
[eval]
every = 4
valid_fraction = 0.2
[checkpoint]
every = 3
"#;

fn stage() -> Stage {
    let data = |dir: &Path| {
        testkit::tiny_folder(&dir.join("sft"), HeadKind::Lm, 1);
        testkit::tiny_folder(&dir.join("reward"), HeadKind::Scalar, 2);
        let row = |i: usize| format!("{{\"prompt\": \"say {i}\"}}\n");
        std::fs::write(dir.join("prompts.jsonl"), (0..40).map(row).collect::<String>()).unwrap();
        std::fs::write(dir.join("text.txt"), "the cat sat on the mat\n".repeat(50)).unwrap();
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
        &["rollout.episodes=eight"],
        &["ppo.micro_batch=3"],
        &["data.sources.0.path={dir}/nowhere.jsonl"],
        &["policy.init={dir}/nowhere"],
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
        let sets = ["ppo.minibatches=1", "rollout.rounds=1", "optim.eps=1e-3", "optim.lr=1e-2", "ppo.score_position=after-end"];
        let more: Vec<&str> = sets.iter().chain([&micro]).flat_map(|s| ["--set", *s]).collect();
        stage.run_ok(out, &more);
    };
    run("one of eight", "ppo.micro_batch=8");
    run("eight of one", "ppo.micro_batch=1");
    stage.assert_near("one of eight", "eight of one", 5e-6);
}

#[test]
fn help() {
    let output = std::process::Command::new(BIN).arg("--help").output().unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_critic_on_the_policys_trunk_learns_too_and_survives_a_stop() {
    let stage = stage();
    let shared = ["--resume", "--set", "value.kind=shared"];
    stage.run_ok("whole", &shared);
    let rows = testkit::metrics(&stage.out("whole"));
    let losses: Vec<f64> = rows.iter().filter_map(|r| r["loss/value"].as_f64()).collect();
    assert_eq!(losses.len(), 10);
    assert!(losses.iter().all(|l| l.is_finite()));
}

#[test]
fn every_preset_runs() {
    let stage = stage();
    for preset in ["openai-2019", "summarize-2020", "trl", "openrlhf"] {
        let preset_key = format!("preset={preset}");
        // The test's own file says epochs, minibatches and target; --set has the last word over both.
        stage.run_ok(preset, &["--set", &preset_key, "--set", "rollout.rounds=2", "--set", "ptx.coef=0"]);
        let rows = testkit::metrics(&stage.out(preset));
        let losses: Vec<f64> = rows.iter().filter_map(|r| r["loss/value"].as_f64()).collect();
        assert_eq!(losses.len(), 2, "{preset}");
        assert!(losses.iter().all(|l| l.is_finite()), "{preset}: {losses:?}");
        let resolved = std::fs::read_to_string(stage.out(preset).join("config.toml")).unwrap();
        assert!(resolved.contains(&format!("preset = {preset:?}")) && resolved.contains("whiten_variance"), "{resolved}");
    }
    // Sampling past the end token: every response has the full length, what people read of it does not.
    let kept = stage.run("kept", &["--set", "ppo.after_end=keep", "--set", "ppo.score_position=after-end"]);
    assert_eq!(kept.status.code(), Some(2), "nothing stands after the last token of a full response");
}

#[test]
fn the_first_round_begins_at_ratio_one_and_kl_zero() {
    let stage = stage();
    stage.run_ok("run", &["--set", "ppo.epochs=1", "--set", "ppo.minibatches=1", "--set", "rollout.rounds=1"]);
    let rows = testkit::metrics(&stage.out("run"));
    let first = rows.iter().find(|r| !r["val/ratio"].is_null()).unwrap();
    assert_eq!(first["val/ratio"].as_f64(), Some(1.0));
    assert_eq!(first["policy/approxkl"].as_f64(), Some(0.0));
    assert_eq!(first["policy/clipfrac"].as_f64(), Some(0.0));
    assert!(first["objective/kl"].as_f64().unwrap().abs() < 1e-6);
}
