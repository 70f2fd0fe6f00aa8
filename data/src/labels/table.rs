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

use super::Judgment;
use super::columns::{KIND, SCHEMA, VERSION, from_batch};
use super::early::Early;
use crate::error::DataError;
use crate::mapped;
use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tempfile::NamedTempFile;

pub use super::columns::{Rows, optional_columns};

/// Rows a record batch where they come one by one: what stands in memory at a time.
const BATCH: usize = 4096;
/// Rows that come as columns are a batch as they are; no more of them than this are put together with what stands around them, for batches of a few rows
/// cost more than they hold. What the batches are depends on what comes, not on when.
const FEW: usize = 32;
/// Bytes after which the disk is given what there is.
const EARLY: usize = 32 << 20;
/// Full batches that wait for the writing thread: enough that neither side waits for the other's hiccups, few enough to stay small.
const WAITING: usize = 4;

type Out = FileWriter<BufWriter<NamedTempFile>>;

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
        let mut out = FileWriter::try_new(BufWriter::with_capacity(1 << 16, temp), &SCHEMA).map_err(unwritable(path))?;
        let (parts, inbox) = sync_channel::<Part>(WAITING);
        let (back, spare) = sync_channel(WAITING);
        let to = path.to_path_buf();
        let early = Early::begin(out.get_ref().get_ref().as_file().try_clone().map_err(DataError::io("write", path))?);
        let early = early.map_err(DataError::io("write", path))?;
        let work = move || {
            let (mut written, mut unsent) = (0, 0);
            let mut even = BatchCoalescer::new(SCHEMA.clone(), BATCH).with_biggest_coalesce_batch_size(Some(FEW));
            for part in inbox {
                let Rows(batch) = match part {
                    Part::Rows(rows) => rows,
                    Part::Judgments(mut judgments) => {
                        let rows = Rows::of(&judgments, Path::new(""))?;
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
                    unsent += batch.get_array_memory_size();
                    if unsent > EARLY {
                        unsent = 0;
                        early.more();
                    }
                }
            }
            even.finish_buffered_batch().map_err(unwritable(&to))?;
            even.next_completed_batch().map_or(Ok(()), |batch| out.write(&batch)).map_err(unwritable(&to))?;
            early.end(&to)?;
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
