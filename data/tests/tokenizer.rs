//! Tokenizers against other implementations: GPT-2's own, Hugging Face's, and transformers on folders saved here.

use data::tokenizer::{END_OF_TEXT, IM_END, PAD, Tokenizer, pieces};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A text to train on: two languages, and enough repetition for merges.
const TRAINING: &str = "The place is called Blue Spice. It is a cheap coffee shop in the city centre, near the river.\n\
    Blue Spice serves coffee and cakes; the cakes are cheap, the coffee isn't.\n\
    蓝香料咖啡馆在市中心，靠近河边。咖啡馆的蛋糕很便宜，咖啡不便宜。\n\
    ";

fn training() -> impl Iterator<Item = String> + Send {
    std::iter::repeat_n(TRAINING.to_owned(), 3)
}

static BPE: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::train_bpe(&mut training(), 360).unwrap());
static BYTE: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::byte().unwrap());
static CHAR: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::characters(&mut training()).unwrap());

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(name)
}

/// A folder of the data kept beside the repository, or a loud word that the test did not run.
fn beside(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RLHF_DATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: a tokenizer test, because {} is absent (set RLHF_DATA to the folder that holds {name})", folder.display());
    None
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn saved_folders_are_what_transformers_has_read() {
    for (name, tok) in [("bpe", &*BPE), ("byte", &*BYTE), ("char", &*CHAR)] {
        let folder = golden(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            tok.save(&folder).unwrap();
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        tok.save(dir.path()).unwrap();
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            let (ours, golden) = (json(&dir.path().join(file)), json(&folder.join(file)));
            assert!(ours == golden, "{name}/{file} has changed: run scripts/reference/tokenizer_folders.py again");
        }
        let expected = json(&folder.join("expected.json"));
        let loaded = Tokenizer::load(dir.path()).unwrap();
        for tok in [tok, &loaded] {
            assert_eq!(tok.vocab_size() as u64, expected["vocab_size"].as_u64().unwrap());
            let special = [Some(tok.eos()), tok.bos(), Some(tok.pad())].map(|id| id.map(u64::from));
            assert_eq!(special, ["eos", "bos", "pad"].map(|role| expected[role].as_u64()), "{name}");
            for row in expected["plain"].as_array().unwrap() {
                let text = row["text"].as_str().unwrap();
                assert_eq!(tok.encode(text).unwrap(), ids(&row["ids"]), "{name}: {text:?}");
                assert_eq!(tok.encode_with_special(text).unwrap(), ids(&row["ids"]), "{name}: {text:?}");
                assert_eq!(tok.decode(&ids(&row["ids"]), true).unwrap(), row["decoded"].as_str().unwrap(), "{name}");
            }
            for row in expected["special"].as_array().unwrap() {
                let text = row["text"].as_str().unwrap();
                assert_eq!(tok.encode_with_special(text).unwrap(), ids(&row["ids"]), "{name}: {text:?}");
                assert_eq!(tok.decode(&ids(&row["ids"]), true).unwrap(), row["decoded"].as_str().unwrap(), "{name}");
                assert_eq!(tok.decode(&ids(&row["ids"]), false).unwrap(), text, "{name}");
            }
        }
        assert_eq!(loaded.hash(), tok.hash(), "{name}: saving must not change the hash");
    }
    let hashes: BTreeSet<&str> = [&*BPE, &*BYTE, &*CHAR].iter().map(|t| t.hash()).collect();
    assert_eq!(hashes.len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Any Unicode text, Chinese and special tokens among it, survives the way to ids and back, and an encoder takes the same way.
    #[test]
    fn text_survives(parts in prop::collection::vec(
        prop_oneof!["\\PC{0,12}", "[\\u{4e00}-\\u{9fff}]{1,8}", "[ \\n\\t\\r]{1,4}", any::<String>(), Just("<|endoftext|>".to_owned())], 0..6,
    )) {
        let text = parts.concat();
        for tok in [&*BPE, &*BYTE, &*CHAR] {
            let ids = tok.encode(&text).unwrap();
            prop_assert!(ids.iter().all(|&id| id >= 4 && (id as usize) < tok.vocab_size()), "a special token came out of a text");
            prop_assert_eq!(&tok.decode(&ids, false).unwrap(), &text);
            let (mut encoder, mut quickly) = (tok.encoder(), Vec::new());
            encoder.encode(&text, &mut quickly).unwrap();
            prop_assert_eq!(quickly, ids);
        }
    }
}

#[test]
fn bytes_are_bytes() {
    let text = "a\0é红\u{7f}";
    let expected: Vec<u32> = text.bytes().map(|b| 4 + u32::from(b)).collect();
    assert_eq!(BYTE.encode(text).unwrap(), expected);
    assert_eq!(BYTE.vocab_size(), 260);
}

#[test]
fn known_characters_are_one_token_and_unknown_ones_are_bytes() {
    assert_eq!(CHAR.encode("咖啡").unwrap().len(), 2);
    assert!(CHAR.encode("咖啡").unwrap().iter().all(|&id| id >= 260));
    let unknown: Vec<u32> = "猫".bytes().map(|b| 4 + u32::from(b)).collect();
    assert_eq!(CHAR.encode("猫").unwrap(), unknown);
    assert_eq!(CHAR.vocab_size(), 260 + TRAINING.chars().collect::<BTreeSet<_>>().len());
}

#[test]
fn training_is_repeatable_and_bounded() {
    assert_eq!(Tokenizer::train_bpe(&mut training(), 360).unwrap().hash(), BPE.hash());
    assert_eq!(BPE.vocab_size(), 360);
    for (name, id) in [(END_OF_TEXT, 0), (PAD, 1), (IM_END, 3)] {
        assert_eq!(BPE.token_to_id(name), Some(id));
    }
    // Less text than merges: fewer tokens, and no error.
    let small = Tokenizer::train_bpe(&mut std::iter::once("ab ab ab".to_owned()), 5000).unwrap();
    assert!((261..270).contains(&small.vocab_size()), "{}", small.vocab_size());
    let error = Tokenizer::train_bpe(&mut training(), 259).unwrap_err().to_string();
    assert!(error.contains("tokenizer.vocab_size") && error.contains("260"), "{error}");
}

#[test]
fn pieces_have_the_tokens_of_the_whole() {
    let line = "The coffee shop  isn't cheap:\n\n  it costs £20 - 30 \n靠近河边的咖啡馆 ";
    let text: String = (0..6000).map(|i| format!("{line}{i}\n")).collect();
    let parts: Vec<&str> = pieces(&text).collect();
    assert!(parts.len() > 5);
    assert_eq!(parts.iter().flat_map(|part| BPE.encode(part).unwrap()).collect::<Vec<_>>(), BPE.encode(&text).unwrap());
}

/// 18 strings, ids from npm gpt-3-encoder.
#[test]
fn gpt2_ids() {
    let Some(folder) = beside("t01-gpt2-bpe") else { return };
    let tok = Tokenizer::load(&folder).unwrap();
    assert_eq!((tok.vocab_size(), tok.eos(), tok.bos(), tok.pad()), (50257, 50256, None, 50256));
    // What was a vocabulary and merges is saved as a tokenizer.json.
    let dir = tempfile::tempdir().unwrap();
    tok.save(dir.path()).unwrap();
    let saved = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(saved.hash(), tok.hash());
    let rows = json(&folder.join("golden_gpt-3-encoder.json"));
    assert_eq!(rows.as_array().unwrap().len(), 18, "every record");
    for (row, tok) in rows.as_array().unwrap().iter().flat_map(|row| [(row, &tok), (row, &saved)]) {
        let text = row["text"].as_str().unwrap();
        assert_eq!(tok.encode(text).unwrap(), ids(&row["ids"]), "{text:?}");
        assert_eq!(tok.decode(&ids(&row["ids"]), false).unwrap(), text);
    }
    assert_eq!(tok.encode_with_special(END_OF_TEXT).unwrap(), [50256]);
}

/// A tokenizer.json of others, Chinese and English, with its configuration and chat template.
#[test]
fn a_foreign_tokenizer_json() {
    let Some(folder) = beside("t03-minimind-hf-tokenizer") else { return };
    let tok = Tokenizer::load(&folder).unwrap();
    assert_eq!((tok.vocab_size(), tok.eos(), tok.bos(), tok.pad()), (6400, 2, Some(1), 0), "as its tokenizer_config.json says");
    let rows = json(&folder.join("golden_hf_tokenizers.json"));
    assert_eq!(rows.as_array().unwrap().len(), 18, "every record");
    for row in rows.as_array().unwrap() {
        let text = row["text"].as_str().unwrap();
        assert_eq!(tok.encode_with_special(text).unwrap(), ids(&row["ids"]), "{text:?}");
        if text != END_OF_TEXT {
            assert_eq!(tok.encode(text).unwrap(), ids(&row["ids"]), "{text:?}");
            assert_eq!(tok.decode(&ids(&row["ids"]), true).unwrap(), row["decoded"].as_str().unwrap());
        }
    }
    assert!(tok.encode(END_OF_TEXT).unwrap().len() > 1, "a text does not end its document");
    let dir = tempfile::tempdir().unwrap();
    tok.save(dir.path()).unwrap();
    let again = Tokenizer::load(dir.path()).unwrap();
    assert_eq!((again.hash(), again.chat_template()), (tok.hash(), tok.chat_template()));
    assert!(tok.chat_template().is_some_and(|t| t.contains("im_start")));
    assert_eq!(json(&dir.path().join("tokenizer_config.json")), json(&folder.join("tokenizer_config.json")), "nothing of theirs is lost");
}

#[test]
fn errors_name_the_file_and_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| Tokenizer::load(path).unwrap_err().to_string();
    let message = error(dir.path());
    assert!(message.contains(&dir.path().display().to_string()) && message.contains("tokenizer.json"), "{message}");
    let path = dir.path().join("tokenizer.json");
    for (content, wanted) in
        [("{", "is not JSON"), ("{\"a\": 1}", "has no \"model\""), ("{\"model\": {\"type\": \"BPE\"}}", "is not a tokenizer.json")]
    {
        std::fs::write(&path, content).unwrap();
        let message = error(dir.path());
        assert!(message.contains("tokenizer.json") && message.contains(wanted), "{message}");
    }
    // A vocabulary without an end token.
    let mut document = json(&golden("byte").join("tokenizer.json"));
    document["added_tokens"] = Value::Array(vec![]);
    for name in [END_OF_TEXT, PAD, "<|im_start|>", IM_END] {
        document["model"]["vocab"].as_object_mut().unwrap().remove(name);
    }
    std::fs::write(&path, document.to_string()).unwrap();
    assert!(error(&path).contains("eos_token"), "{}", error(&path));
    // ... which a model's configuration may name by its id.
    std::fs::write(dir.path().join("generation_config.json"), "{\"eos_token_id\": [65, 66]}").unwrap();
    let tok = Tokenizer::load(dir.path()).unwrap();
    assert_eq!((tok.eos(), tok.pad(), tok.bos()), (65, 65, None));
}

#[test]
fn stored_truncation_padding_and_dropout_are_undone() {
    let dir = tempfile::tempdir().unwrap();
    let mut document = json(&golden("bpe").join("tokenizer.json"));
    document["truncation"] = serde_json::json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    document["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": PAD});
    document["model"]["dropout"] = serde_json::json!(0.9);
    std::fs::write(dir.path().join("tokenizer.json"), document.to_string()).unwrap();
    let tok = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tok.encode(TRAINING).unwrap(), BPE.encode(TRAINING).unwrap());
    assert_eq!(tok.hash(), BPE.hash());
}

#[test]
fn a_wordpiece_is_berts() {
    let tok = Tokenizer::train_wordpiece(&mut training(), 200).unwrap();
    for _ in 0..3 {
        assert_eq!(Tokenizer::train_wordpiece(&mut training(), 200).unwrap().hash(), tok.hash(), "the same texts give the same tokenizer");
    }
    let named = |text: &str| tok.encode(text).unwrap().into_iter().map(|id| tok.id_to_token(id).unwrap()).collect::<Vec<_>>();
    assert_eq!((tok.pad(), tok.bos(), tok.eos(), tok.mask()), (0, Some(2), 3, Some(4)));
    assert_eq!(tok.special_ids(), [0, 1, 2, 3, 4]);
    assert_eq!(named("The COFFEE, 咖啡"), ["the", "coffee", ",", "咖", "啡"]);
    assert_eq!(named("☃"), ["[UNK]"]);
    assert_eq!(tok.decode(&tok.encode("the place is cheap").unwrap(), true).unwrap(), "the place is cheap");
    assert!(!named("[MASK]").contains(&"[MASK]".to_string()), "in ordinary text it is a word in brackets");
    assert_eq!(tok.encode_with_special("the [MASK]").unwrap().last(), Some(&4));
    // The same folder, written and read.
    let dir = tempfile::tempdir().unwrap();
    tok.save(dir.path()).unwrap();
    let again = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(
        (again.hash(), again.bos(), again.eos(), again.pad(), again.mask()),
        (tok.hash(), tok.bos(), tok.eos(), tok.pad(), tok.mask())
    );
    let config = json(&dir.path().join("tokenizer_config.json"));
    assert_eq!((&config["cls_token"], &config["mask_token"]), (&"[CLS]".into(), &"[MASK]".into()));
}

#[test]
fn a_tokenizer_may_tell_others_to_end_texts() {
    let ending = BPE.clone().ending().unwrap();
    assert_eq!(ending.encode("Blue Spice").unwrap(), BPE.encode("Blue Spice").unwrap(), "here nothing is put behind");
    assert!(ending.beginning().unwrap().is_empty());
    let dir = tempfile::tempdir().unwrap();
    ending.save(dir.path()).unwrap();
    assert_eq!(json(&dir.path().join("tokenizer.json"))["post_processor"]["single"][1]["SpecialToken"]["id"], END_OF_TEXT);
    assert_eq!(Tokenizer::load(dir.path()).unwrap().hash(), ending.hash());
}

/// SentencePiece's decoders drop the blank that begins a text, which a continuation does not.
#[test]
fn what_follows_is_decoded_as_it_stands_there() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evaluate/tests/golden/llama2c/tokenizer.bin");
    let tok = Tokenizer::load_llama2c(&file, 306).unwrap();
    let ids = tok.encode("the cat sat on").unwrap();
    for at in 0..ids.len() {
        let (before, after) = ids.split_at(at);
        let whole = tok.decode(before, true).unwrap() + &tok.decode_after(before, after).unwrap();
        assert_eq!(whole, "the cat sat on");
    }
    let tok = Tokenizer::byte().unwrap();
    let ids = tok.encode("aé!").unwrap();
    let context = |n: usize| tok.context(&ids[..n]).unwrap();
    assert_eq!([context(0), context(1), context(2), context(3)], [&ids[..0], &ids[..1], &ids[..0], &ids[1..3]]);
    assert_eq!(tok.decode_after(&ids[..3], &ids[3..]).unwrap(), "!");
}
