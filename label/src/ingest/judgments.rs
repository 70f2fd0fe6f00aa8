//! Our own forms: the table itself, and what `label export --to jsonl` and `--to parquet` made of it. They come back as they were, their sources too. Rows
//! that somebody else wrote in this form need no more than `kind`, `prompt` and `answers`.

use super::{Head, Reader, Sink, head, rows};
use crate::export::plain;
use data::error::SourceError;
use data::labels::table::LabelTable;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use serde_json::Value;
use std::path::Path;

/// Reads tables of judgments.
pub struct Judgments;

impl Reader for Judgments {
    fn name(&self) -> &'static str {
        "judgments"
    }

    fn about(&self) -> &'static str {
        "what label writes: the table (Arrow), and label export's JSON Lines and Parquet"
    }

    fn detect(&self, head: &Head) -> u8 {
        let kind = head.first.get("kind").and_then(Value::as_str);
        let known = kind.is_some_and(|kind| Kind::ALL.iter().any(|k| k.name() == kind));
        if known && head.has(&["prompt", "answers"]) { 100 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        if head::form(file)? == "arrow" {
            return LabelTable::open(file)?.iter().try_for_each(|judgment| sink.keep(judgment?));
        }
        rows::read(file, sink, &|row, sink| match plain::from_json(&row.fields) {
            Ok(judgment) if row.fields.contains_key("source_row") => sink.keep(judgment),
            Ok(judgment) => sink.keep(Judgment { row: row.line, ..judgment }),
            Err(why) => sink.reject(row.line, Reason::WrongType, why, &rows::raw(&row)),
        })
    }
}
