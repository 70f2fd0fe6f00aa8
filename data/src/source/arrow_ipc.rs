//! Arrow IPC: the file format (Feather V2) and the stream format (what Hugging Face `datasets` caches), told apart by their first bytes.

use super::Sink;
use crate::error::SourceError;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use serde_json::{Map, Number, Value};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::sync::Arc;

pub(super) fn read(sink: &mut Sink) -> Result<(), SourceError> {
    let file = File::open(&sink.file).map_err(SourceError::io("open", &sink.file))?;
    let mut reader = BufReader::new(file);
    let mut magic = [0u8; 6];
    let is_file = reader.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
    reader.rewind().map_err(SourceError::io("read", &sink.file))?;
    let bad = |sink: &Sink, e: ArrowError| sink.unreadable(0, format!("not an Arrow IPC file: {e}"));
    if is_file {
        let reader = FileReader::try_new(reader, None).map_err(|e| bad(sink, e))?;
        batches(reader, sink)
    } else {
        let reader = StreamReader::try_new(reader, None).map_err(|e| bad(sink, e))?;
        batches(reader, sink)
    }
}

fn batches(reader: impl Iterator<Item = Result<RecordBatch, ArrowError>>, sink: &mut Sink) -> Result<(), SourceError> {
    let mut line = 0u64;
    for batch in reader {
        let batch = batch.map_err(|e| sink.unreadable(line + 1, format!("damaged: {e}")))?;
        let columns: Vec<(&str, ArrayRef)> = batch
            .schema_ref()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| Ok((field.name().as_str(), plain(column)?)))
            .collect::<Result<_, ArrowError>>()
            .map_err(|e| sink.unreadable(line + 1, format!("a column of a type that is not read here: {e}")))?;
        for row in 0..batch.num_rows() {
            line += 1;
            let mut fields = Map::new();
            for (name, column) in &columns {
                let cell = value(column, row).map_err(|e| sink.unreadable(line, e.to_string()))?;
                fields.insert(name.to_string(), cell);
            }
            sink.row(line, fields)?;
        }
    }
    Ok(())
}

/// A column in one of the few types that [`value`] knows: text, truth, i64, u64, f64, lists and structs.
fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let kind = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Null => return Ok(column.clone()),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Struct(_) => return Ok(column.clone()),
        kind if kind.is_unsigned_integer() => DataType::UInt64,
        kind if kind.is_signed_integer() => DataType::Int64,
        kind if kind.is_floating() || matches!(kind, DataType::Decimal128(..)) => DataType::Float64,
        DataType::Timestamp(unit, Some(_)) => return utc(column, *unit),
        // Dictionaries of text, dates, times, binary that holds text.
        _ => DataType::Utf8,
    };
    cast(column, &kind)
}

/// Times with a zone as RFC 3339. arrow knows zones by name only with a table of them, which it was not built with; inside they are UTC.
fn utc(column: &ArrayRef, unit: TimeUnit) -> Result<ArrayRef, ArrowError> {
    let times = cast(&cast(column, &DataType::Timestamp(unit, None))?, &DataType::Utf8)?;
    let times = times.as_string::<i32>().iter().map(|time| time.map(|time| format!("{time}Z")));
    Ok(Arc::new(times.collect::<StringArray>()))
}

fn value(column: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |items: ArrayRef| -> Result<Value, ArrowError> {
        let items = plain(&items)?;
        (0..items.len()).map(|i| value(&items, i)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    };
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::from(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::from(column.as_string_view().value(row)),
        DataType::Boolean => Value::from(column.as_boolean().value(row)),
        DataType::UInt64 => Value::from(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Number::from_f64(column.as_primitive::<Float64Type>().value(row)).map_or(Value::Null, Value::Number),
        DataType::List(_) => list(column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(column.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(columns) {
                // One cell at a time: casting the whole child for every row would be quadratic.
                object.insert(field.name().clone(), value(&plain(&column.slice(row, 1))?, 0)?);
            }
            Value::Object(object)
        }
        other => return Err(ArrowError::CastError(format!("{other}"))),
    })
}
