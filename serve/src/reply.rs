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
    /// Those of its text, where they are asked for.
    log_probs: Vec<Token>,
    /// How many of these were sent in a stream.
    sent: usize,
    /// Its role was sent in a stream.
    begun: bool,
    finish: Option<&'static str>,
}

/// A token with its log-probability.
#[derive(Debug)]
struct Token {
    /// What it adds to the text.
    text: String,
    log_prob: f32,
    /// Characters before it.
    offset: usize,
}

impl Reply {
    /// Nothing written yet. `id` and `created` (seconds since 1970) are shown to the client.
    pub fn new(question: &Question, tokenizer: &Tokenizer, model: &str, id: u64, created: u64) -> Result<Reply, DataError> {
        let mut choices = Vec::with_capacity(question.n * question.prompts.len());
        for prompt in &question.prompts {
            // An answer is a text of its own, a continuation is not.
            let before: &[u32] = if question.chat { &[] } else { tokenizer.context(prompt)? };
            let choice = || Choice {
                answer: Answer::new(before, question.stops.clone()),
                text: String::new(),
                tokens: 0,
                log_probs: vec![],
                sent: 0,
                begun: false,
                finish: None,
            };
            choices.extend(std::iter::repeat_with(choice).take(question.n));
        }
        Ok(Reply {
            id: format!("{}-{id:016x}", if question.chat { "chatcmpl" } else { "cmpl" }),
            created,
            model: model.to_owned(),
            chat: question.chat,
            log_probs: question.log_probs,
            prompt_tokens: question.prompts.iter().map(Vec::len).sum(),
            choices,
        })
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
            if self.log_probs {
                let (text, offset) = c.answer.adds(tokenizer, *id)?;
                c.log_probs.push(Token { text, log_prob: *log_prob, offset });
            }
            new = c.answer.push(tokenizer, *id)?;
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
fn log_probs(tokens: &[Token], chat: bool) -> Value {
    if chat {
        let bytes = |text: &str| if text.contains('\u{FFFD}') { Value::Null } else { json!(text.as_bytes()) };
        let entry = |t: &Token| json!({ "token": t.text, "logprob": t.log_prob, "bytes": bytes(&t.text), "top_logprobs": [] });
        return json!({ "content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null });
    }
    json!({
        "tokens": tokens.iter().map(|t| &t.text).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|t| t.log_prob).collect::<Vec<_>>(),
        "top_logprobs": null,
        "text_offset": tokens.iter().map(|t| t.offset).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Sampling;
    use std::sync::Arc;

    /// The bytes of é are one character, which begins where its first does.
    #[test]
    fn offsets_run_on_from_piece_to_piece() {
        let tokenizer = Tokenizer::byte().unwrap();
        let question = Question {
            chat: false,
            prompts: vec![tokenizer.encode("a").unwrap()],
            n: 1,
            sampling: Arc::new(Sampling::default()),
            seeded: false,
            stops: vec![],
            log_probs: true,
            stream: true,
            stream_usage: false,
        };
        let mut reply = Reply::new(&question, &tokenizer, "tiny", 1, 0).unwrap();
        let ids = tokenizer.encode("bcéd").unwrap();
        let (mut offsets, mut pieces) = (vec![], 0);
        for (i, &id) in ids.iter().enumerate() {
            let what = What::Token { id, log_prob: -1.0, finished: false, last: i + 1 == ids.len() };
            let new = reply.take(0, &what, &tokenizer).unwrap();
            if let Some(piece) = reply.piece(0, &new) {
                offsets.extend(piece["choices"][0]["logprobs"]["text_offset"].as_array().unwrap().clone());
                pieces += 1;
            }
        }
        let whole = reply.whole()["choices"][0]["logprobs"].clone();
        assert_eq!((pieces, json!(offsets), &whole["text_offset"]), (4, json!([0, 1, 2, 2, 3]), &json!([0, 1, 2, 2, 3])));
        assert_eq!((&whole["tokens"][1], &whole["tokens"][4]), (&json!("c"), &json!("d")));
    }
}
