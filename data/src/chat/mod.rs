//! Conversations to text and token ids, with the assistant's part marked.
//!
//! Prompt and response are encoded apart: what a model reads before it answers is then token for token what generation feeds it, and a token
//! never lies half in the prompt. Special tokens come from the template only; the same characters in a message are ordinary text.

pub mod clock;
mod jinja;
mod message;
mod spans;

pub use message::Message;
pub(crate) use message::TOOL_CALLS;

use crate::config::Template;
use crate::error::DataError;
use crate::tokenizer::Tokenizer;
use jinja::Jinja;
use minijinja::value::{Serde, Value as JinjaValue};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// ChatML (<https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md>), without a default system turn.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Llama 3 (<https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3>). The first token is named, since every Llama 3 tokenizer has this one.
const LLAMA3: &str = "{% for message in messages %}{% if loop.first %}{{ '<|begin_of_text|>' }}{% endif %}\
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// Zephyr (HuggingFaceH4/zephyr-7b-beta), which leaves out turns of other roles in silence.
const ZEPHYR: &str = "{% for message in messages %}{% if message['role'] not in ['system', 'user', 'assistant'] %}\
{{ raise_exception('it has no turns of the role ' + message['role']) }}{% endif %}\
{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}\
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}";

/// The plain template for others who read our folders.
const PLAIN: &str = "{% for message in messages %}{{ message['content'] }}\
{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}";

/// How conversations become text.
#[derive(Clone)]
pub struct ChatTemplate {
    kind: Kind,
    /// Where it is from, for messages.
    origin: String,
    source: String,
}

#[derive(Clone)]
enum Kind {
    /// Prompt, newline, response, end token.
    Plain,
    Jinja(Box<Compiled>),
}

#[derive(Clone)]
struct Compiled {
    jinja: Jinja,
    /// `bos_token`, `eos_token`... as the template's variables.
    tokens: BTreeMap<String, String>,
    /// What the template writes after an answer, such as `<|im_end|>`; none if nothing visible.
    end: Option<String>,
}

/// A stretch of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// It is the assistant's: its tokens are learnt.
    pub loss: bool,
    /// The tokenizer's end token follows, because the template itself writes none; it is learnt with the piece.
    pub eos: bool,
}

/// Token ids of a conversation; `loss[i]` says whether `ids[i]` is learnt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// One for each id.
    pub loss: Vec<bool>,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChatTemplate({})", self.origin)
    }
}

impl ChatTemplate {
    /// The template that a configuration names; `folder` is the model folder, for [`Template::Model`].
    pub fn new(kind: Template, folder: &Path) -> Result<ChatTemplate, DataError> {
        match kind {
            Template::Plain => Ok(ChatTemplate::plain()),
            Template::Chatml => ChatTemplate::chatml(),
            Template::Llama3 => ChatTemplate::from_source("llama3", LLAMA3, BTreeMap::new()),
            Template::Zephyr => ChatTemplate::zephyr(folder),
            Template::Model => ChatTemplate::from_folder(folder),
        }
    }

    /// The prompt, a newline, the response, the end token.
    pub fn plain() -> ChatTemplate {
        ChatTemplate { kind: Kind::Plain, origin: "plain".to_string(), source: PLAIN.to_string() }
    }

    /// `<|im_start|>role\n…<|im_end|>\n`.
    pub fn chatml() -> Result<ChatTemplate, DataError> {
        ChatTemplate::from_source("chatml", CHATML, BTreeMap::new())
    }

    /// The template of a model folder: `chat_template.jinja`, else `chat_template` in tokenizer_config.json (of several the one named "default").
    pub fn from_folder(folder: &Path) -> Result<ChatTemplate, DataError> {
        let config = tokenizer_config(folder)?;
        let source = match (read_if_there(folder, "chat_template.jinja")?, config.get("chat_template")) {
            (Some(text), _) => Some(text),
            (None, Some(Value::String(text))) => Some(text.clone()),
            (None, Some(Value::Array(named))) => {
                named.iter().find(|one| one["name"] == "default").and_then(|one| one["template"].as_str().map(str::to_string))
            }
            _ => None,
        };
        let origin = folder.display().to_string();
        let source = source.ok_or_else(|| DataError::Template {
            origin: origin.clone(),
            detail: "there is none in tokenizer_config.json or chat_template.jinja: name one, such as template = \"plain\"".to_string(),
        })?;
        ChatTemplate::from_source(&origin, &source, named_tokens(&config))
    }

    /// Zephyr's turns; each ends with the end token that the folder's tokenizer_config.json names.
    fn zephyr(folder: &Path) -> Result<ChatTemplate, DataError> {
        let tokens = named_tokens(&tokenizer_config(folder)?);
        if !tokens.contains_key("eos_token") {
            let detail = format!("turns end with eos_token, which {} does not name", folder.join("tokenizer_config.json").display());
            return Err(DataError::Template { origin: "zephyr".to_string(), detail });
        }
        ChatTemplate::from_source("zephyr", ZEPHYR, tokens)
    }

    /// A template given as Jinja, with the values of `bos_token`, `eos_token` and so on.
    pub fn from_source(origin: &str, source: &str, tokens: BTreeMap<String, String>) -> Result<ChatTemplate, DataError> {
        let failed = |detail: String| DataError::Template { origin: origin.to_string(), detail };
        let jinja = Jinja::new(source).map_err(failed)?;
        let mut compiled = Compiled { jinja, tokens, end: None };
        compiled.end = spans::end_of_answer(&compiled);
        Ok(ChatTemplate { kind: Kind::Jinja(Box::new(compiled)), origin: origin.to_string(), source: source.to_string() })
    }

    /// The template as Jinja, to be saved with the tokenizer so that others prompt the model as it was trained.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where it is from: the name of one of ours, or a model folder.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether its source mentions a further field of a turn, such as `tool_calls`: what it does not mention it leaves out. Ours mention none.
    pub fn reads(&self, field: &str) -> bool {
        self.source.contains(field)
    }

    /// BLAKE3, in hex, of what decides how it writes: its source and the tokens that it is given.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.source.as_bytes());
        if let Kind::Jinja(compiled) = &self.kind {
            compiled.tokens.iter().for_each(|(name, token)| _ = hasher.update(format!("\0{name}\0{token}").as_bytes()));
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What precedes the response to a prompt.
    pub fn render_prompt(&self, prompt: &str) -> Result<String, DataError> {
        match &self.kind {
            Kind::Plain => Ok(format!("{prompt}\n")),
            Kind::Jinja(compiled) => compiled.render(&[Message::new("user", prompt)], true).map_err(|e| self.failed(e)),
        }
    }

    /// The conversation's text in pieces: the assistant's answers with what ends them, and the rest. Text after the last answer is left out,
    /// since nothing is learnt from it. The pieces' concatenation is a prefix of what the template renders. Calls of tools that it would leave out are
    /// refused.
    pub fn render_chat(&self, messages: &[Message]) -> Result<Vec<Piece>, DataError> {
        if let Some(i) = messages.iter().position(Message::calls_tools).filter(|_| !self.reads(TOOL_CALLS)) {
            let advice = "write the calls into the message's content, or take a template that reads tool_calls";
            return Err(self.failed(format!("message {} calls tools, which it does not write: {advice}", i + 1)));
        }
        match &self.kind {
            Kind::Plain => Ok(plain_pieces(messages)),
            Kind::Jinja(compiled) => spans::pieces(compiled, messages).map_err(|e| self.failed(e)),
        }
    }

    /// Token ids of what precedes the response: what generation begins from.
    pub fn encode_prompt(&self, tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>, DataError> {
        match &self.kind {
            Kind::Plain => tokenizer.encode(&self.render_prompt(prompt)?),
            Kind::Jinja(_) => {
                let prompt = spans::neutral(tokenizer, prompt)?;
                self.encode_text(tokenizer, &self.render_prompt(&prompt)?)
            }
        }
    }

    /// Token ids of prompt and response apart; the response ends with the end token. Prompt and response in a row are what SFT learns from,
    /// what a reward model scores, and what a policy would have had to sample.
    pub fn encode_pair(&self, tokenizer: &Tokenizer, prompt: &str, response: &str) -> Result<(Vec<u32>, Vec<u32>), DataError> {
        let chat = self.encode_chat(tokenizer, &[Message::new("user", prompt), Message::new("assistant", response)])?;
        let start = chat.loss.iter().position(|l| *l).unwrap_or(chat.ids.len());
        let mut prompt = chat.ids;
        let response = prompt.split_off(start);
        Ok((prompt, response))
    }

    /// Token ids of a conversation with an answer to it, which ends with the end token: what a reward model scores. With one turn before the answer
    /// these are the ids of [`ChatTemplate::encode_pair`] in a row.
    pub fn encode_answer(&self, tokenizer: &Tokenizer, turns: &[Message], response: &str) -> Result<Vec<u32>, DataError> {
        Ok(self.encode_chat(tokenizer, &answered(turns, response))?.ids)
    }

    /// Token ids of what precedes the answer to a conversation: what generation begins from. [`ChatTemplate::encode_answer`] of any answer begins
    /// with them.
    pub fn encode_turns(&self, tokenizer: &Tokenizer, turns: &[Message]) -> Result<Vec<u32>, DataError> {
        if let [only] = turns
            && only.role == "user"
            && only.rest.is_empty()
        {
            return self.encode_prompt(tokenizer, &only.content);
        }
        let mut pieces = self.neutral_pieces(tokenizer, &answered(turns, "x"))?;
        pieces.pop(); // the answer
        Ok(self.encode_pieces(tokenizer, pieces)?.ids)
    }

    /// Token ids of a conversation with the assistant's marked.
    pub fn encode_chat(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Encoded, DataError> {
        let pieces = self.neutral_pieces(tokenizer, messages)?;
        self.encode_pieces(tokenizer, pieces)
    }

    /// Pieces in which the names of special tokens in messages are ordinary text.
    fn neutral_pieces(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<Piece>, DataError> {
        match &self.kind {
            Kind::Plain => self.render_chat(messages),
            Kind::Jinja(_) => {
                let mut messages = messages.to_vec();
                for message in &mut messages {
                    message.content = spans::neutral(tokenizer, &message.content)?;
                }
                self.render_chat(&messages)
            }
        }
    }

    fn encode_pieces(&self, tokenizer: &Tokenizer, pieces: Vec<Piece>) -> Result<Encoded, DataError> {
        let mut out = Encoded::default();
        for piece in pieces {
            let ids = match &self.kind {
                Kind::Plain => tokenizer.encode(&piece.text)?,
                Kind::Jinja(_) => self.encode_text(tokenizer, &piece.text)?,
            };
            out.ids.extend(ids);
            if piece.eos {
                out.ids.push(tokenizer.eos());
            }
            out.loss.resize(out.ids.len(), piece.loss);
        }
        Ok(out)
    }

    /// Tokens at which a response ends: the tokenizer's end token, and the template's where it is one token.
    pub fn stop_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let mut ids = vec![tokenizer.eos()];
        if let Kind::Jinja(compiled) = &self.kind
            && let Some(id) = compiled.end.as_ref().and_then(|end| tokenizer.token_to_id(end))
            && !ids.contains(&id)
        {
            ids.push(id);
        }
        ids
    }

    /// Checks that the tokenizer knows the token that the template ends an answer with: written in several ordinary tokens, it would neither
    /// be learnt nor found as an end.
    pub fn check(&self, tokenizer: &Tokenizer) -> Result<(), DataError> {
        match &self.kind {
            Kind::Jinja(compiled) => match &compiled.end {
                Some(end) if tokenizer.token_to_id(end).is_none() => Err(self.failed(format!(
                    "answers end with {end:?}, which is no token of the tokenizer {}: use a template made for this tokenizer",
                    tokenizer.origin()
                ))),
                _ => Ok(()),
            },
            Kind::Plain => Ok(()),
        }
    }

    fn encode_text(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, DataError> {
        spans::encode(tokenizer, text)?.ok_or_else(|| self.failed("it cuts a message in the middle of a special token's name".to_string()))
    }

    fn failed(&self, detail: String) -> DataError {
        DataError::Template { origin: self.origin.clone(), detail }
    }
}

fn answered(turns: &[Message], response: &str) -> Vec<Message> {
    turns.iter().cloned().chain([Message::new("assistant", response)]).collect()
}

fn read_if_there(folder: &Path, name: &str) -> Result<Option<String>, DataError> {
    match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(DataError::io("read", &folder.join(name))(e)),
    }
}

/// tokenizer_config.json, empty where there is none.
fn tokenizer_config(folder: &Path) -> Result<Map<String, Value>, DataError> {
    let Some(text) = read_if_there(folder, "tokenizer_config.json")? else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|e| DataError::Template {
        origin: folder.display().to_string(),
        detail: format!("tokenizer_config.json is not a JSON object: {e}"),
    })
}

/// `bos_token`, `eos_token`... of tokenizer_config.json. A token is a string, or an object with its text in `content`.
fn named_tokens(config: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_string);
    config.iter().filter(|(key, _)| key.ends_with("_token")).filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

impl Compiled {
    fn render(&self, messages: &[Message], generate: bool) -> Result<String, String> {
        self.render_with(messages, generate, "", "")
    }

    /// Renders with texts for the places of `{% generation %}` and `{% endgeneration %}`.
    fn render_with(&self, messages: &[Message], generate: bool, start: &str, end: &str) -> Result<String, String> {
        let mut context: BTreeMap<&str, JinjaValue> = BTreeMap::new();
        for (name, token) in &self.tokens {
            context.insert(name, JinjaValue::from(token.as_str()));
        }
        context.insert("messages", JinjaValue::from(Serde(messages)));
        context.insert("add_generation_prompt", JinjaValue::from(generate));
        // transformers passes both, as None.
        context.insert("tools", JinjaValue::from(()));
        context.insert("documents", JinjaValue::from(()));
        context.insert(jinja::GENERATION_START, JinjaValue::from(start));
        context.insert(jinja::GENERATION_END, JinjaValue::from(end));
        self.jinja.render(JinjaValue::from_pairs(context))
    }
}

fn plain_pieces(messages: &[Message]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for message in messages {
        match pieces.last_mut() {
            _ if message.is_assistant() => pieces.push(Piece { text: message.content.clone(), loss: true, eos: true }),
            Some(last) if !last.loss => last.text.push_str(&format!("{}\n", message.content)),
            _ => pieces.push(Piece { text: format!("{}\n", message.content), loss: false, eos: false }),
        }
    }
    while pieces.last().is_some_and(|piece| !piece.loss) {
        pieces.pop();
    }
    pieces
}
