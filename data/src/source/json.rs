//! JSON Lines, and JSON files that hold one array of rows.

use super::block::reject;
use super::open::{LONGEST_LINE, open, without_mark};
use super::{Record, Sink, Take};
use crate::config::Columns;
use crate::error::SourceError;
use crate::quarantine::Reason;
use memchr::memchr;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
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
    let mut line = 1u64;
    let mut last = sink.read_on(reader, line)?;
    let mark = sink.block.uncut().len() - without_mark(sink.block.uncut()).len();
    sink.block.skip(mark);
    loop {
        let rest = sink.block.uncut();
        match memchr(b'\n', rest) {
            Some(end) => {
                let length = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).len();
                sink.block.cut_json(line, end + 1, length);
            }
            None if last && rest.is_empty() => return Ok(()),
            // The last line has no end.
            None if last => {
                let length = rest.len();
                sink.block.cut_json(line, length, length);
            }
            None if rest.len() > LONGEST_LINE => {
                let detail = format!("more than {LONGEST_LINE} bytes without a line end");
                let length = rest.len();
                sink.block.cut_bad(line, length, length, Reason::LineTooLong, detail);
                last = skip_line(reader, sink, line)?;
            }
            None => {
                last = sink.read_on(reader, line)?;
                continue;
            }
        }
        line += 1;
        sink.when_full()?;
    }
}

/// Goes on behind the end of the line; true if the file has ended.
fn skip_line(reader: &mut dyn BufRead, sink: &mut Sink, line: u64) -> Result<bool, SourceError> {
    loop {
        let last = sink.read_on(reader, line)?;
        let rest = sink.block.uncut();
        let end = memchr(b'\n', rest);
        let length = end.map_or(rest.len(), |end| end + 1);
        sink.block.skip(length);
        if last || end.is_some() {
            return Ok(last);
        }
    }
}

/// Splits `[ {...}, {...} ]` at the commas of its first level without holding more than one element. Several arrays in a row are read as one.
fn array(reader: &mut dyn BufRead, sink: &mut Sink) -> Result<(), SourceError> {
    let first = reader.fill_buf().map_err(|e| sink.unreadable(1, e.to_string()))?;
    let mark = first.len() - without_mark(first).len();
    reader.consume(mark);
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
            if opens && byte != b'[' && !byte.is_ascii_whitespace() {
                let detail = "the array of rows has ended, and more text follows: expected is one array, or JSON Lines of objects";
                return Err(sink.unreadable(line, detail));
            }
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
                continue; // blanks and the outer bracket
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
    let parsed =
        if text.starts_with('{') { serde_json::from_str(text).map(|Object(row)| Value::Object(row)) } else { serde_json::from_str(text) };
    match parsed {
        Ok(Value::Object(fields)) => take.row(line, Record::Fields(fields)),
        // A file of bare strings is a list of texts or of prompts; the stage knows which it wants.
        Ok(Value::String(text)) => {
            let mut fields = Map::new();
            fields.insert(columns.prompt.clone(), Value::String(text.clone()));
            fields.insert(columns.text.clone(), Value::String(text));
            take.row(line, Record::Fields(fields))
        }
        Ok(other) => reject(take, line, Reason::NotAnObject, format!("the row is {}, not an object", kind(&other)), raw),
        Err(error) => reject(take, line, Reason::BrokenJson, error.to_string(), raw),
    }
}

/// The type of a value in words, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An object that begins with room for the fields of most rows, instead of growing to them each time.
struct Object(Map<String, Value>);

/// Fields for which there is room.
const ROOM: usize = 12;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object;

    fn expecting(&self, to: &mut std::fmt::Formatter) -> std::fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Object, A::Error> {
        let mut fields = Map::with_capacity(ROOM);
        while let Some((name, value)) = from.next_entry()? {
            fields.insert(name, value);
        }
        Ok(Object(fields))
    }
}
