//! Parquet: polars scans the file lazily, some thousand rows and only the columns in question at a time.

use super::Sink;
use crate::config::Columns;
use crate::error::SourceError;
use crate::fields;
use crate::labels;
use polars::prelude::*;
use serde_json::{Map, Number, Value};
use std::fs::File;

/// Rows in memory at a time.
const SLICE: usize = 8192;

pub(super) fn read(sink: &mut Sink, columns: &Columns) -> Result<(), SourceError> {
    let file = File::open(&sink.file).map_err(SourceError::io("open", &sink.file))?;
    let mut reader = ParquetReader::new(file);
    let schema = reader.schema().map_err(|e| sink.unreadable(0, format!("not a Parquet file: {e}")))?;
    let rows = reader.num_rows().map_err(|e| sink.unreadable(0, e.to_string()))?;
    let wanted = wanted(schema.iter_names().map(|name| name.as_str()), columns);
    for (name, field) in schema.iter() {
        // polars panics on types that it was not built with, on most of them even in columns that nobody asks for.
        let asked = wanted.iter().any(|wanted| wanted == name.as_str());
        if let Some(kind) = unknown(field.dtype(), asked) {
            let detail = format!(
                "column {name:?} has the type {kind}, which is not read here: save the column as text, numbers of 32 or 64 bits, lists or structs, \
                 or the table as Arrow (.feather)"
            );
            return Err(SourceError::Columns { path: sink.file.to_path_buf(), detail });
        }
    }
    let path = sink.file.to_str().ok_or_else(|| sink.unreadable(0, "polars needs a path in UTF-8"))?;
    let arguments = ScanArgsParquet { glob: false, cache: false, low_memory: true, ..Default::default() };
    let scan = LazyFrame::scan_parquet(PlRefPath::new(path), arguments).map_err(|e| sink.unreadable(0, e.to_string()))?;
    let scan = scan.select(wanted.iter().map(|name| col(name.as_str())).collect::<Vec<_>>());
    for start in (0..rows).step_by(SLICE) {
        let slice = scan.clone().slice(start as i64, SLICE as IdxSize).collect();
        let slice = slice.map_err(|e| sink.unreadable(start as u64 + 1, format!("damaged: {e}")))?;
        for row in 0..slice.height() {
            let line = (start + row) as u64 + 1;
            let mut fields = Map::new();
            for column in slice.columns() {
                let cell = column.get(row).map_err(|e| sink.unreadable(line, e.to_string()))?;
                fields.insert(column.name().to_string(), value(&cell));
            }
            sink.row(line, fields)?;
        }
    }
    Ok(())
}

/// The configured columns that the file has, the tools of its conversations, and where its rows are judgments what says of which kind; all of its columns if it has none that is configured, so
/// that the error names what there is.
fn wanted<'a>(present: impl Iterator<Item = &'a str>, columns: &Columns) -> Vec<String> {
    let single = [
        &columns.text,
        &columns.prompt,
        &columns.response,
        &columns.second,
        &columns.messages,
        &columns.image,
        &columns.chosen,
        &columns.rejected,
        &columns.judge,
        &columns.weight,
        &columns.group,
    ];
    let configured = single.into_iter().chain(&columns.answers).chain(&columns.scores).chain(&columns.ranks);
    let present: Vec<&str> = present.collect();
    let is_configured = |name: &str| configured.clone().any(|column| column == name);
    let judgments = labels::FIELDS.iter().all(|name| present.contains(name));
    if !present.iter().any(|name| is_configured(name)) {
        return present.iter().map(|name| name.to_string()).collect();
    }
    let told = |name: &str| name == fields::TOOLS || (judgments && labels::FIELDS.contains(&name));
    let wanted = present.iter().filter(|&&name| is_configured(name) || told(name));
    wanted.map(|name| name.to_string()).collect()
}

/// The name of a type that this build of polars does not hold. Small unsigned numbers it knows by name: they are in the way only where they are `asked` for.
fn unknown(kind: &ArrowDataType, asked: bool) -> Option<String> {
    match kind {
        ArrowDataType::List(inner) | ArrowDataType::LargeList(inner) | ArrowDataType::Map(inner, _) => unknown(inner.dtype(), asked),
        ArrowDataType::Struct(fields) => fields.iter().find_map(|field| unknown(field.dtype(), asked)),
        ArrowDataType::Dictionary(_, inner, _) => unknown(inner, asked),
        ArrowDataType::UInt8 | ArrowDataType::UInt16 => asked.then(|| format!("{kind:?}")),
        ArrowDataType::Float16 | ArrowDataType::Int128 | ArrowDataType::UInt128 => Some(format!("{kind:?}")),
        ArrowDataType::FixedSizeList(..) => Some("list of fixed size".to_string()),
        ArrowDataType::Extension(_) | ArrowDataType::Union(_) | ArrowDataType::Interval(_) => Some(format!("{kind:?}")),
        ArrowDataType::Decimal(..) | ArrowDataType::Decimal32(..) | ArrowDataType::Decimal64(..) | ArrowDataType::Decimal256(..) => {
            Some("decimal".to_string())
        }
        _ => None,
    }
}

/// A polars value as JSON.
pub(super) fn value(cell: &AnyValue) -> Value {
    match cell {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(truth) => Value::Bool(*truth),
        AnyValue::String(text) => Value::String(text.to_string()),
        AnyValue::StringOwned(text) => Value::String(text.to_string()),
        AnyValue::UInt8(n) => Value::from(*n),
        AnyValue::UInt16(n) => Value::from(*n),
        AnyValue::UInt32(n) => Value::from(*n),
        AnyValue::UInt64(n) => Value::from(*n),
        AnyValue::Int8(n) => Value::from(*n),
        AnyValue::Int16(n) => Value::from(*n),
        AnyValue::Int32(n) => Value::from(*n),
        AnyValue::Int64(n) => Value::from(*n),
        // JSON has no NaN and no infinity.
        AnyValue::Float32(x) => Number::from_f64(f64::from(*x)).map_or(Value::Null, Value::Number),
        AnyValue::Float64(x) => Number::from_f64(*x).map_or(Value::Null, Value::Number),
        AnyValue::List(series) => Value::Array(series.iter().map(|cell| value(&cell)).collect()),
        AnyValue::Struct(_, _, fields) => {
            let names = fields.iter().map(|field| field.name().to_string());
            Value::Object(names.zip(cell._iter_struct_av().map(|cell| value(&cell))).collect())
        }
        AnyValue::StructOwned(both) => {
            let (values, fields) = both.as_ref();
            Value::Object(fields.iter().map(|field| field.name().to_string()).zip(values.iter().map(value)).collect())
        }
        AnyValue::Binary(bytes) => binary(bytes),
        AnyValue::BinaryOwned(bytes) => binary(bytes),
        // polars prints zones only with a table of them, which it was not built with; inside it is UTC.
        AnyValue::Datetime(time, unit, Some(_)) => Value::String(utc(*time, *unit)),
        AnyValue::DatetimeOwned(time, unit, Some(_)) => Value::String(utc(*time, *unit)),
        // Categories are text; dates and times are written out.
        other => Value::String(other.get_str().map_or_else(|| other.to_string(), str::to_string)),
    }
}

/// A time with a zone, as RFC 3339.
fn utc(time: i64, unit: TimeUnit) -> String {
    format!("{}Z", AnyValue::Datetime(time, unit, None).to_string().replacen(' ', "T", 1))
}

/// Text that some writers store as bytes; bytes that are no text count as absent.
fn binary(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or(Value::Null, |text| Value::String(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_read_beside_what_is_configured() {
        assert_eq!(wanted(["messages", "source", "tools"].into_iter(), &Columns::default()), ["messages", "tools"]);
    }
}
