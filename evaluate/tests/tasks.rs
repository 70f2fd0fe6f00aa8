//! `evaluate tasks` against lm-evaluation-harness: its figures on two tiny folders are in golden/tasks/expected.json (scripts/reference/tasks.py).

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tasks")
}

/// `evaluate tasks` in the fixture's folder, where the tasks' paths begin.
fn tasks(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("evaluate").expect("binary").current_dir(golden()).args(["tasks", "--device", "cpu"]).args(args).assert()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect()
}

fn close(ours: f64, theirs: f64, what: &str) {
    assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(1.0), "{what}: {ours}, the harness says {theirs}");
}

#[test]
fn figures_and_likelihoods_are_the_harness() {
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(golden().join("expected.json")).expect("fixture")).expect("JSON");
    let dir = tempfile::tempdir().expect("folder");
    let items = dir.path().join("items.jsonl");
    let mut compared = 0;
    for model in ["gpt2", "llama"] {
        for (task, by_shots) in expected[model].as_object().expect("tasks") {
            for (shots, found) in by_shots.as_object().expect("shots") {
                let what = format!("{model} {task} {shots}");
                let file = format!("{task}.toml");
                let assert =
                    tasks(&["--model", model, "--task", &file, "--shots", shots, "--json", "--items", items.to_str().expect("path")])
                        .success();
                let answer: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
                let metrics = answer["tasks"][0]["metrics"].as_array().expect("metrics");
                let figures = found["figures"].as_object().expect("figures");
                for (name, theirs) in figures {
                    let ours = metrics.iter().find(|m| m["name"] == name.as_str()).unwrap_or_else(|| panic!("{what}: no {name}"));
                    // A perplexity's exponent is what is measured.
                    let log = |x: &Value| {
                        if name.contains("perplexity") { x.as_f64().expect("number").ln() } else { x.as_f64().expect("number") }
                    };
                    close(log(&ours["value"]), log(theirs), &format!("{what} {name}"));
                }
                let lines = std::fs::read_to_string(&items).expect("items");
                let ours: Vec<Vec<f64>> =
                    lines.lines().map(|line| numbers(&serde_json::from_str::<Value>(line).expect("JSON")["log_probs"])).collect();
                let theirs: Vec<Vec<f64>> = found["log_probs"].as_array().expect("items").iter().map(numbers).collect();
                assert_eq!(ours.len(), theirs.len(), "{what}");
                for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                    close(*ours, *theirs, &what);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 150, "{compared} log-likelihoods compared");
}

#[test]
fn the_table_the_page_and_the_curve() {
    let dir = tempfile::tempdir().expect("folder");
    let page = dir.path().join("page.html");
    let page_arg = page.to_str().expect("path");
    let args = ["--model", "gpt2", "--task", "choice.toml", "perplexity.toml", "--shots", "0,2", "--html", page_arg, "--limit", "5"];
    let assert = tasks(&args).success();
    let printed = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert_eq!(printed.matches("acc_norm").count(), 2, "one a number of examples: {printed}");
    assert_eq!(printed.matches("word_perplexity").count(), 1, "perplexity knows no examples: {printed}");
    assert!(printed.contains("always the commonest: 0.6000") && printed.contains("longer than the model's context"), "{printed}");
    let html = std::fs::read_to_string(page).expect("page");
    assert_eq!(html.matches("<figure>").count(), 2, "acc and acc_norm over K");
}

#[test]
fn weights_in_few_bits_solve_the_same_tasks() {
    let perplexity = |weights: &str| {
        let assert = tasks(&["--model", "gpt2", "--task", "perplexity.toml", "--json", "--weights", weights]).success();
        let answer: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
        let metrics = answer["tasks"][0]["metrics"].as_array().expect("metrics").clone();
        let found = metrics.iter().find(|m| m["name"] == "bits_per_byte").expect("bits a byte")["value"].as_f64().expect("a number");
        (found, String::from_utf8_lossy(&assert.get_output().stderr).into_owned())
    };
    let (float, said) = perplexity("float");
    assert!(!said.contains("float32"), "{said}");
    let (eight, said) = perplexity("q8_0");
    assert!(said.contains("matrices stay in float32"), "{said}"); // those 16 wide
    let (four, _) = perplexity("q4_0");
    assert!(eight != float && (eight / float - 1.0).abs() < 1e-3, "{float}, in eight bits {eight}");
    assert!(four != eight && (four / float - 1.0).abs() < 0.02, "{float}, in four bits {four}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let error = |args: &[&str]| {
        let assert = tasks(args).code(2);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    assert!(error(&["--model", "gpt2", "--task", "absent.toml"]).contains("absent.toml: cannot read the configuration"));
    assert!(
        error(&["--model", "gpt2", "--task", "choice.toml", "--shots", "9"]).contains("9 examples asked for, there are 2; ask for fewer")
    );
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("typo.toml");
    std::fs::write(&file, "knd = \"cloze\"\n").expect("written");
    assert!(error(&["--model", "gpt2", "--task", file.to_str().expect("path")]).contains("unknown key `knd`; did you mean `kind`?"));
}
