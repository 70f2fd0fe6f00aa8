//! What a judge said about a task, whichever labelling tool it comes from: controls (questions) with their values, and how they become judgments.
//!
//! Exports hold the task's fields and the controls' values, but not the configuration that says which field is the prompt and which control is of what
//! type. [`layout`] tells the one by names, [`Texts`] the other by values, [`results`] makes judgments of both.

pub mod buckets;
pub mod layout;
pub mod results;

use super::values;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// One judge's annotation of a task.
#[derive(Debug, Clone, Default)]
pub struct Annotation {
    /// What its controls say.
    pub said: Vec<Said>,
    /// The judge cancelled, skipped or discarded the task.
    pub cancelled: bool,
    /// The known right answer.
    pub gold: bool,
    /// Who: an e-mail address where the export has it, else an id.
    pub judge: Option<String>,
    /// When it was begun, milliseconds since 1970.
    pub started: Option<i64>,
    /// When it was last changed.
    pub ended: Option<i64>,
    /// Seconds spent.
    pub seconds: Option<f32>,
}

/// What one control says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The control's name.
    pub control: String,
    /// What it is about; empty where the export does not say.
    pub to: String,
    /// What it says.
    pub what: What,
}

/// What a control says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// `left` or `right`.
    Pairwise(String),
    /// The value of a Ranker.
    Ranker(Map<String, Value>),
    /// Fields by name with their ranks, 1 being best; gaps are allowed.
    Ranked(Vec<(String, u32)>),
    /// Chosen labels.
    Choices(Vec<String>),
    /// A Rating or a Number.
    Rating(f64),
    /// Written texts.
    Text(Vec<String>),
    /// No judgment: the type's name.
    Other(String),
}

impl What {
    /// From a result's value, told by its fields. `kind` is the result's type, for messages.
    pub fn of(value: &Map<String, Value>, kind: &str) -> What {
        let texts = |value: &Value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|t| t.as_str().map(str::to_string)).collect(),
            _ => None,
        };
        // A region has its place beside what is said about it.
        let region = ["start", "x", "points", "rle", "item_index"].iter().any(|key| value.contains_key(*key));
        let found = if region {
            None
        } else if let Some(Value::String(side)) = value.get("selected") {
            Some(What::Pairwise(side.clone()))
        } else if value.contains_key("ranker") || (value.contains_key("items") && value.contains_key("weights")) {
            Some(What::Ranker(value.clone()))
        } else if let Some(choices) = value.get("choices") {
            texts(choices).map(What::Choices)
        } else if let Some(rating) = value.get("rating").or_else(|| value.get("number")) {
            values::number(rating).map(What::Rating)
        } else {
            value.get("text").and_then(texts).map(What::Text)
        };
        found.unwrap_or_else(|| What::Other(kind.to_string()))
    }
}

/// The texts that a control has given, by which labels are told from what a person wrote.
#[derive(Debug, Default)]
pub struct Texts {
    distinct: BTreeSet<String>,
    met: usize,
}

impl Texts {
    /// Longest text of a label, in characters, and most labels of a control.
    const LABEL: usize = 60;
    const LABELS: usize = 20;

    /// Sees one.
    pub fn add(&mut self, text: &str) {
        self.met += 1;
        if self.distinct.len() <= Texts::LABELS {
            self.distinct.insert(text.to_string());
        }
    }

    /// True if they are labels: few short texts that come again. Of fewer than four texts short ones are taken for labels.
    pub fn are_labels(&self, control: &str) -> bool {
        let short = self.distinct.iter().all(|text| text.chars().count() <= Texts::LABEL);
        let few = self.distinct.len() <= Texts::LABELS && (self.distinct.len() * 2 <= self.met || self.met < 4);
        short && few && !speaks_of_comment(control) && !speaks_of_answer(control)
    }
}

/// True for the name of a control in which a judge writes about the judgment.
pub fn speaks_of_comment(control: &str) -> bool {
    speaks_of(control, &["comment", "reason", "why", "explanation", "justification", "note", "feedback"])
}

/// True for the name of a control in which a judge writes an answer.
pub fn speaks_of_answer(control: &str) -> bool {
    speaks_of(
        control,
        &[
            "rewrite",
            "rewritten",
            "improved",
            "corrected",
            "correction",
            "edited",
            "demonstration",
            "own_answer",
            "better_answer",
            "new_answer",
        ],
    ) || ["answer", "response"].contains(&control)
}

fn speaks_of(control: &str, words: &[&str]) -> bool {
    let control = control.to_lowercase();
    words.iter().any(|word| control.contains(word))
}
