//! Reading rows from files of any supported format, one after the other: memory stays flat however large the files are.
//!
//! Rows come in the order of the files (sorted by name) and of the lines in them. What cannot be read goes to the quarantine with
//! its line; a file that is broken as a whole (torn archive, no header) is an error, because nobody knows how much is missing.

mod arrow_ipc;
mod csv;
mod csv_records;
mod json;
mod open;
mod parquet;
mod paths;
mod text;

pub use open::{bytes_read, open};
pub use paths::{expand, files, format_of, matches};

use crate::config::{self, Columns, Format};
use crate::error::SourceError;
use crate::quarantine::{Quarantine, Reason};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// One row of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The file it is from.
    pub file: Arc<Path>,
    /// 1-based line at which it begins; for Parquet and Arrow its 1-based number in the file.
    pub line: u64,
    /// Its fields. A text document has one, named as `columns.text`. An empty CSV cell is an empty string; nulls of Parquet and Arrow are `null`.
    pub fields: Map<String, Value>,
}

/// What happens to each row: use it, or put it into the quarantine. An error ends the reading.
pub type Each<'a> = dyn FnMut(Row, &mut Quarantine) -> Result<(), SourceError> + 'a;

/// Reads all files of a source and hands each row to `each`. Returns the number of rows met: those handed over and those
/// that were too broken for it and went to the quarantine. Blank lines are not rows.
pub fn read(source: &config::Source, bad: &mut Quarantine, each: &mut Each) -> Result<u64, SourceError> {
    let mut met = 0;
    for (file, format) in files(source)? {
        met += read_file(&file, format, &source.columns, bad, each)?;
    }
    Ok(met)
}

/// [`read`] for one file.
pub fn read_file(file: &Path, format: Format, columns: &Columns, bad: &mut Quarantine, each: &mut Each) -> Result<u64, SourceError> {
    read_all(file, format, columns, &mut |met| match met {
        Met::Row(row) => each(row, bad),
        Met::Bad { line, reason, detail, raw } => {
            bad.reject(file, line, reason, detail, &raw);
            Ok(())
        }
    })
}

/// What a file holds at one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Met {
    /// A row.
    Row(Row),
    /// Something too broken to be a row.
    Bad {
        /// 1-based line or row.
        line: u64,
        /// Kind of fault.
        reason: Reason,
        /// The fault in words.
        detail: String,
        /// Its first KiB.
        raw: String,
    },
}

/// [`read_file`] for those who have their own place for what is too broken to be a row. Returns how often `each` was called without an error.
pub fn read_all(
    file: &Path,
    format: Format,
    columns: &Columns,
    each: &mut dyn FnMut(Met) -> Result<(), SourceError>,
) -> Result<u64, SourceError> {
    let mut sink = Sink { file: Arc::from(file), met: 0, each };
    match format {
        Format::Text => text::read(&mut sink, &columns.text),
        Format::Jsonl => json::read(&mut sink, columns),
        Format::Csv => csv::read(&mut sink, b','),
        Format::Tsv => csv::read(&mut sink, b'\t'),
        Format::Parquet => parquet::read(&mut sink, columns),
        Format::Arrow => arrow_ipc::read(&mut sink),
    }?;
    Ok(sink.met)
}

/// Where the format readers put rows and rejects; it counts both.
struct Sink<'a> {
    file: Arc<Path>,
    met: u64,
    each: &'a mut dyn FnMut(Met) -> Result<(), SourceError>,
}

impl Sink<'_> {
    fn row(&mut self, line: u64, fields: Map<String, Value>) -> Result<(), SourceError> {
        let row = Row { file: self.file.clone(), line, fields };
        self.hand_over(Met::Row(row))
    }

    fn reject(&mut self, line: u64, reason: Reason, detail: impl Into<String>, raw: &[u8]) -> Result<(), SourceError> {
        // Enough bytes for the snippet, so that a huge line is not copied.
        let raw = String::from_utf8_lossy(&raw[..raw.len().min(1024)]).into_owned();
        self.hand_over(Met::Bad { line, reason, detail: detail.into(), raw })
    }

    fn hand_over(&mut self, met: Met) -> Result<(), SourceError> {
        self.met += 1;
        (self.each)(met)
    }

    fn unreadable(&self, line: u64, detail: impl Into<String>) -> SourceError {
        SourceError::Unreadable { path: self.file.to_path_buf(), line, detail: detail.into() }
    }
}
