//! What the readers of row-wise files share: typed values out of rows. What is wrong with a row is a [`Fault`], which puts the row into the quarantine.

use super::{Sink, rows};
use data::chat::Message;
use data::error::SourceError;
use data::labels::Judgment;
use data::quarantine::Reason;
use data::rankings::ranks_of;
use data::source::{Record, kind};
use serde_json::{Map, Value};
use std::path::Path;

/// What is wrong with a row, and why in words.
pub(super) type Fault = (Reason, String);

/// The fields of a row.
pub(super) type Fields = Map<String, Value>;

/// Makes a judgment of a row, or finds fault with it; by several threads at once.
pub(super) type Make<'a> = dyn Fn(&Fields) -> Result<Judgment, Fault> + Sync + 'a;

/// Makes a judgment of each row, or finds fault with it.
pub(super) fn each_row(file: &Path, sink: &mut dyn Sink, make: &Make) -> Result<(), SourceError> {
    rows::read(file, sink, &|row, sink| rows::one(&row, sink, |row| make(&row.fields)))
}

/// The row's text for the quarantine.
pub(super) fn raw(record: &Record) -> String {
    match record {
        Record::Fields(fields) => serde_json::to_string(fields).unwrap_or_default(),
        Record::Cells(cells) => serde_json::to_string(&Record::Cells(*cells).into_fields()).unwrap_or_default(),
    }
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

/// Mark of a judgment of which an answer has no visible character: people judged that a model said nothing, and it is a judgment like any other.
pub(super) const SILENT: &str = "empty-answer";

/// True if one of the answers is empty; a fault if all of them are, or there are none.
pub(super) fn silent(answers: &[String]) -> Result<bool, Fault> {
    match answers.iter().filter(|answer| answer.trim().is_empty()).count() {
        n if n == answers.len() => Err((Reason::Empty, "every answer is empty".to_string())),
        n => Ok(n > 0),
    }
}

/// The marks that follow from the answers.
pub(super) fn marks(answers: &[String]) -> Result<Vec<String>, Fault> {
    silent(answers).map(|silent| if silent { vec![SILENT.to_string()] } else { Vec::new() })
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
