//! The columns of the table of judgments ([`table`](super::table)): their schema, judgments as columns, and back.

use super::{Judgment, Kind};
use crate::chat::Message;
use crate::error::DataError;
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, ListArray, PrimitiveArray, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Schema, TimeUnit, TimestampMillisecondType, UInt32Type, UInt64Type};
use arrow::ipc::writer::FileWriter;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// Metadata keys of the schema.
pub(super) const KIND: (&str, &str) = ("table", "judgments");
pub(super) const VERSION: (&str, &str) = ("version", "2");

/// Some judgments as columns, for [`TableWriter::add`](super::table::TableWriter::add): any thread can make them.
pub struct Rows(pub(super) RecordBatch);

impl Rows {
    /// The judgments as columns. Those that name no file are from `file`: a name for each of them would be a piece of memory for each.
    pub fn of(judgments: &[Judgment], file: &Path) -> Result<Rows, DataError> {
        let columns: Vec<ArrayRef> = NAMES.iter().map(|name| column(name, judgments, file)).collect();
        let batch = RecordBatch::try_new(SCHEMA.clone(), columns);
        batch.map(Rows).map_err(|e| DataError::Internal(format!("columns of judgments: {e}")))
    }
}

/// The columns by place; [`LabelTable::open`](super::table::LabelTable::open) has checked that the file has these.
const NAMES: [&str; 20] = [
    "kind",
    "item",
    "group",
    "prompt",
    "answers",
    "authors",
    "shown",
    "ranks",
    "scores",
    "worth",
    "judge",
    "started",
    "ended",
    "seconds",
    "confidence",
    "weight",
    "flags",
    "comment",
    "source_file",
    "source_row",
];

fn list(kind: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(kind, true)))
}

fn turn() -> Fields {
    Fields::from(vec![
        Field::new("role", DataType::Utf8, false),
        Field::new("content", DataType::Utf8, false),
        Field::new("rest", DataType::Utf8, true),
    ])
}

pub(super) static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(schema()));

fn schema() -> Schema {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let fields: Vec<Field> = NAMES
        .iter()
        .map(|name| {
            let (kind, nullable) = match *name {
                "prompt" => (list(DataType::Struct(turn())), false),
                "answers" | "flags" => (list(DataType::Utf8), false),
                "authors" => (list(DataType::Utf8), true),
                "shown" | "ranks" => (list(DataType::UInt32), true),
                "scores" | "worth" => (list(DataType::Float32), true),
                "started" | "ended" => (time(), true),
                "seconds" | "confidence" => (DataType::Float32, true),
                "weight" => (DataType::Float32, false),
                "source_row" => (DataType::UInt64, false),
                "judge" | "comment" => (DataType::Utf8, true),
                _ => (DataType::Utf8, false),
            };
            Field::new(*name, kind, nullable)
        })
        .collect();
    let metadata = [KIND, VERSION].map(|(key, value)| (key.to_string(), value.to_string()));
    Schema::new_with_metadata(fields, HashMap::from(metadata))
}

/// An empty Arrow IPC file with the table's columns, all of them nullable: what a Parquet form of the table, whose columns are optional, declares.
pub fn optional_columns() -> Result<Vec<u8>, DataError> {
    let fields: Fields = SCHEMA.fields().iter().map(|field| optional(field)).collect();
    let whole = FileWriter::try_new(Vec::new(), &Schema::new_with_metadata(fields, SCHEMA.metadata().clone()));
    whole.and_then(FileWriter::into_inner).map_err(|e| DataError::Internal(format!("the schema of a table: {e}")))
}

fn optional(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::List(item) => DataType::List(Arc::new(optional(item))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| optional(field)).collect()),
        other => other.clone(),
    };
    Field::new(field.name(), kind, true)
}

fn column(name: &str, rows: &[Judgment], file: &Path) -> ArrayRef {
    let text = |of: fn(&Judgment) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
    let maybe = |of: fn(&Judgment) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let real = |of: fn(&Judgment) -> Option<f32>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Float32Array>()) };
    let time = |of: fn(&Judgment) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<TimestampMillisecondArray>().with_timezone("UTC"))
    };
    match name {
        "kind" => text(|j| j.kind.name()),
        "item" => text(|j| &j.item),
        "group" => text(|j| &j.group),
        "prompt" => prompts(rows),
        "answers" => texts(rows.iter().map(|j| Some(&j.answers))),
        "authors" => texts(rows.iter().map(|j| j.authors.as_ref())),
        "shown" => numbers::<UInt32Type>(rows.iter().map(|j| j.shown.as_ref())),
        "ranks" => numbers::<UInt32Type>(rows.iter().map(|j| j.ranks.as_ref())),
        "scores" => numbers::<Float32Type>(rows.iter().map(|j| j.scores.as_ref())),
        "worth" => numbers::<Float32Type>(rows.iter().map(|j| j.worth.as_ref())),
        "judge" => maybe(|j| j.judge.as_deref()),
        "started" => time(|j| j.started),
        "ended" => time(|j| j.ended),
        "seconds" => real(|j| j.seconds),
        "confidence" => real(|j| j.confidence),
        "weight" => real(|j| Some(j.weight)),
        "flags" => texts(rows.iter().map(|j| Some(&j.flags))),
        "comment" => maybe(|j| j.comment.as_deref()),
        "source_file" => files(rows, file),
        _ => Arc::new(UInt64Array::from_iter_values(rows.iter().map(|j| j.row))),
    }
}

/// The files' names; most rows are from the file of the row before.
fn files(rows: &[Judgment], file: &Path) -> ArrayRef {
    let mut builder = StringBuilder::new();
    let (mut last, mut name) = (None, String::new());
    for judgment in rows {
        if last != Some(judgment.file.as_os_str()) {
            last = Some(judgment.file.as_os_str());
            name = if judgment.file.as_os_str().is_empty() { file } else { &judgment.file }.display().to_string();
        }
        builder.append_value(&name);
    }
    Arc::new(builder.finish())
}

/// Lists of text: values, offsets and nulls are each made in one go, which is several times faster than a builder of lists.
fn texts<'a>(rows: impl Iterator<Item = Option<&'a Vec<String>>> + Clone) -> ArrayRef {
    let all = rows.clone().flatten().flatten();
    let values = StringArray::from_iter_values(all.map(String::as_str));
    list_of(Arc::new(values), rows.map(|row| row.map(Vec::len)))
}

fn numbers<'a, T: arrow::datatypes::ArrowPrimitiveType>(rows: impl Iterator<Item = Option<&'a Vec<T::Native>>> + Clone) -> ArrayRef {
    let values = PrimitiveArray::<T>::from_iter_values(rows.clone().flatten().flatten().copied());
    list_of(Arc::new(values), rows.map(|row| row.map(Vec::len)))
}

/// A list array over `values`, of which each row takes as many as its length says; None is null.
fn list_of(values: ArrayRef, lengths: impl Iterator<Item = Option<usize>> + Clone) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths.clone().map(Option::unwrap_or_default));
    let nulls = NullBuffer::from_iter(lengths.map(|length| length.is_some()));
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, values, Some(nulls)))
}

fn prompts(rows: &[Judgment]) -> ArrayRef {
    let turns = || rows.iter().flat_map(|judgment| &judgment.prompt);
    let rest = |turn: &Message| (!turn.rest.is_empty()).then(|| serde_json::to_string(&turn.rest).unwrap_or_default());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(turns().map(|turn| turn.role.as_str()))),
        Arc::new(StringArray::from_iter_values(turns().map(|turn| turn.content.as_str()))),
        Arc::new(turns().map(rest).collect::<StringArray>()),
    ];
    list_of(Arc::new(StructArray::new(turn(), columns, None)), rows.iter().map(|judgment| Some(judgment.prompt.len())))
}

pub(super) fn from_batch(batch: &RecordBatch, row: usize) -> Result<Judgment, String> {
    let column = |name: &str| batch.column(NAMES.iter().position(|n| *n == name).unwrap_or_default());
    let text = |name: &str| column(name).as_string::<i32>().value(row).to_string();
    let maybe = |name: &str| column(name).is_valid(row).then(|| text(name));
    let values = |name: &str| column(name).is_valid(row).then(|| column(name).as_list::<i32>().value(row));
    let texts =
        |name: &str| values(name).map(|list| list.as_string::<i32>().iter().map(|t| t.unwrap_or_default().to_string()).collect::<Vec<_>>());
    let ints = |name: &str| values(name).map(|list| list.as_primitive::<UInt32Type>().values().to_vec());
    let reals = |name: &str| values(name).map(|list| list.as_primitive::<Float32Type>().values().to_vec());
    let real = |name: &str| column(name).is_valid(row).then(|| column(name).as_primitive::<Float32Type>().value(row));
    let time = |name: &str| column(name).is_valid(row).then(|| column(name).as_primitive::<TimestampMillisecondType>().value(row));
    let kind = text("kind");
    Ok(Judgment {
        kind: Kind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(|| format!("kind {kind:?} is unknown"))?,
        item: text("item"),
        group: text("group"),
        prompt: turns(values("prompt").ok_or("no prompt")?.as_struct())?,
        answers: texts("answers").unwrap_or_default(),
        authors: texts("authors"),
        shown: ints("shown"),
        ranks: ints("ranks"),
        scores: reals("scores"),
        worth: reals("worth"),
        judge: maybe("judge"),
        started: time("started"),
        ended: time("ended"),
        seconds: real("seconds"),
        confidence: real("confidence"),
        weight: real("weight").unwrap_or(1.0),
        flags: texts("flags").unwrap_or_default(),
        comment: maybe("comment"),
        file: text("source_file").into(),
        row: column("source_row").as_primitive::<UInt64Type>().value(row),
    })
}

fn turns(list: &arrow::array::StructArray) -> Result<Vec<Message>, String> {
    let part = |i: usize| list.column(i).as_string::<i32>();
    (0..list.len())
        .map(|i| {
            let rest = match part(2).is_valid(i) {
                true => serde_json::from_str::<Map<String, Value>>(part(2).value(i)).map_err(|e| format!("turn {i}: {e}"))?,
                false => Map::new(),
            };
            Ok(Message { role: part(0).value(i).to_string(), content: part(1).value(i).to_string(), rest })
        })
        .collect()
}
