//! What was in a file.

use ahash::RandomState;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};

/// Counts of one file, or of all together. Distinct items are told by 64-bit hashes, judges by name: 16 bytes an item are all that grows.
#[derive(Debug, Clone, Default)]
pub struct FileCounts {
    /// The file; empty for all together.
    pub file: PathBuf,
    /// Name of the reader.
    pub format: String,
    /// Units handed over by the reader.
    pub units: u64,
    /// Judgments in the table, by kind.
    pub kept: BTreeMap<Kind, u64>,
    /// Units in the quarantine, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// Pairs of answers that rankings compare.
    pub pairs: u64,
    /// Of these, ties.
    pub ties: u64,
    items: HashSet<u64, BuildHasherDefault<Hashed>>,
    judges: HashSet<String, RandomState>,
}

/// Fixed, so that hashes of several parts are the same.
const SEEDS: RandomState = RandomState::with_seeds(1, 2, 3, 4);

impl FileCounts {
    /// Nothing yet, of a file.
    pub fn of(file: &Path, format: &str) -> FileCounts {
        FileCounts { file: file.to_path_buf(), format: format.to_string(), ..FileCounts::default() }
    }

    /// These counts, and nothing yet of the same file in their place.
    pub fn taken(&mut self) -> FileCounts {
        let next = FileCounts::of(&self.file, &self.format);
        std::mem::replace(self, next)
    }

    /// Counts a judgment.
    pub fn keep(&mut self, judgment: &Judgment) {
        *self.kept.entry(judgment.kind).or_default() += 1;
        self.items.insert(SEEDS.hash_one(&judgment.item));
        if let Some(judge) = judgment.judge.as_ref().filter(|judge| !self.judges.contains(*judge)) {
            self.judges.insert(judge.clone());
        }
        if let (Kind::Ranking, Some(ranks)) = (judgment.kind, &judgment.ranks) {
            self.pairs += (ranks.len() * ranks.len().saturating_sub(1) / 2) as u64;
            self.ties += ranks.iter().enumerate().map(|(i, a)| ranks[i + 1..].iter().filter(|b| *b == a).count() as u64).sum::<u64>();
        }
    }

    /// Judgments in the table.
    pub fn kept_all(&self) -> u64 {
        self.kept.values().sum()
    }

    /// Units in the quarantine.
    pub fn rejected_all(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Distinct items.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Distinct judges with a name.
    pub fn judges(&self) -> usize {
        self.judges.len()
    }

    /// Adds those of another file, or of another part of this one.
    pub fn add(&mut self, other: &FileCounts) {
        self.units += other.units;
        self.pairs += other.pairs;
        self.ties += other.ties;
        other.kept.iter().for_each(|(kind, n)| *self.kept.entry(*kind).or_default() += n);
        other.rejected.iter().for_each(|(reason, n)| *self.rejected.entry(*reason).or_default() += n);
        self.items.extend(&other.items);
        for judge in &other.judges {
            if !self.judges.contains(judge) {
                self.judges.insert(judge.clone());
            }
        }
    }
}

/// The hash of what is a hash.
#[derive(Debug, Clone, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
