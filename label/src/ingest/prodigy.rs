//! Prodigy's data sets as `prodigy db-out` writes them: JSON Lines with `answer` (accept, reject, ignore).
//!
//! | task | judgment |
//! |---|---|
//! | `text` and `label` (classification) | a rating of the label, 1 accepted, 0 rejected |
//! | `options` that are the same throughout the file (choice) | a choice of the accepted ones |
//! | `options` that differ from task to task (choice, A/B) | a ranking: the accepted before the others |
//! | `accept` and `reject` with `mapping` (compare) | a ranking of the two |
//! | `user_input` alone (text_input) | a demonstration |
//! | `text` alone | a rating of the text (with `prompt` and `response`: of the response) |
//! | answer `ignore`; a rejected choice | a skip |
//! | spans, relations, images | the quarantine |

use super::{Head, Reader, Sink, rows, values};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind, flag, item_key};
use data::quarantine::Reason;
use data::source::{Met, Row};
use serde_json::{Map, Value};
use std::path::Path;

/// Reads Prodigy's data sets.
pub struct Prodigy;

/// Rows looked at before reading, to see whether options are labels.
const LOOK: usize = 1000;
/// Longest label, in characters.
const LABEL: usize = 60;

type Fault = (Reason, String);

impl Reader for Prodigy {
    fn name(&self) -> &'static str {
        "prodigy"
    }

    fn about(&self) -> &'static str {
        "Prodigy: JSON Lines of db-out"
    }

    fn detect(&self, head: &Head) -> u8 {
        let answered = head.first.get("answer").and_then(Value::as_str).is_some_and(|a| ["accept", "reject", "ignore"].contains(&a));
        match (answered, head.has(&["_task_hash"])) {
            (true, true) => 100,
            (true, false) => 40,
            _ => 0,
        }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let labels = options_are_labels(file)?;
        rows::read(file, sink, &|row, sink| rows::one(&row, sink, |row| judgment(row, labels)))
    }
}

/// Texts of a task's options.
fn options(task: &Map<String, Value>) -> Option<Vec<(Value, String)>> {
    let list = task.get("options")?.as_array()?;
    list.iter().map(|option| Some((option.get("id")?.clone(), text_of(option)?))).collect()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => ["text", "html", "label"].iter().find_map(|key| value.get(key)?.as_str().map(str::to_string)),
    }
}

/// Labels are the same short texts in every task.
fn options_are_labels(file: &Path) -> Result<bool, SourceError> {
    let (mut seen, mut same) = (0, true);
    let mut first: Option<Vec<String>> = None;
    let looked = rows::scan(file, &mut |met| {
        if let Met::Row(row) = met
            && let Some(options) = options(&row.fields)
        {
            let mut texts: Vec<String> = options.into_iter().map(|(_, text)| text).collect();
            texts.sort();
            same &= texts.iter().all(|text| text.chars().count() <= LABEL) && *first.get_or_insert_with(|| texts.clone()) == texts;
        }
        seen += 1;
        if seen < LOOK && same { Ok(()) } else { Err(SourceError::Internal("enough".to_string())) }
    });
    match looked {
        Err(error) if seen < LOOK && same => Err(error),
        _ => Ok(same),
    }
}

fn judgment(row: &Row, labels: bool) -> Result<Judgment, Fault> {
    let task = &row.fields;
    let answer = task.get("answer").and_then(Value::as_str).unwrap_or_default();
    let mut judgment = match answer {
        "accept" | "reject" => said(task, answer == "accept", labels)?,
        "ignore" => {
            let shown = said(task, true, labels).unwrap_or_else(|_| Judgment::new(Kind::Skipped, prompt(task), Vec::new()));
            Judgment { kind: Kind::Skipped, ranks: None, scores: None, flags: Vec::new(), ..shown }
        }
        other => return Err((Reason::WrongType, format!("the answer is {other:?}, not accept, reject or ignore"))),
    };
    judgment.judge = ["_annotator_id", "_session_id"].iter().find_map(|key| values::name(task.get(*key)?));
    judgment.ended = task.get("_timestamp").and_then(values::millis);
    if task.get("flagged").and_then(Value::as_bool) == Some(true) {
        judgment.flags.push("flagged".to_string());
    }
    if judgment.kind != Kind::Demonstration {
        judgment.comment = values::text(task, "user_input").or_else(|| values::text(task, "comment")).map(str::to_string);
    }
    Ok(judgment)
}

fn prompt(task: &Map<String, Value>) -> Vec<Message> {
    let keys = ["prompt", "text", "question", "messages", "html"];
    keys.iter().find_map(|key| values::prompt(task.get(*key)?)).unwrap_or_default()
}

/// What an answered task says.
fn said(task: &Map<String, Value>, accepted: bool, labels: bool) -> Result<Judgment, Fault> {
    if task.contains_key("options") {
        return chosen(task, accepted, labels);
    }
    if let (Some(accept), Some(reject), true) = (task.get("accept"), task.get("reject"), task.contains_key("mapping")) {
        return compared(task, accept, reject, accepted);
    }
    let score = |answer: &str, prompt: Vec<Message>| Judgment {
        scores: Some(vec![f32::from(u8::from(accepted))]),
        ..Judgment::new(Kind::Rating, prompt, vec![answer.to_string()])
    };
    let structured = ["spans", "relations", "image", "audio", "video"].iter().find(|key| task.contains_key(**key));
    if let Some(label) = values::text(task, "label") {
        return Ok(score(label, prompt(task)));
    }
    if let Some(what) = structured {
        return Err((Reason::NoJudgment, format!("a task of {what} is no judgment of texts")));
    }
    if let Some(answer) = ["response", "completion", "output"].iter().find_map(|key| values::text(task, key)) {
        return Ok(score(answer, prompt(task)));
    }
    if let Some(written) = values::text(task, "user_input").filter(|_| accepted) {
        let prompt = prompt(task);
        return Ok(Judgment { item: item_key(&prompt, &[]), ..Judgment::new(Kind::Demonstration, prompt, vec![written.to_string()]) });
    }
    match values::text(task, "text") {
        Some(text) => Ok(score(text, Vec::new())),
        None => Err((
            Reason::MissingField,
            format!("neither text nor options; the task has {}", task.keys().cloned().collect::<Vec<_>>().join(", ")),
        )),
    }
}

fn chosen(task: &Map<String, Value>, accepted: bool, labels: bool) -> Result<Judgment, Fault> {
    let options = options(task).ok_or((Reason::WrongType, "the options are not a list of {id, text}".to_string()))?;
    let ids = match task.get("accept") {
        Some(Value::Array(ids)) => ids.clone(),
        None | Some(Value::Null) => Vec::new(),
        Some(one) => vec![one.clone()],
    };
    if let Some(unknown) = ids.iter().find(|id| !options.iter().any(|(known, _)| known == *id)) {
        return Err((Reason::BadRanking, format!("{unknown} is accepted, but no option has that id")));
    }
    let prompt = prompt(task);
    let texts: Vec<String> = options.iter().map(|(_, text)| text.clone()).collect();
    if labels {
        let chosen = options.iter().filter(|(id, _)| ids.contains(id)).map(|(_, text)| text.clone()).collect();
        // The item is the question with all its labels, whichever of them was chosen.
        let item = item_key(&prompt, &texts);
        return Ok(match accepted {
            true => Judgment { item, ..Judgment::new(Kind::Choice, prompt, chosen) },
            false => Judgment { item, comment: Some("rejected".to_string()), ..Judgment::new(Kind::Skipped, prompt, Vec::new()) },
        });
    }
    let mut judgment = Judgment::new(Kind::Ranking, prompt, texts);
    judgment.shown = Some((0..options.len() as u32).collect());
    // Ids that are names are those of who wrote the answers; numbers only count.
    judgment.authors = options.iter().map(|(id, _)| id.as_str().filter(|id| id.parse::<f64>().is_err()).map(str::to_string)).collect();
    let none = !accepted || ids.is_empty();
    let rank = |id: &Value| if none || ids.contains(id) || ids.len() == options.len() { 1 } else { 2 };
    judgment.ranks = Some(options.iter().map(|(id, _)| rank(id)).collect());
    if none {
        judgment.flags.push(flag::REJECT_ALL.to_string());
    }
    Ok(judgment)
}

fn compared(task: &Map<String, Value>, accept: &Value, reject: &Value, accepted: bool) -> Result<Judgment, Fault> {
    let text = |value: &Value| text_of(value).ok_or((Reason::MissingField, "`accept` or `reject` has no text".to_string()));
    let prompt = task.get("input").and_then(text_of).map(|text| vec![Message::new("user", &text)]).unwrap_or_else(|| prompt(task));
    let mut judgment = Judgment::new(Kind::Ranking, prompt, vec![text(accept)?, text(reject)?]);
    judgment.ranks = Some(if accepted { vec![1, 2] } else { vec![2, 1] });
    // {"A": "accept", "B": "reject"}: which of the two sources stood behind which.
    let mapping = task.get("mapping").and_then(Value::as_object);
    let author = |side: &str| mapping.and_then(|m| m.iter().find(|(_, s)| s.as_str() == Some(side)).map(|(name, _)| name.clone()));
    judgment.authors = [author("accept"), author("reject")].into_iter().collect();
    Ok(judgment)
}
