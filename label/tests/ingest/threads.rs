//! What is written depends on the file alone, not on how many threads read it: byte for byte the same table and quarantine, in the order of the file.

use crate::ingest::common::{label, text};
use data::labels::table::LabelTable;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Rows of a file: more than a batch of the table, and some ten blocks of the reader.
const ROWS: usize = 5000;
/// Bad is every row with such a number.
const BAD: usize = 97;

/// Table, quarantine and counts of a run with so many threads.
fn run(file: &Path, more: &[&str], threads: &str) -> (Vec<u8>, Vec<u8>, Value) {
    // The same names in every run: they stand in the table and in the counts.
    let (out, quarantine) = (file.with_file_name("labels.arrow"), file.with_file_name("bad.jsonl"));
    let mut args = vec!["ingest", text(file), "--json", "--out", text(&out), "--quarantine", text(&quarantine), "--threads", threads];
    args.extend(more);
    let stdout = label(&args).success().get_output().stdout.clone();
    let read = |path: &Path| std::fs::read(path).expect("written");
    (read(&out), read(&quarantine), serde_json::from_slice(&stdout).expect("JSON"))
}

/// The number at the end of a text.
fn number(text: &str) -> usize {
    text.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

fn same_for_any_number(file: &Path, more: &[&str]) {
    let one = run(file, more, "1");
    for threads in ["2", "3", "8"] {
        let many = run(file, more, threads);
        assert!(one.0 == many.0, "the tables of 1 and of {threads} threads differ");
        assert_eq!(String::from_utf8(one.1.clone()), String::from_utf8(many.1), "{threads} threads");
        assert_eq!(one.2, many.2, "{threads} threads");
    }
    // And that one is right: every row that is not bad, in order, and each bad one with its line.
    let table = LabelTable::open(&file.with_file_name("labels.arrow")).expect("table");
    let found: Vec<usize> = table.iter().map(|row| number(&row.expect("row").prompt[0].content)).collect();
    assert_eq!(found, (0..ROWS).filter(|row| row % BAD != 1).collect::<Vec<_>>());
    let lines = String::from_utf8(one.1).expect("UTF-8");
    let lines: Vec<u64> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["line"].as_u64().expect("line")).collect();
    assert_eq!(lines.len(), (0..ROWS).filter(|row| row % BAD == 1).count());
    assert!(lines.is_sorted());
    let total = &one.2["total"];
    assert_eq!((&total["units"], &total["items"], &total["judges"]), (&json!(ROWS), &json!(found.len()), &json!(11)));
}

#[test]
fn a_table_of_cells() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (file, mapping) = (dir.path().join("crowd.csv"), dir.path().join("crowd.toml"));
    let long = "what was said, ".repeat(20);
    let mut csv = "asked,first,second,a,b,who,when\n".to_string();
    for row in 0..ROWS {
        let judge = row % 11;
        let time = format!("11/28/2017 14:{:02}:43", row % 60);
        // Bad in three ways: no number, a quote that closes too early, a field too few.
        match (row % BAD == 1).then_some(row % 3) {
            None => writeln!(csv, "\"{long}\n \"\"{row}\"\" {row}\",one {row},\"two, {row}\",{judge},{},w{judge},{time}", row % 5),
            Some(0) => writeln!(csv, "p {row},one,two,much,1,w,{time}"),
            Some(1) => writeln!(csv, "p {row},\"one\"two,three,1,2,w,{time}"),
            Some(_) => writeln!(csv, "p {row},one,two,1,w,{time}"),
        }
        .expect("a String takes all");
    }
    std::fs::write(&file, csv).expect("written");
    let by = "prompt = \"asked\"\nanswers = [\"first\", \"second\"]\n[[judgments]]\nscores = [\"a\", \"b\"]\njudge = \"who\"\nended = \"when\"\n\
        times = \"%m/%d/%Y %H:%M:%S\"\n";
    std::fs::write(&mapping, by).expect("written");
    same_for_any_number(&file, &["--mapping", text(&mapping)]);
}

#[test]
fn lines_of_json() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let file = dir.path().join("pairs.jsonl");
    let long = "it was said, ".repeat(30);
    let line = |row: usize| {
        let judge = format!("w{}", row % 11);
        match (row % BAD == 1).then_some(row % 2) {
            None => json!({ "prompt": format!("p {row}"), "chosen": format!("{long}{row}"), "rejected": "no", "judge": judge }).to_string(),
            Some(0) => json!({ "prompt": format!("p {row}"), "chosen": "same", "rejected": "same" }).to_string(),
            Some(_) => format!("{{\"prompt\": \"p {row}"),
        }
    };
    // Blank lines are no rows.
    std::fs::write(&file, (0..ROWS).map(line).collect::<Vec<_>>().join("\n\n")).expect("written");
    same_for_any_number(&file, &[]);
}
