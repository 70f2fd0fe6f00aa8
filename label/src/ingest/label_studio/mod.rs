//! Label Studio's exports: JSON, JSON_MIN, CSV and TSV.
//!
//! JSON is the whole: tasks with their annotations, of which each control's result is a unit ([`results`](super::annotation::results)); a task that nobody has annotated is an
//! open item. The flat forms ([`flat`]) have a row an annotation, without the skipped ones, without the gold mark, and without the types of the
//! controls.

mod flat;

use super::annotation::layout::Layout;
use super::annotation::results::{self, Unit};
use super::annotation::{Annotation, Said, What};
use super::{Head, Options, Reader, Sink, rows, values};
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use serde_json::{Map, Value};
use std::path::Path;

/// Reads Label Studio's exports.
pub struct LabelStudio {
    buckets: Vec<String>,
}

impl LabelStudio {
    /// With the user's order of buckets.
    pub fn new(options: &Options) -> LabelStudio {
        LabelStudio { buckets: options.buckets.clone() }
    }
}

/// Who and when: the fields that all forms have. The time of beginning is `created_at` less `lead_time`, that of the end `updated_at`.
fn dated(fields: &Map<String, Value>, judge: &str) -> Annotation {
    let time = |key: &str| fields.get(key).and_then(values::millis);
    let seconds = fields.get("lead_time").and_then(values::number);
    let begin = |created: i64| seconds.map_or(created, |s| created - (s * 1000.0).round() as i64);
    let judge = match fields.get(judge) {
        Some(Value::Object(who)) => ["email", "id"].iter().find_map(|key| values::name(who.get(*key)?)),
        Some(who) => values::name(who),
        None => None,
    };
    Annotation {
        judge,
        started: time("created_at").map(begin),
        ended: time("updated_at").or_else(|| time("created_at")),
        seconds: seconds.map(|s| s as f32),
        ..Annotation::default()
    }
}

fn of_json(fields: &Map<String, Value>) -> Annotation {
    let truth = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(false);
    let result = fields.get("result").and_then(Value::as_array);
    Annotation {
        said: result.map(|list| list.iter().map(said).collect()).unwrap_or_default(),
        cancelled: truth("was_cancelled") || truth("skipped"),
        gold: truth("ground_truth"),
        ..dated(fields, "completed_by")
    }
}

fn said(result: &Value) -> Said {
    let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let what = match result.get("value") {
        Some(Value::Object(value)) => What::of(value, &text("type")),
        _ => What::Other(text("type")),
    };
    Said { control: text("from_name"), to: text("to_name"), what }
}

impl Reader for LabelStudio {
    fn name(&self) -> &'static str {
        "label-studio"
    }

    fn about(&self) -> &'static str {
        "Label Studio: exports as JSON, JSON_MIN, CSV and TSV"
    }

    fn detect(&self, head: &Head) -> u8 {
        if head.first.get("data").is_some_and(Value::is_object) {
            let lists = ["annotations", "completions", "predictions"].iter().any(|key| head.first.get(key).is_some_and(Value::is_array));
            return if lists { 100 } else { 60 };
        }
        if head.has(&["annotation_id", "annotator", "lead_time"]) { 95 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let columns = flat::Columns::of(file)?;
        rows::read(file, sink, &|row, sink| {
            let raw = || rows::raw(&row);
            match (row.fields.get("data"), &columns) {
                (Some(Value::Object(_)), _) => task(&row.fields, row.line, &self.buckets, sink),
                (_, Some(columns)) => match columns.annotation(&row.fields) {
                    Ok((data, annotation)) => {
                        let layout = Layout::of(&data);
                        hand_over(results::units(&data, &layout, &annotation, &self.buckets), row.line, &raw(), sink)
                    }
                    Err((reason, detail)) => sink.reject(row.line, reason, detail, &raw()),
                },
                (None, None) => sink.reject(row.line, Reason::MissingField, "a task without `data`".to_string(), &raw()),
                (Some(_), None) => sink.reject(row.line, Reason::WrongType, "the task's `data` is no object".to_string(), &raw()),
            }
        })
    }
}

/// A task of the JSON export (or of the API) with its annotations, as units number `row`.
pub fn task(task: &Map<String, Value>, row: u64, buckets: &[String], sink: &mut dyn Sink) -> Result<(), SourceError> {
    let raw = |annotation: &Value| serde_json::to_string(annotation).unwrap_or_default();
    let Some(data) = task.get("data").and_then(Value::as_object) else {
        return sink.reject(row, Reason::MissingField, "a task without `data`".to_string(), &raw(&Value::Object(task.clone())));
    };
    let layout = Layout::of(data);
    let annotations = ["annotations", "completions"].iter().find_map(|key| task.get(*key)?.as_array()).filter(|list| !list.is_empty());
    let Some(annotations) = annotations else {
        let mut open = results::shown(data, &layout, Kind::Open);
        if let Some(ours) = task.get("meta").and_then(|meta| meta.get("judgment")?.as_object()) {
            restore(&mut open, ours);
        }
        let nothing = open.prompt.is_empty() && open.answers.is_empty();
        let unit = if nothing { Err((Reason::NoJudgment, "no annotation, and no text to show".to_string())) } else { Ok(open) };
        return hand_over(vec![unit], row, &raw(&task["data"]), sink);
    };
    for annotation in annotations {
        let units = match annotation.as_object() {
            Some(fields) => {
                let mut units = results::units(data, &layout, &of_json(fields), buckets);
                if let (Some(ours), Some(Ok(first))) = (ours(fields), units.first_mut()) {
                    restore(first, ours);
                }
                units
            }
            None => vec![Err((Reason::WrongType, "the annotation is no object".to_string()))],
        };
        hand_over(units, row, &raw(annotation), sink)?;
    }
    Ok(())
}

/// What `label export` has put beside an annotation's first result.
fn ours(annotation: &Map<String, Value>) -> Option<&Map<String, Value>> {
    annotation.get("result")?.get(0)?.get("meta")?.get("judgment")?.as_object()
}

/// Gives a judgment back what Label Studio has no field for. What it says is the annotation's: somebody may have changed it there.
fn restore(judgment: &mut Judgment, ours: &Map<String, Value>) {
    let mut whole = crate::export::plain::to_json(judgment);
    let lists = ["shown", "scores", "worth"];
    // Who and when are those of the import there.
    for key in lists.iter().chain(&["judge", "started", "ended"]) {
        whole.shift_remove(*key);
    }
    let fits = |value: &Value| value.as_array().is_none_or(|list| list.len() == judgment.answers.len());
    whole.extend(ours.iter().filter(|(key, value)| !lists.contains(&key.as_str()) || fits(value)).map(|(k, v)| (k.clone(), v.clone())));
    if let Ok(restored) = crate::export::plain::from_json(&whole) {
        *judgment = restored;
    }
}

fn hand_over(units: Vec<Unit>, row: u64, raw: &str, sink: &mut dyn Sink) -> Result<(), SourceError> {
    for unit in units {
        match unit {
            Ok(judgment) => sink.keep(Judgment { row: if judgment.row == 0 { row } else { judgment.row }, ..judgment })?,
            Err((reason, detail)) => sink.reject(row, reason, detail, raw)?,
        }
    }
    Ok(())
}
