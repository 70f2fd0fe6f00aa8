//! Making a Hugging Face tokenizer: from files, by training, or of bytes and characters.

use super::{DataError, SPECIAL_TOKENS, failed, pieces::pieces};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer as HfTokenizer, Trainer,
};

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

/// BERT's special tokens, in the order of their ids.
pub(super) const BERT_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// WordPiece (BERT, arXiv 1810.04805) on the texts: lower case without accents, words cut at blanks and punctuation, Chinese characters apart.
///
/// The library's trainer numbers the pieces that continue a word as it meets them, in an order that differs from run to run; here the single characters
/// among them are numbered beforehand, in the order of their code points.
pub(super) fn train_wordpiece(texts: &mut (dyn Iterator<Item = String> + Send), vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let broken = |e: tokenizers::Error| failed("trained WordPiece", "training failed", &e);
    let empty = from_json(&wordpiece(json!({"[UNK]": 0}), &[]), "WordPiece")?;
    let mut trainer = WordPieceTrainer::builder().vocab_size(vocab_size).min_frequency(2).show_progress(false).build();
    let inner = Mutex::new(BTreeSet::new());
    let words = |text: &str| -> tokenizers::Result<Vec<String>> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = empty.get_normalizer() {
            normalizer.normalize(&mut normalized)?;
        }
        let mut cut = PreTokenizedString::from(normalized.get());
        if let Some(pre_tokenizer) = empty.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut cut)?;
        }
        let words = cut.get_splits(OffsetReferential::Original, OffsetType::None).into_iter().map(|(word, _, _)| word.to_owned());
        let words: Vec<String> = words.collect();
        let mut inner = inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        words.iter().for_each(|word| inner.extend(word.chars().skip(1)));
        Ok(words)
    };
    // A long document is cut, or splitting it into words would take many times its size at once.
    let cut = texts.flat_map(|text| pieces(&text).map(str::to_owned).collect::<Vec<_>>());
    trainer.feed(cut, words).map_err(broken)?;
    let inner = inner.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let first = BERT_TOKENS.iter().map(|t| (*t).to_owned()).chain(inner.into_iter().map(|c| format!("##{c}")));
    trainer.set_special_tokens(first.map(|t| AddedToken::from(t, true)).collect());
    let mut model = WordPiece::default();
    trainer.train(&mut model).map_err(broken)?;
    let vocab: BTreeMap<u32, String> = model.get_vocab().into_iter().map(|(token, id)| (id, token)).collect();
    let vocab: Map<String, Value> = vocab.into_iter().map(|(id, token)| (token, json!(id))).collect();
    from_json(&wordpiece(vocab.into(), &BERT_TOKENS), "trained WordPiece")
}

/// A `tokenizer.json` as BERT has it; the special tokens are numbered from 0.
fn wordpiece(vocab: Value, special: &[&str]) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(special),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

/// The same tokenizer, which puts this token behind a text where its user asks for special tokens (transformers does).
pub(super) fn ending(hf: &HfTokenizer, token: &str, id: u32, origin: &str) -> Result<HfTokenizer, DataError> {
    let text = hf.to_string(false).map_err(|e| failed(origin, "cannot be written as JSON", &e))?;
    let mut json: Value = serde_json::from_str(&text).map_err(|e| failed(origin, "is not JSON", &e))?;
    let part = |sequence: &str| json!({"Sequence": {"id": sequence, "type_id": 0}});
    let end = json!({"SpecialToken": {"id": token, "type_id": 0}});
    json["post_processor"] = json!({
        "type": "TemplateProcessing", "single": [part("A"), end], "pair": [part("A"), end, part("B"), end],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    });
    from_json(&json, origin)
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
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(&SPECIAL_TOKENS),
        "normalizer": null, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": byte_fallback, "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    })
}

/// Special tokens, numbered from 0, as a `tokenizer.json` lists them.
fn added(special: &[&str]) -> Vec<Value> {
    let one = |(id, token): (usize, &&str)| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    special.iter().enumerate().map(one).collect()
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
