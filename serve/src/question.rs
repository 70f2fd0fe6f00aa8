//! From a request's JSON to prompts and sampling, or one clear refusal. What this server cannot do is refused by name, never left out in silence.

use crate::open::Opened;
use data::chat::Message;
use model::Sampling;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// New tokens of `/v1/completions` when the request does not say: OpenAI's number.
const MAX_TOKENS: usize = 16;
/// Answers of one request at most.
const MAX_N: usize = 128;
/// Stop strings of one request at most, as OpenAI has it.
const MAX_STOPS: usize = 4;

/// Why a request is not answered, as OpenAI's clients read it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The part of the request that is wrong.
    pub param: Option<String>,
    /// A short name of the reason.
    pub code: Option<&'static str>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Refusal {
    /// The request is wrong in `param`.
    pub fn wrong(param: &str, message: impl Into<String>) -> Refusal {
        Refusal { status: 400, param: Some(param.into()), code: None, message: message.into() }
    }

    /// Another reason.
    pub fn of(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, param: None, code: Some(code), message: message.into() }
    }

    /// `{"error": {...}}`.
    pub fn json(&self) -> Value {
        let kind = match self.status {
            401 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

/// What is asked.
#[derive(Debug)]
pub struct Question {
    /// A conversation, not a text to continue.
    pub chat: bool,
    /// Token ids to continue; several texts may be asked about at once.
    pub prompts: Vec<Vec<u32>>,
    /// Answers for each.
    pub n: usize,
    /// How.
    pub sampling: Arc<Sampling>,
    /// The seed is the request's own.
    pub seeded: bool,
    /// Strings that end an answer and are not part of it.
    pub stops: Vec<String>,
    /// Tokens are wanted with their log-probabilities.
    pub log_probs: bool,
    /// Answers are wanted as they grow.
    pub stream: bool,
    /// With the number of tokens in the end.
    pub stream_usage: bool,
}

/// The fields that both kinds of request have.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    messages: Option<Value>,
    prompt: Option<Value>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    min_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    n: Option<usize>,
    stop: Option<Value>,
    seed: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    logprobs: Option<Value>,
    top_logprobs: Option<u64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Below it only the most probable token has a share that a float32 can hold: such requests are greedy ones.
const COLDEST: f64 = 1e-3;

/// Fields that change nothing about the answer.
const IGNORED: [&str; 6] = ["user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"];

/// Reads the body of a request. `name` is what the model is called here.
pub fn read(body: &[u8], chat: bool, name: &str, opened: &Opened) -> Result<Question, Refusal> {
    let body: Body = serde_json::from_slice(body).map_err(|e| Refusal {
        status: 400,
        param: None,
        code: None,
        message: format!("the body is not the JSON object that this address reads: {e}"),
    })?;
    if let Some(other) = body.model.as_deref().filter(|m| *m != name) {
        return Err(Refusal::of(404, "model_not_found", format!("there is no model {other:?} here: GET /v1/models names {name:?}")));
    }
    unsupported(&body.rest)?;
    let (foreign, given, other) = if chat {
        ("prompt", &body.prompt, "a text is continued by /v1/completions")
    } else {
        ("messages", &body.messages, "a conversation is continued by /v1/chat/completions")
    };
    if given.is_some() {
        return Err(Refusal::wrong(foreign, format!("{foreign} is not read at this address: leave it out; {other}")));
    }
    let stop_ids = if chat { opened.stop_ids() } else { text_stops(opened) };
    let prompts = if chat { conversation(&body, opened)? } else { texts(&body, opened)? };
    let context = opened.config.context;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let room = context.saturating_sub(longest);
    let asked = body.max_completion_tokens.or(body.max_tokens);
    let max_new = asked.unwrap_or(if chat { room } else { MAX_TOKENS.min(room) });
    if room == 0 || max_new > room {
        let message = format!("the prompt has {longest} tokens and {max_new} are asked for: the context is {context}");
        return Err(Refusal {
            param: Some(if chat { "messages" } else { "prompt" }.into()),
            ..Refusal::of(400, "context_length_exceeded", message)
        });
    }
    let sampling = sampling(&body, max_new, stop_ids)?;
    let n = body.n.unwrap_or(1);
    if n == 0 || n.saturating_mul(prompts.len()) > MAX_N {
        return Err(Refusal::wrong("n", format!("{n} answers to {} prompts: 1 to {MAX_N} can be asked for at once", prompts.len())));
    }
    Ok(Question {
        chat,
        n,
        prompts,
        sampling: Arc::new(sampling),
        seeded: body.seed.is_some(),
        stops: stops(body.stop.as_ref())?,
        log_probs: log_probs(&body, chat)?,
        stream: body.stream.unwrap_or(false),
        stream_usage: body.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
    })
}

/// A text ends where the model says so; the end of a turn means nothing in it.
fn text_stops(opened: &Opened) -> Vec<u32> {
    let eos = &opened.config.eos;
    if eos.is_empty() { vec![opened.tokenizer.eos()] } else { eos.clone() }
}

/// Refuses what would be left out otherwise. Values that mean "as usual" are taken.
fn unsupported(rest: &Map<String, Value>) -> Result<(), Refusal> {
    let usual = |key: &str, value: &Value| match key {
        _ if value.is_null() || IGNORED.contains(&key) => true,
        "presence_penalty" | "frequency_penalty" => value.as_f64() == Some(0.0),
        "best_of" => value.as_u64() == Some(1),
        "echo" => value == &Value::Bool(false),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "tools" => value.as_array().is_some_and(Vec::is_empty),
        "tool_choice" => value == "none" || value == "auto",
        "parallel_tool_calls" => value.is_boolean(),
        "response_format" => value["type"] == "text",
        "modalities" => value == &json!(["text"]),
        _ => false,
    };
    match rest.iter().find(|(key, value)| !usual(key, value)) {
        Some((key, _)) => Err(Refusal::wrong(key, format!("{key} is not supported here: leave it out"))),
        None => Ok(()),
    }
}

fn conversation(body: &Body, opened: &Opened) -> Result<Vec<Vec<u32>>, Refusal> {
    let Some(template) = &opened.template else {
        return Err(Refusal::of(400, "no_chat_template", "this model has no chat template: use /v1/completions"));
    };
    let messages = body.messages.as_ref().ok_or_else(|| Refusal::wrong("messages", "messages is missing: a list of {role, content}"))?;
    let turns = Message::list(messages).map_err(|why| Refusal::wrong("messages", why))?;
    if turns.last().is_some_and(Message::is_assistant) {
        return Err(Refusal::wrong("messages", "the last message is the assistant's: there is nothing to answer"));
    }
    let ids = template.encode_turns(&opened.tokenizer, &turns).map_err(|e| Refusal::wrong("messages", e.to_string()))?;
    Ok(vec![ids])
}

/// One text, several, or token ids of one or several.
fn texts(body: &Body, opened: &Opened) -> Result<Vec<Vec<u32>>, Refusal> {
    let wrong = || {
        Refusal::wrong("prompt", "prompt must be a text, a list of texts, token ids, or a list of lists of token ids, none of them empty")
    };
    let prompt = body.prompt.as_ref().ok_or_else(wrong)?;
    let (tokenizer, vocabulary) = (&opened.tokenizer, opened.config.vocab_size as u64);
    // A model that knows a first token of its own expects it; one whose first is its end token (GPT-2) was trained without.
    let bos = tokenizer.bos().filter(|bos| *bos != tokenizer.eos());
    let text = |text: &str| -> Result<Vec<u32>, Refusal> {
        let ids = tokenizer.encode(text).map_err(|e| Refusal::wrong("prompt", e.to_string()))?;
        Ok(bos.into_iter().chain(ids).collect())
    };
    let ids = |list: &[Value]| -> Result<Vec<u32>, Refusal> {
        list.iter().map(|v| v.as_u64().filter(|id| *id < vocabulary).map(|id| id as u32).ok_or_else(wrong)).collect()
    };
    let prompts = match prompt {
        Value::String(one) => vec![text(one)?],
        Value::Array(list) if list.first().is_some_and(Value::is_number) => vec![ids(list)?],
        Value::Array(list) => list
            .iter()
            .map(|one| match one {
                Value::String(one) => text(one),
                Value::Array(one) => ids(one),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    if prompts.is_empty() || prompts.iter().any(Vec::is_empty) { Err(wrong()) } else { Ok(prompts) }
}

fn sampling(body: &Body, max_new: usize, stop: Vec<u32>) -> Result<Sampling, Refusal> {
    let within = |name: &str, value: f64, low: f64, high: f64| {
        if value >= low && value <= high {
            Ok(value)
        } else {
            Err(Refusal::wrong(name, format!("{name} is {value}: {low} to {high} is possible")))
        }
    };
    if max_new == 0 {
        return Err(Refusal::wrong("max_tokens", "max_tokens is 0: at least one token must be asked for"));
    }
    let min_new = body.min_tokens.unwrap_or(0);
    if min_new > max_new {
        return Err(Refusal::wrong("min_tokens", format!("min_tokens is {min_new}, more than the {max_new} at most")));
    }
    let top_p = body.top_p.unwrap_or(1.0);
    if top_p <= 0.0 {
        return Err(Refusal::wrong("top_p", format!("top_p is {top_p}: it must be above 0")));
    }
    let fresh = || getrandom::u64().unwrap_or_default(); // a server without entropy answers all alike
    Ok(Sampling {
        max_new,
        min_new,
        temperature: Some(within("temperature", body.temperature.unwrap_or(1.0), 0.0, 2.0)?).filter(|t| *t >= COLDEST).unwrap_or(0.0),
        top_p: within("top_p", top_p, 0.0, 1.0)?,
        top_k: body.top_k.map_or(0, |k| k.max(0) as usize), // −1 and 0 mean all, as in other servers
        stop,
        seed: body.seed.map_or_else(fresh, |seed| seed as u64),
        ..Sampling::default()
    })
}

fn stops(stop: Option<&Value>) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::wrong("stop", format!("stop must be a text or a list of up to {MAX_STOPS} texts, none of them empty"));
    let list = match stop {
        None | Some(Value::Null) => vec![],
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list.iter().map(|s| s.as_str().map(String::from).ok_or_else(wrong)).collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    if list.len() > MAX_STOPS || list.iter().any(String::is_empty) { Err(wrong()) } else { Ok(list) }
}

/// `logprobs` is true or false in a chat, a number in a completion. The chosen token's is known, those of others are not.
fn log_probs(body: &Body, chat: bool) -> Result<bool, Refusal> {
    if let Some(k) = body.top_logprobs.filter(|k| *k > 0) {
        return Err(Refusal::wrong(
            "top_logprobs",
            format!("top_logprobs is {k}: only the chosen token's probability is given; leave it out"),
        ));
    }
    match (&body.logprobs, chat) {
        (None | Some(Value::Null), _) => Ok(false),
        (Some(Value::Bool(wanted)), true) => Ok(*wanted),
        (Some(k), false) if k.as_u64() == Some(0) => Ok(true),
        (Some(_), true) => Err(Refusal::wrong("logprobs", "logprobs must be true or false")),
        (Some(_), false) => Err(Refusal::wrong("logprobs", "logprobs can only be 0: the chosen token's probability")),
    }
}
