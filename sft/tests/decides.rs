//! A decoder that classifies, on tiny rows of each of GPT-1's four input shapes: it learns a rule, stops and goes on, and leaves a folder that others open.

use data::tokenizer::Tokenizer;
use model::config::{Family, Shape};
use model::{Classifier, Config, HeadKind, Model};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use tch::{Device, Tensor, no_grad};
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_sft");

const TOML: &str = r#"
seed = 3
device = "cpu"
threads = 1
objective = "classify"
[task]
kind = "{kind}"
[model]
init = "{dir}/base"
dropout = 0.05
[[data.sources]]
path = "{dir}/train.jsonl"
columns = { response = "label", answers = ["one", "two", "three"] }
[[data.heldout]]
path = "{dir}/dev.jsonl"
columns = { response = "label", answers = ["one", "two", "three"] }
[loss]
lm_weight = 0.5
[optim]
lr = 3e-3
[schedule]
decay = "linear"
warmup_steps = 20
min_ratio = 0.0
[train]
steps = 300
batch = 16
micro_batch = 8
[eval]
every = 150
max_rows = 0
[checkpoint]
every = 50
"#;

/// A number below `n` of row `i`.
fn draw(i: usize, place: u32, n: usize) -> usize {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(place) + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as usize % n
}

/// `length` letters of "adeg", and `marked` of them made "b".
fn word(i: usize, place: u32, length: u32, marked: usize) -> String {
    let mut letters: Vec<char> = (0..length).map(|j| ['a', 'd', 'e', 'g'][draw(i, 20 * place + j, 4)]).collect();
    let first = draw(i, 20 * place + 19, length as usize);
    (0..marked).for_each(|k| letters[(first + k) % length as usize] = 'b');
    letters.into_iter().collect()
}

/// Is there a "b" in the text, or in which of two; how many are there in two texts; which choice has one.
fn row(kind: &str, i: usize) -> String {
    let class = draw(i, 99, 3);
    match kind {
        "classification" => format!("{{\"prompt\": \"{}\", \"label\": \"{}\"}}\n", word(i, 0, 6, class), ["none", "one", "two"][class]),
        "entailment" => {
            let (first, second) = [(0, 0), (1, 0), (0, 1)][class];
            let label = ["neither", "first", "second"][class];
            format!("{{\"prompt\": \"{}\", \"second\": \"{}\", \"label\": \"{label}\"}}\n", word(i, 0, 6, first), word(i, 1, 1, second))
        }
        "similarity" => {
            let (a, b) = (draw(i, 98, 3), class);
            format!("{{\"prompt\": \"{}\", \"second\": \"{}\", \"label\": {}}}\n", word(i, 0, 6, a), word(i, 1, 4, b), (a + b) as f64 / 2.0)
        }
        _ => {
            let right = if draw(i, 97, 2) == 0 { class } else { class.min(1) };
            let (text, last) = (word(i, 0, 6, 0), right == 2 || draw(i, 96, 2) == 0);
            let word = |k: usize| word(i, k as u32 + 1, 4, usize::from(k == right));
            let three = if last { format!("\"{}\"", word(2)) } else { "null".into() };
            format!(
                "{{\"prompt\": \"{text}\", \"one\": \"{}\", \"two\": \"{}\", \"three\": {three}, \"label\": {right}}}\n",
                word(0),
                word(1)
            )
        }
    }
}

fn stage(kind: &str) -> Stage {
    let data = |dir: &Path| {
        testkit::tiny_folder(&dir.join("base"), HeadKind::Lm, 1);
        std::fs::write(dir.join("train.jsonl"), (0..400).map(|i| row(kind, i)).collect::<String>()).unwrap();
        std::fs::write(dir.join("dev.jsonl"), (1000..1100).map(|i| row(kind, i)).collect::<String>()).unwrap();
    };
    let stage = Stage::new(BIN, &TOML.replace("{kind}", kind), data);
    if kind == "similarity" { stage.with_set("task.target=number") } else { stage }
}

fn summary(run: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap()
}

fn of(summary: &Value, key: &str) -> f64 {
    summary[key].as_f64().unwrap_or_else(|| panic!("no {key} in {summary}"))
}

/// Learns the rule, above the baseline, and a stopped run goes on to the same bytes.
fn learns(kind: &str) -> (Stage, Value) {
    let stage = stage(kind);
    stage.run_ok("whole", &[]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
    let summary = summary(&stage.out("whole"));
    println!("{kind}: {summary}");
    (stage, summary)
}

#[test]
fn a_text_is_classified_and_transformers_opens_the_folder() {
    let (stage, summary) = learns("classification");
    assert!(of(&summary, "accuracy") > of(&summary, "majority") + 0.3, "{summary}");
    assert!(of(&summary, "matthews") > 0.5 && of(&summary, "macro_precision") > 0.6 && of(&summary, "macro_recall") > 0.6);
    let model = Classifier::load(&stage.out("whole").join("model"), Device::Cpu).unwrap();
    assert_eq!(model.classes(), ["none", "one", "two"]);
    in_transformers(&stage.out("whole").join("model"), &model);
    // Another run goes on from the folder with its classifier.
    let init = format!("model.init={}", stage.out("whole").display());
    stage.run_ok("on", &["--set", &init, "--set", "optim.lr=1e-12", "--set", "train.steps=1"]);
    let first = testkit::metrics(&stage.out("on")).iter().find_map(|row| row["eval/accuracy"].as_f64()).unwrap();
    assert_eq!(first, of(&summary, "accuracy"));
}

#[test]
fn a_pair_is_classified() {
    let (_, summary) = learns("entailment");
    assert!(of(&summary, "accuracy") > of(&summary, "majority") + 0.3, "{summary}");
}

#[test]
fn similarity_is_a_number_whatever_the_order() {
    let (stage, summary) = learns("similarity");
    assert!(of(&summary, "spearman") > 0.7 && of(&summary, "pearson") > 0.7, "{summary}");
    assert!(of(&summary, "mse") < 0.5 * of(&summary, "mse_of_mean"), "{summary}");
    let last = testkit::metrics(&stage.out("whole")).iter().filter_map(|row| row["eval/pearson"].as_f64()).next_back().unwrap();
    assert!((last - of(&summary, "pearson")).abs() < 1e-4, "{last}");
}

#[test]
fn the_right_choice_is_found_among_two_or_three() {
    let (_, summary) = learns("choice");
    assert!(of(&summary, "accuracy") > of(&summary, "majority") + 0.2, "{summary}");
}

/// transformers' logits of two rows of tokens, as ours. Needs a Python with torch and transformers in RLHF_PYTHON.
fn in_transformers(folder: &Path, model: &Classifier) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/reference/classifier.py");
    let has_both = |python: &std::ffi::OsString| {
        Command::new(python).args(["-c", "import torch, transformers"]).output().is_ok_and(|output| output.status.success())
    };
    let Some(python) = std::env::var_os("RLHF_PYTHON").filter(has_both) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: in_transformers because RLHF_PYTHON names no Python with torch and transformers");
        return;
    };
    let output = Command::new(python).arg(script).arg("--check").arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["labels"], serde_json::json!(["none", "one", "two"]));
    let ids: Vec<Vec<u32>> = serde_json::from_value(found["ids"].clone()).unwrap();
    let frame = model.frame().unwrap();
    assert!(ids[1].first() == Some(&frame.start) && ids[1].contains(&frame.delimiter) && ids[1].last() == Some(&frame.extract), "{ids:?}");
    let rows = model.rows(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let ours: Vec<Vec<f64>> = Vec::try_from(no_grad(|| model.outputs(&model.states(&rows, false), &rows, false))).unwrap();
    let theirs: Vec<Vec<f64>> = serde_json::from_value(found["logits"].clone()).unwrap();
    let gap = ours.iter().flatten().zip(theirs.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("logits in transformers: {gap:.1e} apart");
    assert!(gap < 1e-4, "{ours:?} {theirs:?}");
}

/// The loss is normalised by all rows and next tokens of a step: eight micro-batches of one are one of eight, and ranks take the steps of one process.
#[test]
fn micro_batches_and_ranks_take_the_same_steps() {
    let sets = ["train.batch=8", "train.steps=4", "model.dropout=0", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
    for kind in ["similarity", "choice"] {
        let stage = stage(kind);
        for (out, micro) in [("one of eight", "train.micro_batch=8"), ("eight of one", "train.micro_batch=1")] {
            let more: Vec<&str> = sets.iter().chain([&micro]).flat_map(|set| ["--set", *set]).collect();
            stage.run_ok(out, &more);
        }
        stage.assert_near("one of eight", "eight of one", 5e-6);
        let micro = "train.micro_batch=1";
        let more: Vec<&str> = sets.iter().chain([&micro]).flat_map(|set| ["--set", *set]).chain(["--nproc", "2"]).collect();
        stage.run_ok("two ranks", &more);
        stage.assert_near("eight of one", "two ranks", 5e-6);
    }
}

/// Without the language model's loss nothing reaches an output matrix of its own: ranks do not wait for its gradient, it stays as it was, and the run goes on.
#[test]
fn an_output_matrix_that_nothing_reaches_is_kept_as_it_is() {
    let stage = stage("classification").with_set("loss.lm_weight=0");
    let (tokenizer, base) = (Tokenizer::byte().unwrap(), stage.dir.path().join("base"));
    let shape = Shape { vocab_size: tokenizer.vocab_size(), context: 96, layers: 2, heads: 2, kv_heads: 0, width: 32, dropout: 0.0 };
    let mut config = Config::fresh(Family::GptNeoX, shape).unwrap();
    config.tied = false;
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    std::fs::remove_dir_all(&base).unwrap();
    Model::new(config, HeadKind::Lm, Device::Cpu, 1).unwrap().save(&base).unwrap();
    tokenizer.save(&base).unwrap();
    let sets = ["train.batch=8", "train.micro_batch=1", "model.dropout=0", "optim.eps=1e-3", "schedule.warmup_steps=0"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let run = |out: &str, more: &[&str]| stage.run_ok(out, &[&sets[..], more].concat());
    run("one", &["--set", "train.steps=4"]);
    run("two ranks", &["--set", "train.steps=4", "--nproc", "2"]);
    stage.assert_near("one", "two ranks", 5e-6);
    run("two ranks", &["--resume", "--set", "train.steps=6", "--nproc", "2"]);
    let head = |all: Vec<(String, Tensor)>| all.into_iter().find_map(|(name, head)| (name == "embed_out.weight").then_some(head)).unwrap();
    let before = head(Tensor::read_safetensors(base.join("model.safetensors")).unwrap());
    let after = head(testkit::weights(&stage.out("two ranks"))); // with rows for the marks
    assert!(after.narrow(0, 0, before.size()[0]).equal(&before));
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    let stage = stage("choice");
    let cases = [
        (vec!["task.target=number"], "task.target"),
        (vec!["loss.label_smoothing=0.1"], "loss.label_smoothing"),
        (vec!["loss.lm_weight=-1.0"], "loss.lm_weight"),
        (vec!["objective=answer"], "loss.lm_weight"),
        (vec!["objective=answer", "loss.lm_weight=0.0"], "task"),
        (vec!["eval.sample_prompt=a"], "eval.sample_prompt"),
        (vec!["lora.rank=2"], "lora.rank"),
        (vec!["data.packing=true"], "data.packing"),
    ];
    for (i, (sets, named)) in cases.into_iter().enumerate() {
        let more: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        let refused = stage.run(&format!("wrong {i}"), &more);
        let said = stage.stderr(&refused);
        assert!(refused.status.code() == Some(2) && said.contains(named), "{sets:?}: {said}");
    }
}
