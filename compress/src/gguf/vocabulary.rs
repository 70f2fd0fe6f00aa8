//! A tokenizer as llama.cpp reads it, from `tokenizer.json`.

use super::write::{Entry, Value};
use anyhow::{Context, Result};
use program::{input, refuse};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

/// Kinds of tokens.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// Told where llama.cpp may cut text into words otherwise than this tokenizer.
const CUTS: &[&str] =
    &["llama.cpp has no name for this tokenizer's way of cutting text into words and takes its default: ids of a text may differ there"];

/// The entries of the tokenizer in `folder`, filled up to `vocab_size` tokens, and what llama.cpp is told only nearly.
///
/// Byte-level BPE becomes its `gpt2` tokenizer, BPE that falls back to bytes (SentencePiece's) its `llama` one; others have no form there.
pub(super) fn entries(folder: &Path, vocab_size: usize) -> Result<(Vec<Entry>, &'static [&'static str])> {
    let at = folder.join("tokenizer.json");
    let json = read(&at)?;
    let model = &json["model"];
    let uses = |place: &str, what: &str| json[place].to_string().contains(&format!("\"type\":\"{what}\""));
    let byte_level = uses("pre_tokenizer", "ByteLevel") || uses("decoder", "ByteLevel");
    let sentence_piece = !byte_level && model["byte_fallback"] == true && uses("decoder", "ByteFallback") && uses("normalizer", "Replace");
    if model["type"] != "BPE" || !(byte_level || sentence_piece) {
        refuse!("{}: llama.cpp has no form for this {} tokenizer: leave it out with --no-tokenizer", at.display(), model["type"]);
    }
    let mut tokens: Vec<Option<(String, i32)>> = vec![None; vocab_size];
    let mut set = |id: u64, token: &str, kind: i32| match tokens.get_mut(id as usize) {
        Some(place) => {
            *place = Some((token.to_string(), kind));
            Ok(())
        }
        None => refuse!("{}: token {id} is outside the model's vocabulary of {vocab_size}", at.display()),
    };
    let vocabulary = model["vocab"].as_object().ok_or_else(|| input(format!("{}: model.vocab", at.display())))?;
    let unknown = model["unk_token"].as_str();
    for (token, id) in vocabulary {
        let is_byte = sentence_piece && token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        let kind = if is_byte {
            kind::BYTE
        } else if Some(token.as_str()) == unknown {
            kind::UNKNOWN
        } else {
            kind::NORMAL
        };
        set(id.as_u64().ok_or_else(|| input(format!("{}: the id of {token:?}", at.display())))?, token, kind)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(token)) = (added["id"].as_u64(), added["content"].as_str()) else { continue };
        let kind = match added["special"] == true {
            true if Some(token) == unknown => kind::UNKNOWN,
            true => kind::CONTROL,
            false => kind::USER_DEFINED,
        };
        set(id, token, kind)?;
    }
    let merges = merges(model).ok_or_else(|| input(format!("{}: model.merges", at.display())))?;
    let filled = tokens.iter().enumerate().map(|(id, t)| t.clone().unwrap_or_else(|| (format!("[PAD{id}]"), kind::UNUSED)));
    let (texts, kinds): (Vec<String>, Vec<i32>) = filled.unzip();

    let text = |key: &str, value: &str| Entry::new(key, Value::Text(value.to_string()));
    let mut entries = vec![text("tokenizer.ggml.model", if byte_level { "gpt2" } else { "llama" })];
    let mut notes: &[&str] = &[];
    if byte_level {
        let cut = cut_by(&json["pre_tokenizer"]);
        entries.push(text("tokenizer.ggml.pre", cut.unwrap_or("default")));
        if cut.is_none() {
            notes = CUTS;
        }
        entries.push(Entry::texts("tokenizer.ggml.merges", merges.iter().map(|(a, b)| format!("{a} {b}")).collect()));
    } else {
        // A pair is joined in the order of its merge: the earlier, the higher the score of what it makes.
        let made: HashMap<String, usize> = merges.iter().enumerate().rev().map(|(rank, (a, b))| (format!("{a}{b}"), rank)).collect();
        let score = |token: &String| Value::F32(made.get(token).map_or(0.0, |rank| -(*rank as f32) - 1.0));
        entries.push(text("tokenizer.ggml.pre", "default"));
        entries.push(Entry::new("tokenizer.ggml.scores", Value::List(texts.iter().map(score).collect())));
    }
    entries.push(Entry::texts("tokenizer.ggml.tokens", texts));
    entries.push(Entry::new("tokenizer.ggml.token_type", Value::List(kinds.into_iter().map(Value::I32).collect())));
    let tokenizer = data::tokenizer::Tokenizer::load(folder)?;
    if let Some(bos) = tokenizer.bos() {
        entries.push(Entry::number("tokenizer.ggml.bos_token_id", bos));
    }
    entries.push(Entry::number("tokenizer.ggml.eos_token_id", tokenizer.eos()));
    entries.push(Entry::number("tokenizer.ggml.padding_token_id", tokenizer.pad()));
    entries.push(Entry::new("tokenizer.ggml.add_bos_token", Value::Bool(!tokenizer.beginning()?.is_empty())));
    if let Some(template) = tokenizer.chat_template() {
        entries.push(text("tokenizer.chat_template", template));
    }
    Ok((entries, notes))
}

fn read(path: &Path) -> Result<Json> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: the tokenizer (leave it out with --no-tokenizer)", path.display()))?;
    serde_json::from_str(&text).map_err(|e| input(format!("{}: {e}", path.display())))
}

/// Merges in either of the two ways that `tokenizer.json` has for them.
fn merges(model: &Json) -> Option<Vec<(String, String)>> {
    let pair = |m: &Json| match m {
        Json::String(both) => both.split_once(' ').map(|(a, b)| (a.to_string(), b.to_string())),
        Json::Array(two) => Some((two.first()?.as_str()?.to_string(), two.get(1)?.as_str()?.to_string())),
        _ => None,
    };
    model["merges"].as_array()?.iter().map(pair).collect()
}

/// llama.cpp's name for a way of cutting text into words, where it has one.
fn cut_by(pre_tokenizer: &Json) -> Option<&'static str> {
    let all = match pre_tokenizer["pretokenizers"].as_array() {
        Some(list) => list.iter().collect(),
        None => vec![pre_tokenizer],
    };
    let pattern = all.iter().find(|p| p["type"] == "Split").and_then(|p| p["pattern"]["Regex"].as_str());
    let known = |pattern: &str| match pattern {
        p if p.contains(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)") && p.contains(r"\p{N}{1,3}") => Some("llama-bpe"),
        p if p.contains(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)") && p.contains(r"|\p{N}|") => Some("qwen2"),
        p if p.starts_with(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+") => Some("gpt-2"),
        _ => None,
    };
    match pattern {
        Some(pattern) => known(pattern),
        None => all.iter().any(|p| p["type"] == "ByteLevel" && p["use_regex"] != false).then_some("gpt-2"),
    }
}
