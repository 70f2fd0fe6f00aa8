//! Teachers as a user has them: the stopped run goes on to the same bytes, ranks take the steps of one, mistakes are named.

use data::tokenizer::Tokenizer;
use model::HeadKind;
use std::path::Path;
use testkit::{Stage, metrics};

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[model]
init = "{dir}/base"
dropout = 0.1
[distill]
teacher = "{dir}/teacher"
weight = 0.25
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
        testkit::tiny_folder(&dir.join("teacher"), HeadKind::Lm, 2);
        testkit::tiny_folder(&dir.join("stranger"), HeadKind::Lm, 3);
        let strange = Tokenizer::characters(&mut std::iter::once("other".to_owned())).unwrap();
        strange.save(&dir.join("stranger")).unwrap();
        let row = |i: usize| format!("{{\"prompt\": \"say {i}\", \"response\": \"well: {}\"}}\n", i * 3);
        std::fs::write(dir.join("demos.jsonl"), (0..60).map(row).collect::<String>()).unwrap();
    };
    Stage::new(env!("CARGO_BIN_EXE_sft"), TOML, data)
}

#[test]
fn a_taught_run_goes_on_to_the_same_bytes_and_other_teachers_are_refused() {
    let stage = stage();
    testkit::suite::stopped(&stage);
    for row in metrics(&stage.out("whole")).iter().filter(|row| row["loss"].is_f64()) {
        let [loss, nll, teacher] = ["loss", "loss/nll", "loss/teacher"].map(|key| row[key].as_f64().unwrap());
        assert!((loss - 0.75 * nll - 0.25 * teacher).abs() < 1e-9 && teacher > 0.0, "{row}");
    }
    testkit::suite::other_inputs(&stage, "teacher/model.safetensors");
    let set = format!("distill.teacher={}", stage.out("stranger").display());
    let refused = stage.run("refused", &["--set", &set]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stage.stderr(&refused).contains("must share a vocabulary"), "{}", stage.stderr(&refused));
}

#[test]
fn ranks_take_the_steps_of_one_with_a_teacher() {
    let sets = ["train.batch=8", "train.steps=4", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
    testkit::ranks::same_steps(&stage(), &sets, 5e-6);
}
