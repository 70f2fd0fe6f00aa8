//! One turn of a conversation.

use serde::Serialize;
use serde_json::{Map, Value};

/// The field of a turn in which the assistant calls tools.
pub(crate) const TOOL_CALLS: &str = "tool_calls";

/// A turn. Fields beside role and content (`tool_calls`, `reasoning_content`...) reach the template as they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Further fields.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Message {
    /// A turn of plain text.
    pub fn new(role: &str, content: &str) -> Message {
        Message { role: role.to_string(), content: content.to_string(), rest: Map::new() }
    }

    /// True for the turns that a model learns to write.
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    /// True for a turn that calls tools.
    pub(super) fn calls_tools(&self) -> bool {
        self.rest.get(TOOL_CALLS).is_some_and(|calls| calls.as_array().is_none_or(|calls| !calls.is_empty()))
    }

    /// Whether all of it is written by a template that reads the further fields that `reads` says: its text, its calls of tools, and what it has instead
    /// of a text.
    pub(crate) fn is_written(&self, reads: impl Fn(&str) -> bool) -> bool {
        if self.content.trim().is_empty() {
            return self.rest.keys().any(|field| reads(field));
        }
        !self.calls_tools() || reads(TOOL_CALLS)
    }

    /// Reads a list of `{"role", "content"}`, or of `{"from", "value"}` as ShareGPT has it; the list may be a JSON string (a CSV cell).
    /// The error is in words, for the quarantine.
    pub fn list(value: &Value) -> Result<Vec<Message>, String> {
        let parsed;
        let list = match value {
            Value::Array(list) => list,
            Value::String(text) => {
                parsed = serde_json::from_str::<Value>(text).map_err(|e| format!("the messages are text, but not JSON: {e}"))?;
                parsed.as_array().ok_or("the messages are not a list")?
            }
            _ => return Err("the messages are not a list".to_string()),
        };
        if list.is_empty() {
            return Err("there are no messages".to_string());
        }
        list.iter().enumerate().map(|(i, turn)| Message::one(turn).map_err(|why| format!("message {}: {why}", i + 1))).collect()
    }

    fn one(value: &Value) -> Result<Message, String> {
        let mut rest = value.as_object().ok_or("not an object")?.clone();
        // Parquet gives every struct all its fields: an absent one is null there.
        rest.retain(|_, field| !field.is_null());
        let share_gpt = !rest.contains_key("role") && rest.contains_key("from");
        let (role_key, content_key) = if share_gpt { ("from", "value") } else { ("role", "content") };
        let role = rest.shift_remove(role_key).and_then(|r| r.as_str().map(str::to_string)).ok_or("no `role`")?;
        let role = match role.as_str() {
            "human" if share_gpt => "user".to_string(),
            "gpt" if share_gpt => "assistant".to_string(),
            _ => role,
        };
        let content = match rest.shift_remove(content_key) {
            Some(Value::String(text)) => text,
            // Parts of text are one text; images and sounds are not for this model.
            Some(Value::Array(parts)) => parts
                .iter()
                .map(|part| part.get("text").and_then(Value::as_str).ok_or("a part of the content is not text"))
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            // A turn that only calls tools.
            None if !rest.is_empty() => String::new(),
            None => return Err(format!("no `{content_key}`")),
            Some(_) => return Err(format!("`{content_key}` is not text")),
        };
        Ok(Message { role, content, rest })
    }
}
