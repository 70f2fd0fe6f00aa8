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

testkit::stage_tests!(
    stage(),
    "train.steps" = 10,
    reads: ["rankings.jsonl", "sft/model.safetensors"],
    wrong: [
        "optim.lr=-1",
        "optim.learning_rate=1",
        "train.batch=eight",
        "data.sources.0.path={dir}/nowhere.jsonl",
        "model.init={dir}/nowhere",
        "device=cuda",
    ],
    profile: ["forward", "loss", "backward", "optimiser"],
    testkit::suite::Budget { calls: 2350.0, mib: 2.6, peak_mib: 0.49 }
);

#[test]
fn centring_that_cannot_be_is_refused_before_training() {
    let stage = stage();
    // A Llama of transformers: RMSNorm has no bias that could take up the shift.
    let (golden, llama) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden"), stage.dir.path().join("llama"));
    std::fs::create_dir(&llama).unwrap();
    for from in [golden.join("llama"), golden.join("tokenizer")] {
        for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
            std::fs::copy(entry.path(), llama.join(entry.file_name())).unwrap();
        }
    }
    let refused = |set: &str, words: &[&str]| {
        let output = stage.run("refused", &["--set", set]);
        let said = stage.stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
        assert!(!stage.out("refused").join("metrics.jsonl").exists(), "nothing was trained");
        let _ = std::fs::remove_dir_all(stage.out("refused"));
    };
    refused(&format!("model.init={}", llama.display()), &["centre.samples = 8", "final norm has no bias", "centre.samples = 0"]);
    // The longest prompt is "say 59" and a newline, in bytes; the context has 96 places.
    refused("centre.max_new_tokens=90", &["centre.max_new_tokens = 90", "prompt of 7 tokens", "context of 96", "set it to 89"]);
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
