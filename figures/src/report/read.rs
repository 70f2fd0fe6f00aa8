//! From the files of run folders to polars tables. A missing file is a fact to report, a damaged one is an error.

use super::ReportError;
use polars::prelude::*;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What one stage left behind.
#[derive(Debug)]
pub struct StageRun {
    /// Folder name: `pretrain`, `reward-quality`...
    pub name: String,
    /// The stage that wrote it: `pretrain`, `sft`, `reward` or `ppo`.
    pub stage: &'static str,
    /// `summary.json`, written when a run ends.
    pub summary: Option<Map<String, Value>>,
    /// `metrics.jsonl`, one row a logged step; keys absent from a row are null.
    pub metrics: Option<DataFrame>,
    /// `gold.jsonl` where a judge wrote it, else `samples.jsonl`.
    pub samples: Option<Vec<Map<String, Value>>>,
    /// Alarms raised in the run.
    pub alarms: Vec<Alarm>,
    /// What the model wrote at evaluations, by step.
    pub sketches: Vec<(u64, String)>,
    /// Things the reader should know, such as a torn last line.
    pub notes: Vec<String>,
}

impl StageRun {
    /// All (x, y) of the rows of `metrics.jsonl` that have both.
    pub fn points(&self, x: &str, y: &str) -> Result<Vec<(f64, f64)>, ReportError> {
        Ok(self.metrics.as_ref().map(|table| series(table, x, y, usize::MAX)).transpose()?.unwrap_or_default())
    }
}

/// A line of `metrics.jsonl` that is an alarm.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// When.
    pub step: u64,
    /// Which.
    pub kind: String,
    /// What was seen, why it matters, what to try.
    pub message: String,
}

/// The stages in the order of the pipeline.
pub const STAGES: [&str; 4] = ["pretrain", "sft", "reward", "ppo"];

/// Reads `runs/<recipe>`: the four stages, found or not, and further runs such as `reward-quality` after their stage.
pub fn read_runs(runs: &Path) -> Result<Vec<StageRun>, ReportError> {
    let entries = std::fs::read_dir(runs).map_err(|source| ReportError::Io { action: "read", path: runs.to_path_buf(), source })?;
    let mut folders: Vec<String> =
        entries.filter_map(Result::ok).filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect();
    folders.sort();
    let mut found = Vec::new();
    let read = |stage, name: &str| read_stage(&runs.join(name), stage, name, (name == "ppo").then(|| runs.join("gold.jsonl")));
    for stage in STAGES {
        let further = folders.iter().filter(|f| f.strip_prefix(stage).is_some_and(|rest| rest.starts_with('-')));
        for name in std::iter::once(&stage.to_string()).chain(further) {
            found.push(read(stage, name)?);
        }
    }
    // A recipe with only `reward-quality` and the like does not miss a plain `reward`.
    let has_further = |stage: &str| found.iter().any(|r| r.stage == stage && r.name != stage && r.is_present());
    let drop: Vec<bool> = found.iter().map(|r| !r.is_present() && (r.name != r.stage || has_further(r.stage))).collect();
    let mut drop = drop.into_iter();
    found.retain(|_| !drop.next().unwrap_or(false));
    if found.iter().any(StageRun::is_present) {
        return Ok(found);
    }
    Err(ReportError::NoRuns { path: runs.to_path_buf() })
}

impl StageRun {
    /// Did this stage leave anything?
    pub fn is_present(&self) -> bool {
        self.summary.is_some() || self.metrics.is_some()
    }

    /// "done", "unfinished" (metrics but no summary) or "missing".
    pub fn status(&self) -> &'static str {
        match (&self.summary, &self.metrics) {
            (Some(_), _) => "done",
            (None, Some(_)) => "unfinished",
            (None, None) => "missing",
        }
    }

    /// A number of the summary.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.summary.as_ref()?.get(key)?.as_f64()
    }
}

/// Reads one run folder.
pub fn read_run(dir: &Path) -> Result<StageRun, ReportError> {
    let name = dir.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned())).unwrap_or_default();
    let config = read_text(&dir.join("config.toml"))?.unwrap_or_default();
    let stage = stage_of(&name, &config);
    let run = read_stage(dir, stage, if name.is_empty() { stage } else { &name }, None)?;
    if run.is_present() { Ok(run) } else { Err(ReportError::NoRun { path: dir.to_path_buf() }) }
}

/// The stage that a run folder of this name is of (`reward-quality`), or else by the sections of its configuration.
pub fn stage_of(name: &str, config: &str) -> &'static str {
    let has = |section: &str| config.lines().any(|line| line.trim() == format!("[{section}]"));
    let by_name = STAGES.into_iter().find(|s| name.strip_prefix(s).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')));
    by_name.unwrap_or_else(|| match () {
        () if has("rollout") => "ppo",
        () if has("centre") => "reward",
        () if has("tokenizer") => "pretrain",
        () => "sft",
    })
}

fn read_stage(dir: &Path, stage: &'static str, name: &str, beside: Option<PathBuf>) -> Result<StageRun, ReportError> {
    let mut notes = Vec::new();
    let summary = read_bytes(&dir.join("summary.json"))?.map(|text| parse_object(&dir.join("summary.json"), 1, &text)).transpose()?;
    let metrics = read_jsonl(&dir.join("metrics.jsonl"), &mut notes)?;
    let (alarms, rows): (Vec<_>, Vec<_>) = metrics.unwrap_or_default().into_iter().partition(|row| row.contains_key("alarm"));
    let text = |row: &Map<String, Value>, key: &str| row.get(key).and_then(Value::as_str).map(str::to_string);
    let step = |row: &Map<String, Value>| row.get("step").and_then(Value::as_u64).unwrap_or_default();
    let alarm = |row: &Map<String, Value>| Some(Alarm { step: step(row), kind: text(row, "alarm")?, message: text(row, "message")? });
    let alarms = alarms.iter().filter_map(alarm).collect();
    let sketches = rows.iter().filter_map(|row| Some((step(row), text(row, "eval/sample")?))).collect();
    let metrics = if rows.is_empty() { None } else { Some(frame(&rows)?) };
    // A recipe's judge may have put its file beside the runs; then it is about the run named `ppo`.
    let gold = first_jsonl(&[Some(dir.join("gold.jsonl")), beside].into_iter().flatten().collect::<Vec<_>>(), &mut notes)?;
    let samples = match gold {
        Some(rows) => Some(rows),
        None => read_jsonl(&dir.join("samples.jsonl"), &mut notes)?,
    };
    let samples = samples.filter(|s| !s.is_empty());
    Ok(StageRun { name: name.to_string(), stage, summary, metrics, samples, alarms, sketches, notes })
}

/// Rows of a JSON Lines file: one object each.
type Rows = Vec<Map<String, Value>>;

fn first_jsonl(paths: &[PathBuf], notes: &mut Vec<String>) -> Result<Option<Rows>, ReportError> {
    for path in paths {
        if let Some(rows) = read_jsonl(path, notes)? {
            return Ok(Some(rows));
        }
    }
    Ok(None)
}

/// A file's text; none where there is no file.
pub fn read_text(path: &Path) -> Result<Option<String>, ReportError> {
    if_there(path, std::fs::read_to_string(path))
}

/// A file's bytes; none where there is no file. A line that was cut off while being written may end inside a character.
pub fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, ReportError> {
    if_there(path, std::fs::read(path))
}

fn if_there<T>(path: &Path, read: std::io::Result<T>) -> Result<Option<T>, ReportError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReportError::Io { action: "read", path: path.to_path_buf(), source }),
    }
}

fn parse_object(path: &Path, line: usize, text: &[u8]) -> Result<Map<String, Value>, ReportError> {
    serde_json::from_slice(text).map_err(|e| ReportError::Damaged { path: path.to_path_buf(), line, detail: e.to_string() })
}

/// One object a line. A last line without its line end was cut off while being written: it is left out and noted.
pub fn read_jsonl(path: &Path, notes: &mut Vec<String>) -> Result<Option<Rows>, ReportError> {
    let Some(text) = read_bytes(path)? else { return Ok(None) };
    let mut rows = Vec::new();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, l)| !l.trim_ascii().is_empty()) {
        match parse_object(path, i + 1, line) {
            Ok(row) => rows.push(row),
            Err(_) if i + 1 == lines.len() => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                notes.push(format!("{file}: the last line is cut off and was left out"));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Some(rows))
}

/// A table of the numeric and text fields. Absent and null are null; true and false are 1 and 0; a field that is a number in one
/// row and text in another becomes text; lists and objects are left out.
pub fn frame(rows: &[Map<String, Value>]) -> PolarsResult<DataFrame> {
    let mut kinds: HashMap<&str, bool> = HashMap::new(); // is it text?
    let mut order: Vec<&str> = Vec::new();
    for (key, value) in rows.iter().flatten() {
        let text = match value {
            Value::String(_) => true,
            Value::Number(_) | Value::Bool(_) => false,
            _ => continue,
        };
        let kind = kinds.entry(key).or_insert_with(|| {
            order.push(key);
            text
        });
        *kind |= text;
    }
    let columns = order.iter().map(|&key| {
        if kinds[key] {
            let values: Vec<Option<String>> = rows.iter().map(|r| r.get(key).and_then(as_text)).collect();
            Column::new(key.into(), values)
        } else {
            let values: Vec<Option<f64>> = rows.iter().map(|r| r.get(key).and_then(as_number)).collect();
            Column::new(key.into(), values)
        }
    });
    DataFrame::new(rows.len(), columns.collect())
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<f64> {
    value.as_bool().map(|b| f64::from(u8::from(b))).or_else(|| value.as_f64())
}

/// A curve: `y` against `x` where both are there, thinned to at most `points` by averaging neighbours.
pub fn series(table: &DataFrame, x: &str, y: &str, points: usize) -> PolarsResult<Vec<(f64, f64)>> {
    let numeric = |name: &str| table.column(name).is_ok_and(|c| c.dtype() == &DataType::Float64);
    if !numeric(x) || !numeric(y) {
        return Ok(vec![]);
    }
    let rows = table
        .clone()
        .lazy()
        .select([col(x).alias("x"), col(y).alias("y")])
        .filter(col("x").is_finite().and(col("y").is_finite()))
        .collect()?;
    let bucket = rows.height().div_ceil(points.max(1)).max(1);
    let place: Vec<u32> = (0..rows.height()).map(|i| (i / bucket) as u32).collect();
    let thin = rows
        .hstack(&[Column::new("place".into(), place)])?
        .lazy()
        .group_by_stable([col("place")])
        .agg([col("x").mean(), col("y").mean()])
        .collect()?;
    Ok(numbers(&thin, "x")?.into_iter().zip(numbers(&thin, "y")?).collect())
}

/// A column of numbers without its nulls.
pub fn numbers(table: &DataFrame, name: &str) -> PolarsResult<Vec<f64>> {
    Ok(table.column(name)?.f64()?.iter().flatten().collect())
}
