//! Finding the assistant's text in what a template rendered.
//!
//! A template with `{% generation %}` tags says it. For any other, each answer is rendered once more between two private characters, which shows
//! where it begins and ends; where an answer begins for the model, the rendered generation prompt says (it may begin before the message's
//! first character: a blank, an empty thought). Both have to agree with the plain rendering to the last character, or the row is refused.

use super::{Compiled, Message, Piece};
use crate::error::DataError;
use crate::tokenizer::Tokenizer;

/// Private-use characters (plane 15): answer i is put between `MARK + 2 i` and `MARK + 2 i + 1`.
const MARK: u32 = 0xF_0000;
/// At most so many marks, hence half as many turns.
const MARKS: u32 = 0x4000;
/// Shields a special token's name in a message: `SHIELD first character SHIELD rest SHIELD`.
const SHIELD: char = '\u{F8000}';

/// A stretch of bytes of the rendered text.
type Span = std::ops::Range<usize>;

/// The rendered conversation in pieces.
pub(super) fn pieces(template: &Compiled, messages: &[Message]) -> Result<Vec<Piece>, String> {
    if messages.len() as u32 > MARKS / 2 {
        return Err(format!("a chat of more than {} turns", MARKS / 2));
    }
    if messages.iter().any(|m| m.content.chars().any(is_mark)) {
        return Err("a message holds characters of Unicode's private plane 15, which mark the answers here".to_string());
    }
    let (text, spans) = if template.jinja.generation_tags { tagged(template, messages)? } else { marked(template, messages)? };
    let spans: Vec<Span> = spans.into_iter().filter(|span| !span.is_empty()).collect();
    if spans.is_empty() {
        return Err("nothing of the assistant's in this conversation".to_string());
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    for span in spans {
        if at < span.start {
            pieces.push(Piece { text: text[at..span.start].to_string(), loss: false, eos: false });
        }
        pieces.push(Piece { text: text[span.clone()].to_string(), loss: true, eos: false });
        at = span.end;
    }
    if let Some(last) = pieces.last_mut() {
        // A model whose template writes no end would never learn to stop.
        last.eos = !template.end.as_ref().is_some_and(|end| last.text.ends_with(end.as_str()));
    }
    Ok(pieces)
}

/// Spans from the template's own tags, with two corrections. The model is not taught what it is given (a template may tag the line end of the
/// assistant's header, which the generation prompt holds). The end token is learnt even if it stands behind the tag, and nothing after it is.
fn tagged(template: &Compiled, messages: &[Message]) -> Result<(String, Vec<Span>), String> {
    let (start, end) = (mark(0).to_string(), mark(1).to_string());
    let (text, marks) = unmark(&template.render_with(messages, false, &start, &end)?);
    let mut answers = messages.iter().enumerate().filter(|(_, m)| m.is_assistant()).map(|(i, _)| i);
    let mut spans: Vec<Span> = Vec::new();
    for pair in marks.chunks(2) {
        let [(0, start), (1, end)] = *pair else {
            return Err("its {% generation %} tags are nested or unbalanced".to_string());
        };
        // A token that closes the whole conversation, tagged on its own (Phi-3's `<|endoftext|>` after `<|end|>`): no answer.
        if template.tokens.values().any(|token| text[start..end].trim() == token) {
            continue;
        }
        let previous = spans.last().map_or(0, |span| span.end);
        let start = match answers.next().and_then(|i| given(template, &messages[..i], &text)) {
            Some(at) if at >= previous && at <= end => at.max(start),
            _ => start,
        };
        let visible = start + text[start..end].trim_end().len();
        let closed = template.end.as_ref().is_some_and(|token| text[start..visible].ends_with(token.as_str()));
        spans.push(start..if closed { visible } else { with_end(template, &text, end) });
    }
    Ok((text, spans))
}

/// How much of the text the model is given before it answers these messages: the rendered generation prompt, if the text begins with it.
fn given(template: &Compiled, messages: &[Message], text: &str) -> Option<usize> {
    let prompt = template.render(messages, true).ok()?;
    text.starts_with(&prompt).then_some(prompt.len())
}

/// Spans from marks around the answers.
fn marked(template: &Compiled, messages: &[Message]) -> Result<(String, Vec<Span>), String> {
    let text = template.render(messages, false)?;
    let attempt = |first: bool| -> Option<Vec<(usize, usize)>> {
        let marked: Vec<Message> =
            messages.iter().enumerate().map(|(i, m)| if m.is_assistant() { mark_message(m, i, first) } else { m.clone() }).collect();
        let (plain, marks) = unmark(&template.render(&marked, false).ok()?);
        (plain == text).then_some(marks)
    };
    // A template that looks at an answer's first characters (`<think>`) may be confused by a mark before them.
    let marks =
        attempt(true).or_else(|| attempt(false)).ok_or("it changes when an answer is marked, so that answers cannot be found in it")?;
    let place = |kind: usize| {
        let mut found = marks.iter().filter(|(mark, _)| *mark == kind).map(|(_, at)| *at);
        match (found.next(), found.next()) {
            (Some(at), None) => Some(at),
            _ => None,
        }
    };
    let mut spans: Vec<Span> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        if !message.is_assistant() || message.content.trim().is_empty() {
            continue;
        }
        let previous = spans.last().map_or(0, |span| span.end);
        let lost = || format!("the end of answer {} cannot be found in it: the template drops or repeats the answer", i + 1);
        let end = place(2 * i + 1).ok_or_else(lost)?;
        let shown = place(2 * i).filter(|at| *at <= end);
        // What the model is given before it answers is not its own; everything after that is.
        let given = given(template, &messages[..i], &text).filter(|at| *at >= previous && *at <= shown.unwrap_or(end));
        let begin = given.or(shown).or_else(|| shared(template, &messages[..i], &text)).filter(|at| *at >= previous && *at <= end);
        let begin = begin.ok_or_else(|| format!("the beginning of answer {} cannot be found in it", i + 1))?;
        spans.push(begin..with_end(template, &text, end));
    }
    Ok((text, spans))
}

/// Where the text leaves the generation prompt, at the beginning of a line: for templates that give the model an empty thought where this
/// answer has a real one. All that precedes the answer has to be the same.
fn shared(template: &Compiled, messages: &[Message], text: &str) -> Option<usize> {
    let before = template.render(messages, false).ok().filter(|before| text.starts_with(before.as_str()))?.len();
    let prompt = template.render(messages, true).ok().filter(|prompt| prompt.len() > before)?;
    let same: usize = prompt.chars().zip(text.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let line = text.get(before..same)?.rfind('\n')? + 1;
    Some(before + line)
}

/// An answer with its visible part between marks; blanks around it stay outside, where `strip()` expects them.
fn mark_message(message: &Message, i: usize, first: bool) -> Message {
    let content = &message.content;
    let inner = content.trim();
    if inner.is_empty() {
        return message.clone();
    }
    let before = content.len() - content.trim_start().len();
    let after = &content[before + inner.len()..];
    let start = if first { mark(2 * i as u32).to_string() } else { String::new() };
    let content = format!("{}{start}{inner}{}{after}", &content[..before], mark(2 * i as u32 + 1));
    Message { content, ..message.clone() }
}

/// Moves the end of an answer behind the end token that follows it.
fn with_end(template: &Compiled, text: &str, end: usize) -> usize {
    let Some(token) = &template.end else { return end };
    let rest = &text[end..];
    let blanks = rest.len() - rest.trim_start().len();
    if rest[blanks..].starts_with(token.as_str()) { end + blanks + token.len() } else { end }
}

/// What the template writes after an answer, found by rendering one. Blanks around it do not count.
pub(super) fn end_of_answer(template: &Compiled) -> Option<String> {
    let answer = mark(1).to_string();
    let chats = [
        vec![Message::new("user", "question"), Message::new("assistant", &answer)],
        vec![Message::new("system", "rule"), Message::new("user", "question"), Message::new("assistant", &answer)],
    ];
    let text = chats.iter().find_map(|chat| template.render(chat, false).ok().filter(|text| text.contains(&answer)))?;
    let tail = text.split(&answer).nth(1)?.trim();
    // Something may follow the end token; the end token of the tokenizer is a sure sign.
    let eos = template.tokens.get("eos_token").filter(|eos| tail.starts_with(eos.as_str()));
    let first = eos.cloned().or_else(|| {
        // `<|im_end|>\n<|endoftext|>`: the first word, or the first of several tokens in angle brackets.
        let word = tail.split_whitespace().next()?;
        let end = word.strip_prefix('<').and_then(|rest| rest.find('>')).map_or(word.len(), |at| at + 2);
        Some(word[..end].to_string())
    });
    first.filter(|end| !end.is_empty())
}

fn mark(kind: u32) -> char {
    char::from_u32(MARK + kind).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn is_mark(c: char) -> bool {
    (MARK..MARK + MARKS).contains(&(c as u32))
}

/// The text without marks, and the kind and place of each.
fn unmark(text: &str) -> (String, Vec<(usize, usize)>) {
    let mut out = String::with_capacity(text.len());
    let mut marks = Vec::new();
    for c in text.chars() {
        if is_mark(c) { marks.push(((c as u32 - MARK) as usize, out.len())) } else { out.push(c) }
    }
    (out, marks)
}

/// A message in which names of special tokens are shielded, so that the user cannot end a turn or begin another.
pub(super) fn neutral(tokenizer: &Tokenizer, text: &str) -> Result<String, DataError> {
    let ids = tokenizer.encode_with_special(text)?;
    let plain = tokenizer.encode(text)?;
    let mut out = text.replace(SHIELD, "\u{FFFD}");
    if ids == plain {
        return Ok(out);
    }
    // The names of tokens that come out only when special tokens are looked for.
    let mut names: Vec<String> = Vec::new();
    for id in ids.into_iter().filter(|id| !plain.contains(id)) {
        if let Some(name) = tokenizer.id_to_token(id)
            && !names.contains(&name)
            && tokenizer.encode(&name)? != [id]
        {
            names.push(name);
        }
    }
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        if let Some(first) = name.chars().next() {
            let shielded = format!("{SHIELD}{first}{SHIELD}{}{SHIELD}", &name[first.len_utf8()..]);
            out = out.replace(&name, &shielded);
        }
    }
    Ok(out)
}

/// Token ids of rendered text: special tokens where the template wrote them, ordinary characters where a message did. None if a shield is torn.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Option<Vec<u32>>, DataError> {
    let parts: Vec<&str> = text.split(SHIELD).collect();
    if parts.len() % 3 != 1 {
        return Ok(None);
    }
    let mut ids = tokenizer.encode_with_special(parts[0])?;
    for part in parts[1..].chunks(3) {
        ids.extend(tokenizer.encode(&format!("{}{}", part[0], part[1]))?);
        ids.extend(tokenizer.encode_with_special(part[2])?);
    }
    Ok(Some(ids))
}
