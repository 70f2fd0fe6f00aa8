//! What holds for every form: which files, which reader, nothing lost, and what is said.

use crate::ingest::common::{ingest, ingest_text, label, text};
use std::path::Path;

/// A Prodigy task.
fn task(text: &str, answer: &str) -> String {
    format!(r#"{{"text":"{text}","label":"GOOD","_task_hash":1,"_annotator_id":"ann","answer":"{answer}"}}"#)
}

#[test]
fn bad_rows_go_to_the_quarantine_and_the_two_sum() {
    let lines = [task("a", "accept"), "{\"text\": ".to_string(), "[1]".to_string(), task("b", "maybe"), String::new(), task("c", "ignore")];
    let read = ingest_text("tasks.jsonl", &lines.join("\n"), &[]);
    assert_eq!((read.total("units"), read.total("kept"), read.total("rejected")), (5, 2, 3));
    assert_eq!((read.total("rating"), read.total("skipped")), (1, 1));
    let reasons: Vec<(u64, &str)> =
        read.bad.iter().map(|b| (b["line"].as_u64().expect("line"), b["reason"].as_str().expect("reason"))).collect();
    assert_eq!(reasons, [(2, "broken-json"), (3, "not-an-object"), (4, "wrong-type")]);
    assert_eq!(read.rows.iter().map(|r| r.row).collect::<Vec<_>>(), [1, 6]);
}

#[test]
fn too_much_that_is_bad_leaves_no_table() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (path, out) = (dir.path().join("t.jsonl"), dir.path().join("t.arrow"));
    std::fs::write(&path, [task("a", "accept"), task("b", "perhaps")].join("\n")).expect("written");
    let stderr = label(&["ingest", text(&path), "--out", text(&out)]).code(2).get_output().stderr.clone();
    let stderr = String::from_utf8(stderr).expect("UTF-8");
    assert!(stderr.contains("1 of 2") && stderr.contains("wrong-type"), "{stderr}");
    assert!(!out.exists() && dir.path().join("t.quarantine.jsonl").exists());
    label(&["ingest", text(&path), "--out", text(&out), "--always-allow", "1"]).success();
    assert!(out.exists());
}

#[test]
fn files_globs_folders_and_archives_are_one_table() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("sub")).expect("folder");
    std::fs::write(at("a.jsonl"), task("a", "accept")).expect("written");
    std::fs::write(at("LICENCE.txt"), "not a table").expect("written");
    // A JSON array, on one line and indented: rows are numbered, not lines.
    std::fs::write(at("sub/b.json"), format!("[{},\n {}]", task("b", "accept"), task("c", "reject"))).expect("written");
    let whole = ingest(&[dir.path()], &[]);
    assert_eq!(whole.rows.iter().map(|r| (r.group.as_str(), r.row)).collect::<Vec<_>>(), [("a", 1), ("b", 1), ("c", 2)]);
    assert_eq!(whole.rows[2].file, at("sub/b.json"));
    // The same file twice is one file; zstd is known by content, not by name.
    let packed = at("packed");
    std::fs::write(&packed, include_bytes!("tasks.jsonl.zst")).expect("written");
    let some = ingest(&[&at("*.jsonl"), &at("a.jsonl"), &packed], &[]);
    assert_eq!(some.rows.iter().map(|r| r.group.as_str()).collect::<Vec<_>>(), ["a", "packed in zstd"]);
    assert_eq!(some.counts["files"].as_array().expect("files").len(), 2);
    assert_eq!(some.counts["files"][1]["format"], "prodigy");
}

/// What a failing command says, the folder's name taken out.
fn error(args: &[&str], dir: &Path) -> String {
    let stderr = label(args).code(2).get_output().stderr.clone();
    String::from_utf8(stderr).expect("UTF-8").replace(&dir.display().to_string(), "DIR")
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("people.csv"), "name,age\nAnn,3\n").expect("written");
    std::fs::write(at("empty.jsonl"), "").expect("written");
    std::fs::write(at("torn.json"), format!("[{}, {{\"text\"", task("a", "accept"))).expect("written");
    let out = at("labels.arrow");
    let run = |more: &[&str]| error(&[&["ingest", "--out", text(&out)], more].concat(), dir.path());
    let people = at("people.csv");
    let said = run(&[text(&people)]);
    assert!(said.contains("DIR/people.csv (csv, fields name, age)") && said.contains("label-studio"), "{said}");
    let said = run(&[text(&people), "--format", "labelstudio"]);
    assert!(said.contains("no form named \"labelstudio\"") && said.contains("prodigy"), "{said}");
    let said = run(&[text(&at("empty.jsonl")), "--format", "prodigy"]);
    assert!(said.contains("no judgment to write: the files are empty"), "{said}");
    let said = run(&[text(&at("torn.json"))]);
    assert!(said.contains("DIR/torn.json") && said.contains("never closes"), "{said}");
    let said = run(&[text(&at("none.json"))]);
    assert!(said.contains("there is no such file or folder"), "{said}");
    let said = run(&[text(&people), "--max-fraction", "2"]);
    assert!(said.contains("share from 0 to 1"), "{said}");
    std::fs::write(at("a.jsonl"), task("a", "accept")).expect("written");
    label(&["ingest", text(&at("a.jsonl")), "--out", text(&out)]).success();
    let said = run(&[text(&out)]);
    assert!(said.contains("to be read and to be written"), "{said}");
}

#[test]
fn what_the_terminal_shows() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (one, two) = (dir.path().join("one.jsonl"), dir.path().join("two.jsonl"));
    std::fs::write(&one, [task("a", "accept"), task("b", "ignore"), task("b", "never")].join("\n")).expect("written");
    std::fs::write(&two, crate::ingest::prodigy::CHOICE).expect("written");
    let out = dir.path().join("labels.arrow");
    let args = ["ingest", text(&one), text(&two), "--out", text(&out), "--max-fraction", "0.5"];
    let stdout = label(&args).success().get_output().stdout.clone();
    // The folder's name has another length on another machine, and with it the first column.
    let shown = String::from_utf8(stdout).expect("UTF-8").replace(&format!("{}/", dir.path().display()), "");
    let shown: Vec<String> = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    insta::assert_snapshot!("terminal", shown.join("\n"));
}

#[test]
fn help() {
    for command in ["ingest", "export"] {
        let stdout = label(&[command, "--help"]).success().get_output().stdout.clone();
        insta::assert_snapshot!(format!("help_{command}"), String::from_utf8(stdout).expect("UTF-8"));
    }
}

#[test]
fn only_sampling_needs_libtorch() {
    // With this the loader lists what it would load, and starts nothing.
    let libraries = |program| {
        let output =
            assert_cmd::Command::cargo_bin(program).expect("binary").env("LD_TRACE_LOADED_OBJECTS", "1").output().expect("libraries");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let (label, sample) = (libraries("label"), libraries("label-sample"));
    assert!(label.contains("libc.so") && !label.contains("libtorch"), "{label}");
    assert!(sample.contains("libtorch"), "{sample}");
}
