//! Taking typed fields out of rows. What is wrong with a field becomes a [`Fault`], which puts the row into the quarantine.

use crate::config::{self, Columns, Format, Source};
use crate::error::DataError;
use crate::labels::Judgment;
use crate::labels::table::{self, LabelTable};
use crate::quarantine::{Quarantine, QuarantineReport, Reason};
use crate::source::{self, Row, kind};
use serde_json::{Value, json};
use std::path::Path;

/// The column in which data sets of conversations have the tools that may be called.
pub(crate) const TOOLS: &str = "tools";

/// What is wrong with a row, and why in words.
pub(crate) type Fault = (Reason, String);

/// Uses a row of source number `usize`, or finds fault with it.
pub(crate) type UseRow<'a> = dyn FnMut(usize, &Row, &mut Quarantine) -> Result<Result<(), Fault>, DataError> + 'a;

/// A row of any format, or a judgment of the canonical table.
pub(crate) enum Record<'a> {
    /// A row.
    Row(&'a Row),
    /// A judgment.
    Judgment(&'a Judgment),
}

/// [`UseRow`] for records.
pub(crate) type UseRecord<'a> = dyn FnMut(usize, Record, &mut Quarantine) -> Result<Result<(), Fault>, DataError> + 'a;

/// Reads all sources; `use_row` gets the source's number and the row. Rows that it finds fault with go to the quarantine; errors that are no
/// fault of the row's (a broken tokenizer) end the reading.
pub(crate) fn read_rows(
    sources: &[Source],
    limits: &config::Quarantine,
    quarantine: &Path,
    what: &'static str,
    use_row: &mut UseRow,
) -> Result<QuarantineReport, DataError> {
    read_each(sources, limits, quarantine, what, &mut |i, source, bad| {
        source::read(source, bad, &mut |row, bad| {
            if let Err((reason, detail)) = use_row(i, &row, bad)? {
                bad.reject_row(&row, reason, detail);
            }
            Ok(())
        })
    })
}

/// [`read_rows`] where tables of judgments ([`table`], told by what their schema says) are read as such and all other files as rows.
pub(crate) fn read_records(
    sources: &[Source],
    limits: &config::Quarantine,
    quarantine: &Path,
    what: &'static str,
    use_record: &mut UseRecord,
) -> Result<QuarantineReport, DataError> {
    read_each(sources, limits, quarantine, what, &mut |i, source, bad| {
        let mut read = 0;
        for (file, format) in source::files(source)? {
            read += if format == Format::Arrow && table::is_table(&file) {
                judgments(i, &file, bad, use_record)?
            } else {
                rows(i, (&file, format), &source.columns, bad, use_record)?
            };
        }
        Ok(read)
    })
}

fn rows(
    source: usize,
    (file, format): (&Path, Format),
    columns: &Columns,
    bad: &mut Quarantine,
    use_record: &mut UseRecord,
) -> Result<u64, DataError> {
    source::read_file(file, format, columns, bad, &mut |row, bad| {
        if let Err((reason, detail)) = use_record(source, Record::Row(&row), bad)? {
            bad.reject_row(&row, reason, detail);
        }
        Ok(())
    })
}

fn judgments(source: usize, file: &Path, bad: &mut Quarantine, use_record: &mut UseRecord) -> Result<u64, DataError> {
    let table = LabelTable::open(file)?;
    for (row, judgment) in (1..).zip(table.iter()) {
        let j = judgment?;
        if let Err((reason, detail)) = use_record(source, Record::Judgment(&j), bad)? {
            let detail = format!("{detail} (from {}, row {})", j.file.display(), j.row);
            bad.reject(file, row, reason, detail, &json!({ "prompt": j.prompt, "answers": j.answers, "ranks": j.ranks }).to_string());
        }
    }
    Ok(table.len())
}

/// Reads a source with its number; returns the rows met.
type ReadSource<'a> = dyn FnMut(usize, &Source, &mut Quarantine) -> Result<u64, DataError> + 'a;

fn read_each(
    sources: &[Source],
    limits: &config::Quarantine,
    quarantine: &Path,
    what: &'static str,
    read_source: &mut ReadSource,
) -> Result<QuarantineReport, DataError> {
    if sources.is_empty() {
        let detail = format!("there is no source of {what}: add one, such as sources = [{{ path = \"data/*.jsonl\" }}]");
        return Err(DataError::Config { key: "data.sources".to_string(), detail });
    }
    let mut bad = Quarantine::new(quarantine);
    let mut read = 0;
    for (i, source) in sources.iter().enumerate() {
        read += read_source(i, source, &mut bad)?;
    }
    let report = bad.finish(limits, read)?;
    if report.read == report.rejected {
        let paths: Vec<&str> = sources.iter().map(|s| s.path.as_str()).collect();
        let detail = format!("{} rows read, {} rejected (see {})", report.read, report.rejected, quarantine.display());
        return Err(DataError::Empty { what, sources: paths.join(", "), detail });
    }
    Ok(report)
}

/// A field that is there and not null.
pub(crate) fn present<'a>(row: &'a Row, column: &str) -> Option<&'a Value> {
    row.fields.get(column).filter(|value| !value.is_null())
}

/// The fault of a row without this column.
pub(crate) fn missing(row: &Row, column: &str) -> Fault {
    let names: Vec<&str> = row.fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str()).take(20).collect();
    (Reason::MissingField, format!("no field {column:?}; the row has {}", names.join(", ")))
}

/// A field of text.
pub(crate) fn text<'a>(row: &'a Row, column: &str) -> Result<&'a str, Fault> {
    let value = present(row, column).ok_or_else(|| missing(row, column))?;
    value.as_str().ok_or_else(|| (Reason::WrongType, format!("field {column:?} is {}, not text", kind(value))))
}

/// A field of text with at least one visible character.
pub(crate) fn visible<'a>(row: &'a Row, column: &str) -> Result<&'a str, Fault> {
    let text = text(row, column)?;
    if text.trim().is_empty() { Err((Reason::Empty, format!("field {column:?} is empty"))) } else { Ok(text) }
}

/// A name: text or a number, none where the cell is empty or the column absent.
pub(crate) fn name(row: &Row, column: &str) -> Option<String> {
    match present(row, column)? {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(text.trim().to_string()),
        other => Some(other.to_string()),
    }
}

/// A number, also one written as text (CSV); none where the cell is empty.
pub(crate) fn number(value: &Value, column: &str) -> Result<Option<f64>, Fault> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    let number = number.filter(|x| x.is_finite());
    number.map(Some).ok_or_else(|| (Reason::WrongType, format!("{value} in {column:?} is not a finite number")))
}

/// A list: of a list column (which may be JSON text, as in a CSV cell), or gathered from several columns of which absent ones count as null.
pub(crate) fn list(row: &Row, columns: &[String]) -> Result<Vec<Value>, Fault> {
    if let [column] = columns {
        let value = present(row, column).ok_or_else(|| missing(row, column))?;
        let parsed = value.as_str().map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
        return match parsed.as_ref().unwrap_or(value) {
            Value::Array(items) => Ok(items.clone()),
            _ => Err((Reason::WrongType, format!("field {column:?} is not a list"))),
        };
    }
    if let Some(absent) = columns.iter().find(|c| !row.fields.contains_key(*c)) {
        return Err(missing(row, absent));
    }
    Ok(columns.iter().map(|c| row.fields.get(c).cloned().unwrap_or_default()).collect())
}

/// Refuses a conversation whose row offers tools in a column of its own ([`TOOLS`]): no template is handed them.
pub(crate) fn no_tools(row: &Row) -> Result<(), Fault> {
    let offers = present(row, TOOLS).is_some_and(|tools| match tools {
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !matches!(text.trim(), "" | "[]" | "null"),
        other => other.is_object(),
    });
    let why = "the field \"tools\" is handed to no template: write the tools into the content of a system turn, and leave the field out";
    if offers { Err((Reason::BadChat, why.to_string())) } else { Ok(()) }
}

/// The row's weight: 1 where the column is absent or the cell empty.
pub(crate) fn weight(row: &Row, column: &str) -> Result<f32, Fault> {
    let weight = match row.fields.get(column) {
        Some(value) => number(value, column).map_err(|(_, why)| (Reason::BadWeight, why))?.unwrap_or(1.0),
        None => 1.0,
    };
    if weight > 0.0 { Ok(weight as f32) } else { Err((Reason::BadWeight, format!("weight {weight} is not positive"))) }
}

/// The row's split group: the configured column, else the prompt.
pub(crate) fn group(row: &Row, column: &str, prompt: &str) -> Result<String, Fault> {
    if column.is_empty() {
        return Ok(prompt.trim().to_string());
    }
    name(row, column).ok_or_else(|| missing(row, column))
}
