//! CSV and TSV: [`csv_records`](super::csv_records) cuts out records and says where their fields stand; a [`Block`](super::Block) makes cells of them.

use super::Sink;
use super::csv_records::{self, Field, Found};
use super::open::{open, without_mark};
use crate::error::SourceError;
use crate::quarantine::Reason;
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

/// The names of the columns and where each stands.
#[derive(Debug, Default)]
pub struct Header {
    /// In the order of the file.
    pub names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Header {
    /// Where the column stands.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }
}

pub(super) fn read(sink: &mut Sink, separator: u8) -> Result<(), SourceError> {
    let mut reader = open(&sink.file)?;
    let mut bytes = Vec::new(); // read, but not yet cut
    let mut start = 0; // where the uncut bytes begin
    let mut header: Option<Arc<Header>> = None;
    let mut fields: Vec<Field> = Vec::new();
    let (mut line, mut last) = (1u64, false);
    loop {
        let found = csv_records::next(&bytes[start..], separator, last, &mut fields);
        let rest = &bytes[start..];
        match found {
            Found::More => {
                bytes.drain(..start);
                start = 0;
                // Doubling keeps a record of many blocks from being scanned again for each of them.
                let wanted = bytes.len().max(1 << 18);
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
                match &header {
                    None => return Err(sink.unreadable(line, format!("the header cannot be read: {why}"))),
                    // In TSV a quote is often just a quote: with the right number of tabs the line is taken as it stands.
                    Some(header) if separator == b'\t' && raw.split(|b| *b == b'\t').count() == header.names.len() => {
                        sink.cells(line, raw, tabbed(raw), header)?;
                    }
                    Some(_) => sink.reject(line, Reason::BrokenQuotes, why, raw)?,
                }
                start += bytes;
                line += 1;
            }
            Found::Record { bytes, lines } => {
                let raw = csv_records::trim_end(&rest[..bytes]);
                match &header {
                    None => header = Some(Arc::new(header_of(sink, &rest[..bytes], &fields)?)),
                    Some(header) if fields.len() != header.names.len() => {
                        let detail = format!("{} fields where the header has {}", fields.len(), header.names.len());
                        sink.reject(line, Reason::FieldCount, detail, raw)?;
                    }
                    Some(header) => sink.cells(line, raw, fields.iter().copied(), header)?,
                }
                start += bytes;
                line += lines;
            }
        }
    }
    match header {
        Some(_) => Ok(()),
        None => Err(sink.unreadable(0, "the file is empty: a header with the column names is needed")),
    }
}

/// Appends up to `wanted` bytes; true at the end of the file.
fn fill(reader: &mut dyn BufRead, bytes: &mut Vec<u8>, wanted: usize) -> std::io::Result<bool> {
    Ok(reader.take(wanted as u64).read_to_end(bytes)? < wanted)
}

fn header_of(sink: &Sink, raw: &[u8], fields: &[Field]) -> Result<Header, SourceError> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return Err(sink.unreadable(1, "the header is not UTF-8: convert the file, for example with `iconv -t UTF-8`"));
    };
    let mut header = Header::default();
    for (i, field) in fields.iter().enumerate() {
        let name = match field.of(text).trim() {
            "" => format!("column_{}", i + 1), // the nameless index column that pandas writes
            name => name.to_string(),
        };
        if header.places.insert(name.clone(), i).is_some() {
            let detail = format!("the header names the column {name:?} twice");
            return Err(SourceError::Columns { path: sink.file.to_path_buf(), detail });
        }
        header.names.push(name);
    }
    Ok(header)
}

/// The fields between tabs, quotes being quotes.
fn tabbed(raw: &[u8]) -> impl Iterator<Item = Field> {
    let mut start = 0;
    raw.split(|b| *b == b'\t').map(move |field| {
        let end = start + field.len();
        Field::new(std::mem::replace(&mut start, end + 1), end, false)
    })
}
