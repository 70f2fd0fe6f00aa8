//! Sample files: JSON Lines with at least `prompt` and `response`; scoring adds fields and keeps the others as they are.

use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why a sample file cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Opening, reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A line is not a JSON object.
    #[error("{path}, line {line}: not a JSON object ({reason}); each line must be like {{\"prompt\": \"…\", \"response\": \"…\"}}")]
    Json {
        /// File.
        path: PathBuf,
        /// Line, 1 is the first.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A row lacks a text field.
    #[error("{path}, line {line}: no text field `{field}`; scoring needs `prompt` and `response`")]
    Field {
        /// File.
        path: PathBuf,
        /// Line, 1 is the first.
        line: usize,
        /// Missing field.
        field: &'static str,
    },
    /// The prompt does not say what the response should.
    #[error("{path}, line {line}: {reason}")]
    Prompt {
        /// File.
        path: PathBuf,
        /// Line, 1 is the first.
        line: usize,
        /// What is wrong with the prompt.
        reason: String,
    },
}

/// Reads `input` line by line, adds to each row what `score(prompt, response)` returns, writes `output`; returns the rows' scores.
/// A field that the score brings replaces one of the same name.
pub fn score_file<S: serde::Serialize>(
    input: &Path,
    output: &Path,
    score: impl Fn(&str, &str) -> Result<S, String>,
) -> Result<Vec<S>, SampleError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SampleError::Io { path, source }
    };
    let reader = BufReader::new(File::open(input).map_err(io(input))?);
    let mut scored = Vec::new();
    let mut rows = Vec::new();
    for (i, text) in reader.lines().enumerate() {
        let (text, line) = (text.map_err(io(input))?, i + 1);
        if text.trim().is_empty() {
            continue;
        }
        let json = |reason: String| SampleError::Json { path: input.into(), line, reason };
        let mut row: Map<String, Value> = serde_json::from_str(&text).map_err(|e| json(e.to_string()))?;
        let field =
            |field: &'static str| row.get(field).and_then(Value::as_str).ok_or(SampleError::Field { path: input.into(), line, field });
        let s = score(field("prompt")?, field("response")?).map_err(|reason| SampleError::Prompt { path: input.into(), line, reason })?;
        if let Value::Object(parts) = serde_json::to_value(&s).map_err(|e| json(e.to_string()))? {
            row.extend(parts);
        }
        rows.push(row);
        scored.push(s);
    }
    // Only now: an error above leaves an older output as it was.
    let mut out = BufWriter::new(File::create(output).map_err(io(output))?);
    for row in rows {
        writeln!(out, "{}", Value::Object(row)).map_err(io(output))?;
    }
    out.flush().map_err(io(output))?;
    Ok(scored)
}

/// Mean of `f` over `rows`; 0 when there are none.
pub fn mean<S>(rows: &[S], f: impl Fn(&S) -> f64) -> f64 {
    if rows.is_empty() {
        return 0.0; // the sum of nothing is -0
    }
    rows.iter().map(f).sum::<f64>() / rows.len() as f64
}
