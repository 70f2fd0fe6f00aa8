//! Reading a file as `label ingest` would, into memory.

use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use label::ingest::{Options, Sink, head, readers};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a reader made of a file.
#[derive(Default)]
pub struct Got {
    /// The reader's name.
    pub reader: &'static str,
    pub kept: Vec<Judgment>,
    pub bad: Vec<(u64, Reason, String)>,
}

impl Sink for Got {
    fn keep(&mut self, judgment: Judgment) -> Result<(), SourceError> {
        self.kept.push(judgment);
        Ok(())
    }

    fn reject(&mut self, row: u64, reason: Reason, detail: String, _: &str) -> Result<(), SourceError> {
        self.bad.push((row, reason, detail));
        Ok(())
    }

    fn units(&self) -> u64 {
        (self.kept.len() + self.bad.len()) as u64
    }
}

/// Counts that a manifest would give.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    pub kept: usize,
    pub bad: usize,
    pub items: usize,
    pub judges: usize,
    /// Pairs of answers that rankings order, and how many of them are tied.
    pub pairs: usize,
    pub ties: usize,
}

impl Got {
    pub fn counts(&self) -> Counts {
        let distinct = |of: fn(&Judgment) -> Option<&str>| self.kept.iter().filter_map(of).collect::<HashSet<_>>().len();
        let (mut pairs, mut ties) = (0, 0);
        for ranks in self.kept.iter().filter_map(|j| j.ranks.as_ref()) {
            for (i, a) in ranks.iter().enumerate() {
                pairs += ranks.len() - i - 1;
                ties += ranks[i + 1..].iter().filter(|b| *b == a).count();
            }
        }
        let (items, judges) = (distinct(|j| Some(&j.item)), distinct(|j| j.judge.as_deref()));
        Counts { kept: self.kept.len(), bad: self.bad.len(), items, judges, pairs, ties }
    }

    pub fn kinds(&self) -> BTreeMap<Kind, usize> {
        self.kept.iter().fold(BTreeMap::new(), |mut kinds, j| {
            *kinds.entry(j.kind).or_default() += 1;
            kinds
        })
    }

    pub fn reasons(&self) -> BTreeMap<Reason, usize> {
        self.bad.iter().fold(BTreeMap::new(), |mut reasons, (_, reason, _)| {
            *reasons.entry(*reason).or_default() += 1;
            reasons
        })
    }
}

/// Reads with the reader that the content chooses, or by a mapping.
pub fn try_read(path: &Path, mapping: Option<&Path>) -> Result<Got, SourceError> {
    let options = Options { mapping: mapping.map(Path::to_path_buf), ..Options::default() };
    let readers = readers(&options).expect("readers");
    let head = head::Owned::read(path)?;
    let sure = |r: &dyn label::ingest::Reader| r.detect(&head.head());
    let best = readers.iter().map(|r| sure(r.as_ref())).max().unwrap_or(0);
    assert!(best > 0, "nobody knows {}", path.display());
    let reader = readers.iter().find(|r| sure(r.as_ref()) == best).expect("a reader");
    let mut got = Got { reader: reader.name(), ..Got::default() };
    reader.read(path, &mut got)?;
    Ok(got)
}

pub fn read(path: &Path, mapping: Option<&Path>) -> Got {
    try_read(path, mapping).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads a file of this content.
pub fn read_text(name: &str, text: &str) -> Got {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("file");
    read(&path, None)
}

/// Reads a file of this content by a mapping of that content.
pub fn read_mapped(name: &str, text: &str, mapping: &str) -> Result<Got, SourceError> {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (path, by) = (dir.path().join(name), dir.path().join("mapping.toml"));
    std::fs::write(&path, text).expect("file");
    std::fs::write(&by, mapping).expect("mapping");
    try_read(&path, Some(&by))
}

/// A file among the real data (`RLHF_DATA`, or `shared/data` beside the repository), or None with a word past the harness's capture: a skipped test
/// must be seen.
pub fn real(path: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("RLHF_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = folder.join(path);
    if !path.exists() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {} is absent; set RLHF_DATA to the folder of data sets", path.display());
        return None;
    }
    Some(path)
}

/// A mapping that the repository ships.
pub fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/labels").join(name)
}
