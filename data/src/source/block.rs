//! Blocks of records: a reader cuts them out of the file, one after the other, and any thread takes them apart. So cells and JSON are parsed where the
//! time is, and the order of the file is the order of the blocks.

use super::csv::Header;
use super::csv_records::Field;
use super::{Cells, Record, Take, json};
use crate::config::Columns;
use crate::error::SourceError;
use crate::quarantine::Reason;
use serde_json::{Map, Value};
use std::ops::Range;
use std::sync::Arc;

/// A block is full with this many bytes: it stays in a core's cache from the cut to the columns made of it.
pub(super) const BYTES: usize = 256 << 10;
/// Or with this many records, or with so many of them in pieces, the size of which nobody has counted.
const RECORDS: usize = 1024;
const WHOLE: usize = 32;

/// Some records in the order of their file.
#[derive(Default)]
pub struct Block {
    header: Option<Arc<Header>>,
    columns: Arc<Columns>,
    bytes: Vec<u8>,
    /// Where the bytes begin that were read into the block, but not yet cut into records; the end of them where records are put in one by one.
    cut: usize,
    fields: Vec<Field>,
    pieces: Vec<(u64, Piece)>,
    whole: usize,
}

/// What stands at a line. Ranges are places in the block's bytes and fields.
enum Piece {
    /// A record of CSV with as many fields as the header has.
    Cells(Range<usize>, Range<usize>),
    /// A row of JSON.
    Json(Range<usize>),
    /// A row that came in columns.
    Fields(Map<String, Value>),
    /// Too broken to be a row.
    Bad(Reason, String, Range<usize>),
}

impl Block {
    pub(super) fn new(columns: Arc<Columns>) -> Block {
        Block { columns, ..Block::default() }
    }

    /// Makes it an empty one of a file with these columns; what was allocated stays.
    pub(super) fn begin(&mut self, columns: &Arc<Columns>) {
        self.columns = columns.clone();
        self.bytes.clear();
        // One huge record shall not stay in memory.
        self.bytes.shrink_to(4 * BYTES);
        self.cut = 0;
        self.fields.clear();
        self.pieces.clear();
        self.whole = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.cut >= BYTES || self.pieces.len() >= RECORDS || self.whole >= WHOLE
    }

    /// Hands over every record. One that cannot be taken apart after all is handed over as too broken.
    pub fn each(&mut self, take: &mut dyn Take) -> Result<(), SourceError> {
        for (line, piece) in self.pieces.drain(..) {
            match piece {
                Piece::Cells(bytes, fields) => {
                    let (Some(header), raw) = (&self.header, &self.bytes[bytes]) else { continue };
                    match std::str::from_utf8(raw) {
                        Ok(text) => {
                            let cells: Vec<_> = self.fields[fields].iter().map(|field| field.of(text)).collect();
                            take.row(line, Record::Cells(Cells { header, cells: &cells }))?;
                        }
                        Err(error) => {
                            let detail = format!("byte {} of the record", error.valid_up_to() + 1);
                            reject(take, line, Reason::NotUtf8, detail, raw)?;
                        }
                    }
                }
                Piece::Json(bytes) => json::row(&self.bytes[bytes], line, take, &self.columns)?,
                Piece::Fields(fields) => take.row(line, Record::Fields(fields))?,
                Piece::Bad(reason, detail, bytes) => reject(take, line, reason, detail, &self.bytes[bytes])?,
            }
        }
        Ok(())
    }

    /// What was read into the block, but not yet cut.
    pub(super) fn uncut(&self) -> &[u8] {
        &self.bytes[self.cut..]
    }

    /// Where more is read to; what is there already must stay.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Gives up bytes that were cut off without a record in them.
    pub(super) fn forget_skipped(&mut self) {
        if self.pieces.is_empty() {
            self.bytes.drain(..self.cut);
            self.cut = 0;
        }
    }

    /// Takes the uncut bytes out.
    pub(super) fn take_uncut(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.bytes[self.cut..]);
        self.bytes.truncate(self.cut);
    }

    /// Cuts so many bytes off, of which nothing is wanted.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.cut += bytes;
    }

    /// Cuts so many bytes off, the first `raw` of which are a record of CSV. Nothing is copied.
    pub(super) fn cut_cells(&mut self, line: u64, bytes: usize, raw: usize, fields: &[Field], header: &Arc<Header>) {
        if self.header.as_ref().is_none_or(|known| !Arc::ptr_eq(known, header)) {
            self.header = Some(header.clone());
        }
        let first = self.fields.len();
        self.fields.extend_from_slice(fields);
        let at = self.cut..self.cut + raw;
        self.pieces.push((line, Piece::Cells(at, first..self.fields.len())));
        self.skip(bytes);
    }

    /// Cuts so many bytes off, the first `raw` of which are a row of JSON. Nothing is copied.
    pub(super) fn cut_json(&mut self, line: u64, bytes: usize, raw: usize) {
        self.pieces.push((line, Piece::Json(self.cut..self.cut + raw)));
        self.skip(bytes);
    }

    /// Cuts so many bytes off, the first `raw` of which are too broken to be a row.
    pub(super) fn cut_bad(&mut self, line: u64, bytes: usize, raw: usize, reason: Reason, detail: String) {
        self.pieces.push((line, Piece::Bad(reason, detail, self.cut..self.cut + raw.min(SHOWN))));
        self.skip(bytes);
    }

    pub(super) fn json(&mut self, line: u64, raw: &[u8]) {
        let bytes = self.keep(raw);
        self.pieces.push((line, Piece::Json(bytes)));
    }

    pub(super) fn row(&mut self, line: u64, fields: Map<String, Value>) {
        self.whole += 1;
        self.pieces.push((line, Piece::Fields(fields)));
    }

    pub(super) fn bad(&mut self, line: u64, reason: Reason, detail: String, raw: &[u8]) {
        let bytes = self.keep(&raw[..raw.len().min(SHOWN)]);
        self.pieces.push((line, Piece::Bad(reason, detail, bytes)));
    }

    fn keep(&mut self, raw: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(raw);
        self.cut = self.bytes.len();
        start..self.cut
    }
}

/// Bytes of a bad record that are handed over: enough for what is shown of it, so that a huge line is not copied.
const SHOWN: usize = 1024;

pub(super) fn reject(take: &mut dyn Take, line: u64, reason: Reason, detail: String, raw: &[u8]) -> Result<(), SourceError> {
    take.reject(line, reason, detail, &String::from_utf8_lossy(&raw[..raw.len().min(SHOWN)]))
}
