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
