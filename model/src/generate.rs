//! Batched sampling with a key-value cache. Token ids in, token ids out.

use crate::attention::{Pass, Tokens};
use crate::cache::Cache;
use crate::error::ModelError;
use crate::model::{HeadKind, Model, pad_right};
use crate::rotary::Reach;
use crate::sample::{self, Filter};
use tch::{Device, Kind, Tensor};

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
    /// Rows at a time; 0 means all.
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
    check(model, prompts, sampling)?;
    let decoder = model.decoder()?;
    let model = decoder.as_ref().unwrap_or(model);
    let size = if sampling.batch == 0 { prompts.len().max(1) } else { sampling.batch };
    let mut all = Vec::with_capacity(prompts.len());
    for (i, chunk) in prompts.chunks(size).enumerate() {
        let first = sampling.first_row + (i * size) as u64;
        all.extend(tch::no_grad(|| Batch::new(model, chunk, sampling, first).run())?);
    }
    Ok(all)
}

fn check(model: &Model, prompts: &[Vec<u32>], s: &Sampling) -> Result<(), ModelError> {
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
    let rows: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    model.check_ids(&rows)?;
    let context = model.config().context;
    match rows.iter().position(|r| r.len() + s.max_new > context) {
        Some(i) => {
            let n = rows[i].len();
            wrong(format!("prompt {i} has {n} tokens: with {} new ones it exceeds the model's context of {context}", s.max_new))
        }
        None => Ok(()),
    }
}

/// A row that is still being written.
struct Live {
    /// Its place among the results.
    index: usize,
    /// Place in its sequence of the token fed next.
    position: i64,
    /// The token fed next.
    token: u32,
}

struct Batch<'a> {
    model: &'a Model,
    prompts: &'a [Vec<u32>],
    sampling: &'a Sampling,
    first_row: u64,
    live: Vec<Live>,
    done: Vec<Generation>,
    /// Logits or probabilities of all live rows, `[live, V]`.
    numbers: Vec<f32>,
    scratch: Vec<u32>,
}

impl<'a> Batch<'a> {
    fn new(model: &'a Model, prompts: &'a [Vec<u32>], sampling: &'a Sampling, first_row: u64) -> Batch<'a> {
        let live = prompts.iter().enumerate().map(|(index, p)| Live { index, position: p.len() as i64 - 1, token: 0 }).collect();
        let done = prompts.iter().map(|_| Generation { ids: vec![], log_probs: vec![], finished: false }).collect();
        Batch { model, prompts, sampling, first_row, live, done, numbers: vec![], scratch: vec![] }
    }

    fn run(mut self) -> Result<Vec<Generation>, ModelError> {
        if self.sampling.max_new == 0 || self.prompts.is_empty() {
            return Ok(self.done);
        }
        let lengths: Vec<i64> = self.prompts.iter().map(|p| p.len() as i64).collect();
        // The last new token is never fed, so it needs no room.
        let mut cache =
            Cache::new(self.model.config(), &lengths, self.sampling.max_new as i64 - 1, (self.model.compute(), self.model.device()));
        let mut hidden = self.prefill(&cache, &lengths);
        loop {
            self.choose(&hidden, &mut cache)?;
            if self.live.is_empty() {
                return Ok(self.done);
            }
            cache.advance();
            hidden = self.step(&cache);
        }
    }

    /// All prompts at once; hidden states of their last tokens, `[B, D]`.
    fn prefill(&self, cache: &Cache, lengths: &[i64]) -> Tensor {
        let (trunk, device) = (self.model.trunk(), self.model.device());
        let rows: Vec<&[u32]> = self.prompts.iter().map(Vec::as_slice).collect();
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let ids = pad_right(&rows, longest as usize, 0).to_device(device);
        let last: Vec<i64> = lengths.iter().enumerate().map(|(i, n)| i as i64 * longest + n - 1).collect();
        let rotary = trunk.tables_from_zero(longest, Reach::Rows(lengths));
        let tokens = Tokens::Prompts { time: longest, window_mask: trunk.window_mask(longest), cache, lengths };
        let pass = Pass { train: false, rotary, tokens };
        let x = trunk.blocks(trunk.embed(&ids, None, false), &pass);
        trunk.norm.forward(&x.index_select(0, &Tensor::from_slice(&last).to_device(device)))
    }

    /// One token a live row; hidden states `[live, D]`.
    fn step(&self, cache: &Cache) -> Tensor {
        let (trunk, device) = (self.model.trunk(), self.model.device());
        let column =
            |f: &dyn Fn(&Live) -> i64| Tensor::from_slice(&self.live.iter().map(f).collect::<Vec<_>>()).to_device(device).unsqueeze(1);
        let (ids, places) = (column(&|l| i64::from(l.token)), column(&|l| l.position)); // [live, 1]
        let mask = cache.mask();
        let rotary = trunk.tables(&places, Reach::Newest);
        let pass = Pass { train: false, rotary, tokens: Tokens::Step { cache, mask: mask.as_ref() } };
        let x = trunk.blocks(trunk.embed(&ids, Some(&places), false), &pass);
        trunk.norm.forward(&x)
    }

    /// Chooses every live row's next token; rows that end leave the batch and the cache.
    fn choose(&mut self, hidden: &Tensor, cache: &mut Cache) -> Result<(), ModelError> {
        let s = self.sampling;
        let logits = self.model.logits(hidden); // [live, V]
        let vocabulary = logits.size()[1] as usize;
        let greedy = s.temperature == 0.0;
        // Greedy compares logits themselves: a softmax could round two of them together.
        let normaliser =
            if greedy { Some(Vec::<f32>::try_from(logits.logsumexp([-1i64].as_slice(), false).to_device(Device::Cpu))?) } else { None };
        let numbers = if greedy { logits } else { (logits / s.temperature).softmax(-1, Kind::Float) };
        let numbers = numbers.to_device(Device::Cpu).contiguous();
        self.numbers.resize(numbers.numel(), 0.0);
        numbers.f_copy_data(&mut self.numbers, numbers.numel())?;

        let filter = Filter { top_k: s.top_k, top_p: s.top_p };
        for (slot, live) in self.live.iter_mut().enumerate() {
            let row = &mut self.numbers[slot * vocabulary..][..vocabulary];
            let out = &mut self.done[live.index];
            let banned: &[u32] = if out.ids.len() < s.min_new { &s.stop } else { &[] };
            let (id, log_prob) = match &normaliser {
                Some(normaliser) => {
                    let id = sample::greedy(row, banned);
                    (id, row[id as usize] - normaliser[slot])
                }
                None => {
                    let u = sample::uniform(s.seed, self.first_row + live.index as u64, out.ids.len() as u64);
                    let id = sample::draw(row, filter, banned, u, &mut self.scratch);
                    (id, row[id as usize].ln())
                }
            };
            out.ids.push(id);
            out.log_probs.push(log_prob);
            out.finished = s.stop.contains(&id);
            live.token = id;
            live.position += 1;
        }
        // From the back, so that the row moved into a gap has been looked at already.
        for slot in (0..self.live.len()).rev() {
            let out = &self.done[self.live[slot].index];
            if out.finished || out.ids.len() == s.max_new {
                self.live.swap_remove(slot);
                cache.remove(slot as i64);
            }
        }
        Ok(())
    }
}
