//! The metrics against sacrebleu, rouge-score, scikit-learn and scipy: golden/metrics.json, from scripts/reference/metrics.py.

use evaluate::metrics::{Tokenize, bleu, classes, pearson, rouge, spearman};
use serde_json::Value;

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("golden/metrics.json")).expect("JSON");
    let cases = all[kind].as_array().expect("cases").clone();
    assert!(!cases.is_empty());
    cases
}

/// Every number of `expected` is in `got` under the same name, within 1e-9.
fn same(got: &Value, expected: &Value, what: &str) {
    match expected {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| same(&got[key], value, &format!("{what}.{key}"))),
        Value::Array(list) => {
            assert_eq!(got.as_array().map(Vec::len), Some(list.len()), "{what}");
            list.iter().enumerate().for_each(|(i, value)| same(&got[i], value, &format!("{what}[{i}]")));
        }
        Value::Number(number) => {
            let (got, expected) = (got.as_f64().unwrap_or_else(|| panic!("{what}: {got}")), number.as_f64().expect("number"));
            assert!((got - expected).abs() < 1e-9, "{what}: {got}, expected {expected}");
        }
        other => assert_eq!(got, other, "{what}"),
    }
}

fn texts(case: &Value) -> Vec<(String, Vec<String>)> {
    serde_json::from_value(case["rows"].clone()).expect("rows of text and references")
}

#[test]
fn bleu_is_sacrebleus() {
    for case in cases("bleu") {
        let tokenize: Tokenize = serde_json::from_value(case["tokenize"].clone()).expect("tokenizer");
        let rows = texts(&case);
        let got = bleu(rows.iter().map(|(text, references)| (text.as_str(), references.as_slice())), tokenize);
        same(&serde_json::to_value(got).expect("JSON"), &case["expected"], &format!("bleu {}", case["tokenize"]));
    }
}

#[test]
fn rouge_is_rouge_scores() {
    for case in cases("rouge") {
        let rows = texts(&case);
        let got = rouge(rows.iter().map(|(text, references)| (text.as_str(), references.as_slice()))).expect("rows");
        same(&serde_json::to_value(got).expect("JSON"), &case["expected"], "rouge");
    }
}

#[test]
fn classes_are_scikit_learns() {
    for case in cases("classes") {
        let rows: Vec<(String, String)> = serde_json::from_value(case["rows"].clone()).expect("pairs");
        let got = classes(rows.iter().map(|(a, b)| (a.as_str(), b.as_str()))).expect("rows");
        same(&serde_json::to_value(got).expect("JSON"), &case["expected"], "classes");
    }
    assert_eq!(classes([]), None);
}

#[test]
fn correlations_are_scipys() {
    for case in cases("correlation") {
        let rows: Vec<(f64, f64)> = serde_json::from_value(case["rows"].clone()).expect("pairs");
        let got = serde_json::json!({ "pearson": pearson(&rows), "spearman": spearman(&rows) });
        same(&got, &case["expected"], "correlation");
    }
    assert_eq!(spearman(&[(1.0, 2.0), (2.0, 2.0)]), None, "no correlation with what never changes");
    assert_eq!(pearson(&[(0.1, 0.7); 3]), None, "whose mean is rounded");
    assert_eq!(spearman(&[(1.0, 2.0), (f64::NAN, 3.0), (2.0, 4.0)]), None, "nor with what is no number");
    assert_eq!(spearman(&[(0.0, 1.0), (-0.0, 1.0), (2.0, 2.0)]), Some(1.0), "the two zeros are one");
}

#[test]
fn the_command_reads_rows_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("rows.jsonl");
    let metrics = |rows: &str, more: &[&str]| {
        std::fs::write(&path, rows).expect("written");
        let mut command = assert_cmd::Command::cargo_bin("evaluate").expect("binary");
        command.args(["metrics", "--data", path.to_str().expect("path")]).args(more).assert()
    };
    let json = |rows: &str, more: &[&str]| -> Value {
        let assert = metrics(rows, &[more, &["--json"]].concat()).success();
        serde_json::from_slice(&assert.get_output().stdout).expect("JSON")
    };
    let texts = "{\"prediction\": \"猫坐在垫子上\", \"reference\": [\"那只猫坐在垫子上\", \"猫\"]}\n";
    assert_eq!(json(texts, &["--tokenize", "zh"])["bleu"]["score"], json(texts, &["--tokenize", "char"])["bleu"]["score"]);
    assert!(json(texts, &[])["bleu"]["score"].as_f64().expect("BLEU") < 1.0, "13a takes the sentence for one word");
    let classes = "{\"said\": 1, \"label\": 1}\n{\"said\": 0, \"label\": 1}\n";
    let fields = ["--prediction", "said", "--reference", "label"];
    let found = json(classes, &[&fields[..], &["--as", "class"]].concat());
    assert_eq!((&found["accuracy"], &found["classes"][1]["name"]), (&serde_json::json!(0.5), &serde_json::json!("1")));
    assert!(json("{\"prediction\": 1, \"reference\": 3}\n{\"prediction\": 2, \"reference\": 5.5}\n", &[])["spearman"] == 1.0);
    let printed = metrics(classes, &[&fields[..], &["--as", "class"]].concat()).success();
    assert!(String::from_utf8_lossy(&printed.get_output().stdout).contains("classes.1.recall"));
    let several = "{\"prediction\": 2, \"reference\": [2]}\n{\"prediction\": 1, \"reference\": [1, 3]}\n";
    for kind in ["class", "number"] {
        let error = metrics(several, &["--as", kind]).code(2);
        assert!(String::from_utf8_lossy(&error.get_output().stderr).contains("line 2: field \"reference\" is a list of 2"));
    }
    assert!(json(several, &[])["bleu"].is_object(), "several references are text's");
    let error = metrics("{\"prediction\": \"a\"}\n", &[]).code(2);
    assert!(String::from_utf8_lossy(&error.get_output().stderr).contains("line 1: no field \"reference\""));
}

/// Also of a file that has columns of the names that the stages look for.
#[test]
fn any_column_of_parquet_is_a_field() {
    let chats = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/golden/chats.parquet");
    let mut command = assert_cmd::Command::cargo_bin("evaluate").expect("binary");
    let assert = command.args(["metrics", "--data", chats, "--prediction", "count", "--reference", "count", "--json"]).assert().success();
    let found: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    assert_eq!(found["rows"], 3);
}
