//! Pairs `chosen` and `rejected` as Hugging Face data sets and TRL have them: text or conversations, with the prompt beside them or inside; and
//! single answers with a verdict (`prompt`, `completion`, `label`).

use super::fields::{self, Fault, Fields, asked, conversation, missing, name, number_in, present};
use super::{Head, Reader, Sink, hh};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use data::source::kind;
use serde_json::Value;
use std::path::Path;

/// The reader of pairs.
pub struct Pairs;

/// Mark of a pair whose scores say something else than `chosen` and `rejected` do.
const DISAGREE: &str = "scores-disagree";
const JUDGE: [&str; 7] = ["judge", "annotator", "annotator_id", "worker", "worker_id", "labeler", "labeller"];

impl Reader for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn about(&self) -> &'static str {
        "prompt, chosen, rejected (text or conversations, as TRL has them), or prompt, completion, label"
    }

    fn detect(&self, head: &Head) -> u8 {
        let has = |name: &str| head.first.get(name).is_some();
        match () {
            () if has("chosen") && has("rejected") => 80,
            () if has("prompt") && has("completion") && head.first.get("label").is_some_and(Value::is_boolean) => 75,
            () => 0,
        }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        fields::each_row(file, sink, &|fields| {
            // A table of both has null where a row is of the other sort.
            let single = present(fields, "chosen").is_none() && present(fields, "completion").is_some();
            let judgment = if single { verdict(fields) } else { pair(fields) };
            common(judgment?, fields)
        })
    }
}

/// What any row of a data set may say beside its texts.
pub(super) fn common(judgment: Judgment, fields: &Fields) -> Result<Judgment, Fault> {
    let sure = number_in(fields, "confidence")?;
    if let Some(sure) = sure.filter(|sure| !(0.0..=1.0).contains(sure)) {
        return Err((Reason::WrongType, format!("confidence {sure} is not between 0 and 1; a mapping can scale it")));
    }
    Ok(Judgment {
        judge: name(fields, &JUDGE),
        weight: fields::weight(number_in(fields, "weight")?)?,
        confidence: sure.map(|sure| sure as f32),
        group: name(fields, &["group", "prompt_id"]).unwrap_or(judgment.group),
        comment: judgment.comment.or_else(|| name(fields, &["comment"])),
        ..judgment
    })
}

fn pair(fields: &Fields) -> Result<Judgment, Fault> {
    let chosen = present(fields, "chosen").ok_or_else(|| missing(fields, "chosen"))?;
    let rejected = present(fields, "rejected").ok_or_else(|| missing(fields, "rejected"))?;
    let prompt = present(fields, "prompt");
    let (prompt, answers) = match (chosen, rejected) {
        (Value::String(chosen), Value::String(rejected)) => match prompt {
            Some(Value::String(text)) if text.trim().is_empty() => return Err((Reason::Empty, "field \"prompt\" is empty".to_string())),
            Some(prompt) => (conversation(prompt)?, vec![chosen.clone(), rejected.clone()]),
            None if chosen.contains("\n\nAssistant:") => return hh::pair(chosen, rejected),
            None => implicit(chosen, rejected)?,
        },
        (Value::Array(_), Value::Array(_)) => chats(prompt, chosen, rejected)?,
        _ => {
            let why = format!("chosen is {} and rejected {}; both are text or both conversations", kind(chosen), kind(rejected));
            return Err((Reason::WrongType, why));
        }
    };
    let mut flags = fields::marks(&answers)?;
    if answers[0] == answers[1] {
        return Err((Reason::BadRanking, "chosen and rejected are equal: nothing is preferred".to_string()));
    }
    let judgment = Judgment::new(Kind::Ranking, prompt, answers);
    let either = |names: [&str; 2]| -> Result<Option<f64>, Fault> { Ok(number_in(fields, names[0])?.or(number_in(fields, names[1])?)) };
    let scores =
        match (either(["score_chosen", "chosen_score"])?, either(["score_rejected", "rejected_score"])?, number_in(fields, "margin")?) {
            (Some(chosen), Some(rejected), _) => Some(vec![chosen as f32, rejected as f32]),
            // Only the difference is known; that is all a margin loss takes.
            (_, _, Some(margin)) => Some(vec![margin as f32, 0.0]),
            _ => None,
        };
    let models = [["chosen_model", "chosen-model"], ["rejected_model", "rejected-model"]];
    let authors: Option<Vec<String>> = models.iter().map(|names| name(fields, names)).collect();
    if scores.as_ref().is_some_and(|scores| ranks_of(scores) != [1, 2]) {
        flags.push(DISAGREE.to_string());
    }
    Ok(Judgment { ranks: Some(vec![1, 2]), scores, authors, flags, ..judgment })
}

/// Texts that begin alike, without a prompt: as TRL's `extract_prompt`, the prompt is what both begin with, the last blank left to the answers.
fn implicit(chosen: &str, rejected: &str) -> Result<(Vec<Message>, Vec<String>), Fault> {
    let common: usize = chosen.chars().zip(rejected.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let common = if chosen[..common].ends_with(' ') { common - 1 } else { common };
    if chosen[..common].trim().is_empty() {
        return Err((Reason::MissingField, "no field \"prompt\", and chosen and rejected do not begin alike".to_string()));
    }
    Ok((asked(&chosen[..common]), vec![chosen[common..].to_string(), rejected[common..].to_string()]))
}

/// Conversations that differ in the assistant's last turn. The prompt may stand beside them (TRL's explicit prompt), inside them (implicit), or both
/// (UltraFeedback).
fn chats(prompt: Option<&Value>, chosen: &Value, rejected: &Value) -> Result<(Vec<Message>, Vec<String>), Fault> {
    let fault = |why: &str| (Reason::BadChat, why.to_string());
    let split = |value: &Value| -> Result<(Vec<Message>, Message), Fault> {
        let mut turns = Message::list(value).map_err(|why| (Reason::BadChat, why))?;
        match turns.pop() {
            Some(last) if last.is_assistant() => Ok((turns, last)),
            _ => Err(fault("a conversation does not end with the assistant's answer")),
        }
    };
    let (before, better) = split(chosen)?;
    let (other, worse) = split(rejected)?;
    if before != other {
        return Err(fault("chosen and rejected differ before the last turn"));
    }
    let explicit = prompt.map(conversation).transpose()?.unwrap_or_default();
    let said = |turns: &[Message]| turns.iter().rev().find(|turn| turn.role == "user").map(|turn| turn.content.trim().to_string());
    let repeated = before.starts_with(&explicit) || (explicit.len() == 1 && said(&before) == said(&explicit));
    let prompt = if repeated { before } else { [explicit, before].concat() };
    if prompt.is_empty() {
        return Err(fault("nothing stands before the answers, and there is no prompt"));
    }
    Ok((prompt, vec![better.content, worse.content]))
}

/// One answer, accepted or not.
fn verdict(fields: &Fields) -> Result<Judgment, Fault> {
    let label = match present(fields, "label") {
        Some(Value::Bool(good)) => *good,
        _ => return Err((Reason::WrongType, "field \"label\" is not true or false".to_string())),
    };
    let prompt = present(fields, "prompt").ok_or_else(|| missing(fields, "prompt"))?;
    let completion = present(fields, "completion").ok_or_else(|| missing(fields, "completion"))?;
    let answer = match completion {
        Value::String(text) => text.clone(),
        list => match Message::list(list).map_err(|why| (Reason::BadChat, why))?.pop() {
            Some(last) if last.is_assistant() => last.content,
            _ => return Err((Reason::BadChat, "the completion does not end with the assistant's answer".to_string())),
        },
    };
    fields::silent(std::slice::from_ref(&answer))?;
    let judgment = Judgment::new(Kind::Rating, conversation(prompt)?, vec![answer]);
    Ok(Judgment { scores: Some(vec![f32::from(u8::from(label))]), ..judgment })
}
