//! What a task shows: its prompt and its answers. The labelling configuration would say it, but no export holds that, so the names do.

use crate::ingest::values;
use data::chat::Message;
use serde_json::{Map, Value};

/// Fields that hold the prompt, the surest first.
const PROMPTS: [&str; 19] = [
    "prompt",
    "messages",
    "conversation",
    "chat",
    "dialogue",
    "dialog",
    "question",
    "instruction",
    "query",
    "input",
    "context",
    "document",
    "article",
    "post",
    "title",
    "text",
    "source",
    "src",
    "body",
];
/// Stems of fields that hold answers (`answer1`, `response_b`), the surest first; the empty one is of `left` and `right`.
const ANSWERS: [&str; 13] = [
    "answer",
    "response",
    "output",
    "completion",
    "reply",
    "summary",
    "candidate",
    "generation",
    "option",
    "llm",
    "text",
    "hypothesis",
    "",
];
/// Stems of fields that hold the answers' authors.
const AUTHORS: [&str; 3] = ["model", "author", "system"];
/// Fields of a single answer.
const SINGLE: [&str; 8] = ["response", "answer", "output", "completion", "reply", "summary", "generation", "hypothesis"];

/// A task's prompt and answers.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// The prompt's field; empty where there is none.
    pub prompt_key: String,
    /// The prompt.
    pub prompt: Vec<Message>,
    /// Fields and texts of the answers, where there are two or more by name.
    pub answers: Vec<(String, String)>,
    /// Their authors, where all are known.
    pub authors: Option<Vec<String>>,
    /// The one answer, where there is one.
    pub single: Option<(String, String)>,
}

impl Layout {
    /// Of a task's `data`.
    pub fn of(data: &Map<String, Value>) -> Layout {
        let mut layout = Layout { answers: numbered(data, &ANSWERS), ..Layout::default() };
        if layout.answers.is_empty()
            && let (Some(chosen), Some(rejected)) = (values::text(data, "chosen"), values::text(data, "rejected"))
        {
            layout.answers = vec![("chosen".to_string(), chosen.to_string()), ("rejected".to_string(), rejected.to_string())];
        }
        let authors = numbered(data, &AUTHORS);
        if !authors.is_empty() && authors.len() == layout.answers.len() {
            layout.authors = Some(authors.into_iter().map(|(_, author)| author).collect());
        }
        let taken = |key: &str| layout.answers.iter().any(|(answer, _)| answer == key);
        for key in PROMPTS.into_iter().filter(|key| !taken(key)) {
            let Some(prompt) = data.get(key).and_then(values::prompt) else { continue };
            layout.prompt_key = key.to_string();
            layout.prompt = prompt;
            break;
        }
        // An instruction with its input, as Alpaca's rows have it.
        if layout.prompt_key == "instruction"
            && let (Some(instruction), Some(input)) = (values::text(data, "instruction"), values::text(data, "input"))
        {
            layout.prompt = vec![Message::new("user", &format!("{instruction}\n\n{input}"))];
        }
        let single = SINGLE.iter().find_map(|key| Some((key.to_string(), values::text(data, key)?.to_string())));
        layout.single = single.filter(|(key, _)| layout.answers.is_empty() && *key != layout.prompt_key);
        layout
    }

    /// Text that a control is about: the field that its `toName` names, else the prompt. A tag may be called otherwise than the field that it
    /// shows; `turn1_prg` then is about the one field that begins with `turn1_`.
    pub fn about(&self, data: &Map<String, Value>, to: &str) -> Vec<Message> {
        let to = to.trim_start_matches('$');
        if let Some(text) = data.get(to).and_then(values::prompt) {
            return text;
        }
        let stem = to.split('_').next().filter(|stem| stem.ends_with(|c: char| c.is_ascii_digit()) && *stem != to);
        if let Some(stem) = stem {
            let mut alike = data.iter().filter(|(key, _)| key.split('_').next() == Some(stem));
            if let (Some((_, value)), None) = (alike.next(), alike.next())
                && let Some(text) = values::prompt(value)
            {
                return text;
            }
        }
        match &self.single {
            Some((_, answer)) if !self.prompt.is_empty() => [&self.prompt[..], &[Message::new("assistant", answer)]].concat(),
            _ if !self.prompt.is_empty() => self.prompt.clone(),
            // No name that is known: the first text there is.
            _ => data.values().find_map(|value| value.as_str().and_then(|_| values::prompt(value))).unwrap_or_default(),
        }
    }

    /// The two answers of a comparison, `toName` naming them where it does ("answer1,answer2").
    pub fn pair(&self, data: &Map<String, Value>, to: &str) -> Option<[(String, String); 2]> {
        let named = |key: &str| Some((key.to_string(), data.get(key.trim().trim_start_matches('$'))?.as_str()?.to_string()));
        if let Some((left, right)) = to.split_once(',')
            && let (Some(left), Some(right)) = (named(left), named(right))
        {
            return Some([left, right]);
        }
        if let [left, right] = &self.answers[..] {
            return Some([left.clone(), right.clone()]);
        }
        // Two texts beside the prompt can only be they.
        let mut others =
            data.iter().filter(|(key, value)| **key != self.prompt_key && value.as_str().is_some_and(|t| !t.trim().is_empty()));
        match (others.next(), others.next(), others.next()) {
            (Some((a, left)), Some((b, right)), None) if self.answers.is_empty() => {
                Some([(a.clone(), left.as_str()?.to_string()), (b.clone(), right.as_str()?.to_string())])
            }
            _ => None,
        }
    }
}

/// The mark at the end of a name like `answer_2`, `response_b`, `left`, and what stands before it.
pub fn marked(key: &str) -> Option<(String, u32)> {
    let key = key.to_ascii_lowercase();
    let stem = |length: usize| key[..key.len() - length].trim_end_matches(['_', '-', ' ']).to_string();
    let digits = key.len() - key.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 {
        return Some((stem(digits), key[key.len() - digits..].parse().ok()?));
    }
    for (mark, place) in [("left", 0), ("right", 1), ("first", 0), ("second", 1)] {
        if key.ends_with(mark) {
            return Some((stem(mark.len()), place));
        }
    }
    // A letter needs its hyphen, or to be all there is: `data` ends in no mark.
    let last = key.chars().last().filter(|c| ('a'..='h').contains(c))?;
    let before = key[..key.len() - 1].chars().last();
    matches!(before, None | Some('_' | '-' | ' ')).then(|| (stem(1), last as u32 - 'a' as u32))
}

/// Fields and texts of the first stem of which there are two or more, by their marks.
fn numbered(data: &Map<String, Value>, stems: &[&str]) -> Vec<(String, String)> {
    for stem in stems {
        let mut found: Vec<(u32, String, String)> = data
            .iter()
            .filter_map(|(key, value)| {
                let (found, place) = marked(key)?;
                // An answer may be empty: models give such.
                let text = value.as_str()?;
                (found == *stem).then(|| (place, key.clone(), text.to_string()))
            })
            .collect();
        found.sort_by_key(|(place, ..)| *place);
        if found.len() > 1 && found.iter().any(|(.., text)| !text.trim().is_empty()) {
            return found.into_iter().map(|(_, key, text)| (key, text)).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(data: Value) -> (String, Vec<String>) {
        let layout = Layout::of(data.as_object().expect("object"));
        (layout.prompt_key, layout.answers.into_iter().map(|(key, _)| key).collect())
    }

    #[test]
    fn names_tell_prompt_and_answers() {
        assert_eq!(
            keys(json!({"answer2": "b", "answer1": "a", "prompt": "p"})),
            ("prompt".into(), vec!["answer1".into(), "answer2".into()])
        );
        assert_eq!(keys(json!({"right": "b", "left": "a", "question": "p"})), ("question".into(), vec!["left".into(), "right".into()]));
        assert_eq!(keys(json!({"text1": "a", "text2": "b"})), (String::new(), vec!["text1".into(), "text2".into()]));
        assert_eq!(keys(json!({"uri": "x", "uri_1": "y", "title": "t", "title_1": "u"})), ("title".into(), vec![]));
        assert_eq!(keys(json!({"data": "x", "response_B": "y", "response_A": "t", "input": "u"})).1, ["response_A", "response_B"]);
    }
}
