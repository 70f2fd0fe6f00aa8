//! The table as Parquet, column for column, in row groups of some thousand rows.
//!
//! The Arrow types that a reader is to make of the columns stand in the file's metadata. They are those of the table, not polars' own: pandas cannot yet
//! take lists of string views.

use super::{Whole, Written};
use data::labels::Judgment;
use data::labels::table::{LabelTable, optional_columns};
use polars::io::parquet::write::KeyValueMetadata;
use polars::prelude::*;
use std::path::Path;

/// Rows in memory at a time.
const ROWS: usize = 8192;

/// Writes the table.
pub fn write(table: &LabelTable, out: &Path) -> anyhow::Result<Written> {
    let mut file = Whole::create(out)?;
    let schema = frame(&[])?.schema().as_ref().clone();
    let metadata = KeyValueMetadata::from_static(vec![("ARROW:schema".to_string(), base64(&schema_message()?))]);
    let mut writer = ParquetWriter::new(file.writer()).with_key_value_metadata(Some(metadata)).batched(&schema)?;
    let mut rows = Vec::new();
    for judgment in table.iter() {
        rows.push(judgment?);
        if rows.len() == ROWS {
            writer.write_batch(&frame(&rows)?)?;
            rows.clear();
        }
    }
    if !rows.is_empty() {
        writer.write_batch(&frame(&rows)?)?;
    }
    writer.finish()?;
    drop(writer);
    file.finish()?;
    Ok(Written { judgments: table.len(), rows: table.len(), what: "rows", ..Written::default() })
}

/// The message at the head of an Arrow IPC file that holds its schema, as it stands there: after `ARROW1` and zeros a mark of four 0xff, the length in four
/// bytes, and so many bytes. Parquet's `ARROW:schema` is that message in base 64.
fn schema_message() -> anyhow::Result<Vec<u8>> {
    let file = optional_columns()?;
    let start = file.iter().skip(6).position(|byte| *byte != 0).map(|at| at + 6);
    let message = start.map(|start| &file[start..]).filter(|message| message.starts_with(&[0xff; 4]));
    let length = message.and_then(|message| Some(u32::from_le_bytes(message.get(4..8)?.try_into().ok()?) as usize));
    let whole = message.zip(length).and_then(|(message, length)| message.get(..8 + length));
    whole.map(<[u8]>::to_vec).ok_or_else(|| anyhow::anyhow!("internal error: an Arrow file without a schema at its head"))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let sextet = (bits >> (18 - 6 * digit)) as usize & 63;
            out.push(if digit > three.len() { '=' } else { DIGITS[sextet] as char });
        }
    }
    out
}

/// The rows as a frame with the table's columns.
fn frame(rows: &[Judgment]) -> PolarsResult<DataFrame> {
    let text = |name: &str, of: fn(&Judgment) -> Option<String>| -> Column {
        StringChunked::from_iter_options(name.into(), rows.iter().map(of)).into_series().into()
    };
    let real = |name: &str, of: fn(&Judgment) -> Option<f32>| -> Column {
        Float32Chunked::from_iter_options(name.into(), rows.iter().map(of)).into_series().into()
    };
    let time = |name: &str, of: fn(&Judgment) -> Option<i64>| -> Column {
        let numbers = Int64Chunked::from_iter_options(name.into(), rows.iter().map(of));
        numbers.into_datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC)).into_series().into()
    };
    let columns = vec![
        text("kind", |j| Some(j.kind.name().to_string())),
        text("item", |j| Some(j.item.clone())),
        text("group", |j| Some(j.group.clone())),
        prompts(rows)?,
        texts("answers", rows.iter().map(|j| Some(&j.answers))),
        texts("authors", rows.iter().map(|j| j.authors.as_ref())),
        wholes("shown", rows.iter().map(|j| j.shown.as_ref())),
        wholes("ranks", rows.iter().map(|j| j.ranks.as_ref())),
        reals("scores", rows.iter().map(|j| j.scores.as_ref())),
        reals("worth", rows.iter().map(|j| j.worth.as_ref())),
        text("judge", |j| j.judge.clone()),
        time("started", |j| j.started),
        time("ended", |j| j.ended),
        real("seconds", |j| j.seconds),
        real("confidence", |j| j.confidence),
        real("weight", |j| Some(j.weight)),
        texts("flags", rows.iter().map(|j| Some(&j.flags))),
        text("comment", |j| j.comment.clone()),
        text("source_file", |j| Some(j.file.display().to_string())),
        UInt64Chunked::from_iter_values("source_row".into(), rows.iter().map(|j| j.row)).into_series().into(),
    ];
    DataFrame::new(rows.len(), columns)
}

fn texts<'a>(name: &str, rows: impl Iterator<Item = Option<&'a Vec<String>>>) -> Column {
    let mut builder = ListStringChunkedBuilder::new(name.into(), 0, 0);
    for row in rows {
        match row {
            Some(list) => builder.append_values_iter(list.iter().map(String::as_str)),
            None => builder.append_null(),
        }
    }
    builder.finish().into_series().into()
}

fn wholes<'a>(name: &str, rows: impl Iterator<Item = Option<&'a Vec<u32>>>) -> Column {
    let mut builder = ListPrimitiveChunkedBuilder::<UInt32Type>::new(name.into(), 0, 0, DataType::UInt32);
    rows.for_each(|row| builder.append_opt_slice(row.map(Vec::as_slice)));
    builder.finish().into_series().into()
}

fn reals<'a>(name: &str, rows: impl Iterator<Item = Option<&'a Vec<f32>>>) -> Column {
    let mut builder = ListPrimitiveChunkedBuilder::<Float32Type>::new(name.into(), 0, 0, DataType::Float32);
    rows.for_each(|row| builder.append_opt_slice(row.map(Vec::as_slice)));
    builder.finish().into_series().into()
}

/// A list of {role, content, rest} a row.
fn prompts(rows: &[Judgment]) -> PolarsResult<Column> {
    let turn = |judgment: &Judgment| -> PolarsResult<Series> {
        let part = |name: &str, of: fn(&data::chat::Message) -> Option<String>| {
            StringChunked::from_iter_options(name.into(), judgment.prompt.iter().map(of)).into_series()
        };
        let rest = |turn: &data::chat::Message| (!turn.rest.is_empty()).then(|| serde_json::to_string(&turn.rest).unwrap_or_default());
        let fields = [part("role", |t| Some(t.role.clone())), part("content", |t| Some(t.content.clone())), part("rest", rest)];
        Ok(StructChunked::from_series("".into(), judgment.prompt.len(), fields.iter())?.into_series())
    };
    let fields = ["role", "content", "rest"].map(|name| Field::new(name.into(), DataType::String));
    let kind = DataType::List(Box::new(DataType::Struct(fields.to_vec())));
    let lists = rows.iter().map(turn).collect::<PolarsResult<Vec<Series>>>()?;
    let series = if lists.is_empty() { Series::new_empty("prompt".into(), &kind) } else { Series::new("prompt".into(), lists) };
    Ok(series.cast(&kind)?.into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_the_rfc() {
        // RFC 4648, section 10.
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::base64(text.as_bytes()), expected);
        }
    }
}
