//! Rows of the sources as documents, counted in bytes for the progress bar.

use crate::config::{Source, TextData};
use crate::error::DataError;
use crate::quarantine::{Quarantine, Reason};
use crate::source::{self, Row};
use serde_json::Value;
use std::path::PathBuf;

/// What a compressed byte of text, or a byte of Parquet, is worth uncompressed: a guess that only the progress bar and the sampling rate use.
const UNPACKED: u64 = 4;

/// A document, or a piece of one that its file was cut into.
pub(super) struct Document {
    pub text: String,
    /// Another piece of the same document follows.
    pub continues: bool,
}

/// A file of a corpus with its source.
pub(super) struct Input<'a> {
    pub path: PathBuf,
    pub format: crate::config::Format,
    pub source: &'a Source,
    /// Bytes on the disk.
    pub size: u64,
}

impl Input<'_> {
    /// About how many bytes of text it holds.
    pub(super) fn weight(&self) -> u64 {
        let packed = self.format == crate::config::Format::Parquet
            || self.path.extension().is_some_and(|e| ["gz", "zst", "zstd"].iter().any(|p| e.eq_ignore_ascii_case(p)));
        if packed { self.size * UNPACKED } else { self.size }
    }
}

/// All files of all sources, in order.
pub(super) fn inputs(cfg: &TextData) -> Result<Vec<Input<'_>>, DataError> {
    let mut inputs = Vec::new();
    for source in &cfg.sources {
        for (path, format) in source::files(source)? {
            let size = std::fs::metadata(&path).map_err(DataError::io("read", &path))?.len();
            inputs.push(Input { path, format, source, size });
        }
    }
    if inputs.is_empty() {
        let detail = "name at least one file, glob or folder of text as [[data.sources]] with a `path`".to_owned();
        return Err(DataError::Config { key: "data.sources".into(), detail });
    }
    Ok(inputs)
}

/// Hands over every document of the inputs, and after each file nothing (`None`). Rows without a usable text go to the quarantine. Returns the
/// number of rows met. `on_progress` is told how many bytes are done, and of how many.
pub(super) fn read(
    inputs: &[Input],
    bad: &mut Quarantine,
    on_progress: &mut dyn FnMut(u64, u64),
    each: &mut dyn FnMut(Option<Document>) -> Result<(), DataError>,
) -> Result<u64, DataError> {
    let total: u64 = inputs.iter().map(Input::weight).sum();
    let (mut before, mut met) = (0, 0);
    for input in inputs {
        let mut here = 0;
        let mut row = |row: Row, bad: &mut Quarantine| {
            if let Some(document) = document(row, &input.source.columns.text, bad) {
                here += document.text.len() as u64;
                each(Some(document))?;
                on_progress(before + here.min(input.weight()), total);
            }
            Ok(())
        };
        met += source::read_file(&input.path, input.format, &input.source.columns, bad, &mut row)?;
        each(None)?;
        before += input.weight();
        on_progress(before, total);
    }
    Ok(met)
}

fn document(mut row: Row, column: &str, bad: &mut Quarantine) -> Option<Document> {
    let continues = row.fields.get("continues") == Some(&Value::Bool(true));
    let (reason, detail) = match row.fields.get_mut(column) {
        // Blank lines within a long document are part of it.
        Some(Value::String(text)) if !continues && text.trim().is_empty() => {
            (Reason::Empty, format!("`{column}` has no visible character"))
        }
        Some(Value::String(text)) => return Some(Document { text: std::mem::take(text), continues }),
        None | Some(Value::Null) => {
            (Reason::MissingField, format!("there is no `{column}` (set source.columns.text to the document's field)"))
        }
        Some(_) => (Reason::WrongType, format!("`{column}` is not text")),
    };
    bad.reject_row(&row, reason, detail);
    None
}

/// The paths of the sources, for messages.
pub(super) fn names(cfg: &TextData) -> String {
    cfg.sources.iter().map(|s| s.path.as_str()).collect::<Vec<_>>().join(", ")
}
