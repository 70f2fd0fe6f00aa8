//! More demonstrations from few: see [`vary`] for what a variation changes.

use super::meaning::Meaning;
use super::vary::vary;
use crate::dice::Dice;
use data::config::{self, Columns, Source};
use data::error::DataError;
use data::quarantine::{Quarantine, Reason};
use data::source;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmented {
    /// Rows read.
    pub read: u64,
    /// Rows that are no demonstration; they are in the quarantine.
    pub rejected: u64,
    /// Rows written, the originals included.
    pub written: u64,
}

/// Writes every row of `input` (columns `mr` and `ref`), and `copies` variations of it, as `prompt`, `response` and `group` (the meaning as it was,
/// so that no variation of a held-out row is learned from). Rows without a meaning go to `quarantine`. Equal seeds write equal bytes.
pub fn augment(input: &Path, output: &Path, quarantine: &Path, copies: usize, seed: u64) -> Result<Augmented, DataError> {
    let columns = Columns { prompt: "mr".into(), response: "ref".into(), ..Columns::default() };
    let source = Source { path: input.display().to_string(), columns, ..Source::default() };
    let mut bad = Quarantine::new(quarantine);
    let mut dice = Dice::new(seed, "augment");
    let (mut text, mut written) = (String::new(), 0);
    let read = source::read(&source, &mut bad, &mut |row, bad| {
        let field = |name: &str| row.fields.get(name).and_then(Value::as_str);
        let (Some(prompt), Some(response)) = (field("mr"), field("ref")) else {
            bad.reject_row(&row, Reason::MissingField, "a demonstration has columns mr and ref");
            return Ok(());
        };
        let meaning = match Meaning::parse(prompt) {
            Ok(meaning) => meaning,
            Err(e) => {
                bad.reject_row(&row, Reason::WrongType, e.to_string());
                return Ok(());
            }
        };
        let mut write = |p: &str, r: &str| {
            let _ = writeln!(text, "{}", json!({ "prompt": p, "response": r, "group": prompt })); // writing to a String cannot fail
            written += 1;
        };
        write(prompt, response);
        for _ in 0..copies {
            let (p, r) = vary(&meaning, response, &mut dice);
            write(&p, &r);
        }
        Ok(())
    })?;
    let report = bad.finish(&config::Quarantine::default(), read)?;
    let part = output.with_extension("part"); // whole or not at all
    std::fs::write(&part, text).map_err(DataError::io("write", &part))?;
    std::fs::rename(&part, output).map_err(DataError::io("rename", &part))?;
    Ok(Augmented { read, rejected: report.rejected, written })
}
