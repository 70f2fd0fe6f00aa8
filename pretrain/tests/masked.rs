//! Masked pre-training as a user drives it: it learns to fill places, and a stopped run goes on to the same bytes.

use model::Bert;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_pretrain");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
objective = "masked"
[model]
family = "bert"
layers = 2
heads = 2
width = 32
context = 18
[tokenizer]
kind = "wordpiece"
vocab_size = 120
[data]
cache = "{dir}/cache"
[[data.sources]]
path = "{dir}/text.jsonl"
[optim]
lr = 4e-3
[schedule]
decay = "linear"
warmup_steps = 40
min_ratio = 0.0
[train]
steps = 12
batch = 4
micro_batch = 2
[eval]
every = 4
valid_fraction = 0.2
sample_prompt = "the red cat sat on the [MASK]"
[checkpoint]
every = 5
"#;

fn stage() -> Stage {
    let text = |dir: &Path| {
        let line = |i: usize| {
            let (what, on) = [("red cat", "mat"), ("old dog", "rug"), ("wet bird", "tree")][i % 3];
            format!("{{\"text\": \"the {what} sat on the {on} at {} and said {}\"}}\n", i % 7, i % 13)
        };
        std::fs::write(dir.join("text.jsonl"), (0..300).map(line).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TOML, text)
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let stage = stage();
    stage.run_ok("whole", &[]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
}

#[test]
fn it_learns_far_more_than_which_token_is_the_commonest() {
    let stage = stage();
    stage.run_ok(
        "long",
        &["--set", "train.steps=600", "--set", "train.batch=16", "--set", "train.micro_batch=0", "--set", "eval.every=200"],
    );
    let rows = testkit::metrics(&stage.out("long"));
    let of = |key: &str| rows.iter().filter_map(|row| row[key].as_f64()).collect::<Vec<f64>>();
    let (accuracy, commonest) = (of("eval/accuracy"), of("eval/commonest"));
    println!("accuracy {accuracy:?}, the commonest token {commonest:?}, loss {:?}", of("eval/loss"));
    assert!(accuracy.last().unwrap() > &(1.5 * commonest.last().unwrap()));
    assert!(rows.iter().any(|row| row["eval/sample"].as_str().is_some_and(|s| s.contains("[MASK]: "))), "the sample's mask is filled");
    let model = Bert::load(&stage.out("long").join("model"), tch::Device::Cpu).unwrap();
    assert!(model.classes().is_none() && model.config().context == 18);
    // Two objectives that do not fit their networks.
    for set in ["objective=next", "model.family=gpt2", "tokenizer.kind=byte"] {
        let refused = stage.run("wrong", &["--set", set]);
        assert_eq!(refused.status.code(), Some(2), "{set}: {}", stage.stderr(&refused));
        let _ = std::fs::remove_dir_all(stage.out("wrong"));
    }
}

/// A later run reads the folder of an earlier one, encoder and tokenizer.
#[test]
fn it_goes_on_from_a_folder() {
    let stage = stage();
    stage.run_ok("first", &[]);
    let init = format!("model.init={}", stage.out("first").display());
    stage.run_ok("second", &["--set", &init, "--set", "optim.lr=1e-12"]);
    let last = |out: &str, first: bool| {
        let losses: Vec<f64> = testkit::metrics(&stage.out(out)).iter().filter_map(|row| row["eval/loss"].as_f64()).collect();
        if first { losses[0] } else { losses[losses.len() - 1] }
    };
    assert!((last("first", false) - last("second", true)).abs() < 1e-9);
}

/// Rows shorter than the context: steps count their tokens, positions behind them stay as they began, and what cannot be a row is refused.
#[test]
fn rows_may_be_shorter_than_the_context() {
    let stage = stage();
    stage.run_ok("short", &["--set", "data.row=10"]);
    let tokens = testkit::metrics(&stage.out("short")).iter().filter_map(|row| row["tokens"].as_u64()).max();
    assert_eq!(tokens, Some(12 * 4 * 10));
    let positions = |run: &str| {
        let of = |(name, tensor): (String, tch::Tensor)| name.ends_with("position_embeddings.weight").then_some(tensor);
        testkit::weights(&stage.out(run)).into_iter().find_map(of).unwrap()
    };
    stage.run_ok("none", &["--set", "data.row=10", "--set", "optim.lr=1e-30", "--set", "optim.weight_decay=0"]);
    stage.run_ok("undecayed", &["--set", "data.row=10", "--set", "optim.weight_decay=0"]);
    let moved = (positions("undecayed") - positions("none")).abs().amax([1], false); // [context]
    assert!(moved.narrow(0, 0, 10).min().double_value(&[]) > 0.0 && moved.narrow(0, 10, 8).max().double_value(&[]) == 0.0, "{moved}");
    for (row, said) in [("19", "reads at most 18 tokens"), ("3", "must be at least 4 tokens")] {
        let refused = stage.run("wrong", &["--set", &format!("data.row={row}")]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stage.stderr(&refused).contains(said), "{}", stage.stderr(&refused));
        let _ = std::fs::remove_dir_all(stage.out("wrong"));
    }
}
