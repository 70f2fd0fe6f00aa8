//! Every format, sound and broken: rows arrive with their lines, bad ones end in the quarantine, and both together are what was there.

use data::chat::Message;
use data::config::{self, Format, Source};
use data::error::DataError;
use data::labels::{Judgment, Kind, table::write_table};
use data::quarantine::{BadRow, Quarantine, Reason};
use data::source::{self, Row};
use polars::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Outcome {
    rows: Vec<Row>,
    bad: Vec<BadRow>,
}

/// Reads a source and checks that nothing is lost on the way.
fn read(dir: &Path, source: &Source) -> Result<Outcome, DataError> {
    let list = dir.join("quarantine.jsonl");
    let mut bad = Quarantine::new(&list);
    let mut rows = Vec::new();
    let met = source::read(source, &mut bad, &mut |row, _| {
        rows.push(row);
        Ok(())
    })?;
    let limits = config::Quarantine { max_fraction: 1.0, always_allow: 0 };
    let report = bad.finish(&limits, met)?;
    assert_eq!(report.read, rows.len() as u64 + report.rejected);
    assert_eq!(report.by_reason.values().sum::<u64>(), report.rejected);
    let bad = match std::fs::read_to_string(&list) {
        Ok(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        Err(_) => vec![],
    };
    assert_eq!(bad.len() as u64, report.rejected);
    Ok(Outcome { rows, bad })
}

fn file(dir: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> Source {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Source { path: path.display().to_string(), ..Source::default() }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines_and(rows: &[Row], column: &str) -> Vec<(u64, Value)> {
    rows.iter().map(|row| (row.line, row.fields[column].clone())).collect()
}

fn faults(bad: &[BadRow]) -> Vec<(u64, Reason)> {
    bad.iter().map(|b| (b.line, b.reason)).collect()
}

const JSONL: &[u8] = b"\xef\xbb\xbf{\"text\": \"one\"}\r\n\n{\"text\": broken}\n\"bare\"\n{\"text\": \"caf\xe9\"}\n[1]\n{\"text\": \"two\", \"n\": 1.5}\n{\"text\": \"\\ud800\"}\n{\"text\": \"last\"}";

#[test]
fn json_lines() {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in [("a.jsonl", JSONL.to_vec()), ("b.jsonl.gz", gz(JSONL)), ("c.jsonl.zst", zstd::encode_all(JSONL, 3).unwrap())] {
        let outcome = read(dir.path(), &file(&dir, name, bytes)).unwrap();
        assert_eq!(
            lines_and(&outcome.rows, "text"),
            [(1, json!("one")), (4, json!("bare")), (7, json!("two")), (9, json!("last"))],
            "{name}"
        );
        assert_eq!(outcome.rows[2].fields["n"], json!(1.5));
        assert_eq!(
            faults(&outcome.bad),
            [(3, Reason::BrokenJson), (5, Reason::NotUtf8), (6, Reason::NotAnObject), (8, Reason::BrokenJson)],
            "{name}"
        );
        assert!(outcome.bad[0].file.ends_with(name) && outcome.bad[0].snippet.contains("broken}"));
        assert!(outcome.bad[1].snippet.contains("caf"));
    }
    // Several gzip members in a row are one file.
    let two = [gz(b"{\"text\": \"a\"}\n"), gz(b"{\"text\": \"b\"}\n")].concat();
    assert_eq!(read(dir.path(), &file(&dir, "two.jsonl.gz", two)).unwrap().rows.len(), 2);
}

#[test]
fn json_array() {
    let dir = TempDir::new().unwrap();
    let text = "[\n {\"text\": \"a, ]\\\" [\", \"list\": [1, {\"x\": 2}]},\n {\"text\":\n \"b\"},\n 7, {\"text\" \"c\"}\n]\n";
    let outcome = read(dir.path(), &file(&dir, "a.json", text)).unwrap();
    assert_eq!(lines_and(&outcome.rows, "text"), [(2, json!("a, ]\" [")), (3, json!("b"))]);
    assert_eq!(faults(&outcome.bad), [(5, Reason::NotAnObject), (5, Reason::BrokenJson)]);
    let error = read(dir.path(), &file(&dir, "b.json", "[{\"text\": \"a\"}, {\"te")).err().unwrap();
    assert!(matches!(error, DataError::Unreadable { .. }), "{error}");
    // What follows the array is another one, or a mistake.
    let two = "\u{feff}[{\"text\": \"a\"}]\n[{\"text\": \"b\"}]\n";
    assert_eq!(lines_and(&read(dir.path(), &file(&dir, "two.json", two)).unwrap().rows, "text"), [(1, json!("a")), (2, json!("b"))]);
    for more in ["{\"text\": \"b\"}", "\"text\"", ", 1", "]"] {
        let error = read(dir.path(), &file(&dir, "c.json", format!("[{{\"text\": \"a\"}}]\n{more}\n"))).err().unwrap();
        assert!(matches!(error, DataError::Unreadable { line: 2, .. }), "{error}");
    }
}

#[test]
fn torn_archives_are_errors() {
    let dir = TempDir::new().unwrap();
    let body: Vec<u8> = (0..5000).flat_map(|i| format!("{{\"text\": \"{}\"}}\n", i * 7919 % 5003).into_bytes()).collect();
    let (gz, zst) = (gz(&body), zstd::encode_all(&body[..], 3).unwrap());
    for (name, bytes) in [("a.jsonl.gz", gz), ("a.jsonl.zst", zst)] {
        let error = read(dir.path(), &file(&dir, name, &bytes[..bytes.len() / 2])).err().unwrap();
        assert!(matches!(error, DataError::Unreadable { .. }) && error.to_string().contains(name), "{error}");
        assert!(error.is_input());
    }
}

#[test]
fn text_documents() {
    let dir = TempDir::new().unwrap();
    let text = b"one\nmore\n\n<|endoftext|>\n\n\ntwo\n<|endoftext|>\n<|endoftext|>\ngood\nb\xffd\n\xe6\x97\xa9\n".to_vec();
    let outcome = read(dir.path(), &file(&dir, "a.txt", &text)).unwrap();
    assert_eq!(lines_and(&outcome.rows, "text"), [(1, json!("one\nmore")), (7, json!("two")), (10, json!("good\n早"))]);
    assert_eq!(faults(&outcome.bad), [(11, Reason::NotUtf8)]);
    let outcome = read(dir.path(), &file(&dir, "b.txt.gz", gz(&text))).unwrap();
    assert_eq!(outcome.rows.len(), 3);
    assert_eq!(read(dir.path(), &file(&dir, "empty.txt", "")).unwrap().rows.len(), 0);
    // The field is named as the configuration names it.
    let mut source = file(&dir, "c.txt", "x");
    source.columns.text = "content".into();
    assert_eq!(read(dir.path(), &source).unwrap().rows[0].fields["content"], json!("x"));
}

#[test]
fn a_book_comes_in_pieces_and_whole() {
    let dir = TempDir::new().unwrap();
    let book: String = (0..20_000).map(|i| format!("line {i}{}", if i % 9 == 8 { "\n\n" } else { "\n" })).collect();
    let rows = read(dir.path(), &file(&dir, "book.txt", &book)).unwrap().rows;
    assert!(rows.len() > 10);
    let (last, others) = rows.split_last().unwrap();
    assert!(others.iter().all(|row| row.fields["continues"] == json!(true)) && !last.fields.contains_key("continues"));
    let joined: String = rows.iter().map(|row| row.fields["text"].as_str().unwrap()).collect();
    assert_eq!(joined, book.trim_end());
    assert!(others.iter().all(|row| row.fields["text"].as_str().unwrap().ends_with("\n\n")), "cut between paragraphs");
    let numbered: Vec<&str> = book.split('\n').collect();
    for row in &rows {
        let first = row.fields["text"].as_str().unwrap().lines().next().unwrap();
        assert_eq!(numbered[row.line as usize - 1], first, "lines are counted right");
    }
}

const CSV: &str = "\u{feff}a,b,c\r\n1,two,3\r\n\"x, \"\"y\"\"\",\"two\nlines\r\nand three\",\r\n\r\n4,5\r\n5\" pipe,he said \"no\",z\r\n\"open,6,7\r\n8,9,10\r\n\"a\"b,c,d\r\n早,\"\",last";

#[test]
fn comma_separated() {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in [("a.csv", CSV.as_bytes().to_vec()), ("a.csv.gz", gz(CSV.as_bytes()))] {
        let outcome = read(dir.path(), &file(&dir, name, bytes)).unwrap();
        assert_eq!(
            lines_and(&outcome.rows, "a"),
            [(2, json!("1")), (3, json!("x, \"y\"")), (8, json!("5\" pipe")), (10, json!("8")), (12, json!("早"))],
            "{name}"
        );
        assert_eq!(outcome.rows[1].fields["b"], json!("two\nlines\r\nand three"));
        assert_eq!(outcome.rows[1].fields["c"], json!(""));
        assert_eq!(outcome.rows[2].fields["b"], json!("he said \"no\""));
        assert_eq!(outcome.rows[4].fields["b"], json!(""));
        assert_eq!(faults(&outcome.bad), [(7, Reason::FieldCount), (9, Reason::BrokenQuotes), (11, Reason::BrokenQuotes)]);
    }
}

#[test]
fn not_utf8_in_csv_costs_one_row() {
    let dir = TempDir::new().unwrap();
    let outcome = read(dir.path(), &file(&dir, "a.csv", b"a,b\n1,2\ncaf\xe9,4\n5,6\n")).unwrap();
    assert_eq!(lines_and(&outcome.rows, "a"), [(2, json!("1")), (4, json!("5"))]);
    assert_eq!(faults(&outcome.bad), [(3, Reason::NotUtf8)]);
}

#[test]
fn tab_separated() {
    let dir = TempDir::new().unwrap();
    let text = "a\tb\n1\t\"so\" he said\n\"quoted\ttab\"\t2\n\"never closed\t3\n1,5\t\"two\nlines\"\n";
    let outcome = read(dir.path(), &file(&dir, "a.tsv", text)).unwrap();
    assert_eq!(
        lines_and(&outcome.rows, "a"),
        [(2, json!("1")), (3, json!("quoted\ttab")), (4, json!("\"never closed")), (5, json!("1,5"))]
    );
    assert_eq!(outcome.rows[0].fields["b"], json!("\"so\" he said"));
    assert_eq!(outcome.rows[3].fields["b"], json!("two\nlines"));
    assert!(outcome.bad.is_empty());
}

#[test]
fn csv_headers() {
    let dir = TempDir::new().unwrap();
    for (text, part) in [("", "empty"), ("a,a\n1,2\n", "twice"), ("\"a,b\n1,2\n", "header")] {
        let error = read(dir.path(), &file(&dir, "a.csv", text)).err().unwrap().to_string();
        assert!(error.contains(part) && error.contains("a.csv"), "{error}");
    }
    let rows = read(dir.path(), &file(&dir, "a.csv", ",b\n0,x\n")).unwrap().rows;
    assert_eq!(rows[0].fields["column_1"], json!("0"));
    assert_eq!(read(dir.path(), &file(&dir, "a.csv", "a,b\n")).unwrap().rows.len(), 0);
}

#[test]
fn names_may_stand_in_the_configuration_instead() {
    let dir = TempDir::new().unwrap();
    let named = |names: &[&str]| {
        let mut source = file(&dir, "a.txt", "Hi.\t嗨。\tby A\nRun.\t跑。\nGo.\t走。\tby \"B\n");
        source.format = Some(Format::Tsv);
        source.columns.header = names.iter().map(|n| (*n).to_string()).collect();
        source
    };
    let outcome = read(dir.path(), &named(&["english", "chinese", "by"])).unwrap();
    assert_eq!(lines_and(&outcome.rows, "chinese"), [(1, json!("嗨。")), (3, json!("走。"))]);
    assert_eq!(outcome.rows[1].fields["by"], json!("by \"B"));
    assert_eq!(faults(&outcome.bad), [(2, Reason::FieldCount)]);
    assert!(read(dir.path(), &named(&["a", "b", "a"])).err().unwrap().to_string().contains("twice"));
}

/// More than a block of records, against a second way of writing the same table.
#[test]
fn a_long_csv_keeps_every_row_and_line() {
    let dir = TempDir::new().unwrap();
    let (mut text, mut expected, mut line) = (String::from("id,body\n"), Vec::new(), 2);
    for i in 0..40_000u64 {
        let body = match i % 5 {
            0 => format!("plain {i}"),
            1 => format!("two\nlines, {i}"),
            2 => format!("\"{i}\""),
            3 => String::new(),
            _ => "x".repeat((i % 700) as usize),
        };
        text.push_str(&format!("{i},\"{}\"\n", body.replace('"', "\"\"")));
        let lines = 1 + body.matches('\n').count() as u64;
        expected.push((line, body));
        line += lines;
    }
    let outcome = read(dir.path(), &file(&dir, "long.csv", &text)).unwrap();
    assert!(outcome.bad.is_empty());
    assert_eq!(outcome.rows.len(), expected.len());
    for (i, (row, (line, body))) in outcome.rows.iter().zip(expected).enumerate() {
        assert_eq!((row.line, row.fields["body"].as_str()), (line, Some(body.as_str())), "row {i}");
    }
}

fn write_parquet(path: &Path, frame: &mut DataFrame) {
    ParquetWriter::new(std::fs::File::create(path).unwrap()).with_row_group_size(Some(3000)).finish(frame).unwrap();
}

#[test]
fn parquet_in_slices() {
    let dir = TempDir::new().unwrap();
    let n = 20_000;
    let mut frame = df!(
        "prompt" => (0..n).map(|i| format!("p{i}")).collect::<Vec<_>>(),
        "response" => (0..n).map(|i| (i % 3 != 0).then(|| format!("r\n{i}"))).collect::<Vec<_>>(),
        "weight" => (0..n).map(|i| f64::from(i) / 2.0).collect::<Vec<_>>(),
        "other" => (0..n).collect::<Vec<i32>>()
    )
    .unwrap();
    let scores: Vec<Series> = (0..n).map(|i| Series::new("".into(), [i64::from(i), 7])).collect();
    frame.with_column(Column::new("scores".into(), scores)).unwrap();
    let path = dir.path().join("a.parquet");
    write_parquet(&path, &mut frame);
    let mut source = Source { path: path.display().to_string(), ..Source::default() };
    source.columns.scores = vec!["scores".into()];
    let rows = read(dir.path(), &source).unwrap().rows;
    assert_eq!(rows.len(), n as usize);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row.line, i as u64 + 1);
        assert_eq!(row.fields["prompt"], json!(format!("p{i}")));
        assert_eq!(row.fields["response"].is_null(), i % 3 == 0);
        assert_eq!(row.fields["weight"], json!(i as f64 / 2.0));
        assert_eq!(row.fields["scores"], json!([i, 7]));
        assert!(!row.fields.contains_key("other"), "only the configured columns are read");
    }
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..5000]).unwrap();
    let error = read(dir.path(), &source).err().unwrap();
    assert!(matches!(error, DataError::Unreadable { .. }), "{error}");
}

/// Files that pyarrow wrote: chats as lists of structs, times, dictionaries. Made by scripts/reference/tables.py.
fn golden(name: &str) -> Source {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    Source { path: path.display().to_string(), ..Source::default() }
}

#[test]
fn tables_from_pyarrow() {
    let dir = TempDir::new().unwrap();
    let expected: Vec<Value> = serde_json::from_str(include_str!("golden/tables.json")).unwrap();
    for name in ["chats.parquet", "chats.arrow", "chats.stream.arrow", "chats.zstd.feather"] {
        let rows = read(dir.path(), &golden(name)).unwrap().rows;
        assert_eq!(rows.len(), expected.len(), "{name}");
        for (row, expected) in rows.iter().zip(&expected) {
            for (key, value) in expected.as_object().unwrap() {
                match row.fields.get(key) {
                    Some(found) => assert_eq!(found, value, "{name} {key}"),
                    None => assert!(
                        name.ends_with("parquet") && !["messages", "prompt", "weight"].contains(&key.as_str()),
                        "{name} lacks {key}"
                    ),
                }
            }
        }
    }
    let rows = read(dir.path(), &golden("dictionary.parquet")).unwrap().rows;
    assert_eq!(lines_and(&rows, "judge"), [(1, json!("x")), (2, json!("y")), (3, json!("x"))]);
    // A type that polars was not built with is an error that names the column, not a panic.
    let error = read(dir.path(), &golden("decimal.parquet")).err().unwrap().to_string();
    assert!(error.contains("\"score\"") && error.contains("decimal"), "{error}");
}

/// The times of a table of judgments have the zone "UTC".
#[test]
fn times_of_a_named_zone_are_times() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("labels.arrow");
    let judgment = |started| Judgment { started, ..Judgment::new(Kind::Open, vec![Message::new("user", "q")], vec!["a".to_string()]) };
    write_table(&path, [judgment(None), judgment(Some(1_700_000_000_123))]).unwrap();
    let rows = read(dir.path(), &Source { path: path.display().to_string(), ..Source::default() }).unwrap().rows;
    assert_eq!(lines_and(&rows, "started"), [(1, Value::Null), (2, json!("2023-11-14T22:13:20.123Z"))]);
    assert_eq!(lines_and(&rows, "ended"), [(1, Value::Null), (2, Value::Null)]);
}

#[test]
fn small_numbers_of_parquet_are_refused_where_they_are_asked_for() {
    let dir = TempDir::new().unwrap();
    // Columns "prompt", "ranks" (lists of uint8), "score" (uint16).
    let error = read(dir.path(), &golden("small.parquet")).err().unwrap();
    assert!(matches!(error, DataError::Columns { .. }) && error.is_input(), "{error}");
    assert!(error.to_string().contains("column \"ranks\" has the type UInt8"), "{error}");
    let mut source = golden("small.parquet");
    (source.columns.ranks, source.columns.scores) = (vec![], vec!["score".into()]);
    assert!(read(dir.path(), &source).err().unwrap().to_string().contains("column \"score\" has the type UInt16"));
    source.columns.scores = vec![];
    assert_eq!(lines_and(&read(dir.path(), &source).unwrap().rows, "prompt"), [(1, json!("a")), (2, json!("b"))]);
    let error = read(dir.path(), &golden("half.parquet")).err().unwrap().to_string();
    assert!(error.contains("column \"weight\" has the type Float16"), "{error}");
}

#[test]
fn a_folder_of_everything() {
    let dir = TempDir::new().unwrap();
    let sources = dir.path().join("in");
    std::fs::create_dir(&sources).unwrap();
    std::fs::write(sources.join("a.jsonl"), "{\"text\": \"j\"}\n").unwrap();
    std::fs::write(sources.join("b.csv"), "text\nc\n").unwrap();
    std::fs::write(sources.join("c.txt"), "t").unwrap();
    write_parquet(&sources.join("d.parquet"), &mut df!("text" => ["p"]).unwrap());
    std::fs::copy(golden("chats.arrow").path, sources.join("e.arrow")).unwrap();
    let source = Source { path: sources.display().to_string(), ..Source::default() };
    let rows = read(dir.path(), &source).unwrap().rows;
    let texts: Vec<&str> = rows.iter().filter_map(|row| row.fields.get("text").and_then(Value::as_str)).collect();
    assert_eq!(texts, ["j", "c", "t", "p"]);
    assert!(rows.len() > 4);
    // A format given by hand wins over the name.
    std::fs::write(dir.path().join("x.dat"), "{\"text\": \"j\"}\n").unwrap();
    let source = Source { path: dir.path().join("x.dat").display().to_string(), format: Some(Format::Jsonl), ..Source::default() };
    assert_eq!(read(dir.path(), &source).unwrap().rows.len(), 1);
}

#[test]
fn too_many_bad_rows_stop_and_name_the_list() {
    let dir = TempDir::new().unwrap();
    let source = file(&dir, "a.jsonl", "{}\nx\n{}\n{}\n");
    let list = dir.path().join("run/quarantine.jsonl");
    let finish = |max_fraction, always_allow| {
        let mut bad = Quarantine::new(&list);
        let met = source::read(&source, &mut bad, &mut |_, _| Ok(())).unwrap();
        bad.finish(&config::Quarantine { max_fraction, always_allow }, met)
    };
    let error = finish(0.2, 0).unwrap_err();
    assert!(error.is_input() && matches!(error, DataError::TooManyBad { rejected: 1, read: 4, .. }));
    let text = error.to_string();
    assert!(text.contains(&list.display().to_string()) && text.contains("broken-json"), "{text}");
    assert_eq!(std::fs::read_to_string(&list).unwrap().lines().count(), 1, "the list is there to be read");
    assert_eq!(finish(0.25, 0).unwrap().rejected, 1);
    assert_eq!(finish(0.0, 1).unwrap().rejected, 1);
    // A clean run leaves no old list behind.
    let clean = Quarantine::new(&list).finish(&config::Quarantine::default(), 4).unwrap();
    assert!(!clean.path.exists());
}

#[test]
fn rows_rejected_by_the_stage_are_counted_too() {
    let dir = TempDir::new().unwrap();
    let source = file(&dir, "a.jsonl", "{\"n\": 1}\n{\"n\": 2}\nx\n");
    let list = dir.path().join("q.jsonl");
    let mut bad = Quarantine::new(&list);
    let mut kept = 0;
    let met = source::read(&source, &mut bad, &mut |row, bad| {
        if row.fields["n"] == json!(2) {
            bad.reject_row(&row, Reason::Empty, "two")
        } else {
            kept += 1
        }
        Ok(())
    })
    .unwrap();
    let report = bad.finish(&config::Quarantine { max_fraction: 1.0, always_allow: 0 }, met).unwrap();
    assert_eq!((report.read, report.rejected, kept), (3, 2, 1));
    assert_eq!(report.by_reason, [("broken-json".to_string(), 1), ("empty".to_string(), 1)].into());
}
