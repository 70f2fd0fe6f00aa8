//! Which tokens are special: what a model folder says, else the usual names.

use super::{DataError, END_OF_TEXT, IM_END, IM_START, PAD, failed};
use serde_json::{Map, Value, json};
use std::path::Path;
use tokenizers::Tokenizer as HfTokenizer;

/// Ids of the special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Specials {
    pub eos: u32,
    pub bos: Option<u32>,
    pub pad: u32,
}

/// End tokens by name, most telling first.
const EOS_NAMES: [&str; 9] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", IM_END, "<end_of_turn>", "<|end|>", "[SEP]"];
/// Begin tokens by name.
const BOS_NAMES: [&str; 4] = ["<|begin_of_text|>", "<s>", "<bos>", "[CLS]"];
/// Padding tokens by name.
const PAD_NAMES: [&str; 4] = [PAD, "<pad>", "[PAD]", "<|finetune_right_pad_id|>"];

/// The special tokens of a folder: `tokenizer_config.json` first, then the ids in `generation_config.json` and `config.json`,
/// then names. Only the end token is indispensable.
pub(super) fn find(hf: &HfTokenizer, config: &Map<String, Value>, folder: &Path, path: &Path) -> Result<Specials, DataError> {
    let map = read_json(folder, "special_tokens_map.json")?.unwrap_or_default();
    let generation = read_json(folder, "generation_config.json")?.unwrap_or_default();
    let model = read_json(folder, "config.json")?.unwrap_or_default();
    let known = |id: &u32| hf.id_to_token(*id).is_some();
    let look = |role: &str, names: &[&str]| -> Option<u32> {
        [config, &map]
            .iter()
            .find_map(|m| name_of(m.get(&format!("{role}_token"))?).and_then(|name| hf.token_to_id(name)))
            .or_else(|| [&generation, &model].iter().find_map(|m| id_of(m.get(&format!("{role}_token_id"))?)).filter(known))
            .or_else(|| names.iter().find_map(|name| hf.token_to_id(name)))
    };
    let Some(eos) = look("eos", &EOS_NAMES) else {
        let detail = format!(
            "has no end token: name one as \"eos_token\" in tokenizer_config.json beside it (none of {} is in its vocabulary)",
            EOS_NAMES.join(" ")
        );
        return Err(DataError::Tokenizer { origin: path.display().to_string(), detail });
    };
    Ok(Specials { eos, bos: look("bos", &BOS_NAMES), pad: look("pad", &PAD_NAMES).unwrap_or(eos) })
}

/// A token in a configuration is a string, or an object with its `content`.
fn name_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// An id in a configuration is a number, or a list of which the first is meant.
fn id_of(value: &Value) -> Option<u32> {
    let number = value.as_u64().or_else(|| value.as_array()?.first()?.as_u64())?;
    u32::try_from(number).ok()
}

/// An object in a JSON file, or nothing when there is no such file.
pub(super) fn read_json(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>, DataError> {
    let path = folder.join(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DataError::io("read", &path)(e)),
    };
    let map = serde_json::from_str(&text).map_err(|e| failed(&path.display().to_string(), "is not a JSON object", &e))?;
    Ok(Some(map))
}

/// `tokenizer_config.json` of the tokenizers made here.
pub(super) fn our_config() -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("bos_token".into(), json!(END_OF_TEXT));
    config.insert("eos_token".into(), json!(END_OF_TEXT));
    config.insert("pad_token".into(), json!(PAD));
    config.insert("additional_special_tokens".into(), json!([IM_START, IM_END]));
    // Its default has been true: it deletes spaces before punctuation when decoding.
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    config
}

/// `tokenizer_config.json` of a WordPiece trained here.
pub(super) fn bert_config() -> Map<String, Value> {
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "mask_token": "[MASK]", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"], "clean_up_tokenization_spaces": false,
    });
    config.as_object().cloned().unwrap_or_default()
}

/// Says what a foreign configuration left unsaid. A class that lives in the folder's own Python code (`auto_map`) is replaced,
/// since that code is not copied.
pub(super) fn complete(config: &mut Map<String, Value>, eos: &str, pad: &str, chat_template: Option<&str>) {
    if !config.contains_key("tokenizer_class") || config.contains_key("auto_map") {
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    }
    config.remove("auto_map");
    for (key, token) in [("eos_token", eos), ("pad_token", pad)] {
        if config.get(key).is_none_or(Value::is_null) {
            config.insert(key.into(), json!(token));
        }
    }
    match chat_template {
        Some(template) => config.insert("chat_template".into(), json!(template)),
        None => config.remove("chat_template"),
    };
}
