//! Sampling of many prompts' continuations. Token ids in, token ids out.

use crate::batcher::{Batcher, Request};
use crate::error::ModelError;
use crate::model::{HeadKind, Model};
use std::sync::Arc;

/// How to continue prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Most tokens a row, the stop token included.
    pub max_new: usize,
    /// Stop tokens are not chosen before so many tokens.
    pub min_new: usize,
    /// Logits are divided by this; 0 takes the most probable token.
    pub temperature: f64,
    /// Only the k most probable tokens; 0 means all.
    pub top_k: usize,
    /// Only the most probable tokens that together reach this share; 1 means all.
    pub top_p: f64,
    /// Tokens that end a row.
    pub stop: Vec<u32>,
    /// Seed: a row's sample depends on it, on the row's number and on the place, not on the other rows.
    pub seed: u64,
    /// Number of the first row, where one list of prompts is worked off in several calls.
    pub first_row: u64,
    /// Rows at a time: whenever one ends, the next prompt takes its place; 0 means all.
    pub batch: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { max_new: 64, min_new: 0, temperature: 1.0, top_k: 0, top_p: 1.0, stop: vec![], seed: 0, first_row: 0, batch: 0 }
    }
}

/// The continuation of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// New tokens, the stop token included.
    pub ids: Vec<u32>,
    /// Log-probability (nats) of each under the model at the temperature (1 when greedy), before `top_k`, `top_p` and `min_new`.
    pub log_probs: Vec<f32>,
    /// A stop token ended it; otherwise it ran into `max_new`.
    pub finished: bool,
}

/// Continues every prompt. Prompt and `max_new` together must fit into the model's context.
pub fn generate(model: &Model, prompts: &[Vec<u32>], sampling: &Sampling) -> Result<Vec<Generation>, ModelError> {
    let rows: Vec<u64> = (sampling.first_row..).take(prompts.len()).collect();
    generate_rows(model, prompts, &rows, sampling, |_| ())
}

/// The same with a number for each row, which its sample depends on; calls `ended` with the place of each prompt whose continuation is complete.
pub fn generate_rows(
    model: &Model,
    prompts: &[Vec<u32>],
    rows: &[u64],
    sampling: &Sampling,
    mut ended: impl FnMut(usize),
) -> Result<Vec<Generation>, ModelError> {
    assert_eq!(prompts.len(), rows.len(), "a number for each prompt");
    prompts.iter().enumerate().try_for_each(|(i, prompt)| check(model, prompt, sampling, i))?;
    let mut done: Vec<Generation> = prompts.iter().map(|_| Generation { ids: vec![], log_probs: vec![], finished: false }).collect();
    let Some(longest) = prompts.iter().map(Vec::len).max().filter(|_| sampling.max_new > 0) else { return Ok(done) };
    let slots = if sampling.batch == 0 { prompts.len() } else { sampling.batch.min(prompts.len()) };
    let mut batcher = Batcher::new(model, slots, longest + sampling.max_new)?;
    let shared = Arc::new(sampling.clone());
    for (&row, prompt) in rows.iter().zip(prompts) {
        batcher.push(Request { prompt: prompt.clone(), sampling: Arc::clone(&shared), row })?;
    }
    while !batcher.is_idle() {
        for chosen in batcher.step()? {
            let place = chosen.ticket as usize;
            let row = &mut done[place];
            row.ids.push(chosen.id);
            row.log_probs.push(chosen.log_prob);
            row.finished = chosen.finished;
            if chosen.last {
                ended(place);
            }
        }
    }
    Ok(done)
}

/// Refuses what cannot be continued; `number` is the prompt's in the message.
pub(crate) fn check(model: &Model, prompt: &[u32], s: &Sampling, number: usize) -> Result<(), ModelError> {
    let wrong = |reason: String| Err(ModelError::Input(reason));
    if model.head() != HeadKind::Lm {
        return wrong("this model scores and does not write: generation needs a language model".into());
    }
    if !(s.temperature >= 0.0 && s.temperature.is_finite()) {
        return wrong(format!("temperature {} is not a number from 0 up", s.temperature));
    }
    if !(s.top_p > 0.0 && s.top_p <= 1.0) {
        return wrong(format!("top_p {} is not in (0, 1]", s.top_p));
    }
    model.check_row(prompt, number)?;
    let (n, context) = (prompt.len(), model.config().context);
    if n + s.max_new > context {
        return wrong(format!("prompt {number} has {n} tokens: with {} new ones it exceeds the model's context of {context}", s.max_new));
    }
    Ok(())
}
