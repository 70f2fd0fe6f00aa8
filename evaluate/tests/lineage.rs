//! A model's ancestry as it is printed, and what is said when a folder or file has changed since.

use data::config::{Change, Source};
use data::inputs::Inputs;
use model::lineage::{Lineage, Parent};
use model::{Config, HeadKind, Model};
use std::path::Path;
use std::process::Command;

fn model(dir: &Path, seed: u64) {
    let config = Config::gpt2(20, 16, 1, 1, 8, 0.0).expect("shape");
    Model::new(config, HeadKind::Lm, tch::Device::Cpu, seed).expect("model").save(dir).expect("saved");
}

fn ancestry(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_evaluate")).arg("lineage").arg("--model").arg(dir.join("ppo")).args(args).output();
    let output = output.expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_model_is_traced_back_to_its_texts_and_rankings() {
    let tmp = tempfile::tempdir().expect("folder");
    let dir = tmp.path();
    std::fs::write(dir.join("text.txt"), "once upon a time\n").expect("text");
    let sources = [Source { path: dir.join("text.txt").display().to_string(), ..Source::default() }];
    let inputs = Inputs::new(1).sources("data.sources", &sources).expect("inputs");
    let inputs = inputs.folder("data.pictures", &dir.join("text.txt"), "of many files".into()); // nothing that a file's hash can be compared with
    model(&dir.join("base"), 1);
    Lineage::new("pretrain", vec![], inputs, "seed = 1").with_tokens(640).write(&dir.join("base")).expect("written");
    model(&dir.join("foreign"), 2);
    let parents = [("policy.init", "base"), ("reward.model", "foreign")];
    let parents = parents.map(|(key, name)| Parent::new(key, &dir.join(name)).expect("parent")).to_vec();
    model(&dir.join("ppo"), 3);
    let change = Change { step: 10, key: "rollout.rounds".into(), before: "10".into(), now: "20".into() };
    let record = Lineage::new("ppo", parents, Inputs::new(1), "seed = 2").with_episodes(320).with_changes(&[change]);
    record.write(&dir.join("ppo")).expect("written");

    let told = ancestry(dir, &["--check"]);
    let expected = [
        "model · DIR/ppo · weights ",
        "│  ppo ",
        " · 320 episodes · configuration ",
        "│  at step 10: rollout.rounds was 10, now 20",
        "├─ policy.init · DIR/base · weights ",
        "│  │  pretrain ",
        " · 640 tokens · configuration ",
        "│  └─ data.sources · DIR/text.txt · ",
        "└─ reward.model · DIR/foreign · weights ",
        "      no record: made elsewhere",
    ];
    let mut rest = told.as_str();
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or out of order, in\n{told}"));
        rest = &rest[at + part.len()..];
    }
    assert_eq!(told.matches("as recorded").count(), 4, "{told}");

    std::fs::write(dir.join("text.txt"), "twice\n").expect("text");
    std::fs::remove_dir_all(dir.join("foreign")).expect("gone");
    let told = ancestry(dir, &["--check"]);
    assert!(told.contains("CHANGED since") && told.contains("gone"), "{told}");
    let json: serde_json::Value = serde_json::from_str(&ancestry(dir, &["--json"])).expect("JSON");
    assert_eq!(json["lineage"]["parents"][0]["lineage"]["tokens"], 640);
}
