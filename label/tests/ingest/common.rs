//! Running the program and reading what it wrote.

use assert_cmd::Command;
use data::labels::table::LabelTable;
use data::labels::{Judgment, Kind};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `label` with a terminal of 100 columns.
pub fn label(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("label").expect("binary").env("COLUMNS", "100").env_remove("RUST_BACKTRACE").args(args).assert()
}

/// What `label ingest` reads: its counts (`--json`) and its table.
pub struct Ingested {
    pub counts: Value,
    pub rows: Vec<Judgment>,
    pub bad: Vec<Value>,
}

impl Ingested {
    /// A count of all files together.
    pub fn total(&self, key: &str) -> u64 {
        let total = &self.counts["total"];
        total.get(key).or_else(|| total["by_kind"].get(key)).or_else(|| total["by_reason"].get(key)).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Judgments of a kind.
    pub fn of(&self, kind: Kind) -> Vec<&Judgment> {
        self.rows.iter().filter(|row| row.kind == kind).collect()
    }
}

/// Reads the paths into a table and looks at it; the program must succeed, and its counts must be those of the files that it wrote.
pub fn ingest(paths: &[&Path], more: &[&str]) -> Ingested {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (out, quarantine) = (dir.path().join("labels.arrow"), dir.path().join("labels.quarantine.jsonl"));
    let mut args = vec!["ingest", "--json", "--out", text(&out), "--max-fraction", "1"];
    args.extend(paths.iter().map(|path| text(path)));
    args.extend(more);
    let stdout = label(&args).success().get_output().stdout.clone();
    let counts: Value = serde_json::from_slice(&stdout).expect("JSON");
    let rows: Vec<Judgment> = LabelTable::open(&out).expect("table").iter().map(|row| row.expect("row")).collect();
    let bad = std::fs::read_to_string(quarantine).unwrap_or_default();
    let bad: Vec<Value> = bad.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let read = Ingested { counts, rows, bad };
    assert_eq!(read.total("kept"), read.rows.len() as u64);
    assert_eq!(read.total("rejected"), read.bad.len() as u64);
    assert_eq!(read.total("units"), read.total("kept") + read.total("rejected"));
    read
}

/// Reads a text as a file of that name.
pub fn ingest_text(name: &str, content: &str, more: &[&str]) -> Ingested {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("written");
    ingest(&[&path], more)
}

/// A file of the real data, or none, said past the test harness's capture.
pub fn real(path: &str) -> Option<PathBuf> {
    let shared = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("RLHF_DATA").map_or_else(shared, PathBuf::from).join(path);
    if path.exists() {
        return Some(path);
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED: a test of real exports, because {} is absent", path.display());
    None
}

/// A file of our own beside the tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ingest").join(name)
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}

/// A judgment without its place in a file: what several exports of one project must agree on.
pub fn anywhere(judgment: &Judgment) -> Judgment {
    Judgment { file: PathBuf::new(), row: 0, ..judgment.clone() }
}

/// Sorted by content, for comparing tables whose rows are in another order.
pub fn sorted(rows: impl IntoIterator<Item = Judgment>) -> Vec<Judgment> {
    let mut rows: Vec<Judgment> = rows.into_iter().collect();
    rows.sort_by_cached_key(|row| format!("{row:?}"));
    rows
}
