//! The flat forms: JSON_MIN, CSV, TSV. A row is an annotation: the task's fields, the controls' values, who and when, all side by side.
//!
//! Which column is a control's? A Pairwise, a Ranker, a Rating or several labels show by their value. A single label and a written text are both just
//! text. JSON_MIN has the controls between `id` and `annotator`; CSV sorts the columns by name, so there it must be the one text column that is
//! neither prompt nor answer. A control of text is one of Choices if its texts are short and come again, else a TextArea.

use super::dated;
use crate::ingest::annotation::layout::Layout;
use crate::ingest::annotation::{Annotation, Said, Texts, What, speaks_of_answer, speaks_of_comment};
use crate::ingest::{rows, values};
use data::error::SourceError;
use data::quarantine::Reason;
use data::source::Met;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Columns that every flat export has, or may have.
const META: [&str; 7] = ["id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"];
/// Rows looked at before reading, to see what the columns are.
const LOOK: usize = 1000;

/// What the columns of a flat file are.
#[derive(Debug, Default)]
pub struct Columns {
    /// Controls whose value is plain text, and whether they are Choices.
    texts: BTreeMap<String, bool>,
    /// Columns of text that may be a control or a field of the task: why rows cannot be read.
    unclear: Vec<String>,
}

impl Columns {
    /// Looks at the beginning of a file; none if its rows are tasks of the JSON export.
    pub fn of(file: &Path) -> Result<Option<Columns>, SourceError> {
        let mut seen: Vec<Map<String, Value>> = Vec::new();
        let looked = rows::scan(file, &mut |met| {
            if let Met::Row(row) = met {
                seen.push(row.fields);
            }
            if seen.len() < LOOK { Ok(()) } else { Err(SourceError::Internal("enough".to_string())) }
        });
        match looked {
            Err(error) if seen.len() < LOOK => return Err(error),
            _ => {}
        }
        let flat = seen.iter().any(|row| row.contains_key("annotation_id") && !row.get("data").is_some_and(Value::is_object));
        Ok(flat.then(|| Columns::from_rows(&seen)))
    }

    fn from_rows(seen: &[Map<String, Value>]) -> Columns {
        let structured =
            |row: &Map<String, Value>| row.iter().any(|(name, value)| !META.contains(&name.as_str()) && !structures(value).is_empty());
        let any_structured = seen.iter().any(structured);
        let json_min = seen.first().is_some_and(|row| between(row).is_some());
        let mut texts: BTreeMap<String, Texts> = BTreeMap::new();
        for row in seen {
            let data: Map<String, Value> =
                row.iter().filter(|(name, _)| !META.contains(&name.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
            let layout = Layout::of(&data);
            let inside = between(row);
            for (name, value) in row {
                let Some(text) = value.as_str().filter(|text| !text.trim().is_empty()) else { continue };
                let shown = *name == layout.prompt_key || layout.answers.iter().any(|(key, _)| key == name);
                let is_text = structures(value).is_empty() && values::number(value).is_none();
                let may = match &inside {
                    Some(controls) => controls.contains(&name.as_str()),
                    None => {
                        !META.contains(&name.as_str())
                            && !shown
                            && is_text
                            && (!any_structured || speaks_of_comment(name) || speaks_of_answer(name))
                    }
                };
                if may && structures(value).is_empty() {
                    texts.entry(name.clone()).or_default().add(text);
                }
            }
        }
        if !json_min && !any_structured && texts.len() > 1 {
            // `_data_NAME` is what the exporter calls a task's field whose name a control has taken, so NAME is a control.
            let taken: Vec<String> = texts.keys().filter(|name| texts.contains_key(&format!("_data_{name}"))).cloned().collect();
            if taken.is_empty() {
                return Columns { unclear: texts.into_keys().collect(), texts: BTreeMap::new() };
            }
            texts.retain(|name, _| taken.contains(name));
        }
        Columns { texts: texts.iter().map(|(name, values)| (name.clone(), values.are_labels(name))).collect(), unclear: Vec::new() }
    }

    /// Takes a row apart into the task's fields and the annotation.
    pub fn annotation(&self, row: &Map<String, Value>) -> Result<(Map<String, Value>, Annotation), (Reason, String)> {
        if !self.unclear.is_empty() {
            let detail = format!(
                "which of the columns {} the annotator filled cannot be told: export as JSON, which says it",
                self.unclear.join(", ")
            );
            return Err((Reason::MissingField, detail));
        }
        let mut annotation = dated(row, "annotator");
        let mut data = Map::new();
        for (name, value) in row {
            let said = |what| Said { control: name.clone(), to: String::new(), what };
            if META.contains(&name.as_str()) {
                continue;
            }
            let found = structures(value);
            if !found.is_empty() {
                annotation.said.extend(found.into_iter().map(said));
            } else if let Some(choice) = self.texts.get(name) {
                let text = value.as_str().unwrap_or_default();
                if !text.trim().is_empty() {
                    let text = vec![text.to_string()];
                    annotation.said.push(said(if *choice { What::Choices(text) } else { What::Text(text) }));
                }
            } else {
                data.insert(name.strip_prefix("_data_").unwrap_or(name).to_string(), value.clone());
            }
        }
        Ok((data, annotation))
    }
}

/// In JSON_MIN the controls stand between `id` and `annotator`. None where `annotator` comes before `id`, as in CSV.
fn between(row: &Map<String, Value>) -> Option<Vec<&str>> {
    let place = |name: &str| row.keys().position(|key| key == name);
    let (id, annotator) = (place("id")?, place("annotator")?);
    (id < annotator).then(|| row.keys().skip(id + 1).take(annotator - id - 1).map(String::as_str).collect())
}

/// Results that show by their value, of a list or alone; none for anything else.
fn structures(value: &Value) -> Vec<What> {
    let value = values::unpacked(value);
    let one = |value: &Value| match value.as_object().map(|object| (object, What::of(object, ""))) {
        Some((_, What::Other(_))) | None => None,
        // A task's field may have `text` in it, and a List's items too.
        Some((object, What::Text(_))) if object.len() > 1 || !object["text"].is_array() => None,
        Some((_, what)) => Some(what),
    };
    match &value {
        Value::Array(list) => list.iter().map(one).collect::<Option<Vec<_>>>().unwrap_or_default(),
        other => one(other).into_iter().collect(),
    }
}
