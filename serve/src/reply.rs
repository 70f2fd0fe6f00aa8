//! The JSON of answers, whole or as pieces of a stream.

use crate::answer::Answer;
use crate::engine::What;
use crate::question::Question;
use data::error::DataError;
use data::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

/// A request's answers as they grow.
#[derive(Debug)]
pub struct Reply {
    id: String,
    created: u64,
    model: String,
    chat: bool,
    log_probs: bool,
    prompt_tokens: usize,
    choices: Vec<Choice>,
}

#[derive(Debug)]
struct Choice {
    answer: Answer,
    text: String,
    /// Tokens written so far, end token included.
    tokens: usize,
    /// A token each: text, log-probability.
    log_probs: Vec<(String, f32)>,
    /// How many of these were sent in a stream.
    sent: usize,
    /// Its role was sent in a stream.
    begun: bool,
    finish: Option<&'static str>,
}

impl Reply {
    /// Nothing written yet. `id` and `created` (seconds since 1970) are shown to the client.
    pub fn new(question: &Question, model: &str, id: u64, created: u64) -> Reply {
        let count = question.n * question.prompts.len();
        let choice = || Choice {
            answer: Answer::new(question.stops.clone()),
            text: String::new(),
            tokens: 0,
            log_probs: vec![],
            sent: 0,
            begun: false,
            finish: None,
        };
        Reply {
            id: format!("{}-{id:016x}", if question.chat { "chatcmpl" } else { "cmpl" }),
            created,
            model: model.to_owned(),
            chat: question.chat,
            log_probs: question.log_probs,
            prompt_tokens: question.prompts.iter().map(Vec::len).sum(),
            choices: std::iter::repeat_with(choice).take(count).collect(),
        }
    }

    /// Takes a token up; gives the text that is certain now. After the end of a choice nothing more is taken.
    pub fn take(&mut self, choice: usize, what: &What, tokenizer: &Tokenizer) -> Result<String, DataError> {
        let (What::Token { id, log_prob, finished, last }, Some(c)) = (what, self.choices.get_mut(choice)) else {
            return Ok(String::new());
        };
        if c.finish.is_some() {
            return Ok(String::new());
        }
        c.tokens += 1;
        let mut new = String::new();
        if !finished {
            new = c.answer.push(tokenizer, *id)?;
            if self.log_probs {
                c.log_probs.push((tokenizer.decode(&[*id], true)?, *log_prob));
            }
        }
        if c.answer.stopped() {
            c.finish = Some("stop");
        } else if *last {
            new += &c.answer.finish(tokenizer)?;
            c.finish = Some(if *finished || c.answer.stopped() { "stop" } else { "length" });
        }
        c.text += &new;
        Ok(new)
    }

    /// Whether this choice is complete.
    pub fn is_complete(&self, choice: usize) -> bool {
        self.choices.get(choice).is_none_or(|c| c.finish.is_some())
    }

    /// Whether all are.
    pub fn is_done(&self) -> bool {
        self.choices.iter().all(|c| c.finish.is_some())
    }

    /// A piece of a stream: new text of a choice. `None` where there is nothing to tell yet.
    pub fn piece(&mut self, choice: usize, new: &str) -> Option<Value> {
        let (chat, with) = (self.chat, self.log_probs);
        let c = &mut self.choices[choice];
        if new.is_empty() && c.finish.is_none() && c.begun {
            return None;
        }
        let log_probs = if with { log_probs(&c.log_probs[c.sent..], chat) } else { Value::Null };
        c.sent = c.log_probs.len();
        let mut one = json!({ "index": choice, "logprobs": log_probs, "finish_reason": c.finish });
        if chat {
            let mut delta = Map::new();
            if !c.begun {
                delta.insert("role".into(), "assistant".into());
            }
            if !new.is_empty() || !c.begun {
                delta.insert("content".into(), new.into());
            }
            one["delta"] = delta.into();
        } else {
            one["text"] = new.into();
        }
        c.begun = true;
        Some(self.object("chat.completion.chunk", vec![one]))
    }

    /// The last piece of a stream, where it was asked for: no text, the number of tokens.
    pub fn usage_piece(&self) -> Value {
        let mut object = self.object("chat.completion.chunk", vec![]);
        object["usage"] = self.usage();
        object
    }

    /// The whole.
    pub fn whole(&self) -> Value {
        let choice = |(index, c): (usize, &Choice)| {
            let log_probs = if self.log_probs { log_probs(&c.log_probs, self.chat) } else { Value::Null };
            let mut one = json!({ "index": index, "logprobs": log_probs, "finish_reason": c.finish });
            if self.chat {
                one["message"] = json!({ "role": "assistant", "content": c.text, "refusal": null });
            } else {
                one["text"] = c.text.as_str().into();
            }
            one
        };
        let mut object = self.object("chat.completion", self.choices.iter().enumerate().map(choice).collect());
        object["usage"] = self.usage();
        object
    }

    fn object(&self, chat: &str, choices: Vec<Value>) -> Value {
        let kind = if self.chat { chat } else { "text_completion" };
        json!({ "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices })
    }

    fn usage(&self) -> Value {
        let written: usize = self.choices.iter().map(|c| c.tokens).sum();
        json!({ "prompt_tokens": self.prompt_tokens, "completion_tokens": written, "total_tokens": self.prompt_tokens + written })
    }
}

/// Log-probabilities as a chat has them, or as a completion has them. A token's text may be part of a character; its bytes are not known then.
fn log_probs(tokens: &[(String, f32)], chat: bool) -> Value {
    if chat {
        let entry = |(text, log_prob): &(String, f32)| json!({ "token": text, "logprob": log_prob, "bytes": if text.contains('\u{FFFD}') { Value::Null } else { json!(text.as_bytes()) }, "top_logprobs": [] });
        return json!({ "content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null });
    }
    let mut at = 0;
    let mut offset = |text: &str| {
        let before = at;
        at += text.chars().count();
        before
    };
    let offsets: Vec<usize> = tokens.iter().map(|(text, _)| offset(text)).collect();
    json!({
        "tokens": tokens.iter().map(|(t, _)| t).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|(_, p)| p).collect::<Vec<_>>(),
        "top_logprobs": null,
        "text_offset": offsets,
    })
}
