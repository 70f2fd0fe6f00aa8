//! Anthropic's HH: pairs of whole dialogues, `chosen` and `rejected`, that are equal up to the assistant's last turn (arXiv 2204.05862).

use super::fields::{self, Fault, Fields, missing};
use super::{Head, Reader, Sink};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use std::path::Path;

/// The reader of HH.
pub struct Hh;

/// What stands before the turns of each speaker.
const SPEAKERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

impl Reader for Hh {
    fn name(&self) -> &'static str {
        "hh"
    }

    fn about(&self) -> &'static str {
        "Anthropic HH: JSON Lines with the dialogues `chosen` and `rejected`, turns marked by \"\\n\\nHuman:\" and \"\\n\\nAssistant:\""
    }

    fn detect(&self, head: &Head) -> u8 {
        let dialogue = |name: &str| head.first.get(name).and_then(|v| v.as_str()).is_some_and(|text| text.contains(SPEAKERS[1].0));
        if dialogue("chosen") && dialogue("rejected") && head.first.get("prompt").is_none() { 95 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        fields::each_row(file, sink, &one)
    }
}

fn one(fields: &Fields) -> Result<Judgment, Fault> {
    let dialogue = |name: &str| fields.get(name).and_then(|v| v.as_str()).ok_or_else(|| missing(fields, name));
    pair(dialogue("chosen")?, dialogue("rejected")?)
}

/// Two dialogues as a judgment of their last turns.
///
/// Dialogues that differ before the last turn are no comparison of answers to one prompt: the later turns of each answer another conversation (or one
/// of them holds speakers' marks inside a turn, and nobody knows where its turns end). They are bad rows, not pairs of shorter dialogues.
pub(super) fn pair(chosen: &str, rejected: &str) -> Result<Judgment, Fault> {
    let split = |name: &str, text: &str| -> Result<(Vec<Message>, String), Fault> {
        let mut turns = turns(text).map_err(|why| (Reason::BadChat, format!("{name}: {why}")))?;
        match turns.pop() {
            Some(last) if last.is_assistant() => Ok((turns, last.content)),
            _ => Err((Reason::BadChat, format!("{name} does not end with the assistant's turn"))),
        }
    };
    let (prompt, better) = split("chosen", chosen)?;
    let (other, worse) = split("rejected", rejected)?;
    if prompt != other {
        return Err((Reason::BadChat, "chosen and rejected differ before the last turn".to_string()));
    }
    if prompt.is_empty() {
        return Err((Reason::BadChat, "nothing stands before the answer".to_string()));
    }
    let answers = vec![better, worse];
    let flags = fields::marks(&answers)?;
    if answers[0] == answers[1] {
        return Err((Reason::BadRanking, "chosen and rejected are equal: nothing is preferred".to_string()));
    }
    Ok(Judgment { ranks: Some(vec![1, 2]), flags, ..Judgment::new(Kind::Ranking, prompt, answers) })
}

/// Cuts a dialogue at the speakers' marks; what each says is trimmed.
fn turns(text: &str) -> Result<Vec<Message>, String> {
    let next = |from: usize| SPEAKERS.iter().filter_map(|(mark, role)| Some((from + text[from..].find(mark)?, *mark, *role))).min();
    let mut found = next(0).ok_or("no \"\\n\\nHuman:\" and no \"\\n\\nAssistant:\"")?;
    if !text[..found.0].trim().is_empty() {
        return Err("text before the first speaker".to_string());
    }
    let mut turns = Vec::new();
    loop {
        let (at, mark, role) = found;
        let begin = at + mark.len();
        let following = next(begin);
        let end = following.map_or(text.len(), |(at, ..)| at);
        turns.push(Message::new(role, text[begin..end].trim()));
        match following {
            Some(next) => found = next,
            None => return Ok(turns),
        }
    }
}
