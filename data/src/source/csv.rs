//! CSV and TSV: [`csv_records`](super::csv_records) cuts out records and says where their fields stand; a [`Block`](super::Block) makes cells of them.

use super::Sink;
use super::csv_records::{self, Field, Found};
use super::open::{open, without_mark};
use crate::error::SourceError;
use crate::quarantine::Reason;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The names of the columns and where each stands.
#[derive(Debug, Default)]
pub struct Header {
    /// In the order of the file.
    pub names: Vec<String>,
    /// A number that no other header of this process has, and never 0: by it a column found before is found again without its name.
    pub id: u32,
    places: HashMap<String, usize>,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl Header {
    /// Where the column stands.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }
}

pub(super) fn read(sink: &mut Sink, separator: u8) -> Result<(), SourceError> {
    let mut reader = open(&sink.file)?;
    let mut header = match sink.columns.header.as_slice() {
        [] => None,
        names => Some(Arc::new(header_from(sink, names.iter().map(|name| name.trim().to_string()))?)),
    };
    let mut fields: Vec<Field> = Vec::new();
    let mut line = 1u64;
    let mut last = sink.read_on(&mut reader, line)?;
    let mark = sink.block.uncut().len() - without_mark(sink.block.uncut()).len();
    sink.block.skip(mark);
    loop {
        let rest = sink.block.uncut();
        match csv_records::next(rest, separator, last, &mut fields) {
            Found::More => last = sink.read_on(&mut reader, line)?,
            Found::Blank { bytes: 0 } => break,
            Found::Blank { bytes } => {
                sink.block.skip(bytes);
                line += 1;
            }
            Found::Broken { bytes, why } => {
                let raw = csv_records::trim_end(&rest[..bytes]);
                let length = raw.len();
                match &header {
                    None => return Err(sink.unreadable(line, format!("the header cannot be read: {why}"))),
                    // In TSV a quote is often just a quote: with the right number of tabs the line is taken as it stands.
                    Some(header) if separator == b'\t' && raw.split(|b| *b == b'\t').count() == header.names.len() => {
                        fields.clear();
                        fields.extend(tabbed(raw));
                        sink.block.cut_cells(line, bytes, length, &fields, header);
                    }
                    Some(_) => sink.block.cut_bad(line, bytes, length, Reason::BrokenQuotes, why.to_string()),
                }
                line += 1;
            }
            Found::Record { bytes, lines } => {
                let length = csv_records::trim_end(&rest[..bytes]).len();
                match &header {
                    None => {
                        header = Some(Arc::new(header_of(sink, &rest[..bytes], &fields)?));
                        sink.block.skip(bytes);
                    }
                    Some(header) if fields.len() != header.names.len() => {
                        let detail = format!("{} fields where the header has {}", fields.len(), header.names.len());
                        sink.block.cut_bad(line, bytes, length, Reason::FieldCount, detail);
                    }
                    Some(header) => sink.block.cut_cells(line, bytes, length, &fields, header),
                }
                line += lines;
            }
        }
        sink.when_full()?;
    }
    match header {
        Some(_) => Ok(()),
        None => Err(sink.unreadable(0, "the file is empty: a header with the column names is needed")),
    }
}

fn header_of(sink: &Sink, raw: &[u8], fields: &[Field]) -> Result<Header, SourceError> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return Err(sink.unreadable(1, "the header is not UTF-8: convert the file, for example with `iconv -t UTF-8`"));
    };
    let name = |(i, field): (usize, &Field)| match field.of(text).trim() {
        "" => format!("column_{}", i + 1), // the nameless index column that pandas writes
        name => name.to_string(),
    };
    header_from(sink, fields.iter().enumerate().map(name))
}

fn header_from(sink: &Sink, names: impl Iterator<Item = String>) -> Result<Header, SourceError> {
    let mut header = Header { id: NEXT.fetch_add(1, Ordering::Relaxed), ..Header::default() };
    for (i, name) in names.enumerate() {
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
