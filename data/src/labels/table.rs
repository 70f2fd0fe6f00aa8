//! The table of judgments: an Arrow IPC file, written in one stream and read through a memory map. Any Arrow program opens it.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `kind` | text | `ranking`, `rating`, `choice`, `demonstration`, `skipped`, `open` |
//! | `item`, `group` | text | key of what was judged; key of the split |
//! | `prompt` | list of {role, content, rest} | the conversation before the answer; `rest` is JSON of further fields, or null |
//! | `answers` | list of text | |
//! | `authors` | list of text, or null | who wrote each answer |
//! | `shown` | list of u32, or null | the place, from 0, at which each answer was shown |
//! | `ranks` | list of u32, or null | 1 is best, ties share a rank |
//! | `scores`, `worth` | list of f32, or null | the source's scores; fitted logits |
//! | `judge` | text, or null | |
//! | `started`, `ended` | timestamp in ms UTC, or null | |
//! | `seconds`, `confidence` | f32, or null | |
//! | `weight` | f32 | positive |
//! | `flags` | list of text | |
//! | `comment` | text, or null | |
//! | `source_file`, `source_row` | text, u64 | |

use super::{Judgment, Kind};
use crate::chat::Message;
use crate::error::DataError;
use crate::mapped;
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, ListArray, PrimitiveArray, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Schema, TimeUnit, TimestampMillisecondType, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use tempfile::NamedTempFile;

/// Rows a record batch: what stands in memory at a time. The last one alone is shorter, in whatever pieces the rows came.
const BATCH: usize = 4096;
/// Metadata keys of the schema.
const KIND: (&str, &str) = ("table", "judgments");
const VERSION: (&str, &str) = ("version", "2");

/// Full batches that wait for the writing thread: enough that neither side waits for the other's hiccups, few enough to stay small.
const WAITING: usize = 4;

type Out = FileWriter<BufWriter<NamedTempFile>>;

/// Some judgments as columns, for [`TableWriter::add`]: any thread can make them.
pub struct Rows(RecordBatch);

impl Rows {
    /// The judgments as columns.
    pub fn of(judgments: &[Judgment]) -> Result<Rows, DataError> {
        let columns: Vec<ArrayRef> = NAMES.iter().map(|name| column(name, judgments)).collect();
        let batch = RecordBatch::try_new(SCHEMA.clone(), columns);
        batch.map(Rows).map_err(|e| DataError::Internal(format!("columns of judgments: {e}")))
    }
}

/// What goes to the writing thread.
enum Part {
    Judgments(Vec<Judgment>),
    Rows(Rows),
}

/// Writes a table row by row; it appears under its name whole, at [`TableWriter::finish`], or not at all. A thread of its own writes, and makes
/// columns of what comes judgment by judgment, while the caller reads on.
pub struct TableWriter {
    path: PathBuf,
    waiting: Vec<Judgment>,
    /// None once the worker has been told to end.
    parts: Option<SyncSender<Part>>,
    /// Emptied lists for use anew: two megabytes given back and asked for again each time cost more than the rest of the bookkeeping.
    spare: Receiver<Vec<Judgment>>,
    worker: Option<JoinHandle<Result<(Out, u64), DataError>>>,
}

impl TableWriter {
    /// Begins a table at `path`; its folder is made when needed.
    pub fn create(path: &Path) -> Result<TableWriter, DataError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
        let temp = NamedTempFile::new_in(folder).map_err(DataError::io("write", path))?;
        let mut out = FileWriter::try_new(BufWriter::with_capacity(1 << 20, temp), &SCHEMA).map_err(unwritable(path))?;
        let (parts, inbox) = sync_channel::<Part>(WAITING);
        let (back, spare) = sync_channel(WAITING);
        let to = path.to_path_buf();
        let work = move || {
            let mut written = 0;
            let mut even = BatchCoalescer::new(SCHEMA.clone(), BATCH);
            for part in inbox {
                let Rows(batch) = match part {
                    Part::Rows(rows) => rows,
                    Part::Judgments(mut judgments) => {
                        let rows = Rows::of(&judgments)?;
                        judgments.clear();
                        // Nobody may be there to take it.
                        let _ = back.try_send(judgments);
                        rows
                    }
                };
                written += batch.num_rows() as u64;
                even.push_batch(batch).map_err(unwritable(&to))?;
                while let Some(batch) = even.next_completed_batch() {
                    out.write(&batch).map_err(unwritable(&to))?;
                }
            }
            even.finish_buffered_batch().map_err(unwritable(&to))?;
            even.next_completed_batch().map_or(Ok(()), |batch| out.write(&batch)).map_err(unwritable(&to))?;
            Ok((out, written))
        };
        let worker = std::thread::Builder::new().name("table".to_string()).spawn(work).map_err(DataError::io("write", path))?;
        Ok(TableWriter { path: path.to_path_buf(), waiting: Vec::with_capacity(BATCH), parts: Some(parts), spare, worker: Some(worker) })
    }

    /// Adds a judgment. A failure to write may come with a later one.
    pub fn push(&mut self, judgment: Judgment) -> Result<(), DataError> {
        self.waiting.push(judgment);
        if self.waiting.len() < BATCH {
            return Ok(());
        }
        self.flush()
    }

    /// Adds judgments that are columns already.
    pub fn add(&mut self, rows: Rows) -> Result<(), DataError> {
        if !self.waiting.is_empty() {
            self.flush()?;
        }
        self.send(Part::Rows(rows))
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let next = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH));
        let judgments = std::mem::replace(&mut self.waiting, next);
        self.send(Part::Judgments(judgments))
    }

    fn send(&mut self, part: Part) -> Result<(), DataError> {
        match self.parts.as_ref().map(|parts| parts.send(part)) {
            Some(Ok(())) => Ok(()),
            // The worker has ended early: it says why.
            _ => self.end().map(|_| ()),
        }
    }

    /// Completes the file and gives it its name. Returns the number of judgments.
    pub fn finish(mut self) -> Result<u64, DataError> {
        let rest = std::mem::take(&mut self.waiting);
        if let Some(parts) = self.parts.as_ref().filter(|_| !rest.is_empty()) {
            // If the worker is gone, its error comes below.
            let _ = parts.send(Part::Judgments(rest));
        }
        let (out, written) = self.end()?;
        let path = &self.path;
        let mut buffered = out.into_inner().map_err(unwritable(path))?;
        buffered.flush().map_err(DataError::io("write", path))?;
        let temp = buffered.into_inner().map_err(|e| DataError::io("write", path)(e.into_error()))?;
        temp.as_file().sync_all().map_err(DataError::io("write", path))?;
        temp.persist(path).map_err(|e| DataError::io("rename", path)(e.error))?;
        Ok(written)
    }

    /// Waits until the worker has written all.
    fn end(&mut self) -> Result<(Out, u64), DataError> {
        self.parts = None;
        let gone = || DataError::Worker(format!("nobody writes {} any more", self.path.display()));
        self.worker.take().ok_or_else(gone)?.join().map_err(|_| gone())?
    }
}

impl Drop for TableWriter {
    /// Of a table that was not finished nothing may stay, not even the temporary file: the worker has it.
    fn drop(&mut self) {
        self.parts = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn unwritable(path: &Path) -> impl Fn(ArrowError) -> DataError + '_ {
    move |e| DataError::Table { path: path.to_path_buf(), detail: format!("cannot be written: {e}") }
}

/// Writes a whole table.
pub fn write_table(path: &Path, judgments: impl IntoIterator<Item = Judgment>) -> Result<u64, DataError> {
    let mut writer = TableWriter::create(path)?;
    judgments.into_iter().try_for_each(|judgment| writer.push(judgment))?;
    writer.finish()
}

/// True for an Arrow file that says of itself that it is a table of judgments, of whatever version. Only its end is read.
pub fn is_table(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    // No Arrow file, or a torn one: the general reader says what is wrong with it.
    let Ok(reader) = arrow::ipc::reader::FileReader::try_new(std::io::BufReader::new(file), None) else { return false };
    reader.schema().metadata().get(KIND.0).is_some_and(|kind| kind == KIND.1)
}

/// A table of judgments in a memory map: opening it costs nothing, however large it is.
pub struct LabelTable {
    path: PathBuf,
    batches: Vec<RecordBatch>,
    /// Number of the first row of each batch.
    starts: Vec<u64>,
    length: u64,
}

impl LabelTable {
    /// Opens a table that [`TableWriter`] wrote.
    pub fn open(path: &Path) -> Result<LabelTable, DataError> {
        let (found, batches) = mapped::open(path)?;
        let wrong = |detail: String| DataError::Table { path: path.to_path_buf(), detail };
        let metadata = |key: &str| found.metadata().get(key).map_or("", String::as_str).to_string();
        if metadata(KIND.0) != KIND.1 {
            return Err(wrong("is no table of judgments: make one with `label ingest`".to_string()));
        }
        if metadata(VERSION.0) != VERSION.1 {
            return Err(wrong(format!(
                "has version {:?}, this program reads {:?}: ingest its sources again",
                metadata(VERSION.0),
                VERSION.1
            )));
        }
        if found.fields() != SCHEMA.fields() {
            return Err(wrong("has other columns than a table of judgments has".to_string()));
        }
        let mut length = 0;
        let mut starts = Vec::new();
        for batch in &batches {
            starts.push(length);
            length += batch.num_rows() as u64;
        }
        Ok(LabelTable { path: path.to_path_buf(), batches, starts, length })
    }

    /// Number of judgments.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All of them, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<Judgment, DataError>> + '_ {
        (0..self.length).map(|i| self.get(i))
    }

    /// Judgment number `i`, from 0.
    pub fn get(&self, i: u64) -> Result<Judgment, DataError> {
        let wrong = |detail: String| DataError::Table { path: self.path.clone(), detail: format!("row {i}: {detail}") };
        if i >= self.length {
            return Err(wrong(format!("there are {}", self.length)));
        }
        let at = self.starts.partition_point(|start| *start <= i) - 1;
        let judgment = from_batch(&self.batches[at], (i - self.starts[at]) as usize).map_err(wrong)?;
        let k = judgment.answers.len();
        let fits = |length: Option<usize>| length.is_none_or(|n| n == k);
        let lengths = [&judgment.shown, &judgment.ranks].map(|list| list.as_ref().map(Vec::len));
        let more = [&judgment.scores, &judgment.worth].map(|list| list.as_ref().map(Vec::len));
        if !lengths.into_iter().chain(more).chain([judgment.authors.as_ref().map(Vec::len)]).all(fits) {
            return Err(wrong(format!("ranks, scores, authors or places are not as many as the {k} answers")));
        }
        Ok(judgment)
    }
}

/// The columns by place; [`LabelTable::open`] has checked that the file has these.
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

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(schema()));

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

fn column(name: &str, rows: &[Judgment]) -> ArrayRef {
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
        "source_file" => files(rows),
        _ => Arc::new(UInt64Array::from_iter_values(rows.iter().map(|j| j.row))),
    }
}

/// The files' names; most rows are from the file of the row before.
fn files(rows: &[Judgment]) -> ArrayRef {
    let mut builder = StringBuilder::new();
    let (mut last, mut name) = (None, String::new());
    for judgment in rows {
        if last != Some(judgment.file.as_os_str()) {
            last = Some(judgment.file.as_os_str());
            name = judgment.file.display().to_string();
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

fn from_batch(batch: &RecordBatch, row: usize) -> Result<Judgment, String> {
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
