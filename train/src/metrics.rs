//! `metrics.jsonl` and its kin: one JSON object a line, complete after every step, cut back to the checkpoint on resume.

use crate::{Error, RunDir, State};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A JSON Lines log of the run.
#[derive(Debug)]
pub struct Metrics {
    file: File,
    path: PathBuf,
    name: String,
    bytes: u64,
    before: f64,
    start: Instant,
}

impl Metrics {
    /// Opens `metrics.jsonl`.
    pub fn open(run: &RunDir, state: &State) -> Result<Metrics, Error> {
        Metrics::named(run, state, "metrics.jsonl")
    }

    /// Opens the log `name` of the run. Lines written after the checkpoint that the run goes on from are cut off: their steps come again.
    pub fn named(run: &RunDir, state: &State, name: &str) -> Result<Metrics, Error> {
        let path = run.join(name);
        let bytes = state.log_bytes(name);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        let found = file.metadata().map_err(Error::io(&path))?.len();
        if found < bytes {
            return Err(Error::state(&path, format!("holds {found} bytes where the checkpoint counts {bytes}: was it edited?")));
        }
        file.set_len(bytes).and_then(|()| file.seek(SeekFrom::Start(bytes))).map_err(Error::io(&path))?;
        Ok(Metrics { file, path, name: name.to_owned(), bytes, before: state.wall_s(), start: Instant::now() })
    }

    /// File name in the run folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds of work on this run, earlier processes included.
    pub fn wall_s(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Begins the line of `step`.
    pub fn line(&mut self, step: u64) -> Line<'_> {
        let mut fields = Map::new();
        fields.insert("step".into(), step.into());
        Line { log: self, fields, not_finite: vec![] }
    }

    /// Flushes to the disk; returns the length in bytes.
    pub fn sync(&mut self) -> Result<u64, Error> {
        self.file.sync_all().map_err(Error::io(&self.path))?;
        Ok(self.bytes)
    }
}

/// One line being put together.
#[derive(Debug)]
#[must_use = "a line is written by .write()"]
pub struct Line<'a> {
    log: &'a mut Metrics,
    fields: Map<String, Value>,
    not_finite: Vec<Value>,
}

impl Line<'_> {
    /// Adds a number. JSON has no NaN or infinity: they become null, and `not_finite` names them.
    pub fn set(mut self, key: &str, value: f64) -> Self {
        if !value.is_finite() {
            self.not_finite.push(key.into());
        }
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// Adds several numbers.
    pub fn set_all<'k>(self, values: impl IntoIterator<Item = (&'k str, f64)>) -> Self {
        values.into_iter().fold(self, |line, (key, value)| line.set(key, value))
    }

    /// Adds a whole number.
    pub fn count(self, key: &str, value: u64) -> Self {
        self.value(key, value)
    }

    /// Adds anything else, such as a text or a list.
    pub fn value(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// Adds `wall_s` and appends the line to the file.
    pub fn write(mut self) -> Result<(), Error> {
        let wall = (self.log.wall_s() * 1e3).round() / 1e3;
        self.fields.insert("wall_s".into(), wall.into());
        if !self.not_finite.is_empty() {
            self.fields.insert("not_finite".into(), self.not_finite.into());
        }
        let mut text = Value::Object(self.fields).to_string();
        text.push('\n');
        // One write a line: a killed process leaves at most one line cut short, and resuming cuts that off.
        self.log.file.write_all(text.as_bytes()).map_err(Error::io(&self.log.path))?;
        self.log.bytes += text.len() as u64;
        Ok(())
    }
}

/// Work per second of training, evaluations and checkpoints not counted.
#[derive(Debug, Default)]
pub struct Rate {
    spent: Duration,
    work: f64,
    running: Option<Instant>,
}

impl Rate {
    /// Training begins.
    pub fn start(&mut self) {
        self.running = Some(Instant::now());
    }

    /// Training pauses after `work` (tokens, episodes).
    pub fn stop(&mut self, work: f64) {
        if let Some(since) = self.running.take() {
            self.spent += since.elapsed();
            self.work += work;
        }
    }

    /// Work per second since the last call.
    pub fn take(&mut self) -> f64 {
        let rate = self.work / self.spent.as_secs_f64().max(1e-9);
        *self = Rate { running: self.running, ..Rate::default() };
        rate
    }
}
