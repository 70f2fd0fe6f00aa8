//! The binary as a user drives it: base model and demonstrations to a fine-tuned model; stopping, killing, resuming, help and errors.

use model::HeadKind;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_sft");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[model]
init = "{dir}/base"
dropout = 0.1
[[data.sources]]
path = "{dir}/demos.jsonl"
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
        testkit::tiny_folder(&dir.join("base"), HeadKind::Lm, 1);
        let row = |i: usize| format!("{{\"prompt\": \"say {i}\", \"response\": \"well: {}\"}}\n", i * 3);
        std::fs::write(dir.join("demos.jsonl"), (0..60).map(row).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TOML, data)
}

testkit::stage_tests!(
    stage(),
    "train.steps" = 10,
    reads: ["demos.jsonl", "base/model.safetensors"],
    wrong: [
        "optim.lr=-1",
        "optim.learning_rate=1",
        "train.batch=eight",
        "data.sources.0.path={dir}/nowhere.jsonl",
        "model.init={dir}/nowhere",
        "device=cuda",
    ],
    profile: ["forward", "head", "backward", "optimiser"],
    testkit::suite::Budget { calls: 2210.0, mib: 1.68, peak_mib: 0.455 }
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

#[test]
fn packed_rows_learn_as_padded_ones_do() {
    // One optimiser step over all rows: the same targets, so the same gradient, however they are laid out.
    let stage = stage();
    let all = ["--set", "train.steps=1", "--set", "train.micro_batch=0", "--set", "model.dropout=0.0", "--set", "eval.every=0"];
    let rows = |out: &str| testkit::metrics(&stage.out(out));
    let train = 60 - rows_held_out(&stage);
    let padded = format!("train.batch={train}");
    stage.run_ok("padded", &[&all[..], &["--set", &padded]].concat());
    let probe = stage.run(
        "probe",
        &[&all[..], &["--set", "train.batch=1", "--set", "data.packing=true", "--set", "train.epochs=1.0", "--set", "train.steps=0"]]
            .concat(),
    );
    assert!(probe.status.success(), "{}", stage.stderr(&probe));
    let packs = rows("probe").iter().filter(|r| !r["loss"].is_null()).count();
    let packed = format!("train.batch={packs}");
    stage.run_ok("packed", &[&all[..], &["--set", &packed, "--set", "data.packing=true"]].concat());
    let of = |out: &str, key: &str| rows(out).iter().find_map(|r| r[key].as_f64()).unwrap();
    assert!(packs < train, "{packs} sequences of {train} rows");
    assert!((of("padded", "loss") - of("packed", "loss")).abs() < 1e-5);
    assert!((of("padded", "grad_norm") / of("packed", "grad_norm") - 1.0).abs() < 1e-4);
}

/// A sample and the answers for BLEU end where the context of 96 tokens does: after these prompts it holds 17 to 30, where 48 and 64 are asked for.
#[test]
fn answers_end_where_the_context_does() {
    let stage = stage().with_set("bleu.rows=8");
    let row = |i: usize| format!("{{\"prompt\": \"{}{i}\", \"response\": \"well: {i}\"}}\n", "ask ".repeat(16 + i % 4));
    std::fs::write(stage.dir.path().join("demos.jsonl"), (0..60).map(row).collect::<String>()).unwrap();
    stage.run_ok("run", &["--set", "train.steps=4"]);
    let evaluations = || testkit::metrics(&stage.out("run")).into_iter().filter(|row| row["eval/bleu"].is_f64());
    assert!(evaluations().all(|row| row["eval/sample"].as_str().is_some_and(|text| text.starts_with("ask "))));
    assert_eq!(evaluations().count(), 2);
    // Nothing is shown of a prompt that fills it; a run may go on with another sample.
    let full = format!("eval.sample_prompt={}", "x".repeat(96));
    stage.run_ok("run", &["--resume", "--set", "train.steps=8", "--set", &full, "--set", "eval.sample_tokens=8"]);
    assert!(evaluations().next_back().is_some_and(|row| row["step"] == 8 && row["eval/sample"].is_null()));
}

/// What decides how rows become tokens is an input as the rows are: the template of the folder, the list of synonyms, and the day that a template tells.
#[test]
fn a_run_goes_on_with_its_template_its_synonyms_and_its_day() {
    let sets = ["data.template=model", "data.augment.copies=1", "data.augment.replace=0.5", "data.augment.synonyms={dir}/words.txt"];
    let stage = || {
        let stage = sets.iter().fold(stage(), |stage, set| stage.with_set(set));
        let template = "{{ strftime_now('%Y-%m-%d') }}\n{% for message in messages %}{{ message['content'] }}\
                        {% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}\n{# the end #}\n";
        std::fs::write(stage.dir.path().join("base/chat_template.jinja"), template).unwrap();
        std::fs::write(stage.dir.path().join("words.txt"), "say, tell\nwell, good\n").unwrap();
        stage
    };
    for file in ["base/chat_template.jinja", "words.txt"] {
        testkit::suite::other_inputs(&stage(), file);
    }
    let day = "SOURCE_DATE_EPOCH";
    let stage = stage().with_env(day, "951827696");
    stage.run_ok("whole", &[]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    let stage = stage.with_env(day, "1721952000");
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
    stage.run_ok("later", &[]);
    let losses = |out: &str| testkit::metrics(&stage.out(out)).iter().filter_map(|row| row["loss"].as_f64()).collect::<Vec<f64>>();
    assert_ne!(losses("whole"), losses("later"), "the template tells the day");
}

fn rows_held_out(stage: &Stage) -> usize {
    stage.run_ok("count", &["--set", "train.steps=1"]);
    let text = std::fs::read_to_string(stage.out("count").join("summary.json")).unwrap();
    let count = text.lines().find(|l| l.contains("rows_valid")).unwrap();
    count.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn adapters_are_trained_alone_and_a_stopped_run_goes_on_to_the_same_bytes() {
    testkit::suite::adapted(stage().with_set("lora.dropout=0.1"), "model.adapter");
}

#[test]
fn recomputed_blocks_give_the_same_run() {
    testkit::suite::recomputed(&stage(), "train");
    testkit::suite::recomputed(&stage().with_set("lora.rank=4").with_set("lora.dropout=0.1"), "train");
}

/// Ranks sum the gradients of the adapters alone, and keep shares of their moments.
#[test]
fn ranks_train_adapters_as_one_process_does() {
    let sets = ["lora.rank=4", "train.batch=8", "train.steps=6", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
    let stage = || stage().with_set("train.activation_checkpointing=true");
    testkit::ranks::same_steps(&stage(), &sets, 5e-6);
    testkit::ranks::same_steps_in_shares(&stage(), &["optimizer", "gradients"], &sets, 5e-6); // with weights in parts they are refused
}
