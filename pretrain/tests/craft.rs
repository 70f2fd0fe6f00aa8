//! Other optimisers, L1 and teachers, as a user drives them: stopped runs go on to the same bytes, ranks take the steps of one, mistakes are named.

use std::path::Path;
use testkit::{Stage, metrics};

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
        let line = |i: usize| format!("The {} cat number {i} sat on mat {}.\n<|endoftext|>\n", ["red", "old", "wet"][i % 3], i % 7);
        std::fs::write(dir.join("text.txt"), (0..200).map(line).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TOML, text)
}

/// A stage with the teacher that the first run of it makes.
fn taught() -> Stage {
    let stage = stage();
    stage.run_ok("teacher", &["--set", "model.width=48", "--set", "train.steps=6"]);
    stage.with_set("distill.teacher={dir}/teacher").with_set("distill.temperature=1.5")
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes_with_every_optimiser() {
    for kind in ["adam", "adamw-8bit", "sgd", "lion", "muon"] {
        testkit::suite::stopped(&stage().with_set(&format!("optim.kind={kind}")).with_set("optim.l1=0.01"));
    }
}

#[test]
fn maximal_updates_resume_to_the_same_bytes_and_are_for_fresh_models() {
    let stage = stage().with_set("model.mup_base_width=16");
    testkit::suite::stopped(&stage);
    let refused = stage.run("refused", &["--set", "optim.kind=sgd"]);
    let said = stage.stderr(&refused);
    assert!(!refused.status.success() && said.contains("model.mup_base_width"), "{said}");
}

#[test]
fn ranks_with_shares_take_the_steps_of_one_with_elementwise_optimisers() {
    let sets =
        |kind| [kind, "train.batch=8", "train.steps=6", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0", "optim.l1=0.01"];
    for kind in ["optim.kind=adam", "optim.kind=sgd"] {
        testkit::ranks::same_steps_in_shares(&stage(), &testkit::ranks::SHARDS, &sets(kind), 5e-6);
    }
    // Where a mean of gradients is within rounding of 0, its sign is anybody's: a step of 2e-4 either way, six times.
    let lion = sets("optim.kind=lion").map(|set| if set.starts_with("optim.lr") { "optim.lr=1e-4" } else { set });
    testkit::ranks::same_steps_in_shares(&stage(), &["gradients"], &lion, 1.3e-3);
}

#[test]
fn muon_refuses_shares_and_adapters() {
    let stage = stage().with_set("optim.kind=muon");
    for set in ["distributed.shard=gradients", "lora.rank=4"] {
        let refused = stage.run("refused", &["--set", set, "--set", "model.init={dir}/nowhere"]);
        assert_eq!(refused.status.code(), Some(2), "{set}");
        assert!(stage.stderr(&refused).contains("steps whole matrices"), "{}", stage.stderr(&refused));
    }
}

#[test]
fn moments_of_bytes_refuse_shares() {
    let stage = stage().with_set("optim.kind=adamw-8bit");
    let refused = stage.run("refused", &["--set", "distributed.shard=gradients"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stage.stderr(&refused).contains("does not go together with distributed.shard"), "{}", stage.stderr(&refused));
}

#[test]
fn l1_makes_zeros_and_says_how_many() {
    let stage = stage();
    let zeros = |out: &str, l1: &str| {
        stage.run_ok(out, &["--set", l1, "--set", "optim.lr=1e-2", "--set", "train.steps=20"]);
        let summary = std::fs::read_to_string(stage.out(out).join("summary.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&summary).unwrap()["zeros"].as_f64()
    };
    assert_eq!(zeros("none", "optim.l1=0"), None);
    let (some, more) = (zeros("some", "optim.l1=0.1").unwrap(), zeros("more", "optim.l1=0.5").unwrap());
    assert!(some > 0.005 && more > some && more < 1.0, "{some} and {more}");
}

#[test]
fn a_taught_run_goes_on_to_the_same_bytes_and_tells_of_its_teacher() {
    let stage = taught();
    testkit::suite::stopped(&stage);
    let steps: Vec<_> = metrics(&stage.out("whole")).into_iter().filter(|row| row["loss"].is_f64()).collect();
    assert_eq!(steps.len(), 10);
    for row in &steps {
        let [loss, nll, teacher] = ["loss", "loss/nll", "loss/teacher"].map(|key| row[key].as_f64().unwrap());
        assert!((loss - 0.5 * (nll + teacher)).abs() < 1e-9 && teacher > 0.0, "{row}");
    }
    let lineage = std::fs::read_to_string(stage.out("whole").join("model/lineage.json")).unwrap();
    assert!(lineage.contains("distill.teacher"), "a teacher is a parent: {lineage}");
    testkit::suite::other_inputs(&stage, "text.txt");
}

#[test]
fn ranks_take_the_steps_of_one_with_a_teacher() {
    let sets = ["train.batch=8", "train.steps=4", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
    testkit::ranks::same_steps(&taught(), &sets, 5e-6);
}

/// A student that begins as its teacher has nothing to learn from it at first; a teacher without weight changes nothing.
#[test]
fn a_teacher_says_what_it_is_worth() {
    let stage = taught();
    let plain = ["--set", "model.dropout=0", "--set", "model.init={dir}/teacher"]
        .map(|a| a.replace("{dir}", &stage.dir.path().display().to_string()));
    let args = |more: &[&'static str]| plain.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect::<Vec<_>>();
    let run = |out: &str, more: &[&'static str]| {
        let args = args(more);
        stage.run_ok(out, &args.iter().map(String::as_str).collect::<Vec<_>>());
        metrics(&stage.out(out)).into_iter().filter(|row| row["loss"].is_f64()).collect::<Vec<_>>()
    };
    let first = run("same", &[]);
    assert!(first[0]["loss/teacher"].as_f64().unwrap().abs() < 1e-6, "{}", first[0]);
    let unheard = run("unheard", &["--set", "distill.weight=0"]);
    let alone = run("alone", &["--set", "distill.teacher="]);
    assert_eq!(alone[9]["loss/teacher"], serde_json::Value::Null);
    let end = |rows: &[serde_json::Value]| rows[9]["loss"].as_f64().unwrap();
    assert!((end(&unheard) - end(&alone)).abs() < 1e-5, "{} and {}", end(&unheard), end(&alone));
}

#[test]
fn a_teacher_with_another_vocabulary_or_a_shorter_context_is_refused() {
    let stage = taught();
    for (set, part) in [
        ("tokenizer.kind=char", "must share a vocabulary"),
        ("model.context=64", "the teacher reads 32 tokens at most"),
        ("distill.temperature=0", "distill.temperature"),
        ("distill.teacher=nowhere", "distill.teacher"),
    ] {
        let refused = stage.run("refused", &["--set", set]);
        let said = stage.stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{set}: {said}");
        assert!(said.contains(part), "{set}: {said}");
        let _ = std::fs::remove_dir_all(stage.out("refused"));
    }
}
