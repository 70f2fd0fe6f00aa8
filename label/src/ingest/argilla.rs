//! Argilla's exports, 1.x and 2.x.
//!
//! | export | a record's responses |
//! |---|---|
//! | 1.x records (JSON, JSON Lines) | `responses: [{user_id, status, values: {question: {value}}}]` |
//! | 1.x rows (`format_as("datasets")`) | a column a question: `[{user_id, value, status}]` |
//! | 2.x records (`to_json`) | `responses: {question: [{value, user_id}]}`: without the status, so discarded ones cannot be told |
//! | 2.x rows (`to_datasets`) | `QUESTION.responses`, `QUESTION.responses.users`, `QUESTION.responses.status` |
//!
//! A user's submitted response to a record is one annotation: each question a unit, text beside others a comment. A discarded one is one skip, a draft
//! too (flagged `draft`). Suggestions are a model's and no judgments. A record without responses is an open item. 2.x gives rankings as names in
//! order: ties are lost in its export.

use super::annotation::layout::Layout;
use super::annotation::results;
use super::annotation::{Annotation, Said, Texts, What};
use super::{Head, Reader, Sink, rows, values};
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use data::source::{Met, Row};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads Argilla's exports.
pub struct Argilla;

/// Records looked at before reading, to tell labels from texts.
const LOOK: usize = 1000;
/// What follows a question's name in the columns of 2.x rows and of 1.x rows.
const RESPONSES: &str = ".responses";
const SUGGESTION: &str = "-suggestion-metadata";

/// One user's answers to a record's questions.
#[derive(Debug, Default)]
struct Response {
    user: Option<String>,
    status: String,
    answers: Vec<(String, Value)>,
}

impl Reader for Argilla {
    fn name(&self) -> &'static str {
        "argilla"
    }

    fn about(&self) -> &'static str {
        "Argilla 1.x and 2.x: records and data set rows"
    }

    fn detect(&self, head: &Head) -> u8 {
        let Some(row) = head.first.as_object() else { return 0 };
        let nested = row.get("fields").is_some_and(Value::is_object) && row.contains_key("responses");
        let flat = row.keys().any(|key| key.ends_with(&format!("{RESPONSES}.users")) || key.ends_with(SUGGESTION));
        if nested || flat { 100 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let labels = labels(file)?;
        rows::read(file, sink, &|row, sink| record(&row, &labels, sink))
    }
}

/// Which questions with text for an answer are answered by labels.
fn labels(file: &Path) -> Result<BTreeMap<String, bool>, SourceError> {
    let (mut seen, mut texts) = (0, BTreeMap::<String, Texts>::new());
    let looked = rows::scan(file, &mut |met| {
        if let Met::Row(row) = met
            && let Ok((_, responses)) = parts(&row.fields)
        {
            let answers = responses.iter().flat_map(|response| &response.answers);
            for (question, text) in answers.filter_map(|(question, value)| Some((question, value.as_str()?))) {
                texts.entry(question.clone()).or_default().add(text);
            }
        }
        seen += 1;
        if seen < LOOK { Ok(()) } else { Err(SourceError::Internal("enough".to_string())) }
    });
    match looked {
        Err(error) if seen < LOOK => Err(error),
        _ => Ok(texts.into_iter().map(|(question, texts)| (question.clone(), texts.are_labels(&question))).collect()),
    }
}

fn record(row: &Row, labels: &BTreeMap<String, bool>, sink: &mut dyn Sink) -> Result<(), SourceError> {
    let raw = rows::raw(row);
    let (data, responses) = match parts(&row.fields) {
        Ok(parts) => parts,
        Err(why) => return sink.reject(row.line, Reason::WrongType, why, &raw),
    };
    let layout = Layout::of(&data);
    if responses.is_empty() {
        let open = results::shown(&data, &layout, Kind::Open);
        return match open.prompt.is_empty() && open.answers.is_empty() {
            true => sink.reject(row.line, Reason::NoJudgment, "no response, and no text to show".to_string(), &raw),
            false => sink.keep(Judgment { row: row.line, ..open }),
        };
    }
    for response in responses {
        let draft = response.status == "draft";
        let said = response.answers.iter().map(|(question, value)| Said {
            control: question.clone(),
            to: String::new(),
            what: what(value, &data, labels.get(question).copied().unwrap_or(false)),
        });
        // Of a response that was not submitted only the comments are of use.
        let cancelled = draft || response.status == "discarded";
        let annotation = Annotation { said: said.collect(), cancelled, judge: response.user, ..Annotation::default() };
        for unit in results::units(&data, &layout, &annotation, &[]) {
            match unit {
                Ok(mut judgment) => {
                    if draft {
                        judgment.flags.push("draft".to_string());
                    }
                    sink.keep(Judgment { row: row.line, ..judgment })?;
                }
                Err((reason, detail)) => sink.reject(row.line, reason, detail, &raw)?,
            }
        }
    }
    Ok(())
}

/// What a value says, whatever the question's type was called.
fn what(value: &Value, data: &Map<String, Value>, label: bool) -> What {
    match value {
        Value::Number(n) => n.as_f64().map_or_else(|| What::Other("number".to_string()), What::Rating),
        Value::String(text) if label => What::Choices(vec![text.clone()]),
        Value::String(text) => What::Text(vec![text.clone()]),
        Value::Array(list) => listed(list, data),
        // `{"rank": [...], "value": [...]}`: columns, as `datasets` has it.
        Value::Object(columns) => match (columns.get("rank"), columns.get("value")) {
            (Some(Value::Array(ranks)), Some(Value::Array(names))) if ranks.len() == names.len() => {
                ranked(names.iter().zip(ranks)).unwrap_or_else(|| What::Other("ranking".to_string()))
            }
            _ => What::Other("unknown".to_string()),
        },
        Value::Null | Value::Bool(_) => What::Other("unknown".to_string()),
    }
}

fn listed(list: &[Value], data: &Map<String, Value>) -> What {
    if let Some(names) = list.iter().map(|item| item.as_str().map(str::to_string)).collect::<Option<Vec<String>>>() {
        // Names of the record's own fields in order are a ranking; other texts are several labels.
        let ranking = names.len() > 1 && names.iter().all(|name| data.contains_key(name));
        return if ranking { What::Ranked(names.into_iter().zip(1..).collect()) } else { What::Choices(names) };
    }
    let (names, ranks): (Vec<_>, Vec<_>) = list.iter().map(|item| (&item["value"], &item["rank"])).unzip();
    ranked(names.into_iter().zip(ranks)).unwrap_or_else(|| What::Other("span".to_string()))
}

fn ranked<'a>(places: impl Iterator<Item = (&'a Value, &'a Value)>) -> Option<What> {
    let places = places.map(|(name, rank)| Some((name.as_str()?.to_string(), values::number(rank)? as u32)));
    places.collect::<Option<Vec<_>>>().filter(|places| !places.is_empty()).map(What::Ranked)
}

/// The record's fields and its responses by user, in the order in which users come.
fn parts(row: &Map<String, Value>) -> Result<(Map<String, Value>, Vec<Response>), String> {
    let user = |value: &Value| values::name(&value["user_id"]);
    let status = |value: &Value| value["status"].as_str().unwrap_or("submitted").to_string();
    let mut responses = Vec::new();
    if let Some(Value::Object(fields)) = row.get("fields") {
        match row.get("responses") {
            Some(Value::Array(list)) => {
                for response in list {
                    let values = response["values"].as_object().cloned().unwrap_or_default();
                    let answers = values.into_iter().map(|(question, value)| (question, value.get("value").cloned().unwrap_or(value)));
                    responses.push(Response { user: user(response), status: status(response), answers: answers.collect() });
                }
            }
            Some(Value::Object(questions)) => {
                for (question, list) in questions {
                    let list = list.as_array().ok_or_else(|| format!("the responses to {question:?} are not a list"))?;
                    list.iter().for_each(|r| add(&mut responses, user(r), status(r), question, r["value"].clone()));
                }
            }
            None | Some(Value::Null) => {}
            Some(_) => return Err("`responses` is neither a list nor an object".to_string()),
        }
        return Ok((fields.clone(), responses));
    }
    let mut data = Map::new();
    for (key, value) in row {
        let question_v2 = key.split_once(RESPONSES).map(|(question, _)| question);
        let is_v1 = row.contains_key(&format!("{key}{SUGGESTION}"));
        if let (Some(question), true) = (question_v2, key.ends_with(RESPONSES)) {
            let column = |end: &str| row.get(&format!("{key}.{end}")).and_then(Value::as_array);
            for (i, answer) in value.as_array().into_iter().flatten().enumerate() {
                let user = column("users").and_then(|users| values::name(users.get(i)?));
                let status = column("status").and_then(|list| list.get(i)?.as_str()).unwrap_or("submitted").to_string();
                add(&mut responses, user, status, question, answer.clone());
            }
        } else if is_v1 {
            let list = values::unpacked(value);
            list.as_array().into_iter().flatten().for_each(|r| add(&mut responses, user(r), status(r), key, r["value"].clone()));
        } else if question_v2.is_none() && !key.contains(".suggestion") && !key.contains("-suggestion") {
            data.insert(key.clone(), value.clone());
        }
    }
    Ok((data, responses))
}

/// Adds an answer to the user's response.
fn add(responses: &mut Vec<Response>, user: Option<String>, status: String, question: &str, value: Value) {
    let at = responses.iter().position(|response| response.user == user && response.status == status);
    let at = at.unwrap_or_else(|| {
        responses.push(Response { user, status, answers: Vec::new() });
        responses.len() - 1
    });
    responses[at].answers.push((question.to_string(), value));
}
