//! The ids are those of the `tokenizers` library, whichever way they are made: on every text kept beside the repository and on random ones.

use data::tokenizer::{END_OF_TEXT, Tokenizer, pieces};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tokenizers::Tokenizer as Library;

const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A tokenizer here and in the library.
struct Pair {
    name: String,
    ours: Tokenizer,
    library: Library,
}

impl Pair {
    fn new(name: &str, ours: Tokenizer) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        ours.save(dir.path()).unwrap();
        let mut library = Library::from_file(dir.path().join("tokenizer.json")).unwrap();
        library.set_encode_special_tokens(true);
        Pair { name: name.into(), ours, library }
    }

    fn check(&self, text: &str) -> Result<(), TestCaseError> {
        let expected = self.library.encode_fast(text, false).unwrap().get_ids().to_vec();
        let mut ids = Vec::new();
        self.ours.encoder().encode(text, &mut ids).unwrap();
        prop_assert_eq!(&ids, &expected, "{}: a new encoder", self.name);
        prop_assert_eq!(&self.ours.encode(text).unwrap(), &expected, "{}: one that has seen other texts", self.name);
        Ok(())
    }
}

/// A tokenizer of this repository's tests with another pre-tokenizer, normalizer or list of added tokens.
fn variant(name: &str, of: &str, change: impl Fn(&mut Value)) -> Pair {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(of);
    let mut document: Value = serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    change(&mut document);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), document.to_string()).unwrap();
    Pair::new(name, Tokenizer::load(dir.path()).unwrap())
}

fn split(regex: &str, behavior: &str, invert: bool) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({"type": "Sequence", "pretokenizers": [split, bytes]})
}

fn added(id: u64, content: &str, flags: [bool; 4], special: bool) -> Value {
    let [single_word, lstrip, rstrip, normalized] = flags;
    json!({"id": id, "content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip, "normalized": normalized, "special": special})
}

/// The forms known here and some that are not.
static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let pre = |value: Value| move |document: &mut Value| document["pre_tokenizer"] = value.clone();
    let more = |tokens: Vec<Value>| {
        move |document: &mut Value| {
            let list = document["added_tokens"].as_array_mut().unwrap();
            list.extend(tokens.iter().cloned());
        }
    };
    let normal = |value: Value, then: &'static dyn Fn(&mut Value)| {
        move |document: &mut Value| {
            document["normalizer"] = value.clone();
            then(document);
        }
    };
    let think = [("<think>", false), ("city", false), ("É", true), ("<|tool|>", true)];
    let plain: Vec<Value> = think.iter().enumerate().map(|(i, (t, s))| added(360 + i as u64, t, [false; 4], *s)).collect();
    let flagged = vec![
        added(360, "coffee", [true, false, false, true], false),
        added(361, "<x>", [false, true, true, false], false),
        added(362, "É", [false, false, false, true], false),
    ];
    vec![
        variant("GPT-2", "bpe", |_| {}),
        variant("bytes", "byte", |_| {}),
        variant("characters", "char", |_| {}),
        variant("GPT-4", "bpe", pre(split(GPT4, "Isolated", false))),
        variant("GPT-4 inverted", "bpe", pre(split(GPT4, "Removed", true))),
        variant("Qwen", "bpe", pre(split(&GPT4.replace("{1,3}", ""), "Isolated", false))),
        variant("another expression", "bpe", pre(split(r"\p{Lu}?\p{Ll}+|\s+|.", "Isolated", false))),
        variant(
            "a space before",
            "bpe",
            pre(json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})),
        ),
        variant("no words", "bpe", pre(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}))),
        variant("whole words first", "bpe", |document| document["model"]["ignore_merges"] = true.into()),
        variant("added", "bpe", more(plain.clone())),
        variant("added with flags", "bpe", more(flagged.clone())),
        variant("normalized", "bpe", normal(json!({"type": "NFC"}), &|_| {})),
        variant(
            "lower case",
            "bpe",
            normal(json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}), &|_| {}),
        ),
        variant("normalized and added", "bpe", {
            let (normal, more) = (normal(json!({"type": "Lowercase"}), &|_| {}), more(flagged));
            move |document| {
                normal(document);
                more(document);
            }
        }),
    ]
});

#[test]
fn the_known_forms_are_quick() {
    let slow: Vec<&str> = PAIRS.iter().filter(|p| p.ours.is_slow()).map(|p| p.name.as_str()).collect();
    assert_eq!(slow, ["another expression", "a space before", "no words"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_texts(parts in prop::collection::vec(prop_oneof![
        4 => "\\PC{0,12}",
        2 => "[\\u{4e00}-\\u{9fff}]{1,8}",
        2 => "[ \\n\\t\\r\\u{a0}\\u{3000}]{1,4}",
        2 => "[0-9٠½Ⅷ²]{1,6}",
        2 => "'(s|S|ſ|t|re|RE|Ve|m|ll|lL|d|x)",
        2 => any::<String>(),
        2 => "(The |the )?(coffee|city|cheap|cakes)[ ,.]",
        1 => prop::sample::select(vec![END_OF_TEXT, "<|pad|>", "<think>", "É", "E\u{301}", "é", " <x> ", "coffee", "<|tool|>", "City", "\u{0}"])
            .prop_map(String::from),
    ], 0..8)) {
        let text = parts.concat();
        for pair in PAIRS.iter() {
            pair.check(&text)?;
        }
    }
}

/// Files of text and of rows below a folder, whatever their language.
fn texts(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            texts(&entry, out);
        } else if std::fs::read_to_string(&entry).is_ok() {
            out.push(entry);
        }
    }
}

/// Two pieces of each file; `ALL_TEXTS=1` takes all of them, some minutes of the library's work.
#[test]
fn every_text_beside_the_repository() {
    let root = std::env::var_os("RLHF_DATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    if !root.is_dir() {
        eprintln!("SKIPPED: the ids of real texts, because {} is absent (set RLHF_DATA)", root.display());
        return;
    }
    let whole = std::env::var_os("ALL_TEXTS").is_some();
    let mut files = Vec::new();
    texts(&root, &mut files);
    assert!(files.len() > 40, "{} files", files.len());
    let loaded = ["t01-gpt2-bpe", "t03-minimind-hf-tokenizer"].map(|name| Pair::new(name, Tokenizer::load(&root.join(name)).unwrap()));
    let pairs: Vec<&Pair> =
        loaded.iter().chain(PAIRS.iter().filter(|p| ["characters", "GPT-4", "Qwen"].contains(&p.name.as_str()))).collect();
    std::thread::scope(|scope| {
        for pair in pairs {
            let files = &files;
            scope.spawn(move || {
                let mut encoder = pair.ours.encoder();
                for file in files {
                    let text = std::fs::read_to_string(file).unwrap();
                    let all: Vec<&str> = pieces(&text).collect();
                    for piece in all.iter().step_by(if whole { 1 } else { all.len().div_ceil(2).max(1) }) {
                        let mut ids = Vec::new();
                        encoder.encode(piece, &mut ids).unwrap();
                        let expected = pair.library.encode_fast(*piece, false).unwrap();
                        assert!(
                            ids == expected.get_ids(),
                            "{}: {} near {:?}",
                            pair.name,
                            file.display(),
                            piece.chars().take(60).collect::<String>()
                        );
                    }
                }
            });
        }
    });
}
