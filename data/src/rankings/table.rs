//! The canonical label table: an Arrow IPC file of rankings, written whole and read through a memory map. Any Arrow program opens it.
//!
//! Columns: item, prompt, answers (list), ranks (list, 1 best), scores (list or null), judge (or null), weight, group, source_file, source_row.

use super::Ranking;
use crate::error::DataError;
use crate::mapped;
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, ListBuilder, PrimitiveBuilder, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;

/// Rows a record batch.
const BATCH: usize = 4096;
/// Metadata keys of the schema.
const KIND: (&str, &str) = ("table", "rankings");
const VERSION: (&str, &str) = ("version", "1");

/// Writes the table; it appears under its name whole or not at all.
pub fn write_table<'a>(path: &Path, rankings: impl IntoIterator<Item = &'a Ranking>) -> Result<u64, DataError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
    let temp = NamedTempFile::new_in(folder).map_err(DataError::io("write", path))?;
    let failed = |e: ArrowError| DataError::Table { path: path.to_path_buf(), detail: format!("cannot be written: {e}") };
    let schema = Arc::new(schema());
    let mut writer = FileWriter::try_new(BufWriter::new(temp), &schema).map_err(failed)?;
    let mut rows = rankings.into_iter().peekable();
    let mut written = 0;
    while rows.peek().is_some() {
        let batch: Vec<&Ranking> = rows.by_ref().take(BATCH).collect();
        written += batch.len() as u64;
        writer.write(&to_batch(&schema, &batch).map_err(failed)?).map_err(failed)?;
    }
    let mut buffered = writer.into_inner().map_err(failed)?;
    buffered.flush().map_err(DataError::io("write", path))?;
    let temp = buffered.into_inner().map_err(|e| DataError::io("write", path)(e.into_error()))?;
    temp.as_file().sync_all().map_err(DataError::io("write", path))?;
    temp.persist(path).map_err(|e| DataError::io("rename", path)(e.error))?;
    Ok(written)
}

/// Reads the whole table.
pub fn read_table(path: &Path) -> Result<Vec<Ranking>, DataError> {
    let table = LabelTable::open(path)?;
    (0..table.len()).map(|i| table.get(i)).collect()
}

/// A label table in a memory map: opening it costs nothing, however large it is.
pub struct LabelTable {
    path: PathBuf,
    batches: Vec<RecordBatch>,
    /// Number of the first row of each batch.
    starts: Vec<u64>,
    length: u64,
}

impl LabelTable {
    /// Opens a table written by [`write_table`].
    pub fn open(path: &Path) -> Result<LabelTable, DataError> {
        let (found, batches) = mapped::open(path)?;
        let wrong = |detail: String| DataError::Table { path: path.to_path_buf(), detail };
        let metadata = |key: &str| found.metadata().get(key).map_or("", String::as_str).to_string();
        if metadata(KIND.0) != KIND.1 {
            return Err(wrong("is no label table: give the file that a reward run or the labelling tool wrote".to_string()));
        }
        if metadata(VERSION.0) != VERSION.1 {
            return Err(wrong(format!(
                "has version {:?}, this program reads {:?}: convert it with the program that wrote it",
                metadata(VERSION.0),
                VERSION.1
            )));
        }
        if found.fields() != schema().fields() {
            return Err(wrong("has other columns than a label table has".to_string()));
        }
        let mut length = 0;
        let mut starts = Vec::new();
        for batch in &batches {
            starts.push(length);
            length += batch.num_rows() as u64;
        }
        Ok(LabelTable { path: path.to_path_buf(), batches, starts, length })
    }

    /// Number of rankings.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The ranking number `i`, from 0.
    pub fn get(&self, i: u64) -> Result<Ranking, DataError> {
        let wrong = |detail: String| DataError::Table { path: self.path.clone(), detail };
        if i >= self.length {
            return Err(wrong(format!("row {i} of {}", self.length)));
        }
        let at = self.starts.partition_point(|start| *start <= i) - 1;
        let row = (i - self.starts[at]) as usize;
        let batch = &self.batches[at];
        let text = |place: usize| batch.column(place).as_string::<i32>().value(row).to_string();
        let list = |place: usize| batch.column(place).as_list::<i32>().value(row);
        let ranking = Ranking {
            prompt: text(PROMPT),
            answers: list(ANSWERS).as_string::<i32>().iter().map(|a| a.unwrap_or_default().to_string()).collect(),
            ranks: list(RANKS).as_primitive::<UInt32Type>().values().to_vec(),
            scores: batch.column(SCORES).is_valid(row).then(|| list(SCORES).as_primitive::<Float32Type>().values().to_vec()),
            judge: batch.column(JUDGE).is_valid(row).then(|| text(JUDGE)),
            weight: batch.column(WEIGHT).as_primitive::<Float32Type>().value(row),
            group: text(GROUP),
            file: text(FILE).into(),
            row: batch.column(ROW).as_primitive::<UInt64Type>().value(row),
        };
        if ranking.ranks.len() != ranking.answers.len() || ranking.scores.as_ref().is_some_and(|s| s.len() != ranking.answers.len()) {
            return Err(wrong(format!("row {i}: as many ranks and scores as answers are needed")));
        }
        Ok(ranking)
    }
}

/// The columns by place; [`LabelTable::open`] has checked that the file has these.
const ITEM: usize = 0;
const PROMPT: usize = 1;
const ANSWERS: usize = 2;
const RANKS: usize = 3;
const SCORES: usize = 4;
const JUDGE: usize = 5;
const WEIGHT: usize = 6;
const GROUP: usize = 7;
const FILE: usize = 8;
const ROW: usize = 9;

fn schema() -> Schema {
    let list = |kind: DataType| DataType::List(Arc::new(Field::new_list_field(kind, true)));
    let mut columns = vec![
        (ITEM, Field::new("item", DataType::Utf8, false)),
        (PROMPT, Field::new("prompt", DataType::Utf8, false)),
        (ANSWERS, Field::new("answers", list(DataType::Utf8), false)),
        (RANKS, Field::new("ranks", list(DataType::UInt32), false)),
        (SCORES, Field::new("scores", list(DataType::Float32), true)),
        (JUDGE, Field::new("judge", DataType::Utf8, true)),
        (WEIGHT, Field::new("weight", DataType::Float32, false)),
        (GROUP, Field::new("group", DataType::Utf8, false)),
        (FILE, Field::new("source_file", DataType::Utf8, false)),
        (ROW, Field::new("source_row", DataType::UInt64, false)),
    ];
    columns.sort_by_key(|(place, _)| *place);
    let fields: Vec<Field> = columns.into_iter().map(|(_, field)| field).collect();
    let metadata = [KIND, VERSION].map(|(key, value)| (key.to_string(), value.to_string()));
    Schema::new_with_metadata(fields, HashMap::from(metadata))
}

fn to_batch(schema: &Arc<Schema>, rows: &[&Ranking]) -> Result<RecordBatch, ArrowError> {
    let texts = |of: &dyn Fn(&Ranking) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|r| of(r)))) };
    let mut answers = ListBuilder::new(StringBuilder::new());
    let mut ranks = ListBuilder::new(PrimitiveBuilder::<UInt32Type>::new());
    let mut scores = ListBuilder::new(PrimitiveBuilder::<Float32Type>::new());
    for row in rows {
        answers.append_value(row.answers.iter().map(Some));
        ranks.append_value(row.ranks.iter().copied().map(Some));
        scores.append_option(row.scores.as_ref().map(|s| s.iter().copied().map(Some)));
    }
    let columns: Vec<ArrayRef> = vec![
        texts(&Ranking::item),
        texts(&|r| r.prompt.clone()),
        Arc::new(answers.finish()),
        Arc::new(ranks.finish()),
        Arc::new(scores.finish()),
        Arc::new(rows.iter().map(|r| r.judge.clone()).collect::<StringArray>()),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|r| r.weight))),
        texts(&|r| r.group.clone()),
        texts(&|r| r.file.display().to_string()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.row))),
    ];
    RecordBatch::try_new(schema.clone(), columns)
}
