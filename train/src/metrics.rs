//! `metrics.jsonl` and its kin: one JSON object a line, complete after every step, cut back to the checkpoint on resume.

use crate::alarm::{Alarms, Raised};
use crate::progress::Voice;
use crate::tensorboard::EventFile;
use crate::{Error, Optimizer, Progress, RunDir, State, checkpoint, start};
use data::config::Log;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A JSON Lines log of the run.
#[derive(Debug)]
pub struct Metrics {
    /// None where another process writes the run.
    file: Option<File>,
    path: PathBuf,
    name: String,
    bytes: u64,
    before: f64,
    start: Instant,
    readers: Option<Readers>,
}

/// Those who read every line along.
#[derive(Debug)]
struct Readers {
    events: Option<EventFile>,
    alarms: Alarms,
    /// Alarms raised so far, those before a resume included.
    raised: u64,
    voice: Voice,
    /// Of the run, where an alarm finds the last good checkpoint.
    checkpoints: PathBuf,
}

impl Metrics {
    /// Opens `metrics.jsonl`.
    pub fn open(run: &RunDir, state: &State) -> Result<Metrics, Error> {
        Metrics::named(run, state, "metrics.jsonl")
    }

    /// Opens the log `name` of the run. Lines written after the checkpoint that the run goes on from are cut off: their steps come again.
    pub fn named(run: &RunDir, state: &State, name: &str) -> Result<Metrics, Error> {
        let path = run.join(name);
        let made = |file, bytes| Metrics {
            file,
            path: path.clone(),
            name: name.to_owned(),
            bytes,
            before: state.wall_s(),
            start: Instant::now(),
            readers: None,
        };
        if !run.is_ours() {
            return Ok(made(None, 0));
        }
        let bytes = state.log_bytes(name);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        let found = file.metadata().map_err(Error::io(&path))?.len();
        if found < bytes {
            return Err(Error::state(&path, format!("holds {found} bytes where the checkpoint counts {bytes}: was it edited?")));
        }
        file.set_len(bytes).and_then(|()| file.seek(SeekFrom::Start(bytes))).map_err(Error::io(&path))?;
        Ok(made(Some(file), bytes))
    }

    /// Lets TensorBoard and the alarms read along: the lines that stand now, and each further one as it is written. Alarms speak above `bar`.
    pub fn watched(mut self, run: &RunDir, log: &Log, mut alarms: Alarms, bar: &Progress) -> Result<Metrics, Error> {
        let Some(file) = &mut self.file else { return Ok(self) };
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(Error::io(&self.path))?; // leaves it at the end
        let lines: Vec<Fields> = text.lines().map(|line| self.parse(line)).collect::<Result<_, _>>()?;
        let (said, figures): (Vec<&Fields>, Vec<&Fields>) = lines.iter().partition(|line| line.contains_key("alarm"));
        figures.into_iter().for_each(|line| _ = alarms.observe(line)); // what they raise stands in the log already
        let raised = said.len() as u64;
        let events = log.tensorboard.then(|| EventFile::create(&run.join("tensorboard"), &lines, self.before)).transpose()?;
        self.readers = Some(Readers { events, alarms, raised, voice: bar.voice(), checkpoints: run.checkpoints() });
        Ok(self)
    }

    /// Alarms raised in this run, those before a resume included.
    pub fn alarms(&self) -> u64 {
        self.readers.as_ref().map_or(0, |r| r.raised)
    }

    fn parse(&self, line: &str) -> Result<Fields, Error> {
        serde_json::from_str(line).map_err(|e| Error::state(&self.path, format!("holds a line that is no JSON object: {e}")))
    }

    /// Appends a line and shows it to the readers.
    fn append(&mut self, mut fields: Fields) -> Result<(), Error> {
        let wall = (self.wall_s() * 1e3).round() / 1e3;
        let Some(file) = &mut self.file else { return Ok(()) };
        fields.insert("wall_s".into(), wall.into());
        let text = Value::Object(fields).to_string();
        // One write a line: a killed process leaves at most one line cut short, and resuming cuts that off.
        file.write_all(format!("{text}\n").as_bytes()).map_err(Error::io(&self.path))?;
        self.bytes += text.len() as u64 + 1;
        // What a resumed run will read is what counts, to the last bit: so the text, not the numbers it was made from.
        let line = self.parse(&text)?;
        let Some(readers) = &mut self.readers else { return Ok(()) };
        if let Some(events) = &mut readers.events {
            events.write(&line)?;
        }
        if line.contains_key("alarm") {
            return Ok(());
        }
        readers.alarms.observe(&line).into_iter().try_for_each(|raised| self.raise(&line["step"], raised))
    }

    /// Says and logs an alarm; an error where it ends the run.
    fn raise(&mut self, step: &Value, alarm: Raised) -> Result<(), Error> {
        let Some(readers) = &mut self.readers else { return Ok(()) };
        readers.raised += 1;
        readers.voice.say(&format!("ALARM ({}) {}", alarm.kind, alarm.message));
        let good = checkpoint::list_in(&readers.checkpoints)?.into_iter().rfind(|c| c.step <= alarm.good_until);
        let fields = [("step", step.clone()), ("alarm", alarm.kind.into()), ("message", alarm.message.clone().into())];
        self.append(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())?;
        if alarm.stop { Err(Error::Alarm { message: alarm.message, checkpoint: good.map(|c| c.path) }) } else { Ok(()) }
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
        if let Some(file) = &self.file {
            file.sync_all().map_err(Error::io(&self.path))?;
        }
        Ok(self.bytes)
    }
}

/// One line being put together.
#[derive(Debug)]
#[must_use = "a line is written by .write()"]
pub struct Line<'a> {
    log: &'a mut Metrics,
    fields: Fields,
    not_finite: Vec<Value>,
}

/// The keys and values of a line.
type Fields = Map<String, Value>;

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

    /// Adds how many steps the optimisers have left out, in all and just now in a row.
    pub fn skips<'o>(self, optims: impl IntoIterator<Item = &'o Optimizer>) -> Self {
        let (total, row) = optims.into_iter().fold((0, 0), |(t, r), o| (t + o.skipped(), r.max(o.skipped_in_a_row())));
        self.count("skipped_steps", total).count("skipped_in_a_row", row)
    }

    /// Adds `wall_s` and appends the line to the file. Alarms that it sets off are said and logged; one that ends the run is an error.
    pub fn write(mut self) -> Result<(), Error> {
        if !self.not_finite.is_empty() {
            self.fields.insert("not_finite".into(), self.not_finite.into());
        }
        self.log.append(self.fields)
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
        start::step_begins();
        self.running = Some(Instant::now());
    }

    /// Training pauses after `work` (tokens, episodes).
    pub fn stop(&mut self, work: f64) {
        if let Some(since) = self.running.take() {
            start::step_ends();
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
