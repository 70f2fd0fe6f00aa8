//! K-wise rows: a prompt, a list of answers, and their ranks or scores, as lists of their own or inside the answers.

use super::fields::{self, Fault, Fields, conversation, first_of, number, present, scalar};
use super::{Head, Reader, Sink, pairs};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use data::source::kind;
use serde_json::Value;
use std::path::Path;

/// The reader of K-wise rows.
pub struct Ranked;

/// Mark of a ranking from which answers without rank or score were left out.
pub(super) const PARTIAL: &str = "partial";

const PROMPT: [&str; 4] = ["prompt", "instruction", "question", "messages"];
const ANSWERS: [&str; 5] = ["answers", "responses", "completions", "outputs", "generations"];
const RANKS: [&str; 2] = ["ranks", "rank"];
const SCORES: [&str; 4] = ["scores", "ratings", "rewards", "overall_scores"];
const AUTHORS: [&str; 3] = ["models", "authors", "sources"];
/// Inside an answer.
const TEXT: [&str; 6] = ["text", "content", "response", "completion", "answer", "output"];
const SCORE: [&str; 4] = ["score", "overall_score", "rating", "reward"];
const AUTHOR: [&str; 4] = ["model", "author", "source", "policy"];

impl Reader for Ranked {
    fn name(&self) -> &'static str {
        "ranked"
    }

    fn about(&self) -> &'static str {
        "prompt, answers (or responses, completions) and ranks or scores, as lists or inside the answers; without them, items to be ranked"
    }

    fn detect(&self, head: &Head) -> u8 {
        let Some(fields) = head.first.as_object() else { return 0 };
        let listed = first_of(fields, &ANSWERS).is_some_and(|(_, value)| list(value).is_some());
        if first_of(fields, &PROMPT).is_none() || !listed {
            return 0;
        }
        if first_of(fields, &RANKS).or(first_of(fields, &SCORES)).is_some() { 78 } else { 60 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        fields::each_row(file, sink, &|fields| pairs::common(one(fields)?, fields))
    }
}

/// A list, or the JSON of one in a cell of CSV.
fn list(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) => serde_json::from_str::<Vec<Value>>(text).ok(),
        _ => None,
    }
}

fn one(fields: &Fields) -> Result<Judgment, Fault> {
    let (_, prompt) = first_of(fields, &PROMPT).ok_or_else(|| fields::missing(fields, "prompt"))?;
    let prompt = conversation(prompt)?;
    if prompt.iter().all(|turn| turn.content.trim().is_empty()) {
        return Err((Reason::Empty, "the prompt is empty".to_string()));
    }
    let (column, answers) = first_of(fields, &ANSWERS).ok_or_else(|| fields::missing(fields, "answers"))?;
    let answers = list(answers).ok_or_else(|| (Reason::WrongType, format!("field {column:?} is not a list")))?;
    let inside = |item: &Value, names: &[&'static str]| item.as_object().and_then(|o| first_of(o, names)).map(|(_, value)| value.clone());
    let beside = |names: &[&'static str]| -> Result<Option<Vec<Value>>, Fault> {
        let Some((name, value)) = first_of(fields, names) else { return Ok(None) };
        match list(value) {
            Some(list) if list.len() == answers.len() => Ok(Some(list)),
            Some(list) => Err((Reason::BadRanking, format!("{} answers, but {} in {name:?}", answers.len(), list.len()))),
            None => Err((Reason::WrongType, format!("field {name:?} is not a list"))),
        }
    };
    // Ranks say more than scores that ranks were made from: where a row has both, the order is that of the ranks.
    let each = |names: &[&'static str]| -> Option<Vec<Value>> {
        let found: Vec<_> = answers.iter().map(|answer| inside(answer, names).unwrap_or_default()).collect();
        found.iter().any(|value| !value.is_null()).then_some(found)
    };
    let ranks = beside(&RANKS)?.or_else(|| each(&["rank"]));
    let scores = beside(&SCORES)?.or_else(|| each(&SCORE));
    let authors = beside(&AUTHORS)?.or_else(|| each(&AUTHOR));
    let marks = ranks.as_ref().or(scores.as_ref());
    let mut kept: Vec<usize> = Vec::new();
    for i in 0..answers.len() {
        match marks.map(|marks| &marks[i]) {
            // An answer that nobody judged is not compared with the others.
            Some(Value::Null) => {}
            Some(mark) if number(mark).is_none() => return Err((Reason::WrongType, format!("{mark} is not a finite number"))),
            _ => kept.push(i),
        }
    }
    let texts = kept.iter().map(|&i| text(&answers[i], i)).collect::<Result<Vec<_>, _>>()?;
    let pick = |list: &Vec<Value>| kept.iter().filter_map(|&i| number(&list[i])).collect::<Vec<f64>>();
    let by_score = scores.as_ref().map(pick).filter(|scores| scores.len() == kept.len());
    let by_score: Option<Vec<f32>> = by_score.map(|scores| scores.iter().map(|x| *x as f32).collect());
    let order = match (&ranks, &by_score) {
        (Some(ranks), _) => Some(fields::dense(&pick(ranks))?),
        (None, Some(scores)) => Some(ranks_of(scores)),
        (None, None) => None,
    };
    let kind = match (&order, kept.len()) {
        (None, _) => Kind::Open,
        (Some(_), 1) if by_score.is_some() => Kind::Rating,
        (Some(_), n) if n >= 2 => Kind::Ranking,
        (Some(_), n) => return Err((Reason::BadRanking, format!("{n} judged answers; a ranking needs two"))),
    };
    let authors = authors.map(|list| kept.iter().map(|&i| scalar(&list[i]).unwrap_or_default()).collect());
    let mut flags = fields::marks(&texts)?;
    if kept.len() < answers.len() {
        flags.push(PARTIAL.to_string());
    }
    let ranks = order.filter(|_| kind == Kind::Ranking);
    Ok(Judgment { ranks, scores: by_score, authors, flags, ..Judgment::new(kind, prompt, texts) })
}

/// The text of an answer: text, an object with one, or a conversation that ends with it.
fn text(answer: &Value, i: usize) -> Result<String, Fault> {
    let wrong = || (Reason::WrongType, format!("answer {} is {}, not text", i + 1, kind(answer)));
    match answer {
        Value::Object(fields) if present(fields, "role").is_none() => {
            first_of(fields, &TEXT).and_then(|(_, value)| scalar(value)).ok_or_else(wrong)
        }
        Value::Object(_) => {
            let turn = Message::list(&Value::Array(vec![answer.clone()])).map_err(|why| (Reason::BadChat, why))?;
            turn.into_iter().next().map(|turn| turn.content).ok_or_else(wrong)
        }
        Value::Array(_) => Message::list(answer).ok().and_then(|mut turns| turns.pop()).map(|turn| turn.content).ok_or_else(wrong),
        other => scalar(other).ok_or_else(wrong),
    }
}
