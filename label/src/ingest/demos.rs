//! What nobody compared: conversations and instructions with their answers (demonstrations), and bare prompts (open items).

use super::fields::{self, Fault, asked, first_of, name, visible};
use super::{Head, Reader, Sink, pairs};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use serde_json::Value;
use std::path::Path;

/// The reader of conversations.
pub struct Messages;
/// The reader of instructions with answers.
pub struct Alpaca;
/// The reader of bare prompts.
pub struct Prompts;

/// The name of a row that is bare text.
const BARE: &str = "";
const CHATS: [&str; 3] = ["messages", "conversations", "conversation"];
const ASKED: [&str; 3] = ["instruction", "prompt", "question"];
const ANSWERED: [&str; 4] = ["output", "response", "completion", "answer"];

impl Reader for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn about(&self) -> &'static str {
        "conversations (`messages` of role and content, or ShareGPT's `conversations`): demonstrations of the assistant's last turn"
    }

    fn detect(&self, head: &Head) -> u8 {
        let listed = |name: &str| head.first.get(name).is_some_and(|value| Message::list(value).is_ok());
        if CHATS.iter().any(|name| listed(name)) { 70 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        read(file, sink, &|fields| {
            let (_, list) = first_of(fields, &CHATS).ok_or_else(|| fields::missing(fields, "messages"))?;
            let mut turns = Message::list(list).map_err(|why| (Reason::BadChat, why))?;
            let last = match turns.pop() {
                Some(last) if last.is_assistant() => last.content,
                Some(last) => return Err((Reason::BadChat, format!("ends with the turn of {:?}, not with the assistant's", last.role))),
                None => return Err((Reason::BadChat, "there are no messages".to_string())),
            };
            if turns.is_empty() {
                return Err((Reason::BadChat, "nothing stands before the assistant's turn".to_string()));
            }
            shown(turns, last)
        })
    }
}

impl Reader for Alpaca {
    fn name(&self) -> &'static str {
        "alpaca"
    }

    fn about(&self) -> &'static str {
        "instruction, input, output (Alpaca), or prompt and response: demonstrations"
    }

    fn detect(&self, head: &Head) -> u8 {
        let text = |name: &str| head.first.get(name).is_some_and(Value::is_string);
        if !ANSWERED.iter().any(|name| text(name)) {
            return 0;
        }
        match () {
            () if text("instruction") => 72,
            () if ASKED.iter().any(|name| text(name)) => 50,
            () => 0,
        }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        read(file, sink, &|fields| {
            let (column, _) = first_of(fields, &ASKED).ok_or_else(|| fields::missing(fields, "instruction"))?;
            let instruction = visible(fields, column)?;
            let prompt = match name(fields, &["input"]) {
                Some(input) => format!("{instruction}\n\n{input}"),
                None => instruction.to_string(),
            };
            let (column, _) = first_of(fields, &ANSWERED).ok_or_else(|| fields::missing(fields, "output"))?;
            let turns = name(fields, &["system"]).map(|system| Message::new("system", &system)).into_iter().chain(asked(&prompt)).collect();
            shown(turns, visible(fields, column)?.to_string())
        })
    }
}

impl Reader for Prompts {
    fn name(&self) -> &'static str {
        "prompts"
    }

    fn about(&self) -> &'static str {
        "bare prompts: JSON Lines of text, or a field `prompt`: items without answers yet"
    }

    fn detect(&self, head: &Head) -> u8 {
        match head.first.as_object() {
            Some(fields) if fields.len() == 1 && fields.contains_key(BARE) => 60,
            Some(fields) if fields.contains_key("prompt") => 10,
            _ => 0,
        }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        read(file, sink, &|fields| {
            let (_, prompt) = first_of(fields, &["prompt", BARE]).ok_or_else(|| fields::missing(fields, "prompt"))?;
            let prompt = fields::conversation(prompt)?;
            if prompt.iter().all(|turn| turn.content.trim().is_empty()) {
                return Err((Reason::Empty, "the prompt is empty".to_string()));
            }
            Ok(Judgment::new(Kind::Open, prompt, Vec::new()))
        })
    }
}

fn read(file: &Path, sink: &mut dyn Sink, one: &fields::Make) -> Result<(), SourceError> {
    fields::each_row(file, sink, &|fields| pairs::common(one(fields)?, fields))
}

fn shown(prompt: Vec<Message>, answer: String) -> Result<Judgment, Fault> {
    fields::silent(std::slice::from_ref(&answer))?;
    Ok(Judgment::new(Kind::Demonstration, prompt, vec![answer]))
}
