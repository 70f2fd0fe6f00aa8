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
}
