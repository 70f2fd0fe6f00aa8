//! Held-out prompts: what policy and SFT model answer, what the reward model says of it, and how far the policy has moved.

use crate::batch::{Batch, Episode, Layout, frozen_log_probs};
use crate::judge::{Judges, Scores};
use anyhow::{Context, Result};
use data::{
    config::{AfterEnd, PpoConfig, ScorePosition},
    prompts::Prompt,
    tokenizer::Tokenizer,
};
use dist::World;
use evaluate::{repetition::repetition, stats};
use model::{Model, generate::Sampling};
use serde_json::{Map, Value, json};
use std::io::Write;
use tch::{Device, Kind};

/// Prompts whose answers are shown token by token.
const TOKEN_REWARDS: usize = 3;

/// One model's answers to all held-out prompts.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The answers, in the order of the prompts.
    pub episodes: Vec<Episode>,
    /// The reward model's scores as they are: no clipping, no end-token rule.
    pub raw: Vec<f32>,
    /// Answers that a reward model read the beginning of, see [`crate::judge::Scores`].
    pub cut: usize,
}

/// The held-out prompts and what is needed to answer and judge them.
pub struct HeldOut<'a> {
    /// Configuration of the stage.
    pub config: &'a PpoConfig,
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// The policy's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that end an answer.
    pub stop: &'a [u32],
    /// The judges.
    pub judges: &'a Judges,
    /// Rows at a time.
    pub batch: usize,
    /// Where tensors live.
    pub device: Device,
    /// The ranks that share the work.
    pub world: &'a World,
}

/// Samples answers of `model`, each rank its share of them, and all ranks get all; the same seed gives the same answers whatever else goes on. With
/// [`AfterEnd::Keep`] all have the full length.
pub fn sample(
    model: &Model,
    prompts: &[&Prompt],
    c: &PpoConfig,
    (stop, after_end): (&[u32], AfterEnd),
    batch: usize,
    (seed, world): (i64, &World),
) -> Result<Vec<Episode>> {
    let (max_new, temperature, seed) = (c.rollout.max_new_tokens, c.rollout.temperature, seed as u64);
    let stops = if after_end == AfterEnd::Keep { vec![] } else { stop.to_vec() };
    let sampling = Sampling { max_new, temperature, stop: stops, seed, batch: batch.max(1), ..Sampling::default() };
    let (mut rows, mut ids) = (vec![], vec![]);
    for (i, chunk, _) in world.share(prompts.chunks(batch.max(1))) {
        rows.extend(((i * batch.max(1)) as u64..).take(chunk.len()));
        ids.extend(chunk.iter().map(|p| p.ids.clone()));
    }
    let held = model.hold(true);
    let mine = model::generate_rows(model, &ids, &rows, &sampling, |_| ())?.into_iter().map(|answer| answer.ids).collect();
    drop(held);
    let answers = share_answers(mine, prompts.len(), batch.max(1), world)?;
    let episode = |(prompt, response): (&&Prompt, Vec<u32>)| {
        let end = response.iter().position(|id| stop.contains(id));
        let (turns, prompt) = (prompt.turns.clone(), prompt.ids.clone());
        Episode { turns, prompt, finished: end.is_some(), read: end.map_or(response.len(), |i| i + 1), response }
    };
    Ok(prompts.iter().zip(answers).map(episode).collect())
}

/// Every rank's answers to its chunks of `n` prompts, put together in the order of the prompts.
fn share_answers(mine: Vec<Vec<u32>>, n: usize, batch: usize, world: &World) -> Result<Vec<Vec<u32>>> {
    let length = |answer: &Vec<u32>| answer.len() as u32;
    let numbers = mine.iter().flat_map(|answer| std::iter::once(length(answer)).chain(answer.iter().copied()));
    let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
    let said = world.gather(&bytes)?;
    let mut numbers: Vec<_> =
        said.iter().map(|bytes| bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
    let answer = |i: usize| -> Result<Vec<u32>> {
        let from = &mut numbers[i / batch % world.size()];
        let length = from.next().context("a rank has sent fewer answers than it was to sample")? as usize;
        Ok(from.take(length).collect())
    };
    (0..n).map(answer).collect()
}

impl HeldOut<'_> {
    /// Answers and scores of one model.
    pub fn answer(&self, model: &Model) -> Result<Answers> {
        let prompts: Vec<&Prompt> = self.prompts.iter().collect();
        let stop = (self.stop, AfterEnd::Stop);
        let episodes =
            sample(model, &prompts, self.config, stop, self.batch, (train::seed::mix(self.config.seed, u64::MAX, 1), self.world))?;
        let Scores { scores: raw, cut } = self.judges.score_shared(&episodes, self.tokenizer, self.world)?;
        Ok(Answers { episodes, raw, cut })
    }

    /// Mean over answers of Σ_t (log π − log π_ref), in nats.
    pub fn kl(&self, policy: &Model, reference: &Model, answers: &Answers) -> Result<f64> {
        let mut sum = 0.0;
        let layout = Layout::new(&answers.episodes, ScorePosition::LastToken);
        for (_, chunk, _) in self.world.share(answers.episodes.chunks(self.batch.max(1))) {
            let picked: Vec<&Episode> = chunk.iter().collect();
            let batch = Batch::new(&picked, layout, self.device);
            let t = self.config.rollout.temperature;
            let difference = frozen_log_probs(policy, &batch, t) - frozen_log_probs(reference, &batch, t);
            sum += (difference * batch.mask()).sum(Kind::Double).double_value(&[]);
        }
        if self.world.lacks_one_of(answers.episodes.len().div_ceil(self.batch.max(1))) {
            policy.attend();
        }
        let [sum] = self.world.sum([sum])?;
        Ok(sum / answers.episodes.len().max(1) as f64)
    }

    /// The response as a person reads it.
    pub fn text(&self, e: &Episode) -> Result<String> {
        Ok(self.tokenizer.decode(&e.response, true)?.trim().to_string())
    }

    /// Figures of policy against SFT model for `summary.json`.
    pub fn compare(&self, sft: &Answers, policy: &Answers, kl: f64) -> Result<Map<String, Value>> {
        let mean = |scores: &[f32]| scores.iter().map(|&s| f64::from(s)).sum::<f64>() / scores.len().max(1) as f64;
        let lengths = |a: &Answers| a.episodes.iter().map(|e| e.response.len() as f64).sum::<f64>() / a.episodes.len().max(1) as f64;
        let repeated = |a: &Answers| -> Result<f64> {
            let each = a.episodes.iter().map(|e| Ok(repetition(&self.text(e)?))).collect::<Result<Vec<f64>>>()?;
            Ok(each.iter().sum::<f64>() / each.len().max(1) as f64)
        };
        let ended = |a: &Answers| a.episodes.iter().filter(|e| e.finished).count() as f64 / a.episodes.len().max(1) as f64;
        let wins = stats::win_rate(policy.raw.iter().zip(&sft.raw).map(|(&p, &s)| (f64::from(p), f64::from(s))));
        let figures = json!({
            "prompts": self.prompts.len(),
            "reward_sft": mean(&sft.raw),
            "reward_policy": mean(&policy.raw),
            "kl": kl,
            "win_rate": wins.as_ref().map(|w| w.rate),
            "win_rate_ci": wins.as_ref().map(|w| w.ci),
            "eos_rate": ended(policy),
            "eos_rate_sft": ended(sft),
            "cut_answers": policy.cut,
            "cut_answers_sft": sft.cut,
            "response_length": lengths(policy),
            "length_sft": lengths(sft),
            "repetition_sft": repeated(sft)?,
            "repetition_policy": repeated(policy)?,
        });
        match figures {
            Value::Object(map) => Ok(map),
            _ => unreachable!("json! of braces is an object"),
        }
    }

    /// The reward after each token of both models' answers to a few prompts: `token-rewards.jsonl`, for the run's page.
    pub fn write_token_rewards(&self, out: &mut dyn Write, sft: &Answers, policy: &Answers) -> Result<()> {
        for (of_sft, of_policy) in sft.episodes.iter().zip(&policy.episodes).take(TOKEN_REWARDS) {
            for (who, e) in [("SFT", of_sft), ("policy", of_policy)] {
                if let Some(row) = self.judges.token_rewards(who, e, self.tokenizer)? {
                    writeln!(out, "{}", serde_json::to_string(&row)?)?;
                }
            }
        }
        Ok(())
    }

    /// One JSON line an answer, both models': `samples.jsonl`.
    pub fn write_samples(&self, out: &mut dyn Write, sft: &Answers, policy: &Answers) -> Result<()> {
        for (id, prompt) in self.prompts.iter().enumerate() {
            for (name, answers) in [("sft", sft), ("policy", policy)] {
                let e = &answers.episodes[id];
                let row = json!({"id": id, "model": name, "prompt": prompt.text(), "response": self.text(e)?, "score": answers.raw[id],
                    "tokens": e.response.len(), "finished": e.finished});
                writeln!(out, "{row}")?;
            }
        }
        Ok(())
    }
}
