//! A checkpoint of llama2.c becomes a folder that writes what llama2.c's own program wrote (golden/llama2c, from scripts/reference/llama2c.py).

use assert_cmd::Command;
use data::tokenizer::Tokenizer;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama2c")
}

fn evaluate(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("evaluate").expect("binary").args(args).assert()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path")
}

fn convert(model: &Path, tokenizer: &Path, out: &Path) {
    evaluate(&["convert", "--llama2c", text(model), "--tokenizer", text(tokenizer), "--out", text(out)]).success();
}

/// Prompt and greedy continuation, `tokens` in all without the begin token.
fn greedy(folder: &Path, prompt: &str, tokens: usize) -> String {
    let tokenizer = Tokenizer::load(folder).expect("tokenizer");
    let new = (tokens - tokenizer.encode(prompt).expect("ids").len()).to_string();
    let args = ["generate", "--model", text(folder), "--device", "cpu", "--prompt", prompt, "--greedy", "--max-new", &new, "--json"];
    let answer: Value = serde_json::from_slice(&evaluate(&args).success().get_output().stdout).expect("JSON");
    let ids = |key: &str| answer[key].as_array().expect("ids").iter().map(|id| id.as_u64().expect("id") as u32).collect::<Vec<_>>();
    assert_eq!(ids("prompt_ids")[0], 1, "<s> begins the text");
    tokenizer.decode(&[ids("prompt_ids"), ids("ids")].concat(), true).expect("text")
}

#[test]
fn it_writes_what_llama2c_wrote() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("model");
    convert(&golden().join("model.bin"), &golden().join("tokenizer.bin"), &out);
    let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(golden().join("expected.json")).expect("fixture")).expect("JSON");
    for row in rows {
        assert_eq!(greedy(&out, row["prompt"].as_str().expect("prompt"), 40), row["text"].as_str().expect("text"));
    }
}

/// SentencePiece's decoders drop the blank that begins a text, which a continuation does not.
#[test]
fn a_continuation_begins_with_its_blank() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("model");
    convert(&golden().join("model.bin"), &golden().join("tokenizer.bin"), &out);
    let tokenizer = Tokenizer::load(&out).expect("tokenizer");
    let continued = |ids: &[u32], new: &str| -> Value {
        let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let args = ["generate", "--model", text(&out), "--device", "cpu", "--prompt-ids", &list, "--greedy", "--max-new", new, "--json"];
        serde_json::from_slice(&evaluate(&args).success().get_output().stdout).expect("JSON")
    };
    let mut ids = [vec![1], tokenizer.encode("sand in the sea").expect("ids")].concat();
    let answer: Vec<u32> = serde_json::from_value(continued(&ids, "24")["ids"].clone()).expect("ids");
    let word = answer.iter().position(|&id| tokenizer.id_to_token(id).is_some_and(|t| t.starts_with('▁'))).expect("a word begins");
    ids.extend(&answer[..word]);
    let said = continued(&ids, "1");
    assert_eq!(said["ids"][0], answer[word]);
    assert!(said["text"].as_str().expect("text").starts_with(' '), "{said}");
}

/// The text is `expected_stdout` of llama2.c's test_all.py.
#[test]
fn stories260k_tells_its_story() {
    let data = std::env::var("RLHF_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let folder = Path::new(&data).join("m01-stories260K");
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("model");
    convert(&folder.join("stories260K.bin"), &folder.join("tok512.bin"), &out);
    let expected = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to \
                    play with it, but it was too high.\nLily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I want to play \
                    with your ball, but I can't find it.\"\nLily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do.\"\nLily didn't want \
                    to help her mom, so she";
    assert_eq!(greedy(&out, "", 200), expected);
}

#[test]
fn broken_files_are_named() {
    let dir = tempfile::tempdir().expect("folder");
    let model = std::fs::read(golden().join("model.bin")).expect("fixture");
    let error = |model: &[u8], tokenizer: &[u8]| {
        let (a, b, out) = (dir.path().join("a.bin"), dir.path().join("b.bin"), dir.path().join("out"));
        std::fs::write(&a, model).expect("written");
        std::fs::write(&b, tokenizer).expect("written");
        let _ = std::fs::remove_dir_all(&out);
        let assert = evaluate(&["convert", "--llama2c", text(&a), "--tokenizer", text(&b), "--out", text(&out)]).code(2);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let tokenizer = std::fs::read(golden().join("tokenizer.bin")).expect("fixture");
    assert!(error(&model[..20], &tokenizer).contains("shorter than its header"));
    assert!(error(&model[..9000], &tokenizer).contains("ends inside a tensor"));
    assert!(error(&[&model[..], &[0; 8]].concat(), &tokenizer).contains("8 bytes more than the header says"));
    assert!(error(&tokenizer, &tokenizer).contains("no llama2.c checkpoint"));
    assert!(error(&model, &tokenizer[..2000]).contains("ends at token"));
    assert!(error(&model, &[&tokenizer[..], &[1]].concat()).contains("1 bytes follow token"));
}
