//! What the readers of row-wise files share: rows of any format by content, and typed values out of them. What is wrong with a row is a [`Fault`],
//! which puts the row into the quarantine.

use super::Sink;
use data::chat::Message;
use data::config::{Columns, Format};
use data::error::SourceError;
use data::quarantine::Reason;
use data::rankings::ranks_of;
use data::source::{self, Record, Take};
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// What is wrong with a row, and why in words.
pub(super) type Fault = (Reason, String);

/// The fields of a row.
pub(super) type Fields = Map<String, Value>;

/// Uses a row, or finds fault with it; an error ends the reading. The last argument takes what the row gives.
pub(super) type Use<'a> = dyn FnMut(u64, &Record, &mut dyn Sink) -> Result<Result<(), Fault>, SourceError> + 'a;

/// Hands every row of the file to `each`; the rows that it finds fault with, and what never became a row, go to the sink's rejects.
pub(super) fn each(file: &Path, format: Option<Format>, sink: &mut dyn Sink, each: &mut Use) -> Result<(), SourceError> {
    let format = match format {
        Some(format) => format,
        None => format_of(file)?,
    };
    source::read_records(file, format, &Columns::default(), true, &mut Rows { sink, each })
}

/// [`each`] for readers that want fields rather than cells.
pub(super) fn each_fields(
    file: &Path,
    sink: &mut dyn Sink,
    one: &mut dyn FnMut(u64, &Fields, &mut dyn Sink) -> Result<Result<(), Fault>, SourceError>,
) -> Result<(), SourceError> {
    each(file, None, sink, &mut |line, record, sink| match record {
        Record::Fields(fields) => one(line, fields, sink),
        Record::Cells(cells) => one(line, &Record::Cells(*cells).into_fields(), sink),
    })
}

struct Rows<'a, 'b> {
    sink: &'a mut dyn Sink,
    each: &'a mut Use<'b>,
}

impl Take for Rows<'_, '_> {
    fn row(&mut self, line: u64, record: Record) -> Result<(), SourceError> {
        match (self.each)(line, &record, self.sink)? {
            Ok(()) => Ok(()),
            Err((reason, detail)) => self.sink.reject(line, reason, detail, &raw(&record)),
        }
    }

    fn reject(&mut self, line: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.sink.reject(line, reason, detail, raw)
    }
}

/// The row's text for the quarantine.
pub(super) fn raw(record: &Record) -> String {
    match record {
        Record::Fields(fields) => serde_json::to_string(fields).unwrap_or_default(),
        Record::Cells(cells) => serde_json::to_string(&Record::Cells(*cells).into_fields()).unwrap_or_default(),
    }
}

/// The format of a file by its content; the name only decides between CSV and TSV.
pub(super) fn format_of(file: &Path) -> Result<Format, SourceError> {
    let mut head = Vec::new();
    source::open(file)?.take(1 << 16).read_to_end(&mut head).map_err(SourceError::io("read", file))?;
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    let first = text.iter().find(|b| !b.is_ascii_whitespace());
    Ok(match first {
        _ if text.starts_with(b"PAR1") => Format::Parquet,
        // The stream format begins with a continuation marker.
        _ if text.starts_with(b"ARROW1") || text.starts_with(&[0xff; 4]) => Format::Arrow,
        Some(b'{' | b'[') => Format::Jsonl,
        _ => match source::format_of(file) {
            Some(Format::Text) | None => {
                let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
                let count = |wanted: u8| line.iter().filter(|b| **b == wanted).count();
                if count(b'\t') > count(b',') { Format::Tsv } else { Format::Csv }
            }
            Some(named) => named,
        },
    })
}

/// A field that is there and not null.
pub(super) fn present<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// The first of the names that is there, and not null.
pub(super) fn first_of<'a>(fields: &'a Fields, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
    names.iter().find_map(|name| present(fields, name).map(|value| (*name, value)))
}

/// The fault of a row without this field.
pub(super) fn missing(fields: &Fields, name: &str) -> Fault {
    let names: Vec<&str> = fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str()).take(20).collect();
    (Reason::MissingField, format!("no field {name:?}; the row has {}", names.join(", ")))
}

/// A field of text with at least one visible character.
pub(super) fn visible<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, Fault> {
    let value = present(fields, name).ok_or_else(|| missing(fields, name))?;
    let text = value.as_str().ok_or_else(|| (Reason::WrongType, format!("field {name:?} is {}, not text", kind(value))))?;
    if text.trim().is_empty() { Err((Reason::Empty, format!("field {name:?} is empty"))) } else { Ok(text) }
}

/// A name: text, a number or a truth value, none where the cell is empty or the field absent.
pub(super) fn name(fields: &Fields, names: &[&'static str]) -> Option<String> {
    names.iter().find_map(|name| scalar(present(fields, name)?).filter(|text| !text.trim().is_empty())).map(|text| text.trim().to_string())
}

/// A value that is one text: text as it is, numbers and truth values written out.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A finite number, also one written as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    }
    .filter(|x| x.is_finite())
}

/// A number that may be absent; anything else there is a fault.
pub(super) fn number_in(fields: &Fields, name: &str) -> Result<Option<f64>, Fault> {
    match present(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(value) => match number(value) {
            Some(number) => Ok(Some(number)),
            None => Err((Reason::WrongType, format!("{value} in {name:?} is not a finite number"))),
        },
    }
}

/// The row's weight, 1 where it says none.
pub(super) fn weight(value: Option<f64>) -> Result<f32, Fault> {
    let weight = value.unwrap_or(1.0);
    if weight > 0.0 { Ok(weight as f32) } else { Err((Reason::BadWeight, format!("weight {weight} is not positive"))) }
}

/// Dense ranks from 1 of the source's ranks: 1 2 2 4 and 0 1 1 2 both mean 1 2 2 3.
pub(super) fn dense(ranks: &[f64]) -> Result<Vec<u32>, Fault> {
    if let Some(rank) = ranks.iter().find(|rank| **rank < 0.0 || rank.fract() != 0.0) {
        return Err((Reason::BadRanking, format!("rank {rank} is not a whole number from 0 up; scores are something else")));
    }
    let negated: Vec<f32> = ranks.iter().map(|rank| -*rank as f32).collect();
    Ok(ranks_of(&negated))
}

/// Finds the first answer without a visible character.
pub(super) fn no_empty(answers: &[String]) -> Result<(), Fault> {
    match answers.iter().position(|answer| answer.trim().is_empty()) {
        Some(i) => Err((Reason::Empty, format!("answer {} is empty", i + 1))),
        None => Ok(()),
    }
}

/// A prompt of one turn of the user's.
pub(super) fn asked(prompt: &str) -> Vec<Message> {
    vec![Message::new("user", prompt)]
}

/// A conversation: a list of messages, or one text that the user says.
pub(super) fn conversation(value: &Value) -> Result<Vec<Message>, Fault> {
    match value {
        Value::String(text) if !text.trim_start().starts_with("[{") => Ok(asked(text)),
        value => Message::list(value).map_err(|why| (Reason::BadChat, why)),
    }
}

/// The type of a value in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
