//! Making a Hugging Face tokenizer: from files, by training, or of bytes and characters.

use super::{DataError, SPECIAL_TOKENS, failed, pieces::pieces};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

/// The 256 bytes.
const BYTES: usize = 256;

/// A `tokenizer.json`, without what would change ids from call to call: truncation, padding, BPE dropout.
pub(super) fn from_file(path: &Path) -> Result<HfTokenizer, DataError> {
    let origin = path.display().to_string();
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    let mut json: Value = serde_json::from_slice(&bytes).map_err(|e| failed(&origin, "is not JSON", &e))?;
    if json.get("model").is_none() {
        return Err(failed(&origin, "is no tokenizer", &"it has no \"model\"; wanted is a Hugging Face tokenizer.json"));
    }
    json["truncation"] = Value::Null;
    json["padding"] = Value::Null;
    if json["model"].get("dropout").is_some() {
        json["model"]["dropout"] = Value::Null;
    }
    from_json(&json, &origin)
}

/// GPT-2's first form: a vocabulary and a list of merges.
pub(super) fn from_vocab_and_merges(folder: &Path) -> Result<HfTokenizer, DataError> {
    let origin = folder.display().to_string();
    let pair = [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")]
        .into_iter()
        .map(|(vocab, merges)| (folder.join(vocab), folder.join(merges)))
        .find(|(vocab, merges)| vocab.is_file() && merges.is_file());
    let Some((vocab, merges)) = pair else {
        return Err(failed(
            &origin,
            "has no tokenizer",
            &"wanted is tokenizer.json, or vocab.json with merges.txt (a SentencePiece tokenizer.model has to be converted by transformers first)",
        ));
    };
    let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
        .build()
        .map_err(|e| failed(&origin, "has a broken vocabulary", &e))?;
    let mut hf = byte_level(bpe);
    let special: Vec<AddedToken> =
        SPECIAL_TOKENS.iter().filter(|t| hf.token_to_id(t).is_some()).map(|t| AddedToken::from(*t, true)).collect();
    hf.add_special_tokens(&special);
    Ok(hf)
}

/// Byte-level BPE on the texts.
pub(super) fn train_bpe(texts: &mut (dyn Iterator<Item = String> + Send), vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let least = BYTES + SPECIAL_TOKENS.len();
    if vocab_size < least {
        let detail =
            format!("{vocab_size} tokens are too few for a byte-level BPE: it needs {least} for the bytes and the special tokens alone");
        return Err(DataError::Config { key: "tokenizer.vocab_size".into(), detail });
    }
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(SPECIAL_TOKENS.iter().map(|t| AddedToken::from(*t, true)).collect())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build(),
    );
    let mut hf = byte_level(BPE::default());
    // A long document is cut, or splitting it into words would take many times its size at once.
    let cut = texts.flat_map(|text| pieces(&text).map(str::to_owned).collect::<Vec<_>>());
    hf.train(&mut trainer, cut).map_err(|e| failed("trained BPE", "training failed", &e))?;
    Ok(hf)
}

/// GPT-2's splitting into words and spelling of bytes around a BPE.
fn byte_level(bpe: BPE) -> HfTokenizer {
    let mut hf = HfTokenizer::new(ModelWrapper::BPE(bpe));
    hf.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    hf.with_decoder(Some(ByteLevel::new(false, true, true)));
    hf
}

/// One token a byte: a BPE without merges.
pub(super) fn byte() -> Result<HfTokenizer, DataError> {
    let mut vocab = special_vocab();
    for byte in 0..=u8::MAX {
        vocab.insert(spelling(byte).to_string(), json!(SPECIAL_TOKENS.len() + byte as usize));
    }
    // No regular expression: words do not matter where nothing is merged.
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    from_json(&document(vocab, level.clone(), level, false), "byte tokenizer")
}

/// One token a character of the texts, and bytes for all others.
pub(super) fn characters(texts: &mut dyn Iterator<Item = String>) -> Result<HfTokenizer, DataError> {
    let mut known = BTreeSet::new();
    for text in texts {
        known.extend(text.chars());
    }
    let mut vocab = special_vocab();
    for byte in 0..=u8::MAX {
        vocab.insert(format!("<0x{byte:02X}>"), json!(SPECIAL_TOKENS.len() + byte as usize));
    }
    for (i, c) in known.into_iter().enumerate() {
        vocab.insert(c.to_string(), json!(SPECIAL_TOKENS.len() + BYTES + i));
    }
    let decoder = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]});
    from_json(&document(vocab, Value::Null, decoder, true), "character tokenizer")
}

fn special_vocab() -> Map<String, Value> {
    SPECIAL_TOKENS.iter().enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect()
}

/// A `tokenizer.json` of a vocabulary without merges.
fn document(vocab: Map<String, Value>, pre_tokenizer: Value, decoder: Value, byte_fallback: bool) -> Value {
    let added: Vec<Value> = SPECIAL_TOKENS
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": byte_fallback, "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    })
}

/// A `tokenizer.json` in memory.
pub(super) fn from_json(json: &Value, origin: &str) -> Result<HfTokenizer, DataError> {
    HfTokenizer::from_bytes(json.to_string()).map_err(|e| failed(origin, "is not a tokenizer.json that this program can read", &e))
}

/// GPT-2's spelling of a byte as a visible character (`bytes_to_unicode` in openai/gpt-2 `src/encoder.py`): printable Latin-1 stands
/// for itself, the n-th other byte for U+0100 + n.
pub(super) fn spelling(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + before).expect("at most 0x143")
}
