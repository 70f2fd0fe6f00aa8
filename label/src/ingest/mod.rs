//! `label ingest`: whatever people have, read into one table of judgments.
//!
//! Each form of export has a [`Reader`]. It is chosen by the file's first bytes ([`Reader::detect`]) unless the user names it.
//! A reader hands every unit of its input (a row, an annotation, a comparison) to the [`Sink`]: as one judgment, or with the reason why not.
//! So the table and the quarantine sum to the input.

use data::error::SourceError;
use data::labels::Judgment;
use data::quarantine::Reason;
use std::path::Path;

/// Arguments of `label ingest`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `label ingest`.
pub fn run(_: &Args) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}

/// The beginning of a file, by which readers know their own.
pub struct Head<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its first 64 KiB after decompression, cut at a character's boundary.
    pub text: &'a str,
    /// The first record: the first line of JSON Lines, the first element of a JSON array, or (for CSV, TSV, Parquet, Arrow) an object
    /// with the columns' names as keys and the first row's cells as values. Null where there is none.
    pub first: &'a serde_json::Value,
    /// `json` (one document), `jsonl`, `csv`, `tsv`, `parquet`, `arrow`, by content.
    pub form: &'static str,
}

/// Reads one form of export.
pub trait Reader: Sync {
    /// The name in `--format` and messages, such as `label-studio`.
    fn name(&self) -> &'static str;

    /// One line for the help and the documentation: what files these are.
    fn about(&self) -> &'static str;

    /// How surely the file is of this form: 0 not, 100 beyond doubt. Of equals the first in the list wins.
    fn detect(&self, head: &Head) -> u8;

    /// Reads the file, every unit of it into the sink. An error is for a file broken as a whole.
    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError>;
}

/// Where readers put what they read.
pub trait Sink {
    /// A judgment; the sink sets its `file`.
    fn keep(&mut self, judgment: Judgment) -> Result<(), SourceError>;

    /// A unit of the input that is no judgment, with its row, the kind of fault, the fault in words, and its text.
    fn reject(&mut self, row: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError>;
}
