//! One value of a row by its column's name, whether the row is cells of CSV or JSON.

use crate::ingest::fields::{self, Fault};
use data::quarantine::Reason;
use data::source::{Record, kind};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

/// A column by name. It remembers where it stood last, so that not every cell costs a look-up.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    /// The header's number and the column's place in it, 32 bits each.
    last: AtomicU64,
}

/// A value that is there.
#[derive(Clone, Copy)]
pub(super) enum Cell<'a> {
    Text(&'a str),
    Json(&'a Value),
}

impl Column {
    pub(super) fn new(name: &str) -> Column {
        Column { name: name.to_string(), last: AtomicU64::new(0) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The value; None where the row has no such column, or null there.
    pub(super) fn get<'a>(&self, record: &'a Record) -> Option<Cell<'a>> {
        match record {
            Record::Cells(row) => {
                let last = self.last.load(Ordering::Relaxed);
                if last >> 32 == u64::from(row.header.id) {
                    return Some(Cell::Text(&row.cells[last as u32 as usize]));
                }
                let place = row.header.place(&self.name)?;
                self.last.store(u64::from(row.header.id) << 32 | place as u64, Ordering::Relaxed);
                Some(Cell::Text(&row.cells[place]))
            }
            Record::Fields(fields) => match fields.get(&self.name) {
                Some(value) => Some(value),
                None => nested(fields.get(self.name.split('.').next()?)?, self.name.split('.').skip(1)),
            }
            .filter(|value| !value.is_null())
            .map(Cell::Json),
        }
    }

    /// The value, or the fault of a row without it.
    pub(super) fn need<'a>(&self, record: &'a Record) -> Result<Cell<'a>, Fault> {
        self.get(record).ok_or_else(|| self.missing(record))
    }

    pub(super) fn missing(&self, record: &Record) -> Fault {
        let names: Vec<&str> = match record {
            Record::Cells(row) => row.header.names.iter().map(String::as_str).take(40).collect(),
            Record::Fields(fields) => fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str()).take(40).collect(),
        };
        (Reason::MissingField, format!("no column {:?}; the row has {}", self.name, names.join(", ")))
    }

    /// A text with a visible character, numbers and truth values written out; None where the cell is empty or absent.
    pub(super) fn text<'a>(&self, record: &'a Record) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(cell) = self.get(record) else { return Ok(None) };
        cell.text(&self.name).map(|text| Some(text).filter(|text| !text.trim().is_empty()))
    }

    /// A number; None where the cell is empty or absent.
    pub(super) fn number(&self, record: &Record) -> Result<Option<f64>, Fault> {
        self.get(record).map_or(Ok(None), |cell| cell.number(&self.name))
    }
}

fn nested<'a, 'b>(from: &'a Value, path: impl Iterator<Item = &'b str>) -> Option<&'a Value> {
    let mut at = from;
    let mut deeper = false;
    for part in path {
        deeper = true;
        at = match at {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    deeper.then_some(at)
}

impl<'a> Cell<'a> {
    /// The value as one text.
    pub(super) fn text(self, name: &str) -> Result<Cow<'a, str>, Fault> {
        match self {
            Cell::Text(text) => Ok(Cow::Borrowed(text)),
            Cell::Json(Value::String(text)) => Ok(Cow::Borrowed(text)),
            Cell::Json(value) => match fields::scalar(value) {
                Some(text) => Ok(Cow::Owned(text)),
                None => Err((Reason::WrongType, format!("column {name:?} is {}, not text", kind(value)))),
            },
        }
    }

    /// The value as a finite number, None where it is an empty text.
    pub(super) fn number(self, name: &str) -> Result<Option<f64>, Fault> {
        let wrong = |shown: String| (Reason::WrongType, format!("{shown} in column {name:?} is not a finite number"));
        let parse = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Some).ok_or_else(|| wrong(format!("{text:?}"))),
        };
        match self {
            Cell::Text(text) => parse(text),
            Cell::Json(Value::String(text)) => parse(text),
            Cell::Json(Value::Null) => Ok(None),
            Cell::Json(value) => fields::number(value).map(Some).ok_or_else(|| wrong(value.to_string())),
        }
    }

    /// The value as a list: JSON, also as the text of a cell.
    pub(super) fn list(self, name: &str) -> Result<Cow<'a, [Value]>, Fault> {
        let wrong = || (Reason::WrongType, format!("column {name:?} is not a list"));
        match self {
            Cell::Json(Value::Array(items)) => Ok(Cow::Borrowed(items)),
            Cell::Text(text) => serde_json::from_str(text).map(Cow::Owned).map_err(|_| wrong()),
            Cell::Json(Value::String(text)) => serde_json::from_str(text).map(Cow::Owned).map_err(|_| wrong()),
            Cell::Json(_) => Err(wrong()),
        }
    }
}

/// K values: of K columns, or of one that holds a list.
#[derive(Debug)]
pub(super) struct Values(pub(super) Vec<Column>);

impl Values {
    pub(super) fn new(names: &[String]) -> Values {
        Values(names.iter().map(|name| Column::new(name)).collect())
    }

    /// What `take` makes of each value, None of a null; in the order of the columns or of the list.
    pub(super) fn each<T>(
        &self,
        record: &Record,
        mut take: impl FnMut(Cell, &str) -> Result<Option<T>, Fault>,
    ) -> Result<Vec<Option<T>>, Fault> {
        if let [column] = self.0.as_slice() {
            let cell = column.need(record)?;
            let single = match cell {
                Cell::Text(text) => !text.trim_start().starts_with('['),
                Cell::Json(value) => !value.is_array() && !value.as_str().is_some_and(|text| text.trim_start().starts_with('[')),
            };
            // One answer with one score is a rating; a list column begins with a bracket.
            if single {
                return Ok(vec![take(cell, column.name())?]);
            }
            let items = match cell.list(column.name()) {
                Ok(items) => items,
                Err(_) => return Ok(vec![take(cell, column.name())?]),
            };
            let mut found = Vec::with_capacity(items.len());
            for item in items.iter() {
                found.push(if item.is_null() { None } else { take(Cell::Json(item), column.name())? });
            }
            return Ok(found);
        }
        // Not collected through `Result`: that grows the list step by step, and this runs for every row.
        let mut found = Vec::with_capacity(self.0.len());
        for column in &self.0 {
            found.push(match column.get(record) {
                Some(cell) => take(cell, column.name())?,
                None => None,
            });
        }
        Ok(found)
    }
}
