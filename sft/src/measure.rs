//! What held-out rows say of the model: loss, accuracy of classes, BLEU of answers.

use crate::decide;
use crate::network::{Network, Writing};
use anyhow::{Context, Result};
use data::chat::ChatTemplate;
use data::config::{Bleu, BleuTokens, Eval, Target};
use data::demos::Demo;
use data::tokenizer::Tokenizer;
use dist::World;
use evaluate::metrics::{self, Tokenize};
use model::Student;
use serde_json::{Map, Value, json};
use tch::no_grad;
use train::RunDir;

/// The answers of the newest evaluation beside what is right, for `evaluate metrics`.
const ANSWERS: &str = "answers.jsonl";

/// Figures of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Nats a labelled token, or a row.
    pub loss: f64,
    /// Share of the rows whose class is right, of a classifier.
    pub accuracy: Option<f64>,
    /// Pearson's correlation of what is said and what is right, where numbers are predicted.
    pub pearson: Option<f64>,
}

/// Mean loss and accuracy over the held-out rows.
pub fn evaluate(network: &Network, valid: &[Demo], micro_batch: usize, world: &World) -> Result<Measured> {
    if let Network::Decides(m) = network {
        return decide::evaluate(m, valid, micro_batch, world);
    }
    let mut rows: Vec<Vec<usize>> = (0..valid.len()).map(|i| vec![i]).collect();
    rows.sort_by_key(|r| valid[r[0]].ids.len());
    let classes = matches!(network, Network::Classifier(_));
    let (mut nll, mut tokens, mut hits) = (0.0, 0.0, 0.0);
    for (_, chunk, _) in world.share(rows.chunks(micro_batch)) {
        no_grad(|| {
            let (states, targets) = network.states(valid, &chunk.iter().collect::<Vec<_>>(), false);
            let logits = network.logits(&states);
            nll += loss::lm::nll_sum(&logits, &targets).double_value(&[]);
            tokens += targets.numel() as f64;
            if classes {
                hits += logits.argmax(-1, false).eq_tensor(&targets).sum(None).double_value(&[]);
            }
        });
    }
    if let Some(model) = network.decoder().filter(|_| world.lacks_one_of(rows.len().div_ceil(micro_batch))) {
        model.attend();
    }
    let [nll, tokens, hits] = world.sum([nll, tokens, hits])?;
    let n = f64::max(tokens, 1.0);
    Ok(Measured { loss: nll / n, accuracy: classes.then_some(hits / n), pearson: None })
}

/// The network's answer to the configured prompt or else to this held-out row's, beneath it, so that one sees it learn; `None` where the prompt leaves no room for one.
pub fn sample(c: &Eval, network: &Network, tokenizer: &Tokenizer, template: Option<&ChatTemplate>, row: &Demo) -> Result<Option<String>> {
    let prompt = if c.sample_prompt.is_empty() { &row.prompt } else { &c.sample_prompt };
    let ids = match network {
        Network::Decides(_) if c.sample_prompt.is_empty() => row.ids.clone(),
        _ => network.prompt(tokenizer, template, prompt)?,
    };
    if network.room(&ids) == 0 {
        return Ok(None);
    }
    let how = Writing { max_new: c.sample_tokens, beams: 1 };
    let answers = network.answers_about(tokenizer, template, &[ids], &[row], how)?;
    Ok(answers.first().map(|answer| format!("{prompt}\n> {answer}")))
}

/// BLEU of answers to rows spread evenly over the held-out ones; nothing where none are asked for. The answers go to `answers.jsonl`.
pub fn bleu(
    c: &Bleu,
    run: &RunDir,
    network: &Network,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    valid: &[Demo],
) -> Result<Option<f64>> {
    let n = c.rows.min(valid.len());
    if n == 0 || matches!(network, Network::Classifier(_) | Network::Decides(_)) {
        return Ok(None);
    }
    let asked: Vec<&Demo> = (0..n).map(|i| &valid[i * valid.len() / n]).collect();
    let prompts: Vec<Vec<u32>> = asked.iter().map(|demo| demo.prompt_ids().to_vec()).collect();
    let answers = network.answers_about(tokenizer, template, &prompts, &asked, Writing { max_new: c.max_new_tokens, beams: c.beams })?;
    let rows = asked.iter().zip(&answers);
    let line = |(demo, answer): (&&Demo, &String)| {
        format!("{}\n", json!({"prompt": demo.prompt, "prediction": answer, "reference": demo.response}))
    };
    run.write(ANSWERS, rows.map(line).collect::<String>().as_bytes())?;
    let references: Vec<[String; 1]> = asked.iter().map(|demo| [demo.response.clone()]).collect();
    Ok(Some(metrics::bleu(answers.iter().map(String::as_str).zip(references.iter().map(|r| r.as_slice())), tokens_of(c.tokenize)).score))
}

fn tokens_of(tokens: BleuTokens) -> Tokenize {
    match tokens {
        BleuTokens::V13a => Tokenize::V13a,
        BleuTokens::Zh => Tokenize::Zh,
        BleuTokens::Char => Tokenize::Char,
        BleuTokens::None => Tokenize::None,
    }
}

/// The figure of the newest `answers.jsonl`, for the run's summary.
pub fn last_bleu(c: &Bleu, run: &RunDir) -> Result<Map<String, Value>> {
    let mut figures = Map::new();
    let path = run.join(ANSWERS);
    if c.rows == 0 || !path.is_file() {
        return Ok(figures);
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_string();
    let pairs: Vec<(String, [String; 1])> = rows.iter().map(|row| (word(row, "prediction"), [word(row, "reference")])).collect();
    let score = metrics::bleu(pairs.iter().map(|(said, right)| (said.as_str(), right.as_slice())), tokens_of(c.tokenize)).score;
    figures.insert("bleu".into(), score.into());
    Ok(figures)
}

/// Figures of a classifier over the held-out rows; nothing of others.
pub fn classes(network: &Network, tokenizer: &Tokenizer, valid: &[Demo]) -> Result<Map<String, Value>> {
    let object = |figures: Value| figures.as_object().cloned().unwrap_or_default();
    match network {
        Network::Decides(m) if m.target() == Target::Number => {
            return Ok(decide::numbers(m, valid)?.map_or_else(Map::new, |n| object(json!(n))));
        }
        Network::Classifier(_) | Network::Decides(_) => {}
        _ => return Ok(Map::new()),
    }
    let rows: Vec<Vec<u32>> = valid.iter().map(|demo| demo.ids.clone()).collect();
    let said = network.answers(tokenizer, None, &rows, Writing { max_new: 1, beams: 1 })?;
    let pairs = said.iter().map(String::as_str).zip(valid.iter().map(|demo| demo.response.as_str()));
    let mut figures = metrics::classes(pairs).map_or_else(Map::new, |figures| object(json!(figures)));
    figures.remove("rows");
    Ok(figures)
}
