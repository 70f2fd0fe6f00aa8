//! The program as its user drives it: numbers against transformers, plumbing against the library, help and errors as they are printed.

use assert_cmd::Command;
use data::chat::{ChatTemplate, Message};
use data::labels::table::write_table;
use data::labels::{Judgment, Kind};
use data::tokenizer::Tokenizer;
use model::{Config, HeadKind, Model};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tch::Device;

use crate::common;

/// A tiny GPT-2 that transformers wrote (no tokenizer in it).
fn gpt2() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/gpt2")
}

/// transformers' numbers for it: scripts/reference/evaluate.py.
fn reference() -> Value {
    serde_json::from_str(include_str!("golden/reference.json")).expect("JSON")
}

/// A run folder with a fresh byte-level model of 64 places.
fn run_folder(dir: &Path, head: HeadKind) -> PathBuf {
    let folder = dir.join("model");
    let tokenizer = Tokenizer::byte().expect("tokenizer");
    let mut config = Config::gpt2(tokenizer.vocab_size(), 64, 2, 2, 16, 0.0).expect("shape");
    config.set_special(None, &[tokenizer.eos()], Some(tokenizer.pad()));
    Model::new(config, head, Device::Cpu, 11).expect("model").save(&folder).expect("saved");
    tokenizer.save(&folder).expect("saved");
    dir.to_path_buf()
}

fn evaluate(args: &[&str]) -> assert_cmd::assert::Assert {
    // A terminal's width or colours must not change what is printed.
    Command::cargo_bin("evaluate").expect("binary").env("COLUMNS", "100").env_remove("RUST_BACKTRACE").args(args).assert()
}

fn stdout(args: &[&str]) -> String {
    String::from_utf8(evaluate(args).success().get_output().stdout.clone()).expect("UTF-8")
}

fn json_of(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[args, &["--json"]].concat())).expect("JSON")
}

/// What a failing command prints, with the temporary folder's name taken out; the exit code must be 2.
fn error(args: &[&str], dir: &Path) -> String {
    let assert = evaluate(args).code(2);
    let text = String::from_utf8(assert.get_output().stderr.clone()).expect("UTF-8");
    text.replace(&dir.display().to_string(), "DIR").replace(env!("CARGO_MANIFEST_DIR"), "CRATE")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}

fn list(ids: &Value) -> String {
    ids.as_array().expect("list").iter().map(Value::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn score_agrees_with_transformers() {
    let (folder, reference) = (gpt2(), reference());
    for (name, windows) in [("short", 1), ("long", 6)] {
        let case = &reference[name];
        let got = json_of(&["score", "--model", text(&folder), "--device", "cpu", "--ids", &list(&case["ids"])]);
        let (sum, expected) = (got["nll_sum"].as_f64().expect("sum"), case["nll_sum"].as_f64().expect("sum"));
        assert!((sum - expected).abs() < 1e-4 * expected, "{name}: {sum}, transformers say {expected}");
        let n = case["ids"].as_array().expect("ids").len();
        assert_eq!((&got["tokens"], &got["scored_tokens"], &got["windows"]), (&json!(n), &json!(n - 1), &json!(windows)), "{name}");
        assert!((got["nll_mean"].as_f64().expect("mean") - sum / (n - 1) as f64).abs() < 1e-9);
    }
}

#[test]
fn greedy_agrees_with_transformers() {
    let case = &reference()["greedy"];
    let args =
        ["generate", "--model", text(&gpt2()), "--prompt-ids", &list(&case["prompt"]), "--greedy", "--max-new", "20"].map(String::from);
    let got = json_of(&args.each_ref().map(String::as_str));
    assert_eq!(got["ids"], case["ids"]);
    assert!(got["text"].is_null(), "this folder has no tokenizer");
    let printed = stdout(&args.each_ref().map(String::as_str));
    assert_eq!(printed.trim(), format!("ids: {}", list(&case["ids"])));
}

#[test]
fn samples_depend_on_the_seed_alone() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = run_folder(dir.path(), HeadKind::Lm);
    let sample = |seed: &str| json_of(&["generate", "--model", text(&run), "--prompt", "Té", "--max-new", "12", "--seed", seed]);
    let (one, again, two) = (sample("1"), sample("1"), sample("2"));
    assert_eq!(one, again);
    assert_ne!(one["ids"], two["ids"]);
    assert_eq!(one["prompt_ids"], json!([4 + 84, 4 + 0xC3, 4 + 0xA9]), "bytes of Té after the four special tokens");
    assert!(one["text"].is_string());
    // 64 places are room enough for the default of 64 new tokens only after an empty prompt: the default gives way, the user's word does not
    assert!(json_of(&["generate", "--model", text(&run), "--prompt", "Té"])["ids"].as_array().expect("ids").len() <= 61);
}

#[test]
fn text_is_scored_from_a_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = run_folder(dir.path(), HeadKind::Lm);
    let file = dir.path().join("text.txt");
    fs::write(&file, "红楼梦 ".repeat(30)).expect("written");
    let got = json_of(&["score", "--model", text(&run), "--text", text(&file)]);
    assert_eq!((&got["tokens"], &got["windows"]), (&json!(300), &json!(9)));
    let mean = got["nll_mean"].as_f64().expect("mean");
    assert!((mean - 260f64.ln()).abs() < 0.3, "a fresh model guesses among 260 tokens: {mean}");
    assert!(stdout(&["score", "--model", text(&run), "--text", text(&file)]).contains("half a context apart"));
    fs::write(&file, "a<|endoftext|>b").expect("written");
    let tokens = |more: &[&str]| json_of(&[&["score", "--model", text(&run), "--text", text(&file)], more].concat())["tokens"].clone();
    assert_eq!((tokens(&[]), tokens(&["--special"])), (json!(15), json!(3)), "characters unless asked");
}

#[test]
fn rewards_of_rows_pairs_and_rankings() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = run_folder(dir.path(), HeadKind::Scalar);
    let file = dir.path().join("rows.jsonl");
    let tokenizer = Tokenizer::byte().expect("tokenizer");
    let model = Model::load(&run.join("model"), Device::Cpu).expect("model");
    let expected = |prompt: &str, answer: &str| -> f64 {
        let (mut ids, answer) = ChatTemplate::plain().encode_pair(&tokenizer, prompt, answer).expect("ids");
        ids.extend(answer);
        model.score_last(&[&ids]).expect("score").double_value(&[0])
    };
    let close = |value: &Value, expected: f64| assert!((value.as_f64().expect("score") - expected).abs() < 1e-5, "{value} {expected}");
    let write = |rows: &[Value]| fs::write(&file, rows.iter().map(|r| format!("{r}\n")).collect::<String>()).expect("written");
    let ask = |more: &[&str]| json_of(&[&["reward", "--model", text(&run), "--data", text(&file), "--template", "plain"], more].concat());

    write(&[json!({"prompt": "a", "response": "long answer"}), json!({"prompt": "b", "response": "x"})]);
    let got = ask(&[]);
    close(&got["rows"][0]["score"], expected("a", "long answer"));
    close(&got["rows"][1]["score"], expected("b", "x"));
    close(&ask(&["--prompt-prefix", "!"])["rows"][1]["score"], expected("!b", "x"));

    write(&[json!({"prompt": "p", "chosen": "yes", "rejected": "never"}), json!({"prompt": "q", "chosen": "one two", "rejected": "ten"})]);
    let got = ask(&[]);
    let right = [("p", "yes", "never"), ("q", "one two", "ten")].iter().filter(|(p, a, b)| expected(p, a) > expected(p, b)).count();
    assert_eq!((got["accuracy"].as_f64(), &got["pairs"], &got["baseline_longer"]), (Some(right as f64 / 2.0), &json!(2), &json!(0.5)));
    close(&got["rows"][0]["scores"][1], expected("p", "never"));

    // Rankings with ties, in scores; an answer too long for the context is left out and listed.
    let mut rows = vec![json!({"prompt": "p", "answers": ["a", "b", "c"], "scores": [3, 1, 1]}); 12];
    rows.push(json!({"prompt": "p", "answers": ["a", "b".repeat(100)], "scores": [1, 2]}));
    write(&rows);
    let args = ["reward", "--model", text(&run), "--data", text(&file), "--template", "plain"];
    let assert = evaluate(&args).success();
    let printed = String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8");
    assert!(printed.contains("over 24 pairs of 12 rankings"), "{printed}");
    let listed = String::from_utf8(assert.get_output().stderr.clone()).expect("UTF-8");
    let path = listed.trim().rsplit(' ').next().expect("path");
    assert!(fs::read_to_string(path).expect("list of rejected rows").contains("too-long"), "{listed}");
    fs::remove_dir_all(Path::new(path).parent().expect("folder")).expect("removed");
}

/// transformers passes over a token that config.json pads with.
#[test]
fn rows_that_end_with_padding_are_told_of() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/gpt2_reward");
    let said = |ids: &str| {
        let assert = evaluate(&["reward", "--model", text(&folder), "--device", "cpu", "--ids", ids]).success();
        String::from_utf8(assert.get_output().stderr.clone()).expect("UTF-8")
    };
    assert!(said("5,6,1").contains("1 of 1 rows end with token 1, which config.json names as padding"));
    assert!(!said("5,6,0").contains("padding"));
}

/// A table of judgments is scored as the same rankings in rows are; its other rows are counted, and each names the place that it was made from.
#[test]
fn rewards_of_a_table_of_judgments() {
    let dir = tempfile::tempdir().expect("folder");
    let run = run_folder(dir.path(), HeadKind::Scalar);
    let judgment = |kind, ranks: Option<Vec<u32>>, row| Judgment {
        ranks,
        file: "export.json".into(),
        row,
        ..Judgment::new(kind, vec![Message::new("user", "say it")], vec!["it".into(), "no".into(), "that".into()])
    };
    let table = dir.path().join("labels.arrow");
    let rows = [
        judgment(Kind::Open, None, 1),
        judgment(Kind::Ranking, Some(vec![1, 3, 2]), 2),
        judgment(Kind::Skipped, None, 3),
        judgment(Kind::Ranking, Some(vec![2, 1, 2]), 4),
    ];
    write_table(&table, rows).expect("table");
    let lines = dir.path().join("rows.jsonl");
    let row = |ranks: &str| format!("{{\"prompt\": \"say it\", \"answers\": [\"it\", \"no\", \"that\"], \"ranks\": {ranks}}}\n");
    fs::write(&lines, row("[1, 3, 2]") + &row("[2, 1, 2]")).expect("rows");
    let of = |data: &Path| json_of(&["reward", "--model", text(&run), "--data", text(data)]);
    let (from_table, from_rows) = (of(&table), of(&lines));
    for key in ["accuracy", "pairs", "accuracy_ci", "rejected"] {
        assert_eq!(from_table[key], from_rows[key], "{key}");
    }
    assert_eq!(from_table["rows"][1]["scores"], from_rows["rows"][1]["scores"]);
    assert_eq!((&from_table["rows"][1]["file"], &from_table["rows"][1]["row"]), (&json!("export.json"), &json!(4)));
    let assert = evaluate(&["reward", "--model", text(&run), "--data", text(&table)]).success();
    let output = assert.get_output();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("of 4 rows left out: 1 open, 1 skipped") && said.contains("export.json row 2: "), "{said}");
}

#[test]
fn report_is_written_beside_the_runs() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let runs = dir.path().join("toy");
    common::toy_runs(&runs);
    let printed = stdout(&["report", "--runs", text(&runs)]);
    assert!(printed.contains("win rate, gold") && printed.contains("report.html"), "{printed}");
    let report: Value = serde_json::from_str(&fs::read_to_string(runs.join("report.json")).expect("file")).expect("JSON");
    assert_eq!((&report["recipe"], &report["ppo"]["gold_win_rate"]), (&json!("toy"), &json!(0.625)));
    let printed = stdout(&["report", "--run", text(&runs.join("reward"))]);
    assert!(printed.contains("accuracy") && printed.contains("reward/report.html"), "{printed}");
}

#[test]
fn help() {
    for command in [&["--help"][..], &["generate", "--help"], &["score", "--help"], &["reward", "--help"], &["report", "--help"]] {
        insta::assert_snapshot!(format!("help_{}", command[0].trim_start_matches('-')), stdout(command));
    }
}

#[test]
fn errors() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let lm = run_folder(&dir.path().join("lm"), HeadKind::Lm);
    let reward = run_folder(&dir.path().join("reward"), HeadKind::Scalar);
    let put = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).expect("written");
        text(&dir.path().join(name)).to_string()
    };
    let (latin1, short) = (put("latin1.txt", b"caf\xe9"), put("short.txt", b"a"));
    let (columns, broken) = (put("columns.jsonl", b"{\"question\": \"a\", \"answer\": \"b\"}\n"), put("broken.jsonl", b"{\"prompt\": \n"));
    let mostly_bad = put("bad.jsonl", format!("{}\n{}", json!({"prompt": "a", "response": "b"}), "{}\n".repeat(11)).as_bytes());
    let torn = dir.path().join("torn");
    fs::create_dir_all(&torn).expect("folder");
    fs::copy(lm.join("model/config.json"), torn.join("config.json")).expect("copied");
    fs::write(torn.join("model.safetensors"), b"\x10\0\0\0\0\0\0\0{}").expect("written");
    let (lm, reward, torn, bare) = (text(&lm), text(&reward), text(&torn), gpt2());
    let absent = text(&dir.path().join("absent")).to_string();
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("no model", vec!["generate", "--model", &absent, "--prompt", "a"]),
        ("torn weights", vec!["generate", "--model", torn, "--prompt", "a"]),
        ("reward model asked to write", vec!["generate", "--model", reward, "--prompt", "a"]),
        ("no tokenizer", vec!["generate", "--model", text(&bare), "--prompt", "a"]),
        ("no chat template", vec!["generate", "--model", lm, "--prompt", "a", "--chat"]),
        ("empty prompt", vec!["generate", "--model", lm, "--prompt", ""]),
        ("id outside the vocabulary", vec!["generate", "--model", lm, "--prompt-ids", "5,999"]),
        ("id that is no number", vec!["generate", "--model", lm, "--prompt-ids", "5,x"]),
        ("more than the context", vec!["generate", "--model", lm, "--prompt", "a", "--max-new", "1000"]),
        ("temperature", vec!["generate", "--model", lm, "--prompt", "a", "--temperature=-1"]),
        ("greedy and temperature", vec!["generate", "--model", lm, "--prompt", "a", "--greedy", "--temperature", "2"]),
        ("neither prompt nor ids", vec!["generate", "--model", lm]),
        ("no text file", vec!["score", "--model", lm, "--text", &absent]),
        ("not UTF-8", vec!["score", "--model", lm, "--text", &latin1]),
        ("one token", vec!["score", "--model", lm, "--text", &short]),
        ("foreign id", vec!["score", "--model", lm, "--ids", "1,2,300"]),
        ("no data file", vec!["reward", "--model", reward, "--data", &absent]),
        ("language model asked for rewards", vec!["reward", "--model", lm, "--data", &columns]),
        ("no known columns", vec!["reward", "--model", reward, "--data", &columns]),
        ("no readable row", vec!["reward", "--model", reward, "--data", &broken]),
        ("mostly bad rows", vec!["reward", "--model", reward, "--data", &mostly_bad]),
        ("no runs folder", vec!["report", "--runs", &absent]),
        ("a folder without runs", vec!["report", "--runs", torn]),
        ("a folder without a run", vec!["report", "--run", torn]),
        ("no folder", vec!["report"]),
    ];
    let all: String = cases.iter().map(|(name, args)| format!("## {name}\n{}\n", error(args, dir.path()))).collect();
    insta::with_settings!({ filters => vec![(r"/tmp/[^ ]*/rejected.jsonl", "REJECTED")] }, { insta::assert_snapshot!("errors", all) });
}
