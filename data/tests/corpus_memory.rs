//! Memory stays flat however large the corpus. Alone in its file, since the peak is the process's.

use data::config::{Source, TextData};
use data::corpus::Corpus;
use data::tokenizer::Tokenizer;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A line of /proc/self/status in KB: `VmHWM` is the largest resident set so far, `RssFile` the pages of mapped files now, which the
/// system takes back when it needs them.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Builds a corpus and opens it. Returns it with the largest resident set until the last text was read, in KB: tokenising is in it, the
/// pages touched by mapping the finished shards (one or two for each of their batches) are not.
fn build(dir: &Path, megabytes: usize, tok: &Tokenizer) -> (Corpus, u64) {
    let path = dir.join(format!("{megabytes}.txt"));
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut written = 0;
    // One long document, the hardest case, of sentences that differ.
    for i in 0u64.. {
        let line = format!("Sentence {i} of this book speaks of {} in {} words; 第{i}回。\n", i.wrapping_mul(2654435761) % 100_003, i % 17);
        file.write_all(line.as_bytes()).unwrap();
        written += line.len();
        if written >= megabytes << 20 {
            break;
        }
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let source = Source { path: path.display().to_string(), ..Source::default() };
    let cfg = TextData { sources: vec![source], cache: dir.join("cache").display().to_string(), ..TextData::default() };
    let (mut peak, mut calls) = (0, 0);
    let mut sample = |done, total| {
        // Reading /proc is slower than tokenising a passage.
        calls += 1;
        if done == total || calls % 64 == 0 {
            peak = memory("VmHWM").unwrap_or(0);
        }
    };
    let corpus = Corpus::open(&cfg, tok, 0.05, &dir.join("bad.jsonl"), &mut sample).unwrap();
    (corpus, peak)
}

/// `CORPUS_MB=300` measures a larger one.
#[test]
fn a_larger_corpus_takes_no_more_memory() {
    let megabytes = std::env::var("CORPUS_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(16);
    let dir = tempfile::tempdir().unwrap();
    let training = (0..2000).map(|i| format!("Sentence {i} of this book speaks of it; 第{i}回。\n"));
    let tok = Tokenizer::train_bpe(&mut { training }, 500).unwrap();
    if memory("VmHWM").is_none() {
        println!("SKIPPED: the memory of a corpus, because there is no VmHWM in /proc/self/status here");
        return;
    }
    let mut report = Vec::new();
    for size in [4, megabytes] {
        let start = std::time::Instant::now();
        let (corpus, peak) = build(dir.path(), size, &tok);
        let (tokens, time, mapped) = (corpus.train.len(), start.elapsed(), memory("RssFile").unwrap_or(0));
        println!(
            "{size} MB of text: {tokens} tokens in {time:?}; at most {peak} KB resident while building, then {mapped} KB of mapped files"
        );
        report.push((corpus, peak));
    }
    let [(_, small), (corpus, large)] = &report[..] else { unreachable!() };
    // Slack for the allocator's moods: a corpus held in memory would take its text and its tokens.
    let slack = 12 << 10;
    assert!(*large < small + slack, "{megabytes} MB of text took {large} KB, 4 MB took {small} KB");
    // The rest is read where it is, on the disk.
    assert_eq!(corpus.train.window(corpus.train.len() - 1, 1), [tok.eos()]);
}
