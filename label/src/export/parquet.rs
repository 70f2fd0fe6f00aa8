//! The table as Parquet, column for column, in row groups of some thousand rows.

use super::{Whole, Written};
use data::labels::Judgment;
use data::labels::table::LabelTable;
use polars::prelude::*;
use std::path::Path;

/// Rows in memory at a time.
const ROWS: usize = 8192;

/// Writes the table.
pub fn write(table: &LabelTable, out: &Path) -> anyhow::Result<Written> {
    let mut file = Whole::create(out)?;
    let schema = frame(&[])?.schema().as_ref().clone();
    let mut writer = ParquetWriter::new(file.writer()).batched(&schema)?;
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
