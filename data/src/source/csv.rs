//! CSV and TSV: [`csv_records`](super::csv_records) cuts out the sound records, polars parses them block by block.

use super::csv_records::{self, Found};
use super::open::{open, without_mark};
use super::{Sink, parquet::value};
use crate::error::SourceError;
use crate::quarantine::Reason;
use polars::prelude::*;
use serde_json::{Map, Value};
use std::io::{BufRead, Cursor};

/// Bytes and records parsed at a time.
const BLOCK_BYTES: usize = 4 << 20;
const BLOCK_RECORDS: usize = 16_384;

pub(super) fn read(sink: &mut Sink, separator: u8) -> Result<(), SourceError> {
    let mut reader = open(&sink.file)?;
    let mut bytes = Vec::new(); // read, but not yet cut
    let mut start = 0; // where the uncut bytes begin
    let mut table: Option<Table> = None; // once the header is known
    let (mut line, mut last) = (1u64, false);
    loop {
        let found = csv_records::next(&bytes[start..], separator, last);
        let rest = &bytes[start..];
        match found {
            Found::More => {
                bytes.drain(..start);
                start = 0;
                // Doubling keeps a record of many blocks from being scanned again for each of them.
                let wanted = bytes.len().max(1 << 16);
                let at_start = line == 1 && bytes.is_empty();
                last = fill(&mut *reader, &mut bytes, wanted).map_err(|e| sink.unreadable(line, e.to_string()))?;
                if at_start {
                    start = bytes.len() - without_mark(&bytes).len();
                }
                continue;
            }
            Found::Blank { bytes: 0 } => break,
            Found::Blank { bytes } => {
                start += bytes;
                line += 1;
                continue;
            }
            Found::Broken { bytes, why } => {
                let raw = csv_records::trim_end(&rest[..bytes]);
                match &mut table {
                    None => return Err(sink.unreadable(line, format!("the header cannot be read: {why}"))),
                    // In TSV a quote is often just a quote: with the right number of tabs the line is taken as it stands.
                    Some(table) if separator == b'\t' && raw.split(|b| *b == b'\t').count() == table.names.len() => {
                        table.add(sink, line, raw, |raw, out| csv_records::quote_all(raw, b'\t', out))?;
                    }
                    Some(_) => sink.reject(line, Reason::BrokenQuotes, why, raw)?,
                }
                start += bytes;
                line += 1;
            }
            Found::Record { bytes, lines, fields, stray_quotes } => {
                let raw = csv_records::trim_end(&rest[..bytes]);
                let copy = |raw: &[u8], out: &mut Vec<u8>| {
                    if stray_quotes { csv_records::requote(raw, separator, out) } else { out.extend_from_slice(raw) }
                };
                match &mut table {
                    None => table = Some(Table::from_header(sink, separator, raw, fields, copy)?),
                    Some(table) if fields != table.names.len() => {
                        let detail = format!("{fields} fields where the header has {}", table.names.len());
                        sink.reject(line, Reason::FieldCount, detail, raw)?;
                    }
                    Some(table) => table.add(sink, line, raw, copy)?,
                }
                start += bytes;
                line += lines;
            }
        }
        if let Some(table) = &mut table
            && (table.clean.len() >= BLOCK_BYTES || table.lines.len() >= BLOCK_RECORDS)
        {
            table.flush(sink)?;
        }
    }
    match &mut table {
        Some(table) => table.flush(sink),
        None => Err(sink.unreadable(0, "the file is empty: a header with the column names is needed")),
    }
}

/// Appends up to `wanted` bytes; true at the end of the file.
fn fill(reader: &mut dyn BufRead, bytes: &mut Vec<u8>, wanted: usize) -> std::io::Result<bool> {
    let goal = bytes.len() + wanted;
    while bytes.len() < goal {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(true);
        }
        let length = block.len();
        bytes.extend_from_slice(block);
        reader.consume(length);
    }
    Ok(false)
}

/// Sound records of equal width, waiting to be parsed.
struct Table {
    separator: u8,
    names: Vec<String>,
    clean: Vec<u8>,
    /// Line of each record in `clean`, and where its bytes end.
    lines: Vec<(u64, usize)>,
}

impl Table {
    fn from_header(
        sink: &Sink,
        separator: u8,
        raw: &[u8],
        fields: usize,
        copy: impl Fn(&[u8], &mut Vec<u8>),
    ) -> Result<Table, SourceError> {
        if std::str::from_utf8(raw).is_err() {
            return Err(sink.unreadable(1, "the header is not UTF-8: convert the file, for example with `iconv -t UTF-8`"));
        }
        let mut table = Table { separator, names: vec![String::new(); fields], clean: Vec::new(), lines: Vec::new() };
        copy(raw, &mut table.clean);
        table.clean.push(b'\n');
        let header = table.parse(&table.clean).map_err(|e| sink.unreadable(1, format!("the header cannot be read: {e}")))?;
        table.clean.clear();
        let mut names: Vec<String> = Vec::new();
        for (i, column) in header.columns().iter().enumerate() {
            let name = match column.get(0).map(|v| value(&v)) {
                Ok(Value::String(name)) if !name.trim().is_empty() => name.trim().to_string(),
                _ => format!("column_{}", i + 1), // the nameless index column that pandas writes
            };
            if names.contains(&name) {
                let detail = format!("the header names the column {name:?} twice");
                return Err(SourceError::Columns { path: sink.file.to_path_buf(), detail });
            }
            names.push(name);
        }
        table.names = names;
        Ok(table)
    }

    /// Takes a record; `copy` writes it as polars wants it.
    fn add(&mut self, sink: &mut Sink, line: u64, raw: &[u8], copy: impl Fn(&[u8], &mut Vec<u8>)) -> Result<(), SourceError> {
        if let Err(error) = std::str::from_utf8(raw) {
            return sink.reject(line, Reason::NotUtf8, format!("byte {} of the record", error.valid_up_to() + 1), raw);
        }
        copy(raw, &mut self.clean);
        self.clean.push(b'\n');
        self.lines.push((line, self.clean.len()));
        Ok(())
    }

    /// Parses what has been collected and hands the rows over.
    fn flush(&mut self, sink: &mut Sink) -> Result<(), SourceError> {
        let clean = std::mem::take(&mut self.clean);
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return Ok(());
        }
        if let Ok(frame) = self.parse(&clean)
            && frame.height() == lines.len()
        {
            return self.hand_over(sink, &frame, lines.iter().map(|(line, _)| *line));
        }
        // The scanner and polars disagree about some record of this block: find it.
        let mut start = 0;
        for (line, end) in lines {
            let raw = &clean[start..end];
            match self.parse(raw) {
                Ok(frame) if frame.height() == 1 => self.hand_over(sink, &frame, std::iter::once(line))?,
                Ok(frame) => sink.reject(line, Reason::BrokenQuotes, format!("parsed into {} rows", frame.height()), raw)?,
                Err(error) => sink.reject(line, Reason::BrokenQuotes, error.to_string(), raw)?,
            }
            start = end;
        }
        Ok(())
    }

    fn hand_over(&self, sink: &mut Sink, frame: &DataFrame, lines: impl Iterator<Item = u64>) -> Result<(), SourceError> {
        for (row, line) in lines.enumerate() {
            let mut fields = Map::new();
            for (name, column) in self.names.iter().zip(frame.columns()) {
                let cell = column.get(row).map_err(|e| sink.unreadable(line, e.to_string()))?;
                // An empty cell is an empty text: CSV knows no null.
                let cell = match value(&cell) {
                    Value::Null => Value::String(String::new()),
                    cell => cell,
                };
                fields.insert(name.clone(), cell);
            }
            sink.row(line, fields)?;
        }
        Ok(())
    }

    /// All columns as text: what a number or a rank is, the stage decides.
    fn parse(&self, clean: &[u8]) -> PolarsResult<DataFrame> {
        let schema: Schema = (0..self.names.len()).map(|i| Field::new(format!("{i}").into(), DataType::String)).collect();
        CsvReadOptions::default()
            .with_has_header(false)
            .with_schema(Some(Arc::new(schema)))
            .with_infer_schema_length(Some(0))
            .with_raise_if_empty(false)
            .map_parse_options(|options| options.with_separator(self.separator).with_missing_is_null(false))
            .into_reader_with_file_handle(Cursor::new(clean))
            .finish()
    }
}
