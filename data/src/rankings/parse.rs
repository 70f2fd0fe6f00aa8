//! One row to one ranking.

use super::{Ranking, ranks_of};
use crate::chat::Message;
use crate::config::Columns;
use crate::fields::{self, Fault};
use crate::labels::{FIELDS, Kind, flag, text_of};
use crate::quarantine::Reason;
use crate::source::Row;
use serde_json::Value;

/// K-wise where the row has the answers' columns, else a pair of `chosen` and `rejected`. The inner error says why a judgment is left out on purpose.
pub(super) fn ranking(row: &Row, columns: &Columns) -> Result<Result<Ranking, &'static str>, Fault> {
    if let Some(cause) = left_out(row) {
        return Ok(Err(cause));
    }
    let k_wise = columns.answers.iter().any(|column| fields::present(row, column).is_some());
    let parsed = if k_wise { k_wise_of(row, columns)? } else { pair_of(row, columns)? };
    let Parsed { prompt, answers, ranks, scores } = parsed;
    if let Some(i) = answers.iter().position(|answer| answer.trim().is_empty()) {
        return Err((Reason::Empty, format!("answer {} is empty", i + 1)));
    }
    if answers.len() < 2 {
        return Err((Reason::BadRanking, format!("{} judged answers; a ranking needs two", answers.len())));
    }
    Ok(Ok(Ranking {
        group: fields::group(row, &columns.group, &text_of(&prompt))?,
        judge: fields::name(row, &columns.judge),
        weight: fields::weight(row, &columns.weight)?,
        prompt,
        answers,
        ranks,
        scores,
        worth: None,
        file: row.file.to_path_buf(),
        row: row.line,
    }))
}

/// Judgments as JSON Lines or Parquet (`label export`, `label serve`): what compares nothing, such as a skip or the known order of a gold item, and what
/// rejects all answers alike teaches as little as it does in their table ([`judged`](super::judged)).
fn left_out(row: &Row) -> Option<&'static str> {
    if !FIELDS.iter().all(|name| row.fields.contains_key(*name)) {
        return None;
    }
    let said = fields::present(row, "kind")?.as_str()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == said)?;
    if !kind.compares() {
        return Some(kind.name());
    }
    let list = |name: &str| fields::present(row, name).and_then(Value::as_array).map(Vec::as_slice);
    let rejected = list("flags").unwrap_or_default().iter().any(|f| f.as_str() == Some(flag::REJECT_ALL));
    let marks = list("ranks").or_else(|| list("scores")).unwrap_or_default();
    (rejected && marks.iter().all(|mark| *mark == marks[0])).then_some(flag::REJECT_ALL)
}

struct Parsed {
    prompt: Vec<Message>,
    answers: Vec<String>,
    ranks: Vec<u32>,
    scores: Option<Vec<f32>>,
}

fn k_wise_of(row: &Row, columns: &Columns) -> Result<Parsed, Fault> {
    let prompt = prompt_of(row, &columns.prompt)?;
    let answers = fields::list(row, &columns.answers)?;
    let by_score = !columns.scores.is_empty();
    let names = if by_score { &columns.scores } else { &columns.ranks };
    let marks = fields::list(row, names)?;
    if marks.len() != answers.len() {
        return Err((Reason::BadRanking, format!("{} answers, but {} in {}", answers.len(), marks.len(), names.join(", "))));
    }
    let (mut kept, mut values) = (Vec::new(), Vec::new());
    for (i, (answer, mark)) in answers.iter().zip(&marks).enumerate() {
        // An answer that nobody scored is not compared with the others; nor is a place that holds no answer (fewer than K of them).
        let Some(mark) = fields::number(mark, &names[i.min(names.len() - 1)])? else { continue };
        let answer = match answer {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => return Err((Reason::WrongType, format!("answer {} is {other}, not text", i + 1))),
        };
        kept.push(answer);
        values.push(mark as f32);
    }
    if by_score {
        return Ok(Parsed { prompt, answers: kept, ranks: ranks_of(&values), scores: Some(values) });
    }
    if let Some(rank) = values.iter().find(|rank| **rank < 0.0 || rank.fract() != 0.0) {
        return Err((Reason::BadRanking, format!("rank {rank} is not a whole number from 0 up (use `scores` for scores)")));
    }
    // 1 2 2 4 and 0 1 1 2 both mean 1 2 2 3.
    let negated: Vec<f32> = values.iter().map(|rank| -rank).collect();
    Ok(Parsed { prompt, answers: kept, ranks: ranks_of(&negated), scores: None })
}

fn pair_of(row: &Row, columns: &Columns) -> Result<Parsed, Fault> {
    let (prompt, chosen, rejected) = match (present_or(row, &columns.chosen)?, present_or(row, &columns.rejected)?) {
        (Value::String(chosen), Value::String(rejected)) => match fields::present(row, &columns.prompt) {
            Some(_) => (prompt_of(row, &columns.prompt)?, chosen.clone(), rejected.clone()),
            None => common_prompt(chosen, rejected)?,
        },
        // As TRL and UltraFeedback have it: both are chats that differ in the last turn.
        (chosen @ Value::Array(_), rejected @ Value::Array(_)) => chats(row, columns, chosen, rejected)?,
        _ => {
            return Err((
                Reason::WrongType,
                format!("{:?} and {:?} are neither both text nor both chats", columns.chosen, columns.rejected),
            ));
        }
    };
    Ok(Parsed { prompt, answers: vec![chosen, rejected], ranks: vec![1, 2], scores: None })
}

/// A prompt of text is one turn of the user's; a list of messages is the conversation that is to be answered.
fn prompt_of(row: &Row, column: &str) -> Result<Vec<Message>, Fault> {
    match fields::present(row, column) {
        Some(turns @ Value::Array(_)) => {
            fields::no_tools(row)?;
            let turns = Message::list(turns).map_err(|why| (Reason::BadChat, why))?;
            if turns.iter().all(|turn| turn.content.trim().is_empty()) {
                return Err((Reason::Empty, format!("field {column:?} is empty")));
            }
            Ok(turns)
        }
        _ => Ok(vec![Message::new("user", fields::visible(row, column)?)]),
    }
}

fn present_or<'a>(row: &'a Row, column: &str) -> Result<&'a Value, Fault> {
    fields::present(row, column).ok_or_else(|| fields::missing(row, column))
}

/// Pairs of whole dialogues without a prompt column (Anthropic's HH): the prompt is what both begin with, up to the last place where the
/// assistant speaks.
fn common_prompt(chosen: &str, rejected: &str) -> Result<(Vec<Message>, String, String), Fault> {
    const SPEAKS: &str = "\n\nAssistant:";
    let common: usize = chosen.chars().zip(rejected.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let end = chosen[..common].rfind(SPEAKS).map(|at| at + SPEAKS.len()).ok_or_else(|| {
        let why = "no prompt column, and chosen and rejected do not begin with the same dialogue up to \"\\n\\nAssistant:\"";
        (Reason::MissingField, why.to_string())
    })?;
    Ok((vec![Message::new("user", chosen[..end].trim())], chosen[end..].to_string(), rejected[end..].to_string()))
}

/// The turns before the last one are the prompt, however many they are; without any, the prompt's own column is.
fn chats(row: &Row, columns: &Columns, chosen: &Value, rejected: &Value) -> Result<(Vec<Message>, String, String), Fault> {
    fields::no_tools(row)?;
    let fault = |why: String| (Reason::BadChat, why);
    let split = |value: &Value| -> Result<(Vec<Message>, Message), Fault> {
        let mut turns = Message::list(value).map_err(fault)?;
        match turns.pop() {
            Some(last) if last.is_assistant() => Ok((turns, last)),
            _ => Err(fault("a chat does not end with the assistant's answer".to_string())),
        }
    };
    let (before, chosen) = split(chosen)?;
    let (before_rejected, rejected) = split(rejected)?;
    if before != before_rejected {
        return Err(fault("chosen and rejected differ before the last turn".to_string()));
    }
    let prompt = if before.is_empty() { prompt_of(row, &columns.prompt)? } else { before };
    if prompt.iter().all(|turn| turn.content.trim().is_empty()) {
        return Err((Reason::Empty, "the prompt's turns are empty".to_string()));
    }
    Ok((prompt, chosen.content, rejected.content))
}
