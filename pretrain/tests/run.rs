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
    ],
    profile: ["forward", "head", "backward", "optimiser"],
    testkit::suite::Budget { calls: 1890.0, mib: 2.85, peak_mib: 0.77 }
);

// Four micro-batches a step. A larger ε keeps Adam from making steps of rounding where a gradient is zero; then eight float32 roundings a sum, in another
// order, move weights of size 1 by some 1e-7 a step.
testkit::rank_tests!(
    stage(),
    sets: ["train.batch=8", "train.steps=6", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"],
    too_few: "train.batch=2",
    steps: "train.steps",
    tolerance: 5e-6
);

#[test]
fn a_run_that_diverges_skips_counts_and_stops_with_an_explanation() {
    let stage = stage();
    let output = stage.run("run", &["--set", "optim.lr=1e30", "--set", "schedule.warmup_steps=0", "--set", "alarm.max_skipped=4"]);
    let said = stage.stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "ALARM (not-finite) step 2",
        "the last 4 optimiser steps were left out",
        "lower optim.lr",
        "no checkpoint was written before the trouble",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let rows = testkit::metrics(&stage.out("run"));
    let alarms: Vec<_> = rows.iter().filter(|r| r["alarm"] == "not-finite").filter_map(|r| r["step"].as_u64()).collect();
    assert_eq!(alarms, [2, 5], "once when it begins, once when it ends the run");
    let skipped: Vec<_> = rows.iter().filter_map(|r| r["skipped_steps"].as_u64()).collect();
    assert_eq!(skipped, [0, 1, 2, 3, 4]);
    assert!(!stage.out("run").join("model").exists());
}

/// The loss is normalised by all targets of a step: eight micro-batches of one are one of eight. A larger ε keeps Adam from making steps of rounding
/// where a gradient is zero.
#[test]
fn a_signal_while_it_sets_up_ends_it_with_nothing_to_save() {
    testkit::suite::left_while_setting_up(&stage(), "data.sources.0.path");
    testkit::suite::left_while_setting_up(&stage().with_ranks(2), "data.sources.0.path");
}

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
fn a_finished_run_has_its_page_and_event_file() {
    let stage = stage();
    stage.run_ok("run", &["--set", "eval.sample_prompt=The cat", "--set", "eval.sample_tokens=4"]);
    let page = std::fs::read_to_string(stage.out("run").join("report.html")).unwrap();
    assert!(page.contains("What it wrote") && page.contains("gradient norm") && page.contains("<td>alarms</td><td class=\"n\">none</td>"));
    assert_eq!(std::fs::read_dir(stage.out("run").join("tensorboard")).unwrap().count(), 1);
    stage.run_ok("quiet", &["--set", "log.tensorboard=false"]);
    assert!(!stage.out("quiet").join("tensorboard").exists());
}

/// A sample ends where the context of 32 tokens does; nothing is shown of a prompt that fills it.
#[test]
fn a_sample_ends_where_the_context_does() {
    let stage = stage();
    let shown = |out: &str, prompt: &str| {
        stage.run_ok(out, &["--set", "train.steps=2", "--set", &format!("eval.sample_prompt={prompt}")]);
        testkit::metrics(&stage.out(out)).iter().filter(|row| row["eval/sample"].is_string()).count()
    };
    assert_eq!([shown("short", "The cat"), shown("full", &"x".repeat(32))], [2, 0]);
}

#[test]
fn recomputed_blocks_give_the_same_run() {
    testkit::suite::recomputed(&stage(), "train");
}

#[test]
fn adapters_are_trained_on_a_model_that_is_there() {
    let stage = stage();
    let refused = stage.run("fresh", &["--set", "lora.rank=4"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stage.stderr(&refused).contains("name it in model.init"), "{}", stage.stderr(&refused));
    stage.run_ok("base", &[]);
    testkit::suite::adapted(stage.with_set("model.init={dir}/base").with_set("lora.dropout=0.1"), "model.adapter");
}
