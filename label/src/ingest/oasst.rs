//! OpenAssistant's conversations (arXiv 2304.07327): trees, one a line, and flat message exports. People ranked the assistant's replies to one message
//! among one another; the export holds the merged order.
//!
//! Every assistant reply goes one of these ways: into the ranking of its siblings; into an open item, where nobody ranked the siblings; into a
//! demonstration, where it has none; or into the quarantine (deleted, refused in review, or without a rank among ranked siblings). A message that
//! nobody answered is an open item without answers. A message of a flat export whose conversation does not begin in the file goes into the quarantine.

use super::fields::{self, Fields, name, present};
use super::{Head, Reader, Sink, rows};
use data::chat::Message;
use data::error::SourceError;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;
use data::rankings::ranks_of;
use data::source::Met;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The reader of OpenAssistant's exports.
pub struct Oasst;

impl Reader for Oasst {
    fn name(&self) -> &'static str {
        "oasst"
    }

    fn about(&self) -> &'static str {
        "OpenAssistant: message trees and messages, nested or flat, with ranks among siblings"
    }

    fn detect(&self, head: &Head) -> u8 {
        let tree = head.first.get("message_tree_id").is_some() && head.first.get("prompt").is_some_and(Value::is_object);
        let message = ["message_id", "text", "role"].iter().all(|name| head.first.get(name).is_some());
        if tree || message { 95 } else { 0 }
    }

    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError> {
        // Messages of a flat export come in any order, so they wait here for their parents.
        let mut flat: Vec<Flat> = Vec::new();
        rows::scan(file, &mut |met| {
            let row = match met {
                Met::Row(row) => row,
                Met::Bad { line, reason, detail, raw } => return sink.reject(line, reason, detail, &raw),
            };
            let (root, id) = match present(&row.fields, "prompt").and_then(Value::as_object) {
                Some(prompt) => (prompt, name(&row.fields, &["message_tree_id"])),
                None => (&row.fields, name(&row.fields, &["message_tree_id", "message_id"])),
            };
            if let Some(absent) = ["message_id", "text", "role"].iter().find(|name| present(root, name).is_none()) {
                let (reason, detail) = fields::missing(root, absent);
                return sink.reject(row.line, reason, detail, &rows::raw(&row));
            }
            let (nested, alone) = (root.contains_key("replies"), std::ptr::eq(root, &row.fields));
            if !nested && alone {
                flat.push((row.line, row.fields));
                return Ok(());
            }
            let group = id.unwrap_or_default();
            message(&mut Tree { group, line: row.line, nested: true, below: &HashMap::new(), sink }, row.line, root, &mut Vec::new())
        })?;
        let known: HashSet<String> = flat.iter().filter_map(|(_, m)| name(m, &["message_id"])).collect();
        let (mut roots, mut below) = (Vec::new(), Below::new());
        for entry in &flat {
            match name(&entry.1, &["parent_id"]) {
                Some(parent) => below.entry(parent).or_default().push(entry),
                None => roots.push(entry),
            }
        }
        let reached = reached(&roots, &below);
        for (line, lost) in flat.iter().filter(|(line, _)| !reached.contains(line)) {
            let detail = match name(lost, &["parent_id"]) {
                Some(parent) if !known.contains(&parent) => format!("its parent {parent} is not in the file"),
                _ => "the conversation before it does not begin in the file".to_string(),
            };
            sink.reject(*line, Reason::MissingField, detail, &text_of(lost))?;
        }
        for (line, root) in roots {
            let group = name(root, &["message_tree_id", "message_id"]).unwrap_or_default();
            message(&mut Tree { group, line: *line, nested: false, below: &below, sink }, *line, root, &mut Vec::new())?;
        }
        Ok(())
    }
}

/// A message of a flat export, with its line.
type Flat = (u64, Fields);

/// Replies by the parent's key.
type Below<'a> = HashMap<String, Vec<&'a Flat>>;

/// Lines of the messages that replies to these lead to, and of these.
fn reached(roots: &[&Flat], below: &Below) -> HashSet<u64> {
    let mut reached = HashSet::new();
    let mut next = roots.to_vec();
    while let Some((line, message)) = next.pop() {
        if reached.insert(*line) {
            let replies = name(message, &["message_id"]).and_then(|id| below.get(&id));
            next.extend(replies.into_iter().flatten());
        }
    }
    reached
}

fn text_of(message: &Fields) -> String {
    name(message, &["text"]).unwrap_or_default()
}

/// The tree that is being walked.
struct Tree<'a> {
    group: String,
    /// Of the root, for nested trees of all messages.
    line: u64,
    nested: bool,
    /// For flat exports.
    below: &'a Below<'a>,
    sink: &'a mut dyn Sink,
}

impl<'a> Tree<'a> {
    fn replies<'m>(&self, message: &'m Fields) -> Vec<(u64, &'m Fields)>
    where
        'a: 'm,
    {
        if self.nested {
            let list = message.get("replies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            return list.iter().filter_map(Value::as_object).map(|reply| (self.line, reply)).collect();
        }
        let below = name(message, &["message_id"]).and_then(|id| self.below.get(&id));
        below.into_iter().flatten().map(|entry| (entry.0, &entry.1)).collect()
    }

    /// A judgment of replies to the conversation so far.
    fn keep(&mut self, kind: Kind, line: u64, path: &[Message], replies: &[&Fields], ranks: Option<Vec<u32>>) -> Result<(), SourceError> {
        let answers = replies.iter().map(|reply| text_of(reply)).collect();
        let judgment = Judgment::new(kind, path.to_vec(), answers);
        // Quality is said of each reply alone. As scores it stands beside the ranks only where it gives the same order: margins then mean something.
        let scores: Option<Vec<f32>> = replies.iter().map(|reply| quality(reply)).collect();
        let scores = scores.filter(|scores| ranks.as_ref().is_some_and(|ranks| *ranks == ranks_of(scores)));
        let authors: Vec<String> = replies.iter().map(|reply| author(reply)).collect();
        let authors = authors.iter().any(|author| !author.is_empty()).then_some(authors);
        let judge = if kind == Kind::Demonstration { name(replies[0], &["user_id"]) } else { None };
        self.sink.keep(Judgment { group: self.group.clone(), authors, ranks, scores, judge, row: line, ..judgment })
    }
}

/// The model that wrote a synthetic message, else the person where known.
fn author(message: &Fields) -> String {
    name(message, &["model_name", "user_id"]).unwrap_or_default()
}

/// `labels.quality.value`, or the same in the lists of the published tables: `labels: {name: [...], value: [...]}`.
fn quality(message: &Fields) -> Option<f32> {
    let labels = present(message, "labels")?;
    if let Some(value) = labels.get("quality") {
        return fields::number(value.get("value").unwrap_or(value)).map(|x| x as f32);
    }
    let at = labels.get("name")?.as_array()?.iter().position(|name| name == "quality")?;
    fields::number(labels.get("value")?.get(at)?).map(|x| x as f32)
}

/// Why a message is not to be used, if so.
fn refused(message: &Fields) -> Option<(Reason, &'static str)> {
    match () {
        () if message.get("deleted") == Some(&Value::Bool(true)) => Some((Reason::BadChat, "deleted by OpenAssistant")),
        () if message.get("review_result") == Some(&Value::Bool(false)) => Some((Reason::BadChat, "refused in review (spam)")),
        () if text_of(message).is_empty() => Some((Reason::Empty, "without text")),
        () => None,
    }
}

/// Walks the message and all below it; `path` is the conversation before it.
fn message(tree: &mut Tree, line: u64, message_: &Fields, path: &mut Vec<Message>) -> Result<(), SourceError> {
    let role = match name(message_, &["role"]).as_deref() {
        Some("prompter" | "user" | "human") => "user",
        Some("assistant") => "assistant",
        other => {
            let detail = format!("role {:?} with all replies below", other.unwrap_or_default());
            return tree.sink.reject(line, Reason::BadChat, detail, &text_of(message_));
        }
    };
    if path.is_empty() && role == "assistant" {
        let detail = "a conversation that the assistant begins, with all that follows".to_string();
        return tree.sink.reject(line, Reason::BadChat, detail, &text_of(message_));
    }
    if let (Some((reason, why)), "user") = (refused(message_), role) {
        // The assistant's are looked at among their siblings.
        return tree.sink.reject(line, reason, format!("a prompt {why}; the replies below go with it"), &text_of(message_));
    }
    path.push(Message::new(role, &text_of(message_)));
    let replies = tree.replies(message_);
    let (answers, others): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|(_, reply)| name(reply, &["role"]).as_deref() == Some("assistant"));
    let mut good = Vec::new();
    for (line, reply) in answers {
        match refused(reply) {
            Some((reason, why)) => {
                let below = if tree.replies(reply).is_empty() { "" } else { "; the messages below go with it" };
                tree.sink.reject(line, reason, format!("a reply {why}{below}"), &text_of(reply))?;
            }
            None => good.push((line, reply)),
        }
    }
    siblings(tree, line, &good, path, role == "user" && others.is_empty())?;
    for (line, reply) in good.iter().chain(&others) {
        message(tree, *line, reply, path)?;
    }
    path.pop();
    Ok(())
}

/// The judgment about the assistant's replies to the last message of `path`.
fn siblings(tree: &mut Tree, line: u64, replies: &[(u64, &Fields)], path: &[Message], leaf: bool) -> Result<(), SourceError> {
    let all: Vec<&Fields> = replies.iter().map(|(_, reply)| *reply).collect();
    let line = replies.first().map_or(line, |(line, _)| *line);
    match all.len() {
        0 if leaf => return tree.keep(Kind::Open, line, path, &[], None),
        0 => return Ok(()),
        1 => return tree.keep(Kind::Demonstration, line, path, &all, None),
        _ => {}
    }
    let rank = |reply: &Fields| present(reply, "rank").and_then(fields::number);
    let (ranked, unranked): (Vec<_>, Vec<_>) = replies.iter().partition(|(_, reply)| rank(reply).is_some());
    if ranked.len() < 2 {
        return tree.keep(Kind::Open, line, path, &all, None);
    }
    for &(line, reply) in unranked {
        let detail = format!("a reply without a rank beside {} ranked ones", ranked.len());
        tree.sink.reject(line, Reason::BadRanking, detail, &text_of(reply))?;
    }
    let ranks: Vec<f64> = ranked.iter().filter_map(|(_, reply)| rank(reply)).collect();
    let ranked: Vec<&Fields> = ranked.iter().map(|(_, reply)| *reply).collect();
    match fields::dense(&ranks) {
        Ok(ranks) => tree.keep(Kind::Ranking, line, path, &ranked, Some(ranks)),
        Err((reason, detail)) => {
            // One unit a reply, so that none is uncounted.
            ranked.iter().try_for_each(|reply| tree.sink.reject(line, reason, detail.clone(), &text_of(reply)))
        }
    }
}
