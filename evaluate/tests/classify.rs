//! `evaluate classify` on decoders: classes, numbers and choices, of one row and of many.

use data::config::{InputShape, Target};
use data::frames::{Frame, MARKS};
use data::tokenizer::Tokenizer;
use model::{Classifier, Config, HeadKind, Model};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// A classifier with random weights in a folder.
fn folder(dir: &Path, kind: InputShape, target: Target) {
    let tokenizer = Tokenizer::byte().unwrap().with_special(&MARKS).unwrap();
    let frame = Frame::of(&tokenizer, kind, target).unwrap();
    let mut config = Config::gpt2(260, 64, 1, 2, 16, 0.0).unwrap();
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let model = Model::new(config, HeadKind::Lm, tch::Device::Cpu, 1).unwrap();
    let names = vec!["no".to_string(), "yes".to_string()];
    Classifier::on(model, frame, names, tokenizer.vocab_size(), tokenizer.pad()).unwrap().save(dir).unwrap();
    tokenizer.save(dir).unwrap();
}

fn classify(dir: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evaluate")).args(["classify", "--json", "--model"]).arg(dir).args(more).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn one_row_is_answered_in_the_form_that_its_shape_has() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), InputShape::Classification, Target::Class);
    let said = json(&classify(dir.path(), &["--text", "a film"]));
    let share = |said: &Value, name: &str| said["probabilities"][name].as_f64().unwrap();
    assert!((share(&said, "no") + share(&said, "yes") - 1.0).abs() < 1e-9, "{said}");
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), InputShape::Choice, Target::Class);
    let said = json(&classify(dir.path(), &["--text", "it rained", "--choice", "wet", "--choice", "dry", "--choice", "far"]));
    assert!((share(&said, "wet") + share(&said, "dry") + share(&said, "far") - 1.0).abs() < 1e-9, "{said}");
    let refused = classify(dir.path(), &["--text", "it rained"]);
    assert_eq!(refused.status.code(), Some(2));
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), InputShape::Similarity, Target::Number);
    let of = |a: &str, b: &str| json(&classify(dir.path(), &["--text", a, "--second-text", b]))["number"].as_f64().unwrap();
    assert!((of("one", "another") - of("another", "one")).abs() < 1e-6, "both orders are the same");
}

#[test]
fn rows_give_the_figures_of_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("choice"), InputShape::Choice, Target::Class);
    let rows = concat!(
        "{\"premise\": \"a\", \"one\": \"b\", \"two\": \"c\", \"label\": 0}\n",
        "{\"premise\": \"d\", \"one\": \"e\", \"two\": \"f\", \"label\": \"f\"}\n"
    );
    std::fs::write(dir.path().join("choice.jsonl"), rows).unwrap();
    let data = dir.path().join("choice.jsonl").display().to_string();
    let more = ["--data", &data, "--field", "premise", "--choices", "one,two", "--class", "label"];
    let figures = json(&classify(&dir.path().join("choice"), &more));
    assert_eq!((figures["rows"].as_u64(), figures["majority"].as_f64()), (Some(2), Some(0.5)));
    folder(&dir.path().join("number"), InputShape::Similarity, Target::Number);
    let row = |i: usize| format!("{{\"prompt\": \"{i}\", \"second\": \"{}\", \"response\": {i}}}\n", i * i);
    std::fs::write(dir.path().join("number.jsonl"), (0..8).map(row).collect::<String>()).unwrap();
    let data = dir.path().join("number.jsonl").display().to_string();
    let figures = json(&classify(&dir.path().join("number"), &["--data", &data]));
    assert_eq!((figures["rows"].as_u64(), figures["mse_of_mean"].as_f64()), (Some(8), Some(5.25)));
    assert!(figures["spearman"].is_f64() && figures["spearman_ci"].is_array(), "{figures}");
}

#[test]
fn rows_longer_than_the_context_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("model"), InputShape::Classification, Target::Class);
    let row = |text: &str, class: &str| format!("{{\"prompt\": \"{text}\", \"response\": \"{class}\"}}\n");
    // 62 bytes and two marks just fit into 64 tokens.
    let (fits, long) = ("a".repeat(62), "a".repeat(63));
    std::fs::write(dir.path().join("some.jsonl"), row(&fits, "yes") + &row(&long, "no") + &row("b", "no")).unwrap();
    std::fs::write(dir.path().join("none.jsonl"), row(&long, "no")).unwrap();
    let of = |name: &str| classify(&dir.path().join("model"), &["--data", &dir.path().join(name).display().to_string()]);
    let some = of("some.jsonl");
    let figures = json(&some);
    assert_eq!((figures["rows"].as_u64(), figures["left_out"].as_u64()), (Some(2), Some(1)));
    assert!(String::from_utf8_lossy(&some.stderr).contains("1 of 3 rows are longer"));
    assert_eq!(of("none.jsonl").status.code(), Some(2));
}

/// Labels are looked at before rows are left out: the number is the row's own.
#[test]
fn a_wrong_label_is_named_by_its_row() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("model"), InputShape::Similarity, Target::Number);
    let long = "a".repeat(70);
    let rows = format!(
        "{{\"prompt\": \"{long}\", \"second\": \"b\", \"response\": 1}}\n{{\"prompt\": \"a\", \"second\": \"b\", \"response\": \"high\"}}\n"
    );
    std::fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    let refused = classify(&dir.path().join("model"), &["--data", &dir.path().join("rows.jsonl").display().to_string()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("row 2: \"high\" is not a finite number"), "{said}");
}
