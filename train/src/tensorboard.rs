//! TensorBoard's event file beside the metrics: `DIR/tensorboard/events.out.tfevents.N`, made from the lines of `metrics.jsonl` and nothing else.
//!
//! Opening writes a new file from the lines that stand, and only then empties older ones; so a step never appears twice, whatever killed the
//! process before. A TensorBoard that is watching forgets what the older file said, because the new one begins with a restart at
//! step 0; were the older file removed, it would wait for it and never open the new one.

use crate::Error;
use crate::tfevents::{Figure, What, record};
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PREFIX: &str = "events.out.tfevents.";

/// The event file being written.
#[derive(Debug)]
pub(crate) struct EventFile {
    file: File,
    path: PathBuf,
    /// Seconds since 1970 at which the run would have begun, had it never paused: a line's time is this plus its `wall_s`.
    origin: f64,
}

impl EventFile {
    /// A new file in `dir` that starts with `lines`; `wall_s` is how long the run has worked so far.
    pub(crate) fn create(dir: &Path, lines: &[Map<String, Value>], wall_s: f64) -> Result<EventFile, Error> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let names = fs::read_dir(dir).map_err(Error::io(dir))?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let older: Vec<(String, u64)> =
            names.filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok().map(|number| (name, number))).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let origin = now - wall_s;
        // TensorBoard reads files in the order of their names: the newest must come last, even if the clock was set back.
        let number = older.iter().map(|(_, n)| n + 1).fold(now as u64, u64::max);
        let path = dir.join(format!("{PREFIX}{number:010}"));
        let file = File::options().append(true).create_new(true).open(&path).map_err(Error::io(&path))?;
        let mut events = EventFile { file, path, origin };
        let mut bytes = [record(origin, 0, &What::Version), record(origin, 0, &What::Restart)].concat();
        lines.iter().for_each(|line| bytes.extend(events.encode(line)));
        events.append(&bytes)?;
        for (name, _) in older {
            let path = dir.join(name);
            File::create(&path).map_err(Error::io(&path))?; // cuts it to nothing
        }
        Ok(events)
    }

    /// Adds a line of the metrics. One write: a killed process leaves at most one record cut short, which readers take as the end.
    pub(crate) fn write(&mut self, line: &Map<String, Value>) -> Result<(), Error> {
        let bytes = self.encode(line);
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))
    }

    /// Numbers become curves, texts texts; what has no value (null) is left out.
    fn encode(&self, line: &Map<String, Value>) -> Vec<u8> {
        let (step, wall) =
            (line.get("step").and_then(Value::as_u64).unwrap_or(0), line.get("wall_s").and_then(Value::as_f64).unwrap_or(0.0));
        let figure = |(key, value): (&String, &Value)| match value {
            Value::Number(x) if key != "step" => x.as_f64().map(|x| (key.clone(), Figure::Scalar(x as f32))),
            // Indented by four spaces: the Text tab reads Markdown, and a sample is to be shown as it is.
            Value::String(text) => Some((key.clone(), Figure::Text(format!("    {}", text.replace('\n', "\n    "))))),
            _ => None,
        };
        record(self.origin + wall, step, &What::Summary(line.iter().filter_map(figure).collect()))
    }
}
