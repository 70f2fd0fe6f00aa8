//! `summary.json`: the run's last figures, written once it is done. The report reads them.

use crate::{Error, RunDir, durable};
use serde_json::{Map, Value};

const FILE: &str = "summary.json";

/// Writes the figures whole or not at all.
pub fn write(run: &RunDir, figures: &Map<String, Value>) -> Result<(), Error> {
    let text = format!("{:#}\n", Value::Object(figures.clone()));
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

/// Is the run finished: model and figures both there?
pub fn done(run: &RunDir) -> bool {
    run.path().join(FILE).is_file() && run.model().is_dir()
}
