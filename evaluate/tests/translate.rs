//! `evaluate translate`: what it reads, what it writes, what it refuses.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use data::tokenizer::Tokenizer;
use model::seq2seq::{Seq2Seq, Seq2SeqConfig, Stack};
use serde_json::Value;
use std::path::Path;

/// An untrained encoder-decoder of characters.
fn folder(dir: &Path) {
    let tokenizer = Tokenizer::characters(&mut ["abcd".to_owned()].into_iter()).expect("tokenizer");
    let side = Stack { layers: 1, heads: 2, ffn_width: 32 };
    let config = Seq2SeqConfig::fresh(tokenizer.vocab_size(), 24, 16, side, tokenizer.eos(), tokenizer.pad()).expect("shape");
    Seq2Seq::new(config, tch::Device::Cpu, 1).expect("model").save(dir).expect("saved");
    tokenizer.save(dir).expect("saved");
}

/// Translates `rows` in `dir`, where [`folder`] was written.
fn translate(dir: &Path, rows: &str) -> Assert {
    std::fs::write(dir.join("rows.jsonl"), rows).expect("written");
    let args =
        ["translate", "--device", "cpu", "--threads", "1", "--model", ".", "--data", "rows.jsonl", "--max-new", "4", "--tokenize", "char"];
    Command::cargo_bin("evaluate").expect("binary").current_dir(dir).args(args).assert()
}

fn said(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn bleu_is_of_all_rows_or_said_to_be_missing() {
    let dir = tempfile::tempdir().expect("folder");
    folder(dir.path());
    let both =
        translate(dir.path(), "{\"prompt\": \"ab\", \"reference\": \"ba\"}\n{\"prompt\": \"cd\", \"reference\": \"dc\"}\n").success();
    assert!(said(&both).starts_with("BLEU ") && said(&both).contains("over 2 rows"), "{}", said(&both));
    let lines = String::from_utf8_lossy(&both.get_output().stdout).into_owned();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.iter().map(|r| r["reference"].as_str()).collect::<Vec<_>>(), [Some("ba"), Some("dc")]);
    let one = translate(dir.path(), "{\"prompt\": \"ab\", \"reference\": \"ba\"}\n{\"prompt\": \"cd\", \"reference\": null}\n").success();
    assert!(said(&one).contains("no BLEU: 1 of 2 rows have no field \"reference\""), "{}", said(&one));
    let none = translate(dir.path(), "{\"prompt\": \"ab\"}\n").success();
    assert_eq!(said(&none), "", "nobody asked for BLEU");
}

#[test]
fn a_reference_that_is_no_text_is_refused() {
    let dir = tempfile::tempdir().expect("folder");
    folder(dir.path());
    let refused =
        translate(dir.path(), "{\"prompt\": \"ab\", \"reference\": \"ba\"}\n{\"prompt\": \"cd\", \"reference\": [\"dc\"]}\n").code(2);
    assert!(said(&refused).contains("rows.jsonl, line 2: field \"reference\" is a list: expected text"), "{}", said(&refused));
}
