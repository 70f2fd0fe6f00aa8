//! A corpus as two streams of token ids, for pre-training.
//!
//! Built once: the documents are read, tokenised and written to Arrow shards in a folder named by the hash of everything that the
//! tokens depend on. A second run with the same sources and tokenizer maps those shards and reads no text but to hash it.
//! Memory is bounded by a batch of text whatever the size of the corpus.

mod build;
mod documents;
mod encode;
mod sample;
mod shards;

use crate::config::{self, TextData, TextSplit};
use crate::error::DataError;
use crate::quarantine::QuarantineReport;
use crate::tokenizer::Tokenizer;
use documents::Input;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

pub(crate) use sample::sample;
pub use shards::TokenStream;

/// Raised whenever the shards of equal sources and tokenizers would differ.
const VERSION: u32 = 1;
/// Where shards go when the configuration does not say.
const DEFAULT_CACHE: &str = ".cache/shards";
const MANIFEST: &str = "manifest.json";
const QUARANTINE: &str = "quarantine.jsonl";

/// The tokens of a corpus.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// Tokens to learn from.
    pub train: TokenStream,
    /// Tokens of the documents held out.
    pub valid: TokenStream,
    /// Rows read and rejected (when the shards were built, if they are reused).
    pub report: QuarantineReport,
    /// The shards were there: nothing has been tokenised.
    pub reused: bool,
}

/// What a folder of shards holds; its presence says that they are whole.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    train: Side,
    valid: Side,
    /// The limits that the bad rows were judged by.
    quarantine: config::Quarantine,
    report: QuarantineReport,
}

/// One side of the split.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Side {
    files: Vec<String>,
    tokens: u64,
    bytes: u64,
    documents: u64,
}

impl Side {
    fn open(&self, folder: &Path) -> Result<TokenStream, DataError> {
        let stream = TokenStream::open(folder, &self.files, self.bytes, self.documents)?;
        if stream.len() == self.tokens {
            return Ok(stream);
        }
        let detail = format!("its shards hold {} tokens, the manifest says {}", stream.len(), self.tokens);
        Err(DataError::Table { path: folder.to_path_buf(), detail })
    }
}

impl Corpus {
    /// The tokens of the configured sources, from the cache or newly made.
    ///
    /// Documents go to the validation side by a hash of their text, so that the split does not depend on their order and equal
    /// documents stay together. Long text files count as many documents there (see `source`). If one side would be empty, the document
    /// nearest to the border changes sides; a corpus of one document cannot be split so. With [`TextSplit::End`] the last bytes of the corpus are held
    /// out instead, wherever that cuts. `valid_fraction` 0 holds out nothing.
    ///
    /// Bad rows are listed in `quarantine_path`. `on_progress` is called with the bytes of text done and their approximate total, only
    /// while shards are built. Several processes may open one corpus at once: one builds, the others wait.
    pub fn open(
        cfg: &TextData,
        tok: &Tokenizer,
        valid_fraction: f64,
        quarantine_path: &Path,
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Corpus, DataError> {
        if !(0.0..1.0).contains(&valid_fraction) {
            let detail = format!("{valid_fraction} is not a share: wanted is 0 or more and less than 1");
            return Err(DataError::Config { key: "eval.valid_fraction".into(), detail });
        }
        let inputs = documents::inputs(cfg)?;
        let cache = cache(cfg)?;
        std::fs::create_dir_all(&cache).map_err(DataError::io("create", &cache))?;
        let key = key(&inputs, tok, valid_fraction, cfg.split)?;
        let folder = cache.join(&key);
        let _lock = lock(&cache.join(format!("{key}.lock")))?;
        if let Some(corpus) = reuse(&folder, &cfg.quarantine, quarantine_path)? {
            return Ok(corpus);
        }
        let report = build::build(cfg, &inputs, tok, valid_fraction, &folder, quarantine_path, on_progress)?;
        let manifest = read_manifest(&folder)
            .ok_or_else(|| DataError::Table { path: folder.clone(), detail: "vanished while it was being made; run again".into() })?;
        Ok(Corpus { train: manifest.train.open(&folder)?, valid: manifest.valid.open(&folder)?, report, reused: false })
    }
}

/// The folder of all shards.
fn cache(cfg: &TextData) -> Result<PathBuf, DataError> {
    let path = if cfg.cache.trim().is_empty() { DEFAULT_CACHE.to_owned() } else { crate::source::expand(&cfg.cache)? };
    Ok(PathBuf::from(path))
}

/// Hash of all that the tokens and their order depend on. File names do not matter: a corpus may be moved.
fn key(inputs: &[Input], tok: &Tokenizer, valid_fraction: f64, split: TextSplit) -> Result<String, DataError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&VERSION.to_le_bytes());
    hasher.update(tok.hash().as_bytes());
    hasher.update(&tok.eos().to_le_bytes());
    hasher.update(&valid_fraction.to_le_bytes());
    if split != TextSplit::default() {
        hasher.update(format!("{split:?}").as_bytes());
    }
    for input in inputs {
        hasher.update(crate::inputs::hash_file(&input.path)?.as_bytes());
        // With its quotes and escapes, so that no two differ only in where one ends.
        hasher.update(format!("{:?}{:?}", input.format, input.source.columns.text).as_bytes());
        if !input.source.columns.header.is_empty() {
            hasher.update(format!("{:?}", input.source.columns.header).as_bytes());
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// Held until the file is dropped or the process ends, however it ends.
fn lock(path: &Path) -> Result<File, DataError> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(DataError::io("create", path))?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(DataError::io("lock", path)(e.into())),
        }
    }
}

/// The shards in a folder, if they are whole and their bad rows were judged by the same limits. Damaged ones are built again.
fn reuse(folder: &Path, limits: &config::Quarantine, quarantine_path: &Path) -> Result<Option<Corpus>, DataError> {
    let Some(manifest) = read_manifest(folder) else { return Ok(None) };
    if manifest.version != VERSION || (manifest.report.rejected > 0 && manifest.quarantine != *limits) {
        return Ok(None);
    }
    let (Ok(train), Ok(valid)) = (manifest.train.open(folder), manifest.valid.open(folder)) else { return Ok(None) };
    let mut report = manifest.report;
    let kept = folder.join(QUARANTINE);
    if report.rejected > 0 {
        if !kept.is_file() {
            return Ok(None);
        }
        copy(&kept, quarantine_path)?;
    }
    report.path = quarantine_path.to_path_buf();
    Ok(Some(Corpus { train, valid, report, reused: true }))
}

fn read_manifest(folder: &Path) -> Option<Manifest> {
    serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).ok()?).ok()
}

fn copy(from: &Path, to: &Path) -> Result<(), DataError> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
    }
    std::fs::copy(from, to).map(drop).map_err(DataError::io("write", to))
}
