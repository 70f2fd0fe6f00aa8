//! llama2.c's tokenizer file as a `tokenizer.json`: an int32 (longest piece), then for each id a float32 score, an int32 length and so many bytes.
//!
//! The pieces are SentencePiece's BPE: `export` in llama2.c's `tokenizer.py` has written blanks for `▁` and wrapped the two special tokens in line ends.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// `<s>`.
pub(super) const BOS: u32 = 1;
/// `</s>`.
pub(super) const EOS: u32 = 2;
/// `<unk>`, `<s>`, `</s>`.
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// Bytes that stand for themselves follow the special tokens.
const FIRST_PIECE: usize = 3 + 256;

/// What Llama's tokenizers had in transformers 4: a blank is put before the text, blanks become `▁`, the best-scored merge goes first, unknown characters are bytes.
pub(super) fn tokenizer_json(bytes: &[u8], vocab_size: usize) -> Result<Value, String> {
    let pieces = read(bytes, vocab_size)?;
    let ids: HashMap<&str, usize> = pieces.iter().enumerate().skip(FIRST_PIECE).map(|(id, (_, text))| (text.as_str(), id)).collect();
    // A piece may come about by several merges; the one of earlier pieces goes first, as in transformers' conversion.
    let mut merges: Vec<(f32, usize, usize, usize)> = Vec::new(); // score, piece, left, right
    for (id, (score, text)) in pieces.iter().enumerate().skip(FIRST_PIECE) {
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        merges.extend(cuts.filter_map(|(left, right)| Some((*score, id, *ids.get(left)?, *ids.get(right)?))));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    let merges: Vec<Value> = merges.iter().map(|&(_, _, left, right)| json!([pieces[left].1, pieces[right].1])).collect();
    let vocab: Map<String, Value> = pieces.iter().enumerate().map(|(id, (_, text))| (text.clone(), json!(id))).collect();
    if vocab.len() != pieces.len() {
        return Err("two of its pieces are the same".into());
    }
    let added = |(id, token): (usize, &&str)| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    }))
}

/// `tokenizer_config.json` beside it.
pub(super) fn config() -> Map<String, Value> {
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "add_bos_token": true, "add_eos_token": false, "clean_up_tokenization_spaces": false,
    });
    config.as_object().cloned().unwrap_or_default()
}

/// Scores and pieces.
fn read(bytes: &[u8], vocab_size: usize) -> Result<Vec<(f32, String)>, String> {
    if vocab_size < FIRST_PIECE {
        return Err(format!("a vocabulary of {vocab_size} tokens has no room for {FIRST_PIECE} special tokens and bytes"));
    }
    let mut rest = bytes.get(4..).ok_or("it is shorter than its header")?;
    let mut take = |n: usize, id: usize| {
        let short = || format!("it ends at token {id} of {vocab_size}: another model's tokenizer?");
        let (now, later) = rest.split_at_checked(n).ok_or_else(short)?;
        rest = later;
        Ok::<&[u8], String>(now)
    };
    let mut pieces = Vec::with_capacity(vocab_size);
    for id in 0..vocab_size {
        let head = take(8, id)?;
        let number = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let length = usize::try_from(i32::from_le_bytes(number(4))).map_err(|_| format!("token {id} has a negative length"))?;
        let text = String::from_utf8(take(length, id)?.to_vec()).map_err(|_| format!("token {id} is not UTF-8"))?;
        let byte = |b: usize| format!("<0x{b:02X}>");
        let text = match id {
            0..3 if SPECIAL.get(id).is_some_and(|s| *s == text.trim()) => text.trim().to_string(),
            3..FIRST_PIECE if text == byte(id - 3) => text,
            0..FIRST_PIECE => return Err(format!("token {id} is {text:?}: wanted are <unk>, <s>, </s> and then the 256 bytes")),
            _ => text.replace(' ', "▁"),
        };
        pieces.push((f32::from_le_bytes(number(0)), text));
    }
    match rest.len() {
        0 => Ok(pieces),
        n => Err(format!("{n} bytes follow token {}: another model's tokenizer?", vocab_size - 1)),
    }
}
