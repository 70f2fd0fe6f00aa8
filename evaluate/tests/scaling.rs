//! `evaluate scaling`: the fit against scipy's (golden/scaling.json, from scripts/reference/scaling.py), and the command on made-up ladders.

use assert_cmd::Command;
use evaluate::scaling::Law;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

#[test]
fn the_fit_is_scipys() {
    let cases: Value = serde_json::from_str(include_str!("golden/scaling.json")).expect("JSON");
    for case in cases.as_array().expect("cases") {
        let points: Vec<(f64, f64)> = serde_json::from_value(case["points"].clone()).expect("points");
        let law = Law::fit(&points).expect("a law");
        let expected = |key: &str| case["expected"][key].as_f64().expect("number");
        assert!(law.objective <= expected("objective") * (1.0 + 1e-4), "{law:?}: scipy reaches {}", expected("objective"));
        for pair in case["expected"]["at"].as_array().expect("predictions") {
            let (x, loss) = (pair[0].as_f64().expect("x"), pair[1].as_f64().expect("loss"));
            assert!((law.at(x) / loss - 1.0).abs() < 2e-3, "{x}: {} against {loss}", law.at(x));
        }
    }
}

/// A finished run of so many weights whose loss follows 1.5 + 50 N^-0.3 at the end and was higher before.
fn run(folder: &Path, parameters: f64) {
    fs::create_dir_all(folder).expect("folder");
    let (tokens, end) = (1e6, 1.5 + 50.0 * parameters.powf(-0.3));
    fs::write(folder.join("summary.json"), json!({ "parameters": parameters, "tokens": tokens, "eval_loss": end }).to_string())
        .expect("written");
    let line = |step: u32| json!({ "step": step, "eval/loss": end + 0.4 * (1.0 - f64::from(step) / 100.0) }).to_string() + "\n";
    fs::write(folder.join("metrics.jsonl"), (0..=4).map(|i| line(i * 25)).collect::<String>()).expect("written");
}

fn scaling(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("evaluate").expect("binary").arg("scaling").args(args).assert()
}

#[test]
fn a_larger_run_is_foretold_without_being_looked_at() {
    let dir = tempfile::tempdir().expect("folder");
    for size in [4e4, 8e4, 1.6e5, 3.2e5, 6.4e5] {
        run(&dir.path().join(format!("size-{size}")), size);
    }
    let large = dir.path().join("large");
    run(&large, 4e6);
    let path = |p: &Path| p.to_str().expect("path").to_string();
    let (runs, large, page) = (path(dir.path()), path(&large), dir.path().join("page.html"));
    let assert = scaling(&["--runs", &runs, "--against", &large, "--html", &path(&page), "--json"]).success();
    let answer: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    let (law, foretold) = (&answer["scaling"]["of_parameters"], &answer["scaling"]["by_parameters"][0]);
    assert_eq!(answer["scaling"]["rungs"].as_array().expect("rungs").len(), 5, "the large one is not among them");
    assert!(
        (law["exponent"].as_f64().expect("exponent") - 0.3).abs() < 5e-3 && (law["irreducible"].as_f64().expect("E") - 1.5).abs() < 0.01
    );
    let came = 1.5 + 50.0 * 4e6f64.powf(-0.3);
    assert!((foretold["loss"].as_f64().expect("loss") - came).abs() < 2e-3, "{foretold}");
    assert!(fs::read_to_string(page).expect("page").matches("<figure>").count() == 2);
    let printed = scaling(&["--runs", &runs, "--against", &large]).success();
    let printed = String::from_utf8_lossy(&printed.get_output().stdout).into_owned();
    assert!(printed.contains("large came to 2.0") && printed.contains("L(C)"), "{printed}");
    let few = tempfile::tempdir().expect("folder");
    run(&few.path().join("one"), 1e5);
    let error = scaling(&["--runs", &path(few.path())]).code(2);
    assert!(
        String::from_utf8_lossy(&error.get_output().stderr).contains("1 finished pre-training runs; a law of three numbers needs four")
    );
}
