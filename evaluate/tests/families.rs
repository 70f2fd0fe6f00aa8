//! `generate`, `score` and `reward` on a folder of every family, by text and by ids, against transformers: scripts/reference/evaluate.py.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden")
}

fn families() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("golden/families.json")).expect("JSON")
}

/// The family's folder with the tokenizer that all of them share.
fn folder(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    for from in [golden().join(name), golden().join("tokenizer")] {
        for entry in std::fs::read_dir(from).expect("fixture") {
            let entry = entry.expect("entry");
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
        }
    }
    dir
}

fn ask(command: &str, folder: &Path, args: &[&str]) -> Value {
    let model = folder.to_str().expect("UTF-8");
    let mut program = Command::cargo_bin("evaluate").expect("binary");
    program.args([command, "--model", model, "--device", "cpu", "--threads", "1", "--json"]).args(args);
    let output = program.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("JSON")
}

fn list(ids: &Value) -> String {
    ids.as_array().expect("list").iter().map(Value::to_string).collect::<Vec<_>>().join(",")
}

fn close(what: &str, got: &Value, want: &Value, tolerance: f64) {
    let (got, want) = (got.as_f64().expect("number"), want.as_f64().expect("number"));
    assert!((got - want).abs() < tolerance, "{what}: {got}, transformers say {want}");
}

#[test]
fn every_language_model_writes_and_measures() {
    let mut models = 0;
    for (name, case) in families().iter().filter(|(_, case)| case["generate"].is_array()) {
        let dir = folder(name);
        for row in case["generate"].as_array().expect("rows") {
            let text = row["prompt"].as_str().expect("text");
            let by_text = ask("generate", dir.path(), &["--prompt", text, "--greedy", "--max-new", "10"]);
            let by_ids = ask("generate", dir.path(), &["--prompt-ids", &list(&row["prompt_ids"]), "--greedy", "--max-new", "10"]);
            assert_eq!(by_text, by_ids, "{name}: {text:?}");
            for key in ["prompt_ids", "ids", "text"] {
                assert_eq!(by_text[key], row[key], "{name}: {key} of {text:?}");
            }
        }
        let file = dir.path().join("text.txt");
        std::fs::write(&file, case["text"].as_str().expect("text")).expect("written");
        let by_text = ask("score", dir.path(), &["--text", file.to_str().expect("UTF-8")]);
        let by_ids = ask("score", dir.path(), &["--ids", &list(&case["ids"])]);
        assert_eq!(by_text, by_ids, "{name}");
        assert_eq!(by_text["tokens"], json!(case["ids"].as_array().expect("ids").len()), "{name}");
        // The sum over 23 predictions of float32 numbers around 4: 1e-6 of each.
        close(name, &by_text["nll_sum"], &case["nll_sum"], 2e-4);
        models += 1;
    }
    assert_eq!(models, 17, "every family and variant");
}

#[test]
fn every_reward_model_scores() {
    let mut models = 0;
    for (name, case) in families().iter().filter(|(_, case)| case["rows"].is_array()) {
        let dir = folder(name);
        let rows = case["rows"].as_array().expect("rows");
        let file = dir.path().join("rows.jsonl");
        let line = |row: &Value| format!("{}\n", json!({"prompt": row["prompt"], "response": row["response"]}));
        std::fs::write(&file, rows.iter().map(line).collect::<String>()).expect("written");
        let by_text = ask("reward", dir.path(), &["--data", file.to_str().expect("UTF-8")]);
        for (got, want) in by_text["rows"].as_array().expect("rows").iter().zip(rows) {
            close(name, &got["score"], &want["score"], 1e-5);
            let by_ids = ask("reward", dir.path(), &["--ids", &list(&want["ids"])]);
            close(name, &by_ids["score"], &want["score"], 1e-5);
            assert_eq!(by_ids["ids"], want["ids"]);
        }
        assert_eq!(by_text["rows"].as_array().expect("rows").len(), rows.len());
        // The same answers as a pair: the accuracy is 1 or 0 as transformers' scores are ordered.
        let [a, b] = [&rows[0], &rows[1]];
        let pair = json!({"prompt": a["prompt"], "chosen": a["response"], "rejected": b["response"]});
        std::fs::write(&file, format!("{pair}\n")).expect("written");
        let got = ask("reward", dir.path(), &["--data", file.to_str().expect("UTF-8")]);
        close(name, &got["rows"][0]["scores"][0], &a["score"], 1e-5);
        let scores: Vec<f64> = got["rows"][0]["scores"].as_array().expect("scores").iter().map(|s| s.as_f64().expect("score")).collect();
        assert_eq!(got["accuracy"], json!(f64::from(scores[0] > scores[1])), "{name}");
        models += 1;
    }
    assert_eq!(models, 6, "every family");
}
