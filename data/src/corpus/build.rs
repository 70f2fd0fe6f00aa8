//! Tokenising a corpus into a folder of shards that appears by one rename, whole or not at all.

use super::documents::{self, Document, Input};
use super::shards::ShardWriter;
use super::{MANIFEST, Manifest, QUARANTINE, Side, VERSION, copy};
use crate::config::{TextData, TextSplit};
use crate::error::DataError;
use crate::quarantine::{Quarantine, QuarantineReport};
use crate::split::unit_hash;
use crate::tokenizer::{Tokenizer, pieces};
use std::fs::File;
use std::path::Path;

/// Text tokenised at once, for each thread: enough pieces to keep it busy, few enough to bound the memory (the library's encodings
/// take about thirty times the text's size).
const BATCH_BYTES: usize = 512 * 1024;
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

/// Builds the shards and puts them at `folder`, in place of whatever was there.
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
    let manifest = loop {
        std::fs::create_dir_all(&partial).map_err(DataError::io("create", &partial))?;
        let mut builder = Builder::new(tok, rule, &partial);
        let mut bad = Quarantine::new(quarantine_path);
        let read = documents::read(inputs, &mut bad, on_progress, &mut |document| builder.add(document))?;
        let report = bad.finish(&cfg.quarantine, read)?;
        let (lowest, highest) = (builder.lowest, builder.highest);
        let [train, valid] = builder.finish()?;
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
struct Builder<'a> {
    tok: &'a Tokenizer,
    rule: Rule,
    /// Training side, validation side.
    writers: [ShardWriter; 2],
    sides: [Side; 2],
    /// Bytes of text so far.
    seen: u64,
    /// Texts and ends that wait to be tokenised together.
    steps: Vec<Step>,
    waiting: usize,
    batch: usize,
    /// The side of a document that goes on in the next piece.
    open: Option<usize>,
    lowest: f64,
    highest: f64,
}

enum Step {
    Text(usize, String),
    End(usize),
}

impl<'a> Builder<'a> {
    fn new(tok: &'a Tokenizer, rule: Rule, folder: &Path) -> Builder<'a> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Builder {
            tok,
            rule,
            writers: ["train", "valid"].map(|name| ShardWriter::new(folder, name, tok.vocab_size())),
            sides: Default::default(),
            seen: 0,
            steps: Vec::new(),
            waiting: 0,
            batch: BATCH_BYTES * threads.min(64),
            open: None,
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
        }
    }

    /// A document, or the end of a file (`None`), which ends a document that was to go on.
    fn add(&mut self, document: Option<Document>) -> Result<(), DataError> {
        let Some(Document { text, continues }) = document else {
            self.end_open();
            return Ok(());
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
            self.end_open();
        }
        self.sides[side].bytes += text.len() as u64;
        self.waiting += text.len();
        self.steps.push(Step::Text(side, text));
        self.open = Some(side);
        if !continues {
            self.end_open();
        }
        if self.waiting >= self.batch { self.tokenise() } else { Ok(()) }
    }

    fn end_open(&mut self) {
        if let Some(side) = self.open.take() {
            self.sides[side].documents += 1;
            self.steps.push(Step::End(side));
        }
    }

    fn tokenise(&mut self) -> Result<(), DataError> {
        self.waiting = 0;
        let steps = std::mem::take(&mut self.steps);
        let mut parts = Vec::new();
        // Number of parts of each text.
        let mut counts = Vec::new();
        for step in &steps {
            if let Step::Text(_, text) = step {
                let before = parts.len();
                parts.extend(pieces(text));
                counts.push(parts.len() - before);
            }
        }
        let mut ids = self.tok.encode_batch(&parts)?.into_iter();
        let mut counts = counts.into_iter();
        for step in &steps {
            match step {
                Step::Text(side, _) => {
                    for ids in ids.by_ref().take(counts.next().unwrap_or(0)) {
                        self.writers[*side].push(&ids)?;
                    }
                }
                Step::End(side) => self.writers[*side].push(&[self.tok.eos()])?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<[Side; 2], DataError> {
        self.end_open();
        self.tokenise()?;
        let Builder { writers, mut sides, .. } = self;
        for (side, writer) in sides.iter_mut().zip(writers) {
            side.tokens = writer.tokens();
            side.files = writer.finish()?;
        }
        Ok(sides)
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
