//! Demonstrations for supervised fine-tuning: token ids with the assistant's marked.

use crate::augment::Augmenter;
use crate::chat::{ChatTemplate, Encoded, Message};
use crate::config::{Columns, DemoData};
use crate::error::DataError;
use crate::fields::{self, Fault};
use crate::quarantine::Reason;
use crate::source::Row;
use crate::split::{self, Split};
use crate::tokenizer::Tokenizer;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::path::Path;

/// One demonstration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// Token ids of the whole conversation up to the last answer's end token.
    pub ids: Vec<u32>,
    /// `loss[i]`: token i is the assistant's (or its end token) and is learnt.
    pub loss: Vec<bool>,
    /// Demonstrations of one group are on one side of the split.
    pub group: String,
    /// The prompt; of a chat the last turn before the last answer.
    pub prompt: String,
    /// The response; of a chat the last answer.
    pub response: String,
}

impl Demo {
    /// Token ids before the last answer: what to generate from in order to compare with [`Demo::response`].
    pub fn prompt_ids(&self) -> &[u32] {
        let end = self.loss.iter().rposition(|l| *l).unwrap_or(0);
        let start = self.loss[..end].iter().rposition(|l| !*l).map_or(0, |at| at + 1);
        &self.ids[..start]
    }

    /// Tokens that are learnt.
    pub fn targets(&self) -> usize {
        self.loss.iter().filter(|l| **l).count()
    }
}

/// Reads all demonstrations. Rows longer than `max_length` (or than `context` where that is 0, in tokens) go to the quarantine: a cut answer
/// would teach the model never to stop. `report.read` = train + valid + rejected.
pub fn load_demos(
    config: &DemoData,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    context: usize,
    valid_fraction: f64,
    seed: u64,
    quarantine: &Path,
) -> Result<Split<Demo>, DataError> {
    template.check(tokenizer)?;
    let limit = if config.max_length == 0 { context } else { config.max_length };
    if context > 0 && limit > context {
        let detail = format!("{limit} tokens are more than the model's context of {context}");
        return Err(DataError::Config { key: "data.max_length".to_string(), detail });
    }
    let (mut demos, mut chats) = (Vec::new(), Vec::new());
    let report = fields::read_rows(&config.sources, &config.quarantine, quarantine, "demonstrations", &mut |i, row, _| {
        let conversation = match Conversation::of(row, &config.sources[i].columns) {
            Ok(conversation) => conversation,
            Err(fault) => return Ok(Err(fault)),
        };
        let Encoded { ids, loss } = match template.encode_chat(tokenizer, &conversation.messages) {
            Ok(encoded) => encoded,
            // The template refuses this conversation (roles that do not alternate, say): the row's fault.
            Err(DataError::Template { detail, .. }) => return Ok(Err((Reason::BadChat, detail))),
            Err(other) => return Err(other),
        };
        if limit > 0 && ids.len() > limit {
            return Ok(Err((Reason::TooLong, format!("{} tokens, at most {limit} fit", ids.len()))));
        }
        let Conversation { messages, group, prompt, response } = conversation;
        if config.augment.copies > 0 {
            chats.push(messages);
        }
        demos.push((demos.len(), Demo { ids, loss, group, prompt, response }));
        Ok(Ok(()))
    })?;
    let (train, valid) = split::by_group(demos, valid_fraction, seed, |(_, demo)| &demo.group);
    let variations = variations(config, &train, &chats, seed, &mut |messages| {
        let Encoded { ids, loss } = template.encode_chat(tokenizer, messages)?;
        Ok((limit == 0 || ids.len() <= limit).then_some((ids, loss)))
    })?;
    let plain = |rows: Vec<(usize, Demo)>| rows.into_iter().map(|(_, demo)| demo);
    Ok(Split { train: plain(train).chain(variations).collect(), valid: plain(valid).collect(), report })
}

/// Token ids of a conversation and which of them are learnt; `None` where it is too long.
type Encode<'a> = &'a mut dyn FnMut(&[Message]) -> Result<Option<(Vec<u32>, Vec<bool>)>, DataError>;

/// `data.augment`: variations of training rows, numbered by the order in which they were read, whose conversations are `chats`.
fn variations(
    config: &DemoData,
    train: &[(usize, Demo)],
    chats: &[Vec<Message>],
    seed: u64,
    encode: Encode<'_>,
) -> Result<Vec<Demo>, DataError> {
    let copies = config.augment.copies;
    if copies == 0 {
        return Ok(vec![]);
    }
    let augmenter = Augmenter::new(&config.augment, train.iter().map(|(_, demo)| demo.prompt.as_str()))?;
    let mut varied = Vec::with_capacity(train.len() * copies);
    for (number, demo) in train {
        for copy in 0..copies {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream((number * copies + copy) as u64); // a row's variations do not depend on the others
            let prompt = augmenter.vary(&demo.prompt, &mut rng);
            let mut messages = chats[*number].clone();
            if let Some(turn) = messages.len().checked_sub(2).and_then(|i| messages.get_mut(i)) {
                turn.content.clone_from(&prompt);
            }
            varied.push(match encode(&messages)? {
                Some((ids, loss)) => Demo { ids, loss, prompt, ..demo.clone() },
                None => demo.clone(),
            });
        }
    }
    Ok(varied)
}

/// A row as a conversation that ends with an answer.
struct Conversation {
    messages: Vec<Message>,
    group: String,
    prompt: String,
    response: String,
}

impl Conversation {
    fn of(row: &Row, columns: &Columns) -> Result<Conversation, Fault> {
        let Some(messages) = fields::present(row, &columns.messages) else {
            let prompt = fields::text(row, &columns.prompt)?;
            let response = fields::visible(row, &columns.response)?;
            let group = fields::group(row, &columns.group, prompt)?;
            let messages = vec![Message::new("user", prompt), Message::new("assistant", response)];
            return Ok(Conversation { messages, group, prompt: prompt.to_string(), response: response.to_string() });
        };
        let mut messages = Message::list(messages).map_err(|why| (Reason::BadChat, why))?;
        // Nothing is learnt from what follows the last answer.
        let last = messages.iter().rposition(Message::is_assistant);
        let last = last.ok_or_else(|| (Reason::BadChat, "no turn of the assistant's".to_string()))?;
        messages.truncate(last + 1);
        if let Some(i) = messages.iter().position(|m| m.is_assistant() && m.content.trim().is_empty() && m.rest.is_empty()) {
            return Err((Reason::Empty, format!("message {}, of the assistant's, is empty", i + 1)));
        }
        let first = messages.iter().find(|m| m.role == "user").map_or("", |m| m.content.as_str());
        let group = fields::group(row, &columns.group, first)?;
        let prompt = last.checked_sub(1).map_or(String::new(), |i| messages[i].content.clone());
        let response = messages[last].content.clone();
        Ok(Conversation { messages, group, prompt, response })
    }
}
