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
    ]
);
