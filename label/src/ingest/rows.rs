//! Walking the rows of a file, whatever container they are in.

use super::{Sink, head};
use data::config::{Columns, Format};
use data::error::{DataError, SourceError};
use data::quarantine::Reason;
use data::source::{self, Met, Row};
use serde_json::Value;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

/// Largest JSON document that is one object (rows of an array are read one by one, however many there are).
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// Hands each row to `each`, and what is too broken to be a row to the sink's quarantine. `Row::line` is the 1-based line, or (in a JSON array,
/// Parquet, Arrow) the number of the record. A row of which `each` makes nothing, neither a judgment nor a reject, is an internal error; a reader
/// whose units are made of several rows uses [`scan`].
pub fn read(
    file: &Path,
    sink: &mut dyn Sink,
    each: &mut dyn FnMut(Row, &mut dyn Sink) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    scan(file, &mut |met| match met {
        Met::Row(row) => {
            let (before, line) = (sink.units(), row.line);
            each(row, sink)?;
            if sink.units() > before {
                return Ok(());
            }
            Err(SourceError::Internal(format!("row {line} of {} was neither kept nor rejected", file.display())))
        }
        Met::Bad { line, reason, detail, raw } => sink.reject(line, reason, detail, &raw),
    })
}

/// All that a file holds, rows and what is too broken to be one.
pub fn scan(file: &Path, each: &mut dyn FnMut(Met) -> Result<(), SourceError>) -> Result<(), SourceError> {
    let format = match head::form(file)? {
        "json" if !is_array(file)? => return document(file, each),
        "json" => {
            let mut record = 0;
            let mut numbered = |met| {
                record += 1;
                each(match met {
                    Met::Row(row) => Met::Row(Row { line: record, ..row }),
                    Met::Bad { reason, detail, raw, .. } => Met::Bad { line: record, reason, detail, raw },
                })
            };
            return source::read_all(file, Format::Jsonl, &every_column(), &mut numbered).map(|_| ());
        }
        "jsonl" => Format::Jsonl,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "parquet" => Format::Parquet,
        _ => Format::Arrow,
    };
    source::read_all(file, format, &every_column(), each).map(|_| ())
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

/// Without configured names Parquet gives all its columns.
fn every_column() -> Columns {
    let none = String::new;
    Columns {
        text: none(),
        prompt: none(),
        response: none(),
        messages: none(),
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
