//! Two hundred steps from transformers' first weights follow PyTorch's run (fixture and generator: scripts/reference/pretrain_curve.py).

use data::tokenizer::Tokenizer;
use serde_json::Value;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_pretrain");

const TOML: &str = r#"
device = "cpu"
threads = 1
[model]
init = "{dir}/init"
[data]
cache = "{dir}/cache"
split = "end"
[[data.sources]]
path = "{dir}/init/text.txt"
[optim]
lr = 1e-3
beta2 = 0.99
weight_decay = 0.1
clip_norm = 1.0
[schedule]
warmup_steps = 10
min_ratio = 0.1
[train]
steps = 200
batch = 4
micro_batch = 2
shuffle = false
[eval]
every = 0
valid_fraction = 0.1
[checkpoint]
every = 0
"#;

#[test]
fn the_loss_follows_pytorch_step_by_step() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/curve");
    let stage = Stage::new(BIN, TOML, |dir| {
        testkit::copy_folder(&fixture, &dir.join("init"));
        Tokenizer::byte().unwrap().save(&dir.join("init")).unwrap();
    });
    stage.run_ok("run", &[]);
    let curve: Value = serde_json::from_slice(&std::fs::read(fixture.join("curve.json")).unwrap()).unwrap();
    let rows = testkit::metrics(&stage.out("run"));
    testkit::assert_follows(&rows, &curve, 200);
}

#[test]
fn in_bfloat16_the_loss_ends_within_one_percent() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/curve");
    let stage = Stage::new(BIN, TOML, |dir| {
        testkit::copy_folder(&fixture, &dir.join("init"));
        Tokenizer::byte().unwrap().save(&dir.join("init")).unwrap();
    });
    let last = |precision: &str| {
        stage.run_ok(precision, &["--set", &format!("precision={precision}")]);
        // The mean of the last 20 steps: single batches differ more than precisions do.
        let losses: Vec<f64> = testkit::metrics(&stage.out(precision)).iter().filter_map(|row| row["loss"].as_f64()).collect();
        losses[losses.len() - 20..].iter().sum::<f64>() / 20.0
    };
    let (exact, rounded) = (last("float32"), last("bfloat16"));
    assert!((rounded / exact - 1.0).abs() < 0.01, "{rounded} against {exact}");
    assert_ne!(rounded, exact, "was it bfloat16 at all?");
}
