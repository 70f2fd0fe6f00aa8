//! Bad rows are neither dropped in silence nor fatal one by one: each is written to a JSON Lines file with its file, line and reason,
//! and too many of them stop the run.

use crate::config;
use crate::error::DataError;
use crate::source::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Longest piece of a bad row that is shown in the quarantine file, in characters.
const SNIPPET: usize = 160;

/// What the limits are called in the configuration of a stage.
const LIMITS: &str = "data.quarantine.max_fraction or data.quarantine.always_allow";

/// Why a row is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A line that is not JSON.
    BrokenJson,
    /// JSON, but neither an object nor a bare string.
    NotAnObject,
    /// A quote that never closes, or text after a closing quote.
    BrokenQuotes,
    /// More or fewer fields than the header has.
    FieldCount,
    /// A line so long that it can only be a mistake.
    LineTooLong,
    /// A field that the stage needs is absent or null.
    MissingField,
    /// A field of the wrong type (a list where text is needed, text where a number is needed).
    WrongType,
    /// A response, answer, prompt or document without a visible character.
    Empty,
    /// More tokens than the model's context or `max_length`.
    TooLong,
    /// Ranks or scores that do not fit the answers, or fewer than two judged answers.
    BadRanking,
    /// A weight that is not a positive number.
    BadWeight,
    /// The chat template refuses the conversation, or there is nothing of the assistant's to learn.
    BadChat,
    /// A picture that is not there, or neither a whole PNG nor a whole JPEG.
    BadPicture,
    /// A sound record that holds no judgment of a kind known here, such as regions of an image.
    NoJudgment,
}

impl Reason {
    /// The name used in files and messages, such as `broken-json`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotUtf8 => "not-utf8",
            Reason::BrokenJson => "broken-json",
            Reason::NotAnObject => "not-an-object",
            Reason::BrokenQuotes => "broken-quotes",
            Reason::FieldCount => "field-count",
            Reason::LineTooLong => "line-too-long",
            Reason::MissingField => "missing-field",
            Reason::WrongType => "wrong-type",
            Reason::Empty => "empty",
            Reason::TooLong => "too-long",
            Reason::BadRanking => "bad-ranking",
            Reason::BadWeight => "bad-weight",
            Reason::BadChat => "bad-chat",
            Reason::BadPicture => "bad-picture",
            Reason::NoJudgment => "no-judgment",
        }
    }
}

/// One line of the quarantine file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BadRow {
    /// The file, as reached from the working directory.
    pub file: String,
    /// 1-based line of a text format, 1-based row of Parquet and Arrow.
    pub line: u64,
    /// Kind of fault.
    pub reason: Reason,
    /// The fault in words.
    pub detail: String,
    /// The row's first characters.
    pub snippet: String,
}

/// What became of the rows of one data set. `read` = kept + `rejected` + everything in `skipped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineReport {
    /// Rows met in the sources, good and bad.
    pub read: u64,
    /// Rows in the quarantine file.
    pub rejected: u64,
    /// Rejected rows by [`Reason::name`].
    pub by_reason: BTreeMap<String, u64>,
    /// Good rows left out on purpose, by cause (`duplicate`, `merged`).
    pub skipped: BTreeMap<String, u64>,
    /// The quarantine file; it exists only if something was rejected.
    pub path: PathBuf,
}

impl QuarantineReport {
    /// What was left out on purpose, in words for the user; `None` where nothing was.
    pub fn left_out(&self) -> Option<String> {
        let causes: Vec<String> = self.skipped.iter().filter(|(_, n)| **n > 0).map(|(cause, n)| format!("{n} {cause}")).collect();
        (!causes.is_empty()).then(|| format!("of {} rows left out: {}", self.read, causes.join(", ")))
    }
}

/// Collects bad rows. They go to a temporary file beside the final one, so memory stays flat, and appear under the
/// final name at [`Quarantine::finish`] (or when dropped by an error on the way out, not at all).
pub struct Quarantine {
    path: PathBuf,
    file: Option<BufWriter<NamedTempFile>>,
    rejected: u64,
    by_reason: BTreeMap<Reason, u64>,
    skipped: BTreeMap<String, u64>,
    /// A failed write is kept and reported at the end: `reject` is called where nothing can be done about it.
    failure: Option<std::io::Error>,
}

impl Quarantine {
    /// An empty quarantine that will be written to `path` (a `.jsonl` file; its folder is made when needed).
    pub fn new(path: impl Into<PathBuf>) -> Quarantine {
        Quarantine { path: path.into(), file: None, rejected: 0, by_reason: BTreeMap::new(), skipped: BTreeMap::new(), failure: None }
    }

    /// Records a bad piece of a file that never became a row.
    pub fn reject(&mut self, file: &Path, line: u64, reason: Reason, detail: impl Into<String>, raw: &str) {
        self.rejected += 1;
        *self.by_reason.entry(reason).or_default() += 1;
        let bad = BadRow { file: file.display().to_string(), line, reason, detail: detail.into(), snippet: snippet(raw) };
        if self.failure.is_none()
            && let Err(error) = self.write(&bad)
        {
            self.failure = Some(error);
        }
    }

    /// Records a row that was read but cannot be used.
    pub fn reject_row(&mut self, row: &Row, reason: Reason, detail: impl Into<String>) {
        let raw = serde_json::to_string(&row.fields).unwrap_or_default();
        self.reject(&row.file, row.line, reason, detail, &raw);
    }

    /// Counts a good row that is left out on purpose.
    pub fn skip(&mut self, cause: &str) {
        *self.skipped.entry(cause.to_string()).or_default() += 1;
    }

    /// Bad rows so far.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Writes the file and judges whether the run may go on: `read` is the number of rows met, good and bad.
    pub fn finish(mut self, limits: &config::Quarantine, read: u64) -> Result<QuarantineReport, DataError> {
        if let Some(error) = self.failure.take() {
            return Err(DataError::io("write", &self.path)(error));
        }
        match self.file.take() {
            Some(writer) => {
                let temp = writer.into_inner().map_err(|e| DataError::io("write", &self.path)(e.into_error()))?;
                temp.persist(&self.path).map_err(|e| DataError::io("rename", &self.path)(e.error))?;
            }
            // A list left by an earlier run would be taken for this run's.
            None => match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(DataError::io("remove", &self.path)(e)),
                _ => {}
            },
        }
        // Rounded down: 5% of 30 rows allows one bad row.
        let allowed = ((limits.max_fraction * read as f64) as u64).max(limits.always_allow);
        if self.rejected > allowed {
            let worst = self.by_reason.iter().max_by_key(|(_, n)| **n);
            let reason = worst.map_or(String::new(), |(reason, n)| format!("{} × {n}", reason.name()));
            return Err(DataError::TooManyBad {
                rejected: self.rejected,
                read,
                allowed,
                quarantine: self.path,
                reason,
                limits: Some(LIMITS),
            });
        }
        let by_reason = self.by_reason.iter().map(|(reason, n)| (reason.name().to_string(), *n)).collect();
        Ok(QuarantineReport { read, rejected: self.rejected, by_reason, skipped: self.skipped, path: self.path })
    }

    fn write(&mut self, bad: &BadRow) -> std::io::Result<()> {
        if self.file.is_none() {
            let folder = match self.path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            std::fs::create_dir_all(folder)?;
            self.file = Some(BufWriter::new(NamedTempFile::new_in(folder)?));
        }
        if let Some(file) = &mut self.file {
            serde_json::to_writer(&mut *file, bad)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn snippet(raw: &str) -> String {
    let raw = raw.trim();
    match raw.char_indices().nth(SNIPPET) {
        Some((end, _)) => format!("{}…", &raw[..end]),
        None => raw.to_string(),
    }
}
