//! `summary.json`: the run's last figures, written once it is done. The report reads them.

use crate::{Error, RunDir, durable};
use serde_json::{Map, Value};

const FILE: &str = "summary.json";

/// Writes the figures whole or not at all.
pub fn write(run: &RunDir, figures: &Map<String, Value>) -> Result<(), Error> {
    let text = format!("{:#}\n", Value::Object(figures.clone()));
    durable::write_file(&run.join(FILE), text.as_bytes())
}

/// Is the run finished: model and figures both there?
pub fn done(run: &RunDir) -> bool {
    run.join(FILE).is_file() && run.model().is_dir()
}
