//! Walking the rows of a file, whatever container they are in.

use super::{Sink, blocks, head};
use data::config::Format;
use data::error::{DataError, SourceError};
use data::quarantine::Reason;
use data::source::{self, Met, Record, Row, Take};
use serde_json::Value;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

/// Largest JSON document that is one object (rows of an array are read one by one, however many there are).
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// What is done with a record: its line, what stands there, and where the units that it makes go. Several threads do it at once, each for a block of
/// records and into a sink of that block, so it must not remember one record for the next.
pub type Each<'a> = dyn Fn(u64, Record, &mut dyn Sink) -> Result<(), SourceError> + Sync + 'a;

/// Hands each row to `each`, and what is too broken to be a row to the sink's quarantine. `Row::line` is the 1-based line, or (in a JSON array,
/// Parquet, Arrow) the number of the record. A row of which `each` makes nothing, neither a judgment nor a reject, is an internal error; a reader
/// whose units are made of several rows uses [`scan`].
pub fn read(
    file: &Path,
    sink: &mut dyn Sink,
    each: &(dyn Fn(Row, &mut dyn Sink) -> Result<(), SourceError> + Sync),
) -> Result<(), SourceError> {
    let path: Arc<Path> = Arc::from(file);
    records(file, sink, &|line, record, sink| each(Row { file: path.clone(), line, fields: record.into_fields() }, sink))
}

/// [`read`] for those who take the cells of CSV where they stand.
pub fn records(file: &Path, sink: &mut dyn Sink, each: &Each) -> Result<(), SourceError> {
    let each = |line: u64, record: Record, sink: &mut dyn Sink| {
        let before = sink.units();
        each(line, record, sink)?;
        if sink.units() > before {
            return Ok(());
        }
        Err(SourceError::Internal(format!("row {line} of {} was neither kept nor rejected", file.display())))
    };
    let Some(format) = container(file)? else {
        return scan(file, &mut |met| match met {
            Met::Row(row) => each(row.line, Record::Fields(row.fields), sink),
            Met::Bad { line, reason, detail, raw } => sink.reject(line, reason, detail, &raw),
        });
    };
    match sink.store() {
        Some(store) => blocks::read(store, file, format, &each),
        None => source::read_records(file, format, &source::every_column(), &mut Records { sink, each: &each }),
    }
}

/// Gives records to `each`, and what is too broken to be one to the sink.
pub(super) struct Records<'a> {
    pub sink: &'a mut dyn Sink,
    pub each: &'a Each<'a>,
}

impl Take for Records<'_> {
    fn row(&mut self, line: u64, record: Record) -> Result<(), SourceError> {
        (self.each)(line, record, self.sink)
    }

    fn reject(&mut self, line: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.sink.reject(line, reason, detail, raw)
    }
}

/// The container of the file's rows, where it is one whose rows carry their own number; None for JSON in one piece.
fn container(file: &Path) -> Result<Option<Format>, SourceError> {
    Ok(match head::form(file)? {
        "json" => None,
        "jsonl" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "parquet" => Some(Format::Parquet),
        _ => Some(Format::Arrow),
    })
}

/// All that a file holds, rows and what is too broken to be one.
pub fn scan(file: &Path, each: &mut dyn FnMut(Met) -> Result<(), SourceError>) -> Result<(), SourceError> {
    match container(file)? {
        Some(format) => source::read_all(file, format, &source::every_column(), each),
        None if !is_array(file)? => return document(file, each),
        None => {
            let mut record = 0;
            let mut numbered = |met| {
                record += 1;
                each(match met {
                    Met::Row(row) => Met::Row(Row { line: record, ..row }),
                    Met::Bad { reason, detail, raw, .. } => Met::Bad { line: record, reason, detail, raw },
                })
            };
            source::read_all(file, Format::Jsonl, &source::every_column(), &mut numbered)
        }
    }
    .map(|_| ())
}

/// Takes the row apart: `make` says what it is, or what is wrong with it.
pub fn one(
    row: &Row,
    sink: &mut dyn Sink,
    make: impl FnOnce(&Row) -> Result<data::labels::Judgment, (Reason, String)>,
) -> Result<(), SourceError> {
    match make(row) {
        Ok(judgment) => sink.keep(data::labels::Judgment { row: row.line, ..judgment }),
        Err((reason, detail)) => sink.reject(row.line, reason, detail, &raw(row)),
    }
}

/// The row as JSON: what the quarantine shows of it.
pub fn raw(row: &Row) -> String {
    serde_json::to_string(&row.fields).unwrap_or_default()
}

fn is_array(file: &Path) -> Result<bool, SourceError> {
    let mut reader = source::open(file)?;
    let first = reader.fill_buf().map_err(DataError::io("read", file))?;
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    Ok(first.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'['))
}

/// A JSON file that is one object.
fn document(file: &Path, each: &mut dyn FnMut(Met) -> Result<(), SourceError>) -> Result<(), SourceError> {
    let unreadable = |line: u64, detail: String| SourceError::Unreadable { path: file.to_path_buf(), line, detail };
    let mut bytes = Vec::new();
    source::open(file)?.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes).map_err(DataError::io("read", file))?;
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(unreadable(
            1,
            format!("one JSON object of more than {} MiB: write it as a list or as JSON Lines", LARGEST_DOCUMENT >> 20),
        ));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(fields)) => each(Met::Row(Row { file: Arc::from(file), line: 1, fields })),
        Ok(_) => Err(unreadable(1, "neither an object nor a list".to_string())),
        Err(error) => Err(unreadable(error.line() as u64, format!("not JSON: {error}"))),
    }
}
