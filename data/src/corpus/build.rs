//! Tokenising a corpus into a folder of shards that appears by one rename, whole or not at all.

use super::documents::{self, Document, Input};
use super::encode::{Pipeline, Step};
use super::shards::ShardWriter;
use super::{MANIFEST, Manifest, QUARANTINE, Side, VERSION, copy};
use crate::config::{TextData, TextSplit};
use crate::error::DataError;
use crate::quarantine::{Quarantine, QuarantineReport};
use crate::split::unit_hash;
use crate::tokenizer::Tokenizer;
use std::fs::File;
use std::path::Path;

/// The split belongs to the corpus, not to a run: every run that holds out the same share holds out the same documents.
const SPLIT_SEED: u64 = 0;

/// What is held out: places on the unit interval ([`unit_hash`]), or the end of the corpus.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// What follows so many bytes of text.
    After(u64),
    Below(f64),
    /// One document, since none lies below the border.
    Only(f64),
    /// All but one, since all lie below the border.
    AllBut(f64),
}

impl Rule {
    fn holds_out(self, place: f64, seen: u64) -> bool {
        match self {
            Rule::After(border) => seen >= border,
            Rule::Below(border) => place < border,
            Rule::Only(one) => place == one,
            Rule::AllBut(one) => place != one,
        }
    }
}

/// Builds the shards, on a thread for each core and one that reads, and puts them at `folder`, in place of whatever was there.
pub(super) fn build(
    cfg: &TextData,
    inputs: &[Input],
    tok: &Tokenizer,
    valid_fraction: f64,
    folder: &Path,
    quarantine_path: &Path,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<QuarantineReport, DataError> {
    // The caller's lock makes this name ours; what a killed build left there goes.
    let partial = folder.with_extension("partial");
    remove(&partial)?;
    let mut rule = match cfg.split {
        TextSplit::Documents => Rule::Below(valid_fraction),
        TextSplit::End => Rule::After(((1.0 - valid_fraction) * count(inputs, quarantine_path)? as f64) as u64),
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let manifest = loop {
        std::fs::create_dir_all(&partial).map_err(DataError::io("create", &partial))?;
        let mut bad = Quarantine::new(quarantine_path);
        let Built { read, sides: [train, valid], lowest, highest } = std::thread::scope(|scope| {
            let writers = ["train", "valid"].map(|name| ShardWriter::new(&partial, name, tok.vocab_size()));
            let mut builder = Builder::new(Pipeline::start(scope, tok, threads, writers), rule);
            let read = documents::read(inputs, &mut bad, on_progress, &mut |document| builder.add(document))?;
            builder.finish(read)
        })?;
        let report = bad.finish(&cfg.quarantine, read)?;
        if train.tokens + valid.tokens == 0 {
            let detail = format!("{read} rows read, {} bad", report.rejected);
            return Err(DataError::Empty { what: "documents", sources: documents::names(cfg), detail });
        }
        if valid_fraction > 0.0 && (train.tokens == 0 || valid.tokens == 0) {
            if cfg.split == TextSplit::End {
                let detail = format!("{valid_fraction} of this corpus leaves one side without text: set 0, or another share");
                return Err(DataError::Config { key: "eval.valid_fraction".into(), detail });
            }
            if lowest >= highest {
                let detail = "the corpus is a single document (or one many times over), which cannot be split: set 0, add documents, or set \
                     data.split = \"end\"";
                return Err(DataError::Config { key: "eval.valid_fraction".into(), detail: detail.into() });
            }
            rule = if valid.tokens == 0 { Rule::Only(lowest) } else { Rule::AllBut(highest) };
            remove(&partial)?;
            continue;
        }
        break Manifest { version: VERSION, train, valid, quarantine: cfg.quarantine, report };
    };
    if manifest.report.rejected > 0 {
        copy(quarantine_path, &partial.join(QUARANTINE))?;
    }
    write_manifest(&partial.join(MANIFEST), &manifest)?;
    sync(&partial)?;
    remove(folder)?;
    std::fs::rename(&partial, folder).map_err(DataError::io("rename", &partial))?;
    if let Some(parent) = folder.parent() {
        sync(parent)?;
    }
    Ok(manifest.report)
}

/// Bytes of text in all documents.
fn count(inputs: &[Input], quarantine_path: &Path) -> Result<u64, DataError> {
    let mut bytes = 0;
    let mut bad = Quarantine::new(quarantine_path); // counted and judged in the pass that follows
    documents::read(inputs, &mut bad, &mut |_, _| {}, &mut |document| {
        bytes += document.map_or(0, |d| d.text.len() as u64);
        Ok(())
    })?;
    Ok(bytes)
}

/// Documents in, shards out.
struct Builder {
    rule: Rule,
    shards: Pipeline,
    /// Training side, validation side.
    sides: [Side; 2],
    /// Bytes of text so far.
    seen: u64,
    /// The side of a document that goes on in the next piece.
    open: Option<usize>,
    lowest: f64,
    highest: f64,
}

/// What was read and written.
struct Built {
    /// Rows.
    read: u64,
    sides: [Side; 2],
    /// The documents' outermost places on the unit interval.
    lowest: f64,
    highest: f64,
}

impl Builder {
    fn new(shards: Pipeline, rule: Rule) -> Builder {
        Builder { rule, shards, sides: Default::default(), seen: 0, open: None, lowest: f64::INFINITY, highest: f64::NEG_INFINITY }
    }

    /// A document, or the end of a file (`None`), which ends a document that was to go on.
    fn add(&mut self, document: Option<Document>) -> Result<(), DataError> {
        let Some(Document { text, continues }) = document else {
            return self.end_open();
        };
        if let Rule::After(border) = self.rule
            && (self.seen + 1..self.seen + text.len() as u64).contains(&border)
        {
            let before = (border - self.seen) as usize;
            let cut = (0..=before).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            self.place(text[..cut].to_owned(), true)?;
            self.seen = border; // a character across the border is held out
            return self.place(text[cut..].to_owned(), continues);
        }
        self.place(text, continues)
    }

    /// A document or a piece of one, to be learned from or held out as a whole.
    fn place(&mut self, text: String, continues: bool) -> Result<(), DataError> {
        let place = unit_hash(&text, SPLIT_SEED);
        (self.lowest, self.highest) = (self.lowest.min(place), self.highest.max(place));
        let side = usize::from(self.rule.holds_out(place, self.seen));
        self.seen += text.len() as u64;
        // Where a document changes sides, what follows on the old side is not its continuation.
        if self.open.is_some_and(|open| open != side) {
            self.end_open()?;
        }
        self.sides[side].bytes += text.len() as u64;
        self.shards.push(Step::Text(side, text))?;
        self.open = Some(side);
        if continues { Ok(()) } else { self.end_open() }
    }

    fn end_open(&mut self) -> Result<(), DataError> {
        let Some(side) = self.open.take() else { return Ok(()) };
        self.sides[side].documents += 1;
        self.shards.push(Step::End(side))
    }

    fn finish(mut self, read: u64) -> Result<Built, DataError> {
        self.end_open()?;
        let Builder { shards, mut sides, lowest, highest, .. } = self;
        for (side, writer) in sides.iter_mut().zip(shards.finish()?) {
            side.tokens = writer.tokens();
            side.files = writer.finish()?;
        }
        Ok(Built { read, sides, lowest, highest })
    }
}

fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), DataError> {
    let file = File::create(path).map_err(DataError::io("create", path))?;
    serde_json::to_writer_pretty(&file, manifest).map_err(|e| DataError::io("write", path)(e.into()))?;
    file.sync_all().map_err(DataError::io("write", path))
}

/// Brings the names in a folder to the disk.
fn sync(folder: &Path) -> Result<(), DataError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|f| f.sync_all()).map_err(DataError::io("write", folder))
}

fn remove(folder: &Path) -> Result<(), DataError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DataError::io("remove", folder)(e)),
        _ => Ok(()),
    }
}
