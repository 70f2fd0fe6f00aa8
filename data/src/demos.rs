//! Demonstrations for supervised fine-tuning: token ids with those marked that are learnt.

mod pictured;

pub use pictured::hash_pictures;

use crate::augment::Augmenter;
use crate::chat::{ChatTemplate, Encoded, Message, TOOL_CALLS};
use crate::config::{Columns, DemoData, InputShape};
use crate::error::DataError;
use crate::fields::{self, Fault};
use crate::frames::Frame;
use crate::labels::text_of;
use crate::pictures::Picture;
use crate::quarantine::Reason;
use crate::source::Row;
use crate::split::{self, Split};
use crate::tokenizer::Tokenizer;
use pictured::Pictures;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

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
    /// What stands before the conversation, in [`Layout::Pictured`].
    pub picture: Option<Arc<Picture>>,
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

/// What a row becomes.
#[derive(Debug)]
pub enum Layout<'a> {
    /// One sequence by this template: the answers are learnt. For decoders.
    Chat(&'a ChatTemplate),
    /// The prompt and the end token, then the response and the end token, which is learnt; each side has the whole context. For encoder-decoders.
    Pair,
    /// The prompt, or prompt and `second`, between the begin token and end tokens ([CLS] a [SEP], [CLS] a [SEP] b [SEP]); the last token is marked, and
    /// [`Demo::response`] is the class. For classifiers over an encoder.
    Framed,
    /// A picture (`columns.image`) of `side` × `side` pixels, which takes up `places` of the context, and behind it the row by this template. For decoders that
    /// see.
    Pictured {
        /// How the conversation becomes text.
        template: &'a ChatTemplate,
        /// Pixels.
        side: usize,
        /// Places in the sequence.
        places: usize,
    },
    /// The sequences of a [`Frame`], end to end; the last token of each is marked, and [`Demo::response`] is what [`Frame::label`] makes of it. For classifiers
    /// over a decoder. Each sequence has the whole context.
    Marked(&'a Frame),
}

impl<'a> Layout<'a> {
    /// The template of conversations.
    fn template(&self) -> Option<&'a ChatTemplate> {
        match self {
            Layout::Chat(template) | Layout::Pictured { template, .. } => Some(template),
            Layout::Pair | Layout::Framed | Layout::Marked(_) => None,
        }
    }

    /// The response is the name of a class, which may be a number.
    fn names_classes(&self) -> bool {
        matches!(self, Layout::Framed | Layout::Marked(_))
    }

    /// There is something to learn: a decoder predicts a token from those before it, or from the picture.
    fn teaches(&self, loss: &[bool]) -> bool {
        let first = usize::from(matches!(self, Layout::Chat(_)));
        loss.iter().skip(first).any(|learnt| *learnt)
    }

    /// Tokens of a row that count against a limit: of marked sequences those of the longest.
    fn length(&self, loss: &[bool]) -> usize {
        match self {
            Layout::Marked(_) => loss.split_inclusive(|last| *last).map(<[bool]>::len).max().unwrap_or(0),
            _ => loss.len(),
        }
    }
}

/// Reads all demonstrations. Rows longer than `max_length` (or than `context` where that is 0, in tokens) go to the quarantine: a cut answer
/// would teach the model never to stop. With `heldout` sources these are the validation side, and no prompt group of theirs is learnt from; without,
/// `valid_fraction` of the groups is held out. `report.read` = train + valid + rejected + skipped["held-out"].
pub fn load_demos(
    config: &DemoData,
    tokenizer: &Tokenizer,
    layout: &Layout<'_>,
    context: usize,
    valid_fraction: f64,
    seed: u64,
    quarantine: &Path,
) -> Result<Split<Demo>, DataError> {
    if let Some(template) = layout.template() {
        template.check(tokenizer)?;
    }
    let mut pictures = if let Layout::Pictured { side, .. } = layout { Some(Pictures::new(*side)) } else { None };
    let context = match layout {
        Layout::Pictured { places, .. } if context > 0 => context.checked_sub(*places).filter(|left| *left > 1).ok_or_else(|| {
            let detail = format!("a picture takes {places} places of the model's context of {context}: too few are left for text");
            DataError::Config { key: "vision".to_string(), detail }
        })?,
        _ => context,
    };
    let room = if matches!(layout, Layout::Pair) { 2 * context } else { context };
    let limit = if config.max_length == 0 { room } else { config.max_length };
    if context > 0 && limit > room {
        let detail = format!("{limit} tokens are more than the model's context of {room}");
        return Err(DataError::Config { key: "data.max_length".to_string(), detail });
    }
    let sources: Vec<_> = config.heldout.iter().chain(&config.sources).cloned().collect();
    let (mut demos, mut heldout, mut reserved, mut conversations) = (Vec::new(), Vec::new(), HashSet::new(), Vec::new());
    let report = fields::read_rows(&sources, &config.quarantine, quarantine, "demonstrations", &mut |i, row, bad| {
        let columns = &sources[i].columns;
        let read = match pictures {
            Some(_) => pictured::conversation(row, columns, layout.template()),
            None => Conversation::of(row, columns, layout.names_classes(), layout.template()),
        };
        let conversation = match read.and_then(|c| c.laid_out(row, columns, layout)) {
            Ok(conversation) => conversation,
            Err(fault) => return Ok(Err(fault)),
        };
        let is_heldout = i < config.heldout.len();
        if !is_heldout && reserved.contains(&conversation.group) {
            bad.skip("held-out");
            return Ok(Ok(()));
        }
        let Encoded { ids, loss } = match encode(tokenizer, layout, &conversation) {
            Ok(encoded) => encoded,
            // The template refuses this conversation (roles that do not alternate, say): the row's fault.
            Err(DataError::Template { detail, .. }) => return Ok(Err((Reason::BadChat, detail))),
            Err(other) => return Err(other),
        };
        if !layout.teaches(&loss) {
            let detail = format!("nothing to learn: of {} tokens none is the assistant's with another one before it", ids.len());
            return Ok(Err((Reason::BadChat, detail)));
        }
        let side =
            if matches!(layout, Layout::Pair) { loss.iter().filter(|l| **l).count().max(loss.iter().filter(|l| !**l).count()) } else { 0 };
        let length = layout.length(&loss);
        if (limit > 0 && length > limit) || (context > 0 && side > context) {
            return Ok(Err((Reason::TooLong, format!("{length} tokens, at most {limit} fit"))));
        }
        let picture = match pictures.as_mut().map(|pictures| pictures.of(row, columns)).transpose() {
            Ok(picture) => picture,
            Err(fault) => return Ok(Err(fault)),
        };
        let Conversation { group, prompt, response, .. } = &conversation;
        let demo = Demo { ids, loss, group: group.clone(), prompt: prompt.clone(), response: response.clone(), picture };
        if is_heldout {
            reserved.insert(group.clone());
            heldout.push(demo);
            return Ok(Ok(()));
        }
        if config.augment.copies > 0 {
            conversations.push(conversation);
        }
        demos.push((demos.len(), demo));
        Ok(Ok(()))
    })?;
    let fraction = if config.heldout.is_empty() { valid_fraction } else { 0.0 };
    let (train, valid) = split::by_group(demos, fraction, seed, |(_, demo)| &demo.group);
    let variations = variations(config, &train, &conversations, seed, &mut |conversation| {
        let Encoded { ids, loss } = encode(tokenizer, layout, conversation)?;
        let fits = limit == 0 || layout.length(&loss) <= limit;
        Ok((fits && layout.teaches(&loss)).then_some((ids, loss)))
    })?;
    let plain = |rows: Vec<(usize, Demo)>| rows.into_iter().map(|(_, demo)| demo);
    let valid = if config.heldout.is_empty() { plain(valid).collect() } else { heldout };
    Ok(Split { train: plain(train).chain(variations).collect(), valid, report })
}

/// Token ids of a conversation and which of them are learnt; `None` where it is too long, or nothing is.
type Encode<'a> = &'a mut dyn FnMut(&Conversation) -> Result<Option<(Vec<u32>, Vec<bool>)>, DataError>;

/// `data.augment`: variations of training rows, numbered by the order in which they were read, whose conversations are given.
fn variations(
    config: &DemoData,
    train: &[(usize, Demo)],
    conversations: &[Conversation],
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
            let mut conversation = conversations[*number].clone();
            if let Some(turn) = conversation.messages.len().checked_sub(2).and_then(|i| conversation.messages.get_mut(i)) {
                turn.content.clone_from(&prompt);
            }
            conversation.prompt.clone_from(&prompt);
            varied.push(match encode(&conversation)? {
                Some((ids, loss)) => Demo { ids, loss, prompt, ..demo.clone() },
                None => demo.clone(),
            });
        }
    }
    Ok(varied)
}

/// Prompt and response of every usable row of the training sources, in their order: what a tokenizer is made from before there is a model.
pub fn load_texts(config: &DemoData, quarantine: &Path) -> Result<Vec<[String; 2]>, DataError> {
    let mut texts = Vec::new();
    fields::read_rows(&config.sources, &config.quarantine, quarantine, "demonstrations", &mut |i, row, _| {
        Ok(Conversation::of(row, &config.sources[i].columns, false, None).map(|c| texts.push([c.prompt, c.response])))
    })?;
    Ok(texts)
}

/// The classes of the training rows.
pub fn load_classes(config: &DemoData, quarantine: &Path) -> Result<BTreeSet<String>, DataError> {
    let mut classes = BTreeSet::new();
    fields::read_rows(&config.sources, &config.quarantine, quarantine, "demonstrations", &mut |i, row, _| {
        Ok(Conversation::of(row, &config.sources[i].columns, true, None).map(|c| _ = classes.insert(c.response)))
    })?;
    Ok(classes)
}

fn encode(tokenizer: &Tokenizer, layout: &Layout<'_>, conversation: &Conversation) -> Result<Encoded, DataError> {
    match layout {
        Layout::Chat(template) | Layout::Pictured { template, .. } => template.encode_chat(tokenizer, &conversation.messages),
        Layout::Pair => {
            let [source, target] = [source_ids(tokenizer, &conversation.prompt)?, source_ids(tokenizer, &conversation.response)?];
            let loss = [vec![false; source.len()], vec![true; target.len()]].concat();
            Ok(Encoded { ids: [source, target].concat(), loss })
        }
        Layout::Framed => {
            let ids = framed_ids(tokenizer, &conversation.prompt, conversation.second.as_deref())?;
            let loss = (1..=ids.len()).map(|i| i == ids.len()).collect();
            Ok(Encoded { ids, loss })
        }
        Layout::Marked(frame) => {
            let ids = frame.ids(tokenizer, &conversation.prompt, conversation.second.as_deref(), &conversation.choices)?;
            let loss = ids.iter().map(|&id| id == frame.extract).collect();
            Ok(Encoded { ids, loss })
        }
    }
}

/// The ids of a source, or of a target, of an encoder-decoder: the text and the end token.
pub fn source_ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, DataError> {
    let mut ids = tokenizer.encode(text)?;
    ids.push(tokenizer.eos());
    Ok(ids)
}

/// The ids of one text or two as an encoder reads them: [CLS] a [SEP], or [CLS] a [SEP] b [SEP].
pub fn framed_ids(tokenizer: &Tokenizer, text: &str, second: Option<&str>) -> Result<Vec<u32>, DataError> {
    let mut ids: Vec<u32> = tokenizer.bos().into_iter().collect();
    for text in [Some(text), second].into_iter().flatten() {
        ids.extend(source_ids(tokenizer, text)?);
    }
    Ok(ids)
}

/// A row as a conversation that ends with an answer.
#[derive(Clone)]
struct Conversation {
    messages: Vec<Message>,
    group: String,
    prompt: String,
    response: String,
    second: Option<String>,
    choices: Vec<String>,
}

impl Conversation {
    /// `named`: the response is the name of a class, which may be a number. `template`: what a chat is written by; without one only its text is read.
    fn of(row: &Row, columns: &Columns, named: bool, template: Option<&ChatTemplate>) -> Result<Conversation, Fault> {
        let Some(messages) = fields::present(row, &columns.messages) else {
            let prompt = fields::text(row, &columns.prompt)?;
            let class = if named { fields::name(row, &columns.response) } else { None };
            let response = class.map_or_else(|| fields::visible(row, &columns.response).map(str::to_string), Ok)?;
            let group = fields::group(row, &columns.group, prompt)?;
            let second = fields::name(row, &columns.second);
            let messages = vec![Message::new("user", prompt), Message::new("assistant", &response)];
            return Ok(Conversation { messages, group, prompt: prompt.to_string(), response, second, choices: vec![] });
        };
        fields::no_tools(row)?;
        let mut messages = Message::list(messages).map_err(|why| (Reason::BadChat, why))?;
        // Nothing is learnt from what follows the last answer.
        let last = messages.iter().rposition(Message::is_assistant);
        let last = last.ok_or_else(|| (Reason::BadChat, "no turn of the assistant's".to_string()))?;
        messages.truncate(last + 1);
        let reads = |field: &str| template.is_some_and(|template| template.reads(field));
        if let Some(i) = messages.iter().position(|m| m.is_assistant() && !m.is_written(reads)) {
            return Err(unwritten(i, &messages[i]));
        }
        let group = fields::group(row, &columns.group, &asked(&messages))?;
        let prompt = last.checked_sub(1).map_or(String::new(), |i| messages[i].content.clone());
        let response = messages[last].content.clone();
        Ok(Conversation { messages, group, prompt, response, second: None, choices: vec![] })
    }

    /// With the choices that a frame asks for, and its label in the place of the response.
    fn laid_out(mut self, row: &Row, columns: &Columns, layout: &Layout<'_>) -> Result<Conversation, Fault> {
        let Layout::Marked(frame) = layout else { return Ok(self) };
        if frame.kind == InputShape::Choice {
            let text = |value: &Value| match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.choices = fields::list(row, &columns.answers)?.iter().map(text).collect();
            let last = self.choices.iter().rposition(|choice| !choice.trim().is_empty());
            self.choices.truncate(last.map_or(0, |i| i + 1)); // rows may have fewer choices than there are columns
        }
        frame.check(self.second.as_deref(), &self.choices).map_err(|why| (Reason::MissingField, why))?;
        self.response = frame.label(&self.response, &self.choices).map_err(|why| (Reason::WrongType, why))?;
        Ok(self)
    }
}

/// The fault of a row whose turn number `i`, of the assistant's, says nothing, or something that would be left out.
fn unwritten(i: usize, turn: &Message) -> Fault {
    let place = format!("message {}, of the assistant's,", i + 1);
    if turn.rest.is_empty() {
        return (Reason::Empty, format!("{place} is empty"));
    }
    let instead: Vec<&str> =
        turn.rest.keys().map(String::as_str).filter(|field| turn.content.trim().is_empty() || *field == TOOL_CALLS).collect();
    let advice = "write it into the content, or take a template that reads it (data.template = \"model\" is the model folder's own)";
    (Reason::BadChat, format!("{place} says something in {}, which is not read: {advice}", instead.join(", ")))
}

/// What a conversation that ends with an answer is told by: the first word of the user's; without one what precedes the answer, and without that all of it.
fn asked(messages: &[Message]) -> String {
    let says = |turn: &&Message| !turn.content.trim().is_empty();
    if let Some(first) = messages.iter().find(|turn| turn.role == "user").filter(says) {
        return first.content.clone();
    }
    let before = &messages[..messages.len().saturating_sub(1)];
    text_of(if before.iter().any(|turn| says(&turn)) { before } else { messages })
}
