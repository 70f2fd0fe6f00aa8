//! The tokenizer that a configuration asks for.

use super::{DataError, Tokenizer};
use crate::config::{self, TextData, TokenizerKind};
use crate::corpus::sample;
use std::path::Path;

/// Loads or makes the configured tokenizer; one that learns from the corpus reads at most `train_bytes` of it (a character
/// tokenizer reads all of it). `on_progress` is called with the bytes read and their approximate total. The same configuration and
/// corpus give the same tokenizer.
pub fn choose(cfg: &config::Tokenizer, text: &TextData, on_progress: &mut dyn FnMut(u64, u64)) -> Result<Tokenizer, DataError> {
    match cfg.kind {
        TokenizerKind::Byte => Tokenizer::byte(),
        TokenizerKind::Bpe => sample(text, cfg.train_bytes, on_progress, |texts| Tokenizer::train_bpe(texts, cfg.vocab_size)),
        TokenizerKind::Char => sample(text, u64::MAX, on_progress, |texts| Tokenizer::characters(texts)),
        TokenizerKind::Wordpiece => sample(text, cfg.train_bytes, on_progress, |texts| Tokenizer::train_wordpiece(texts, cfg.vocab_size)),
        TokenizerKind::File => {
            let path = crate::source::expand(&cfg.path)?;
            if path.trim().is_empty() {
                let detail = "name a tokenizer.json or the folder that holds it, since tokenizer.kind is \"file\"".into();
                return Err(DataError::Config { key: "tokenizer.path".into(), detail });
            }
            Tokenizer::load(Path::new(&path))
        }
    }
}

/// The same from texts that are in memory.
pub fn choose_from(cfg: &config::Tokenizer, texts: &[&str]) -> Result<Tokenizer, DataError> {
    let mut texts = texts.iter().map(|text| (*text).to_owned());
    match cfg.kind {
        TokenizerKind::Bpe => Tokenizer::train_bpe(&mut texts, cfg.vocab_size),
        TokenizerKind::Char => Tokenizer::characters(&mut texts),
        TokenizerKind::Wordpiece => Tokenizer::train_wordpiece(&mut texts, cfg.vocab_size),
        TokenizerKind::Byte | TokenizerKind::File => choose(cfg, &TextData::default(), &mut |_, _| ()),
    }
}
