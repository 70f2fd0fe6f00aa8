//! `summary.json`: the run's last figures, written once it is done. The report reads them.

use crate::{Error, RunDir, durable, start};
use serde_json::{Map, Value};

const FILE: &str = "summary.json";

/// Writes the figures whole or not at all, and with them how long this process took to get to its first step (`start_s`) and to that step's end
/// (`first_step_s`).
pub fn write(run: &RunDir, figures: &Map<String, Value>) -> Result<(), Error> {
    let mut figures = figures.clone();
    figures.extend(start::figures().map(|(key, value)| (key.to_owned(), value.into())));
    let text = format!("{:#}\n", Value::Object(figures));
    durable::write_file(&run.join(FILE), text.as_bytes())
}

/// The run is to go on: its figures are no longer its last.
pub(crate) fn remove(run: &RunDir) -> Result<(), Error> {
    let path = run.join(FILE);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path)(e)),
        _ => Ok(()),
    }
}

/// Is the run finished: model and figures both there, and no other length asked for?
pub fn done(run: &RunDir) -> bool {
    run.path().join(FILE).is_file() && run.model().is_dir() && !run.is_resized()
}
