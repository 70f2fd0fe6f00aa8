//! Views of a model: integrated gradients are complete and agree with a plain sum of gradients, the last token's reward is the answer's, pages hold the pictures.

use assert_cmd::Command;
use data::tokenizer::Tokenizer;
use evaluate::attribution::{Attribution, Method, attribute};
use evaluate::{RewardModel, reward_tokens};
use model::config::Shape;
use model::{Config, HeadKind, Model};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 4] = ["gpt2", "llama", "qwen3", "neox"];
/// A token whose embedding is not padding's zeros.
const BASELINE: u32 = 5;
const IDS: [u32; 8] = [3, 7, 21, 12, 9, 4, 20, 11];

/// A tiny model that transformers wrote.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(name)
}

#[test]
fn integrated_gradients_are_complete() {
    for family in FAMILIES {
        let model = Model::load(&golden(family), Device::Cpu).unwrap();
        model.freeze();
        let of = |points| attribute(&model, &IDS, 5, BASELINE, Method::Integrated { points }).unwrap();
        let found = of(64);
        assert_eq!((found.values.len(), found.values[0].len()), (3, 8));
        assert!(found.gap < 1e-5, "{family}: {}", found.gap);
        for (row, (at, from)) in found.values.iter().zip(found.log_probs.iter().zip(&found.baseline)) {
            assert!((row.iter().sum::<f64>() - (at - from)).abs() <= found.gap + 1e-12);
        }
        assert!(of(4).gap > found.gap, "{family}: more points, a smaller gap");
        // What comes later says nothing of a token, and what predicts the last one is not itself.
        assert!(found.values[0][5..].iter().all(|v| *v == 0.0), "{family}: {:?}", found.values[0]);
        // The log-likelihoods are those of the model read in tokens.
        let ids = Tensor::from_slice(&IDS.map(i64::from)).unsqueeze(0);
        let log_p = model.logits(&model.forward_hidden(&ids, None, false)).log_softmax(-1, Kind::Float);
        for (i, log_prob) in found.log_probs.iter().enumerate() {
            let want = log_p.double_value(&[0, 4 + i as i64, i64::from(IDS[5 + i])]);
            assert!((log_prob - want).abs() < 1e-5, "{family}");
        }
    }
}

/// Where the baseline is padding's embedding of zeros, RMSNorm jumps at the beginning of the way: it is refused.
#[test]
fn a_baseline_of_zeros_is_refused() {
    let model = Model::load(&golden("llama"), Device::Cpu).unwrap();
    let refused = attribute(&model, &IDS, 5, 1, Method::Integrated { points: 8 }).unwrap_err().to_string();
    assert!(refused.contains("token 1 has an embedding of zeros"), "{refused}");
}

/// The definition, written out: the mean of gradients at the middles of many small steps along the way.
#[test]
fn integrated_gradients_are_the_mean_gradient_of_the_way() {
    let model = Model::load(&golden("gpt2"), Device::Cpu).unwrap();
    model.freeze();
    let found = attribute(&model, &IDS, 7, BASELINE, Method::Integrated { points: 48 }).unwrap();
    let (here, nothing) = (model.token_embeddings(&IDS).unwrap(), model.token_embeddings(&[BASELINE; 8]).unwrap());
    let steps = 400;
    let mut sum = here.zeros_like();
    for k in 0..steps {
        let alpha = (f64::from(k) + 0.5) / f64::from(steps);
        let point = (&nothing + (&here - &nothing) * alpha).set_requires_grad(true);
        let states = model.forward_embedded_rows(&point.unsqueeze(0));
        let log_p = model.logits(&states).log_softmax(-1, Kind::Float).select(1, 6).select(0, 0).get(i64::from(IDS[7]));
        sum += Tensor::run_backward(&[log_p], &[&point], false, false).remove(0);
    }
    let want: Vec<f64> = Vec::try_from(((here - nothing) * sum / f64::from(steps)).sum_dim_intlist(-1, false, Kind::Double)).unwrap();
    for (got, want) in found.values[0].iter().zip(&want) {
        assert!((got - want).abs() < 1e-4, "{got} and {want}");
    }
}

#[test]
fn gradient_times_input_is_the_slope_along_the_input() {
    let model = Model::load(&golden("llama"), Device::Cpu).unwrap();
    model.freeze();
    let found: Attribution = attribute(&model, &IDS, 6, BASELINE, Method::Gradient).unwrap();
    let at = |scale: f64| {
        let states = model.forward_embedded_rows(&(model.token_embeddings(&IDS).unwrap() * scale).unsqueeze(0));
        let log_p = model.logits(&states).log_softmax(-1, Kind::Double);
        (0..2).map(|i| log_p.double_value(&[0, 5 + i, i64::from(IDS[6 + i as usize])])).sum::<f64>()
    };
    let slope = (at(1.005) - at(0.995)) / 0.01;
    let total: f64 = found.total().iter().sum();
    assert!((slope - total).abs() < 1e-3 * slope.abs().max(1.0), "{slope} and {total}");
}

/// Folders with a byte tokenizer: a language model and a reward model.
fn folders(dir: &Path, context: usize) -> [PathBuf; 2] {
    [HeadKind::Lm, HeadKind::Scalar].map(|head| {
        let folder = dir.join(format!("{head:?}"));
        let tokenizer = Tokenizer::byte().unwrap();
        let shape = Shape { vocab_size: tokenizer.vocab_size(), context, layers: 2, heads: 2, kv_heads: 1, width: 16, dropout: 0.0 };
        let mut config = Config::fresh(model::config::Family::Llama, shape).unwrap();
        config.set_special(None, &[tokenizer.eos()], Some(tokenizer.pad()));
        config.init_std = 0.3;
        Model::new(config, head, Device::Cpu, 11).unwrap().save(&folder).unwrap();
        tokenizer.save(&folder).unwrap();
        folder
    })
}

#[test]
fn the_last_tokens_reward_is_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let [_, folder] = folders(dir.path(), 64);
    let model = RewardModel::load(&folder, Device::Cpu, Kind::Float).unwrap();
    for (prompt, answer) in [("where is it?", "by the river."), ("q", "a")] {
        let of = model.token_rewards("", &[data::chat::Message::new("user", prompt)], answer, true).unwrap();
        let turns = [data::chat::Message::new("user", prompt)];
        let whole = model.row(&turns, answer, true).unwrap();
        let score = model.score(std::slice::from_ref(&whole), 1, &|_| ()).unwrap()[0];
        assert!((of.reward() - f64::from(score)).abs() < 1e-6, "{} and {score}", of.reward());
        assert_eq!((of.tokens.len(), of.rewards.len()), (whole.len(), whole.len()));
        assert!(of.tokens[of.answer..].concat().starts_with(answer), "{:?}", &of.tokens[of.answer..]);
        // After each token it is the score of the text so far.
        for end in of.answer..whole.len() {
            let so_far = reward_tokens::rewards(model.model(), &whole[..=end]).unwrap();
            assert!((so_far[end] - of.rewards[end]).abs() < 1e-5);
        }
    }
}

fn evaluate(args: &[&str]) -> String {
    let assert = Command::cargo_bin("evaluate").unwrap().args(args).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn the_commands_write_their_pages() {
    let dir = tempfile::tempdir().unwrap();
    let [lm, rm] = folders(dir.path(), 64);
    let path = |p: &Path| p.display().to_string();
    let page = dir.path().join("attribute.html");
    let said = evaluate(&["attribute", "--model", &path(&lm), "--prompt", "the <b> cat", "--answer", " sat", "--html", &path(&page)]);
    assert!(said.contains("log-likelihood of the answer") && said.contains("largest gap"), "{said}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("Integrated gradients") && html.contains("Layer 2, head 2") && !html.contains("<b> cat"));
    let object: Value =
        serde_json::from_str(&evaluate(&["attribute", "--model", &path(&lm), "--prompt", "cat", "--max-new", "2", "--json"])).unwrap();
    assert_eq!(object["answer_begins"], 3);
    assert_eq!(object["attribution"]["values"].as_array().unwrap().len(), object["tokens"].as_array().unwrap().len() - 3);

    let rows = dir.path().join("rows.jsonl");
    std::fs::write(&rows, "{\"prompt\": \"a\", \"response\": \"one\"}\n{\"prompt\": \"b\", \"response\": \"two\"}\n").unwrap();
    let page = dir.path().join("rewards.html");
    let said = evaluate(&["reward-tokens", "--model", &path(&rm), "--data", &path(&rows), "--html", &path(&page), "--json"]);
    let rewards: Vec<f64> = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reward"].as_f64().unwrap()).collect();
    let scored: Value = serde_json::from_str(&evaluate(&["reward", "--model", &path(&rm), "--data", &path(&rows), "--json"])).unwrap();
    for (reward, row) in rewards.iter().zip(scored["rows"].as_array().unwrap()) {
        assert!((reward - row["score"].as_f64().unwrap()).abs() < 1e-6);
    }
    assert!(std::fs::read_to_string(&page).unwrap().contains("Reward as the answer grows"));

    let out = dir.path().join("answers.jsonl");
    let greedy = ["generate", "--model", &path(&lm), "--greedy", "--max-new", "40"];
    evaluate(&[&greedy[..], &["--data", &path(&rows), "--out", &path(&out)]].concat());
    for line in std::fs::read_to_string(&out).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let alone: Value =
            serde_json::from_str(&evaluate(&[&greedy[..], &["--prompt", row["prompt"].as_str().unwrap(), "--json"]].concat())).unwrap();
        assert_eq!(alone["text"].as_str().unwrap().trim(), row["response"].as_str().unwrap());
    }
}

/// A page has room for so many cells: the heads of two layers and 194 tokens have more, at 404 tokens the layers do.
#[test]
fn the_page_of_a_long_text_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let [lm, _] = folders(dir.path(), 512);
    let page = dir.path().join("attribute.html");
    let [lm, page] = [lm, page].map(|path| path.display().to_string());
    for (length, layers, left_out) in [(190, true, 1), (400, false, 2)] {
        let prompt = "a".repeat(length);
        evaluate(&["attribute", "--model", &lm, "--prompt", &prompt, "--answer", " sat", "--method", "gradient", "--html", &page]);
        let html = std::fs::read_to_string(&page).unwrap();
        assert_eq!(html.contains("Layer 2, mean of its heads"), layers);
        assert_eq!((html.matches("Left out: ").count(), html.contains("Layer 1, head 1")), (left_out, false));
        assert!(html.contains("Token by token") && html.len() < 30_000_000, "{}", html.len());
    }
}

/// A row that cannot be used is an error with its place, and no row is passed over.
#[test]
fn the_first_bad_row_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let [lm, rm] = folders(dir.path(), 64);
    let (rows, out) = (dir.path().join("rows.jsonl"), dir.path().join("answers.jsonl"));
    let path = |p: &Path| p.display().to_string();
    let [lm, rm, data, answers] = [path(&lm), path(&rm), path(&rows), path(&out)];
    let generate = ["generate", "--model", &lm, "--greedy", "--max-new", "4", "--out", &answers, "--data", &data];
    let tokens = ["reward-tokens", "--model", &rm, "--data", &data];
    let write = |bad: &str| std::fs::write(&rows, format!("{{\"prompt\": \"a\", \"response\": \"one\"}}\n{bad}\n")).unwrap();
    let refused = |args: &[&str], why: &str| {
        let assert = Command::cargo_bin("evaluate").unwrap().args(args).assert().code(2);
        let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(said.contains("rows.jsonl, line 2") && said.contains(why), "{said}");
    };
    for (bad, why) in [
        ("{\"prompt\": ", "line 2: broken-json: "),
        ("[\"a\"]", "line 2: not-an-object: "),
        ("{\"response\": \"two\"}", "line 2: no field \"prompt\": expected text"),
        ("{\"prompt\": 7, \"response\": \"two\"}", "line 2: field \"prompt\" is a number: expected text"),
    ] {
        write(bad);
        refused(&generate, why);
        refused(&tokens, why);
    }
    // A byte is a token: the context of 64 holds neither row.
    write(&format!("{{\"prompt\": \"{}\", \"response\": \"two\"}}", "p".repeat(70)));
    refused(&generate, "field \"prompt\" has 70 tokens: expected at least one, and with 4 new ones");
    refused(&tokens, "the model's context is 64");
    write("{\"prompt\": \"\", \"response\": \"two\"}");
    refused(&generate, "field \"prompt\" has 0 tokens");
    assert!(!out.exists());

    write("{\"prompt\": ");
    let said = evaluate(&[&tokens[..], &["--limit", "1", "--json"]].concat());
    assert_eq!(said.lines().count(), 1, "what is not shown is not looked at");
}
