//! Many texts to token ids, word by word: natural text repeats its words, and a word that has been seen is looked up.
//!
//! The library tokenises word by word as well, but looks for the words with a regular expression, keeps the place of every character, and makes a
//! string of every token. Here the words are cut by hand ([`Pattern`]) and remembered with their ids; a new one is tokenised by the library. Whatever
//! is not known to give the library's own ids is left to the library.

use super::words::Pattern;
use super::{DataError, Tokenizer, failed};
use ahash::RandomState;
use aho_corasick::AhoCorasick;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;
use tokenizers::models::ModelWrapper;
use tokenizers::{Model, NormalizedString, Normalizer, Tokenizer as HfTokenizer};

/// Words remembered by one encoder. When they are so many it begins again, so that its memory is bounded (about 20 MB).
const WORDS: usize = 1 << 17;
/// Bytes of the longest word that is remembered: longer ones hardly occur twice.
const LONGEST: usize = 64;

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

/// Tokenises text after text, faster than [`Tokenizer::encode`] and with the same ids. Each thread wants its own: [`Tokenizer::encoder`].
pub struct Encoder<'a> {
    tok: &'a Tokenizer,
    method: Option<&'a Method>,
    /// Words, and the place of their ids in `ids`.
    known: HashMap<Box<str>, Range<u32>, RandomState>,
    ids: Vec<u32>,
    /// A word as the vocabulary spells it.
    spelt: String,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tok: &'a Tokenizer, method: Option<&'a Method>) -> Encoder<'a> {
        // Any seeds: the order of the map is never seen.
        let known = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        Encoder { tok, method, known, ids: Vec::new(), spelt: String::new() }
    }

    /// Appends the ids of a text to `out`, those of [`Tokenizer::encode`].
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
        let hf = &*self.tok.plain;
        let has_added = |text: &str| self.method.and_then(|m| m.added.as_ref()).is_some_and(|added| added.is_match(text));
        let Some(method) = self.method.filter(|_| !has_added(text)) else { return self.by_library(text, out) };
        if hf.get_normalizer().is_none() {
            return self.words(method, text, out);
        }
        let text_now = normalized(hf, text).map_err(|e| failed(&self.tok.origin, "cannot normalize a text", &e))?;
        if has_added(&text_now) {
            return self.by_library(text, out);
        }
        self.words(method, &text_now, out)
    }

    fn by_library(&self, text: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
        out.extend_from_slice(self.tok.library(text)?.get_ids());
        Ok(())
    }

    fn words(&mut self, method: &Method, text: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
        for word in method.pattern.words(text) {
            if let Some(place) = self.known.get(word) {
                out.extend_from_slice(&self.ids[place.start as usize..place.end as usize]);
                continue;
            }
            let spelt = match &method.spelling {
                Some(spelling) => {
                    self.spelt.clear();
                    self.spelt.extend(word.bytes().map(|b| spelling[b as usize]));
                    &self.spelt
                }
                None => word,
            };
            let before = out.len();
            let tokens = self.tok.plain.get_model().tokenize(spelt).map_err(|e| failed(&self.tok.origin, "cannot encode a text", &e))?;
            out.extend(tokens.iter().map(|token| token.id));
            if word.len() <= LONGEST {
                if self.known.len() == WORDS {
                    self.known.clear();
                    self.ids.clear();
                }
                let start = self.ids.len() as u32;
                self.ids.extend_from_slice(&out[before..]);
                self.known.insert(word.into(), start..self.ids.len() as u32);
            }
        }
        Ok(())
    }
}
