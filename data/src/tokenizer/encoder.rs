//! Many texts to token ids, word by word: natural text repeats its words, and a word that has been seen is looked up.
//!
//! The library tokenises word by word as well, but looks for the words with a regular expression, keeps the place of every character, and makes a
//! string of every token. Here the words are cut by hand ([`Pattern`]) and remembered with their ids; a new one is tokenised by the library. Whatever
//! is not known to give the library's own ids is left to the library.

use super::words::Pattern;
use super::{DataError, Tokenizer, failed};
use ahash::AHasher;
use aho_corasick::AhoCorasick;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use tokenizers::models::ModelWrapper;
use tokenizers::{Model, NormalizedString, Normalizer, Tokenizer as HfTokenizer};

/// Words remembered at once. When they are so many it begins again, so that its memory is bounded (about 5 MB).
const WORDS: usize = 1 << 15;
/// Bytes of the longest word that is remembered: longer ones (clauses of languages without spaces) hardly occur twice.
const LONGEST: usize = 32;

/// How to tokenise word by word.
pub(super) struct Method {
    pattern: Pattern,
    /// How the model's vocabulary spells each byte, for byte-level models.
    spelling: Option<Vec<char>>,
    /// The added tokens that the library looks for in texts; a text with one of them is left to it.
    added: Option<AhoCorasick>,
}

impl Method {
    /// The method for a tokenizer that takes special tokens for text; none where its ids might differ.
    pub(super) fn of(hf: &HfTokenizer) -> Option<Method> {
        let pre_tokenizer = serde_json::to_value(hf.get_pre_tokenizer()).ok()?;
        let byte_level = pre_tokenizer.to_string().contains("\"ByteLevel\"");
        let pattern = match Pattern::of(&pre_tokenizer) {
            Some(pattern) => pattern,
            None if letter_by_letter(hf, &pre_tokenizer) => Pattern::Gpt2,
            None => return None,
        };
        let mut contents = Vec::new();
        for token in hf.get_added_tokens_decoder().values().filter(|token| !token.special) {
            contents.push(normalized(hf, &token.content).ok()?);
            contents.push(token.content.clone());
        }
        let added = if contents.is_empty() { None } else { Some(AhoCorasick::new(contents).ok()?) };
        let spelling = byte_level.then(|| (0..=u8::MAX).map(super::build::spelling).collect());
        Some(Method { pattern, spelling, added })
    }
}

/// Whether every character (or every byte of it) is a token by itself, so that it does not matter where words end.
fn letter_by_letter(hf: &HfTokenizer, pre_tokenizer: &Value) -> bool {
    let ModelWrapper::BPE(bpe) = hf.get_model() else { return false };
    let whole = bpe.ignore_merges || bpe.fuse_unk || bpe.end_of_word_suffix.is_some() || bpe.continuing_subword_prefix.is_some();
    let plain = pre_tokenizer.is_null()
        || (pre_tokenizer["type"] == "ByteLevel" && pre_tokenizer["add_prefix_space"] == false && pre_tokenizer["use_regex"] == false);
    plain && !whole && serde_json::to_value(bpe).is_ok_and(|bpe| bpe["merges"].as_array().is_some_and(Vec::is_empty))
}

/// A text as the tokenizer's normalizer leaves it.
fn normalized(hf: &HfTokenizer, text: &str) -> tokenizers::Result<String> {
    let mut text = NormalizedString::from(text);
    if let Some(normalizer) = hf.get_normalizer() {
        normalizer.normalize(&mut text)?;
    }
    Ok(text.get().to_owned())
}

/// Words seen, with their ids.
#[derive(Default)]
pub(super) struct Known {
    /// The place of a word's ids in `ids`.
    places: HashMap<Box<str>, Range<u32>, BuildHasherDefault<AHasher>>,
    ids: Vec<u32>,
    /// A word as the vocabulary spells it.
    spelt: String,
}

/// Tokenises text after text with a memory of its own, for work on several threads. The ids are those of [`Tokenizer::encode`].
pub struct Encoder<'a> {
    pub(super) tok: &'a Tokenizer,
    pub(super) known: Known,
}

impl Encoder<'_> {
    /// Appends the ids of a text to `out`.
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
        encode(self.tok, &mut self.known, text, out)
    }
}

/// Appends the ids of a text to `out`.
pub(super) fn encode(tok: &Tokenizer, known: &mut Known, text: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
    let hf = &*tok.plain;
    let by_library = |out: &mut Vec<u32>| {
        let encoding = hf.encode_fast(text, false).map_err(|e| failed(&tok.origin, "cannot encode a text", &e))?;
        out.extend_from_slice(encoding.get_ids());
        Ok(())
    };
    let Some(method) = tok.method() else { return by_library(out) };
    let has_added = |text: &str| method.added.as_ref().is_some_and(|added| added.is_match(text));
    if has_added(text) {
        return by_library(out);
    }
    if hf.get_normalizer().is_none() {
        return words(tok, method, known, text, out);
    }
    let text = normalized(hf, text).map_err(|e| failed(&tok.origin, "cannot normalize a text", &e))?;
    if has_added(&text) { by_library(out) } else { words(tok, method, known, &text, out) }
}

fn words(tok: &Tokenizer, method: &Method, known: &mut Known, text: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
    for word in method.pattern.words(text) {
        if let Some(place) = known.places.get(word) {
            out.extend_from_slice(&known.ids[place.start as usize..place.end as usize]);
            continue;
        }
        let spelt = match &method.spelling {
            Some(spelling) => {
                known.spelt.clear();
                known.spelt.extend(word.bytes().map(|b| spelling[b as usize]));
                &known.spelt
            }
            None => word,
        };
        let before = out.len();
        let tokens = tok.plain.get_model().tokenize(spelt).map_err(|e| failed(&tok.origin, "cannot encode a text", &e))?;
        out.extend(tokens.iter().map(|token| token.id));
        if word.len() <= LONGEST {
            if known.places.len() == WORDS {
                known.places.clear();
                known.ids.clear();
            }
            let start = known.ids.len() as u32;
            known.ids.extend_from_slice(&out[before..]);
            known.places.insert(word.into(), start..known.ids.len() as u32);
        }
    }
    Ok(())
}
