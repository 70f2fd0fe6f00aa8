//! The other networks of `sft`: an encoder-decoder that learns to copy words into another order, an encoder that learns to tell texts apart.

use data::tokenizer::Tokenizer;
use model::bert::{Bert, BertConfig, BertHead};
use model::seq2seq::Seq2Seq;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_sft");

const TRANSLATE: &str = r#"
seed = 3
device = "cpu"
threads = 1
[model]
dropout = 0.05
[model.fresh]
layers = 1
heads = 2
width = 32
context = 24
[tokenizer]
kind = "char"
[[data.sources]]
path = "{dir}/pairs.txt"
format = "tsv"
columns = { header = ["from", "to", "by"], prompt = "from", response = "to" }
[loss]
label_smoothing = 0.1
[optim]
lr = 4e-3
weight_decay = 0.0
[schedule]
decay = "inverse-sqrt"
warmup_steps = 60
min_ratio = 0.0
[train]
steps = 10
batch = 4
micro_batch = 2
[eval]
every = 4
valid_fraction = 0.2
[bleu]
rows = 4
tokenize = "char"
beams = 2
max_new_tokens = 8
[checkpoint]
every = 3
"#;

/// Five letters, and the same backwards.
fn translate() -> Stage {
    let data = |dir: &Path| {
        let letter = |i: usize| char::from(b'a' + (i % 5) as u8);
        let row = |i: usize| {
            let word = [letter(i), letter(i / 5), letter(i / 25), letter(i + 1), letter(i / 5 + 2)];
            format!("{}\t{}\tme\n", word.iter().collect::<String>(), word.iter().rev().collect::<String>())
        };
        std::fs::write(dir.join("pairs.txt"), (0..125).map(row).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TRANSLATE, data)
}

#[test]
fn a_stopped_translator_goes_on_to_the_same_bytes() {
    let stage = translate();
    stage.run_ok("whole", &[]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
    let refused = stage.run("no model", &["--set", "model.fresh.layers=0"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stage.stderr(&refused));
    assert!(stage.stderr(&refused).contains("model.init"), "{}", stage.stderr(&refused));
}

#[test]
fn a_translator_learns_and_goes_on_from_its_folder() {
    let stage = translate();
    let longer = [
        "--set",
        "train.steps=500",
        "--set",
        "train.batch=16",
        "--set",
        "train.micro_batch=0",
        "--set",
        "eval.every=250",
        "--set",
        "bleu.rows=25",
    ];
    stage.run_ok("long", &longer);
    let rows = testkit::metrics(&stage.out("long"));
    let bleu: Vec<f64> = rows.iter().filter_map(|row| row["eval/bleu"].as_f64()).collect();
    let loss: Vec<f64> = rows.iter().filter_map(|row| row["eval/loss"].as_f64()).collect();
    println!("BLEU {bleu:?}, loss {loss:?}");
    assert!(bleu.len() == 3 && bleu[2] > 60.0 && bleu[2] > bleu[0] + 40.0, "{bleu:?}");
    let summary = std::fs::read_to_string(stage.out("long").join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["bleu"].as_f64(), bleu.last().copied());
    let model = Seq2Seq::load(&stage.out("long").join("model"), tch::Device::Cpu).unwrap();
    assert_eq!((model.config().encoder.layers, model.config().dropout.residual), (1, 0.05));
    // Another run starts from the folder, with its tokenizer.
    let init = format!("model.init={}", stage.out("long").display());
    stage.run_ok("on", &["--set", &init, "--set", "model.fresh.layers=0", "--set", "optim.lr=1e-12"]);
    let first = testkit::metrics(&stage.out("on")).iter().find_map(|row| row["eval/bleu"].as_f64()).unwrap();
    assert!(first > 50.0, "{first}");
}

const CLASSIFY: &str = r#"
seed = 3
device = "cpu"
threads = 1
objective = "classify"
[model]
init = "{dir}/base"
[[data.sources]]
path = "{dir}/train.jsonl"
columns = { response = "label" }
[[data.heldout]]
path = "{dir}/dev.jsonl"
columns = { response = "label" }
[optim]
lr = 3e-3
[schedule]
decay = "linear"
warmup_steps = 20
min_ratio = 0.0
[train]
steps = 240
batch = 16
micro_batch = 8
[eval]
every = 120
max_rows = 0
[checkpoint]
every = 50
"#;

/// Texts of letters; the class tells whether there is a "b", a "c" or neither.
fn classify() -> Stage {
    let data = |dir: &Path| {
        let tokenizer = Tokenizer::train_wordpiece(&mut std::iter::repeat_n("a b c d e".to_string(), 3), 40).unwrap();
        let config = BertConfig::fresh(tokenizer.vocab_size(), 16, 2, 2, 32, tokenizer.pad()).unwrap();
        Bert::new(config, &BertHead::Masked, tch::Device::Cpu, 1).unwrap().save(&dir.join("base")).unwrap();
        tokenizer.save(&dir.join("base")).unwrap();
        let row = |i: usize| {
            let drawn = (i as u32 + 1).wrapping_mul(2_654_435_761);
            let mut words: Vec<&str> = (0..6).map(|j| ["a", "d", "e"][(drawn >> (4 * j + 3)) as usize % 3]).collect();
            let class = ["none", "has b", "has c"][i % 3];
            if !i.is_multiple_of(3) {
                let at = (drawn >> 5) as usize % words.len();
                words[at] = ["b", "c"][i % 3 - 1];
            }
            format!("{{\"prompt\": \"{}\", \"label\": \"{class}\"}}\n", words.join(" "))
        };
        std::fs::write(dir.join("train.jsonl"), (0..240).map(row).collect::<String>()).unwrap();
        std::fs::write(dir.join("dev.jsonl"), (1000..1030).map(row).collect::<String>()).unwrap();
    };
    Stage::new(BIN, CLASSIFY, data)
}

#[test]
fn a_classifier_learns_and_a_stopped_one_goes_on_to_the_same_bytes() {
    let stage = classify();
    stage.run_ok("whole", &[]);
    let rows = testkit::metrics(&stage.out("whole"));
    let accuracy: Vec<f64> = rows.iter().filter_map(|row| row["eval/accuracy"].as_f64()).collect();
    let loss: Vec<f64> = rows.iter().filter_map(|row| row["eval/loss"].as_f64()).collect();
    println!("accuracy {accuracy:?}, loss {loss:?}");
    assert!(accuracy.len() == 3 && accuracy[2] > 0.9, "{accuracy:?}");
    let summary = std::fs::read_to_string(stage.out("whole").join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((summary["accuracy"].as_f64(), summary["classes"].as_array().map(Vec::len)), (accuracy.last().copied(), Some(3)));
    assert!(summary["matthews"].as_f64().unwrap() > 0.8);
    let model = Bert::load(&stage.out("whole").join("model"), tch::Device::Cpu).unwrap();
    assert_eq!(model.classes().unwrap(), ["has b", "has c", "none"]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
}

#[test]
fn a_network_for_another_objective_is_refused() {
    let stage = classify();
    let refused = stage.run("answers", &["--set", "objective=answer"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stage.stderr(&refused));
    assert!(stage.stderr(&refused).contains("encoders classify"), "{}", stage.stderr(&refused));
}
