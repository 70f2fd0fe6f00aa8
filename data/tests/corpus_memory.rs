//! Memory stays flat however large the corpus. Alone in its file, since the peak is the process's.

use data::config::{Quarantine, Source, TextData};
use data::corpus::Corpus;
use data::tokenizer::Tokenizer;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Largest resident set so far, in MB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn build(dir: &Path, megabytes: usize, tok: &Tokenizer) -> Corpus {
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
    let cfg = TextData { sources: vec![source], cache: dir.join("cache").display().to_string(), quarantine: Quarantine::default() };
    Corpus::open(&cfg, tok, 0.05, &dir.join("bad.jsonl"), &mut |_, _| {}).unwrap()
}

/// `CORPUS_MB=300` measures a larger one.
#[test]
fn a_larger_corpus_takes_no_more_memory() {
    let megabytes = std::env::var("CORPUS_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(16);
    let dir = tempfile::tempdir().unwrap();
    let training = (0..2000).map(|i| format!("Sentence {i} of this book speaks of it; 第{i}回。\n"));
    let tok = Tokenizer::train_bpe(&mut { training }, 500).unwrap();
    build(dir.path(), 4, &tok);
    let Some(small) = peak() else {
        println!("SKIPPED: the corpus's memory, because there is no /proc/self/status here");
        return;
    };
    let start = std::time::Instant::now();
    let corpus = build(dir.path(), megabytes, &tok);
    let large = peak().unwrap();
    println!(
        "4 MB of text: peak {small} MB; {megabytes} MB of text: peak {large} MB, {} tokens, {:?}",
        corpus.train.len(),
        start.elapsed()
    );
    assert!(large < small + 16, "{megabytes} MB of text took {large} MB of memory, 4 MB took {small} MB");
    // The rest is read where it is, on the disk.
    assert_eq!(corpus.train.window(corpus.train.len() - 1, 1), [tok.eos()]);
}
