//! Three epochs from transformers' first weights follow TRL's RewardTrainer (fixture and generator: scripts/reference/reward_curve.py).

use data::split::unit_hash;
use data::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_reward");

const TOML: &str = r#"
preset = "trl"
seed = 1
device = "cpu"
threads = 1
[model]
init = "{dir}/init"
[[data.sources]]
path = "{dir}/pairs.jsonl"
columns = { group = "side" }
[loss]
centre_coef = 0.01
[optim]
lr = 3e-3
weight_decay = 0.01
[train]
batch = 4
micro_batch = 2
shuffle = false
[eval]
every = 0
valid_fraction = 1e-9
[checkpoint]
every = 0
"#;

#[test]
fn the_loss_follows_trl_step_by_step() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/curve");
    let stage = Stage::new(BIN, TOML, |dir| {
        testkit::copy_folder(&fixture, &dir.join("init"));
        Tokenizer::byte().unwrap().save(&dir.join("init")).unwrap();
        // The stage wants something to judge by: one more pair, of a group that falls on the other side of the split.
        let held_out = (0..).map(|i| format!("other {i}")).find(|name| unit_hash(name, 1) < unit_hash("learn", 1)).unwrap();
        let mut rows = String::new();
        for line in std::fs::read_to_string(fixture.join("pairs.jsonl")).unwrap().lines() {
            let mut row: Value = serde_json::from_str(line).unwrap();
            row["side"] = "learn".into();
            rows += &format!("{row}\n");
        }
        rows += &format!("{}\n", json!({"prompt": "Where?", "chosen": "Here.", "rejected": "No.", "side": held_out}));
        std::fs::write(dir.join("pairs.jsonl"), rows).unwrap();
    });
    stage.run_ok("run", &[]);
    let curve: Value = serde_json::from_slice(&std::fs::read(fixture.join("curve.json")).unwrap()).unwrap();
    let rows = testkit::metrics(&stage.out("run"));
    testkit::assert_follows(&rows, &curve, 36);
}
