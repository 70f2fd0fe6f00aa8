//! JSON Lines, and JSON files that hold one array of rows.

use super::block::reject;
use super::open::{LONGEST_LINE, Line, open, read_line, without_mark};
use super::{Record, Sink, Take};
use crate::config::Columns;
use crate::error::SourceError;
use crate::quarantine::Reason;
use serde_json::{Map, Value};
use std::io::BufRead;

pub(super) fn read(sink: &mut Sink) -> Result<(), SourceError> {
    let mut reader = open(&sink.file)?;
    let first = reader.fill_buf().map_err(|e| sink.unreadable(1, e.to_string()))?;
    // No row of a JSON Lines file is an array, so one that begins with a bracket is one array of rows.
    match without_mark(first).iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => array(&mut reader, sink),
        _ => lines(&mut reader, sink),
    }
}

fn lines(reader: &mut dyn BufRead, sink: &mut Sink) -> Result<(), SourceError> {
    let mut raw = Vec::new();
    let mut line = 0u64;
    loop {
        let found = read_line(reader, &mut raw, LONGEST_LINE).map_err(|e| sink.unreadable(line + 1, e.to_string()))?;
        line += 1;
        match found {
            Line::End => return Ok(()),
            Line::TooLong => sink.reject(line, Reason::LineTooLong, format!("more than {LONGEST_LINE} bytes without a line end"), &raw)?,
            Line::Read => sink.json(line, if line == 1 { without_mark(&raw) } else { &raw })?,
        }
    }
}

/// Splits `[ {...}, {...} ]` at the commas of its first level without holding more than one element.
fn array(reader: &mut dyn BufRead, sink: &mut Sink) -> Result<(), SourceError> {
    let (mut element, mut line, mut start) = (Vec::new(), 1u64, 1u64);
    // Depth 1 is inside the outer bracket.
    let (mut depth, mut in_string, mut escaped, mut too_long) = (0usize, false, false, false);
    loop {
        let block = reader.fill_buf().map_err(|e| sink.unreadable(line, e.to_string()))?;
        if block.is_empty() {
            break;
        }
        let length = block.len();
        let block = block.to_vec();
        reader.consume(length);
        for byte in block {
            let opens = depth == 0;
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if byte == b'\n' {
                line += 1;
            }
            if opens {
                continue; // the byte order mark, blanks and the outer bracket; after the end, blanks
            }
            if depth == 0 || (depth == 1 && byte == b',' && !in_string) {
                if too_long {
                    sink.reject(start, Reason::LineTooLong, format!("an element of more than {LONGEST_LINE} bytes"), &element)?;
                } else {
                    sink.json(start, &element)?;
                }
                element.clear();
                too_long = false;
                continue;
            }
            if element.is_empty() {
                if byte.is_ascii_whitespace() {
                    continue;
                }
                start = line;
            }
            if element.len() < LONGEST_LINE {
                element.push(byte);
            } else {
                too_long = true;
            }
        }
    }
    if depth > 0 {
        let detail = "the array of rows never closes: the file is cut short, or it is JSON Lines with a stray `[`";
        return Err(sink.unreadable(line, detail));
    }
    Ok(())
}

/// The row that stands in the text of a line or of an element; blank text is none.
pub(super) fn row(raw: &[u8], line: u64, take: &mut dyn Take, columns: &Columns) -> Result<(), SourceError> {
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text.trim(),
        Err(error) => {
            return reject(take, line, Reason::NotUtf8, format!("byte {} of the line", error.valid_up_to() + 1), raw);
        }
    };
    if text.is_empty() {
        return Ok(());
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => take.row(line, Record::Fields(fields)),
        // A file of bare strings is a list of texts or of prompts; the stage knows which it wants.
        Ok(Value::String(text)) => {
            let mut fields = Map::new();
            fields.insert(columns.prompt.clone(), Value::String(text.clone()));
            fields.insert(columns.text.clone(), Value::String(text));
            take.row(line, Record::Fields(fields))
        }
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "a list",
                Value::Null => "null",
                Value::Bool(_) => "a truth value",
                _ => "a number",
            };
            reject(take, line, Reason::NotAnObject, format!("the row is {kind}, not an object"), raw)
        }
        Err(error) => reject(take, line, Reason::BrokenJson, error.to_string(), raw),
    }
}
