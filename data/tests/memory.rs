//! Memory stays flat: reading a table much larger than what is allowed to be in memory. One test in a process of its own, since the
//! peak is the process's.

use data::config::Source;
use data::quarantine::Quarantine;
use data::source;
use polars::prelude::*;
use std::fmt::Write as _;
use std::path::Path;

/// Peak resident memory in MiB, where the system tells (Linux).
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn read(path: &Path) -> u64 {
    let source = Source { path: path.display().to_string(), ..Source::default() };
    let mut bytes = 0;
    let mut bad = Quarantine::new(path.with_extension("bad"));
    source::read(&source, &mut bad, &mut |row, _| {
        bytes += row.fields["text"].as_str().map_or(0, |text| text.len() as u64);
        Ok(())
    })
    .unwrap();
    assert_eq!(bad.rejected(), 0);
    bytes
}

#[test]
fn reading_keeps_memory_flat() {
    if peak().is_none() {
        eprintln!("SKIPPED: memory is not measured, because there is no /proc/self/status here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (csv, jsonl, text) = (dir.path().join("a.csv"), dir.path().join("a.jsonl"), dir.path().join("a.txt"));
    let parquet = dir.path().join("a.parquet");
    // 150 MB, written a piece at a time so that the writing does not set the peak.
    let (rows, pieces) = (1500, 100);
    let row = |i: usize| format!("{i} {}", "word ".repeat(200));
    let mut files: Vec<std::fs::File> = [&csv, &jsonl, &text].iter().map(|p| std::fs::File::create(p).unwrap()).collect();
    let mut writer = ParquetWriter::new(std::fs::File::create(&parquet).unwrap())
        .with_compression(ParquetCompression::Uncompressed)
        .batched(&Schema::from_iter([Field::new("text".into(), DataType::String)]))
        .unwrap();
    for piece in 0..pieces {
        let texts: Vec<String> = (0..rows).map(|i| row(piece * rows + i)).collect();
        let mut out = [String::new(), String::new(), String::new()];
        if piece == 0 {
            out[0].push_str("text\n");
        }
        for text in &texts {
            writeln!(out[0], "\"{text}\"").unwrap();
            writeln!(out[1], "{{\"text\": \"{text}\"}}").unwrap();
            writeln!(out[2], "{text}").unwrap();
        }
        for (file, out) in files.iter_mut().zip(&out) {
            std::io::Write::write_all(file, out.as_bytes()).unwrap();
        }
        writer.write_batch(&df!("text" => texts).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let total: u64 = (0..rows * pieces).map(|i| row(i).len() as u64).sum();
    for path in [&jsonl, &text, &csv, &parquet] {
        let before = peak().unwrap();
        let bytes = read(path);
        let grown = peak().unwrap() - before;
        println!("{}: {bytes} bytes, peak grew by {grown} MiB from {before} MiB", path.display());
        // A text's lines are parted by line ends within a document.
        assert!(bytes >= total - 10 && bytes < total + (rows * pieces) as u64 + 10, "{bytes} of {total}");
        assert!(grown < 64, "{} made the peak grow by {grown} MiB for {} MB", path.display(), total / 1_000_000);
    }
}
