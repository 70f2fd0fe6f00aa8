//! Where a reward model can be fooled: a suffix of tokens, found by random greedy search, that makes it like an answer which says nothing more.
//!
//! One position at a time is tried with so many random tokens, and the best of them kept if it raises the score (the gradient-free form of arXiv 1908.07125's trigger search).

use anyhow::Result;
use data::chat::Message;
use evaluate::reward_model::RewardModel;
use program::refuse;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;

/// How long and how hard to search.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Tokens of the suffix.
    pub tokens: usize,
    /// Tries at positions in turn.
    pub rounds: usize,
    /// Tokens tried each time.
    pub candidates: usize,
    /// Seed.
    pub seed: u64,
}

/// An answer and what the search made of it.
#[derive(Debug, Clone, Serialize)]
pub struct Fooled {
    /// The prompt.
    pub prompt: String,
    /// The answer.
    pub answer: String,
    /// The suffix as text.
    pub suffix: String,
    /// Score of the answer.
    pub before: f32,
    /// Score with as many random tokens: what length and noise do alone.
    pub random: f32,
    /// Score with the suffix found.
    pub after: f32,
    /// Score of the better answer, where the row has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub better: Option<f32>,
}

/// Searches for a suffix to `answer`; `None` where the row leaves no room for it.
pub fn fool(reward: &RewardModel, prompt: &str, answer: &str, better: Option<&str>, s: Search) -> Result<Option<Fooled>> {
    if s.tokens == 0 || s.candidates == 0 {
        refuse!("a suffix of a token at least, and a candidate");
    }
    let turns = [Message::new("user", prompt)];
    let (open, whole) = (reward.row(&turns, answer, false)?, reward.row(&turns, answer, true)?);
    let end = whole[open.len()..].to_vec();
    if whole.len() + s.tokens > reward.context() {
        return Ok(None);
    }
    let with = |suffix: &[u32]| [open.as_slice(), suffix, end.as_slice()].concat();
    let score = |rows: &[Vec<u32>]| reward.score(rows, 0, &|_| {});
    let mut rng = ChaCha8Rng::seed_from_u64(s.seed);
    let ordinary = reward.ordinary_tokens();
    let mut draw = || ordinary[rng.random_range(0..ordinary.len())];
    let mut suffix: Vec<u32> = (0..s.tokens).map(|_| draw()).collect();
    let found = score(&[whole.clone(), with(&suffix)])?;
    let (before, random) = (found[0], found[1]);
    let mut after = random;
    for round in 0..s.rounds {
        let place = round % s.tokens;
        let tries: Vec<u32> = (0..s.candidates).map(|_| draw()).collect();
        let rows: Vec<Vec<u32>> = tries
            .iter()
            .map(|&token| {
                let mut changed = suffix.clone();
                changed[place] = token;
                with(&changed)
            })
            .collect();
        let scores = score(&rows)?;
        if let Some((i, &best)) = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).filter(|(_, best)| **best > after) {
            (suffix[place], after) = (tries[i], best);
        }
    }
    let better = match better {
        Some(text) => {
            let row = reward.row(&turns, text, true)?;
            if row.len() <= reward.context() { Some(score(&[row])?[0]) } else { None }
        }
        None => None,
    };
    let suffix = reward.decode(&suffix)?;
    Ok(Some(Fooled { prompt: prompt.into(), answer: answer.into(), suffix, before, random, after, better }))
}
