//! The binary as a user drives it: text to base model; stopping, killing, resuming, help and errors.

use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_pretrain");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[model]
layers = 2
heads = 2
width = 32
context = 32
dropout = 0.1
[tokenizer]
kind = "byte"
[data]
cache = "{dir}/cache"
[[data.sources]]
path = "{dir}/text.txt"
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
    let text = |dir: &Path| {
        let line = |i: usize| {
            format!("The {} cat number {i} sat on the {} mat and said {}.\n<|endoftext|>\n", ["red", "old", "wet"][i % 3], i % 7, i * i)
        };
        std::fs::write(dir.join("text.txt"), (0..200).map(line).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TOML, text)
}

testkit::stage_tests!(
    stage(),
    "train.steps" = 10,
    reads: ["text.txt"],
    wrong: [
        "optim.lr=-1",
        "optim.learning_rate=1",
        "train.batch=eight",
        "data.sources.0.path={dir}/nowhere.jsonl",
        "model.init={dir}/nowhere",
        "device=cuda",
    ]
);
