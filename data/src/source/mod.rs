//! Reading rows from files of any supported format, one after the other: memory stays flat however large the files are.
//!
//! Rows come in the order of the files (sorted by name) and of the lines in them. What cannot be read goes to the quarantine with
//! its line; a file that is broken as a whole (torn archive, no header) is an error, because nobody knows how much is missing.
//!
//! [`read_blocks`] is below all the others: it cuts records out and leaves it to the caller by which thread they are taken apart.

mod arrow_ipc;
mod block;
mod csv;
mod csv_records;
mod json;
mod open;
mod parquet;
mod paths;
mod pattern;
mod text;

pub use block::Block;
pub use csv::Header;
pub use json::kind;
pub use open::{bytes_read, open};
pub use paths::{expand, files, format_of};
pub use pattern::matches;

use crate::config::{self, Columns, Format};
use crate::error::SourceError;
use crate::quarantine::{Quarantine, Reason};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::Read;
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

/// Names that no column has, with which Parquet gives all of its columns: for those who know fields by names of their own.
pub fn every_column() -> Columns {
    let none = String::new;
    Columns {
        header: Vec::new(),
        text: none(),
        prompt: none(),
        response: none(),
        second: none(),
        messages: none(),
        image: none(),
        chosen: none(),
        rejected: none(),
        answers: Vec::new(),
        scores: Vec::new(),
        ranks: Vec::new(),
        judge: none(),
        weight: none(),
        group: none(),
    }
}

/// [`every_column`] for a file that may also be one of bare texts, whose field is named as configured.
pub fn every_field(format: Format, columns: &Columns) -> Columns {
    if format == Format::Parquet { every_column() } else { columns.clone() }
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
    let mut all = All { file: Arc::from(file), met: 0, each };
    read_records(file, format, columns, &mut all)?;
    Ok(all.met)
}

/// A row where it was read: CSV without a copy of its cells.
pub enum Record<'a> {
    /// Of CSV and TSV.
    Cells(Cells<'a>),
    /// Of the other formats.
    Fields(Map<String, Value>),
}

/// A row of CSV or TSV in the reader's buffer.
#[derive(Clone, Copy)]
pub struct Cells<'a> {
    /// The columns.
    pub header: &'a Header,
    /// As many as the header has.
    pub cells: &'a [Cow<'a, str>],
}

impl Record<'_> {
    /// The row as JSON; the cells of CSV are text.
    pub fn into_fields(self) -> Map<String, Value> {
        match self {
            Record::Fields(fields) => fields,
            Record::Cells(Cells { header, cells }) => {
                header.names.iter().zip(cells).map(|(name, cell)| (name.clone(), Value::from(cell.as_ref()))).collect()
            }
        }
    }
}

/// Takes what [`read_records`] reads.
pub trait Take {
    /// A row with its line.
    fn row(&mut self, line: u64, record: Record) -> Result<(), SourceError>;

    /// Something too broken to be a row; `raw` is its first KiB.
    fn reject(&mut self, line: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError>;
}

/// [`read_all`] for those who want to take the cells of CSV where they stand.
pub fn read_records(file: &Path, format: Format, columns: &Columns, take: &mut dyn Take) -> Result<(), SourceError> {
    read_blocks(file, format, columns, &mut |mut block| block.each(take).map(|()| block))
}

/// Takes a block and gives back one to be filled anew: that one, emptied, or another.
pub type Give<'a> = dyn FnMut(Block) -> Result<Block, SourceError> + 'a;

/// [`read_records`] for those who take the records apart elsewhere: blocks come in the order of the file.
pub fn read_blocks(file: &Path, format: Format, columns: &Columns, give: &mut Give) -> Result<(), SourceError> {
    let shared = Arc::new(columns.clone());
    let mut sink = Sink { file: Arc::from(file), block: Block::new(shared.clone()), columns: shared, rest: Vec::new(), give };
    let read = match format {
        Format::Text => text::read(&mut sink, &columns.text),
        Format::Jsonl => json::read(&mut sink),
        Format::Csv => csv::read(&mut sink, b','),
        Format::Tsv => csv::read(&mut sink, b'\t'),
        Format::Parquet => parquet::read(&mut sink, columns),
        Format::Arrow => arrow_ipc::read(&mut sink),
    };
    // What stands before the place where a file is broken comes first.
    sink.hand_over().and(read)
}

/// Rows as [`read_all`] hands them over, counted.
struct All<'a> {
    file: Arc<Path>,
    met: u64,
    each: &'a mut dyn FnMut(Met) -> Result<(), SourceError>,
}

impl Take for All<'_> {
    fn row(&mut self, line: u64, record: Record) -> Result<(), SourceError> {
        self.met += 1;
        (self.each)(Met::Row(Row { file: self.file.clone(), line, fields: record.into_fields() }))
    }

    fn reject(&mut self, line: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.met += 1;
        (self.each)(Met::Bad { line, reason, detail, raw: raw.to_string() })
    }
}

/// Where the format readers put rows and rejects.
struct Sink<'a> {
    file: Arc<Path>,
    columns: Arc<Columns>,
    block: Block,
    /// Room for what goes from one block to the next.
    rest: Vec<u8>,
    give: &'a mut Give<'a>,
}

impl Sink<'_> {
    /// Reads on into the block, after what is uncut there; records that were cut are handed over first. True at the end of the file.
    fn read_on(&mut self, reader: &mut dyn Read, line: u64) -> Result<bool, SourceError> {
        self.hand_over()?;
        self.block.forget_skipped();
        // Doubling keeps a record of many blocks from being scanned again for each of them.
        let wanted = self.block.uncut().len().max(block::BYTES);
        open::fill(reader, self.block.bytes(), wanted).map_err(|e| self.unreadable(line, e.to_string()))
    }

    fn json(&mut self, line: u64, raw: &[u8]) -> Result<(), SourceError> {
        self.block.json(line, raw);
        self.when_full()
    }

    fn row(&mut self, line: u64, fields: Map<String, Value>) -> Result<(), SourceError> {
        self.block.row(line, fields);
        self.when_full()
    }

    fn reject(&mut self, line: u64, reason: Reason, detail: impl Into<String>, raw: &[u8]) -> Result<(), SourceError> {
        self.block.bad(line, reason, detail.into(), raw);
        self.when_full()
    }

    fn when_full(&mut self) -> Result<(), SourceError> {
        if self.block.is_full() { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), SourceError> {
        if !self.block.is_empty() {
            self.rest.clear();
            self.block.take_uncut(&mut self.rest);
            let full = std::mem::take(&mut self.block);
            self.block = (self.give)(full)?;
            self.block.begin(&self.columns);
            self.block.bytes().extend_from_slice(&self.rest);
        }
        Ok(())
    }

    fn unreadable(&self, line: u64, detail: impl Into<String>) -> SourceError {
        SourceError::Unreadable { path: self.file.to_path_buf(), line, detail: detail.into() }
    }
}
