//! A round's experience: answers sampled from the policy, what each model says of them, and the advantages.
//!
//! Shapes: E episodes of the round, W columns of the round's grids (see [`Layout`]).

use crate::batch::{Batch, Critic, Episode, Layout, frozen_log_probs};
use anyhow::Result;
use data::config::{self, MissingEos, Objective, Variance, WhitenScope};
use dist::World;
use loss::{mask, ppo};
use model::Model;
use tch::{Device, Kind, Tensor, no_grad};

/// Everything the update needs, laid out `[E, W]` in the order of `episodes`.
#[derive(Debug)]
pub struct Rollout {
    /// The episodes.
    pub episodes: Vec<Episode>,
    /// Columns of the grids.
    pub layout: Layout,
    /// Reward model's scores after clipping and end-token rule, before the KL penalty. `[E]`
    pub scores: Vec<f32>,
    /// log π at sampling time, by the forward pass of training.
    pub old_logp: Tensor,
    /// V at sampling time.
    pub old_values: Tensor,
    /// −β·KL, and the score at the last place.
    pub rewards: Tensor,
    /// What the round's episodes together say of them.
    pub aims: Aims,
    /// 1 where a response token stands.
    pub mask: Tensor,
    /// 1 where a value stands.
    pub value_mask: Tensor,
    /// Mean over episodes of Σ_t (log π − log π_ref), in nats.
    pub kl: f64,
    /// Mean over episodes of Σ_t of the KL penalty in the reward.
    pub penalty: f64,
    /// Mean and standard deviation of the advantages before whitening.
    pub advantage_stats: (f64, f64),
}

/// What the losses pull towards, `[.., W]`.
#[derive(Debug)]
pub struct Aims {
    /// A, whitened if so configured.
    pub advantages: Tensor,
    /// A + V with A unwhitened.
    pub returns: Tensor,
}

impl Rollout {
    /// The aims of the episodes of one optimiser step (`index`, `[M]`), `[M, W]`: the round's, or their own where each step whitens for itself.
    pub fn aims_of(&self, index: &Tensor, o: &Objective) -> Aims {
        let pick = |grid: &Tensor| grid.index_select(0, index);
        match o.whiten_scope {
            WhitenScope::Round => Aims { advantages: pick(&self.aims.advantages), returns: pick(&self.aims.returns) },
            WhitenScope::Minibatch => {
                estimate(&pick(&self.rewards), &pick(&self.old_values), &pick(&self.mask), &pick(&self.value_mask), o).0
            }
        }
    }
}

/// Advantages and returns, and the advantages before whitening. Rewards and values live on `value_mask`, advantages on `mask`.
fn estimate(rewards: &Tensor, values: &Tensor, mask: &Tensor, value_mask: &Tensor, o: &Objective) -> (Aims, Tensor) {
    let unbiased = o.whiten_variance == Variance::Unbiased;
    let rewards = if o.whiten_rewards { mask::whiten(rewards, value_mask, false, unbiased) } else { rewards.shallow_clone() };
    let (raw, returns) = ppo::gae(&rewards, values, value_mask, o.gamma, o.lambda);
    let raw = mask::zero_outside(&raw, mask);
    let advantages = if o.whiten_advantages { mask::whiten(&raw, mask, true, unbiased) } else { raw.shallow_clone() };
    (Aims { advantages, returns }, raw)
}

/// The end-token rule and the clipping of scores.
pub fn shape_scores(raw: &[f32], episodes: &[Episode], clip: f64, rule: &Objective) -> Vec<f32> {
    let shape = |(&score, e): (&f32, &Episode)| {
        let score = if clip > 0.0 { f64::from(score).clamp(-clip, clip) } else { f64::from(score) };
        let shaped = match rule.missing_eos {
            _ if e.finished => score,
            MissingEos::Subtract => score - rule.missing_eos_value,
            MissingEos::Replace => -rule.missing_eos_value,
            MissingEos::Keep => score,
        };
        shaped as f32
    };
    raw.iter().zip(episodes).map(shape).collect()
}

fn estimator(wanted: config::KlEstimator) -> ppo::KlEstimator {
    match wanted {
        config::KlEstimator::K1 => ppo::KlEstimator::K1,
        config::KlEstimator::K2 => ppo::KlEstimator::K2,
        config::KlEstimator::K3 => ppo::KlEstimator::K3,
    }
}

/// Models that look at a round.
pub struct Models<'a> {
    /// π.
    pub policy: &'a Model,
    /// π_ref.
    pub reference: &'a Model,
    /// V.
    pub critic: &'a Critic,
}

/// The largest of the ranks' numbers.
fn most(world: &World, mine: usize) -> Result<usize> {
    let all = world.gather(&(mine as u64).to_le_bytes())?;
    let number = |bytes: &Vec<u8>| bytes.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
    Ok(all.iter().map(number).max().unwrap_or(mine))
}

/// Scores every token. `chunks` are the index groups that the first optimiser steps of this rank will take, so that the old log-probabilities come out of
/// the very same computation as the new ones and their ratio is exactly 1. All ranks get all of it.
pub fn observe(
    models: &Models<'_>,
    episodes: Vec<Episode>,
    scores: Vec<f32>,
    chunks: &[Vec<usize>],
    (temperature, beta): (f64, f64),
    o: &Objective,
    (device, world): (Device, &World),
) -> Result<Rollout> {
    let layout = Layout::new(&episodes, o.score_position);
    let e = episodes.len() as i64;
    let zeros = || Tensor::zeros([e, layout.width as i64], (Kind::Float, device));
    let [mut old_logp, mut ref_logp, mut old_values, mut mask, mut value_mask] = [(); 5].map(|_| zeros());
    let most = most(world, chunks.len())?;
    no_grad(|| {
        for chunk in chunks {
            let picked: Vec<&Episode> = chunk.iter().map(|&i| &episodes[i]).collect();
            let batch = Batch::new(&picked, layout, device);
            let index = Tensor::from_slice(&chunk.iter().map(|&i| i as i64).collect::<Vec<_>>()).to_device(device);
            let hidden = batch.hidden(models.policy);
            let put = |grid: &mut Tensor, rows: &Tensor| _ = grid.index_copy_(0, &index, rows);
            put(&mut old_logp, &batch.log_probs(models.policy, &hidden, temperature).0);
            put(&mut ref_logp, &frozen_log_probs(models.reference, &batch, temperature));
            put(&mut old_values, &models.critic.values(&batch, &hidden));
            put(&mut mask, batch.mask());
            put(&mut value_mask, batch.value_mask());
        }
        // Ranks may have unequal numbers of chunks, and whole weights need all of them.
        for _ in chunks.len()..most {
            models.policy.attend();
            models.critic.attend();
        }
        // Each row is one rank's, and 0 of the others.
        world.all_reduce_sum(&[&old_logp, &ref_logp, &old_values, &mask, &value_mask].map(Tensor::shallow_clone))?;
        let clamp = ppo::KlClamp { difference: o.kl_difference_clamp, estimate: o.kl_clamp };
        let penalty = ppo::kl_penalty(&old_logp, &ref_logp, estimator(o.kl_estimator), clamp) * &mask;
        let terminal = Tensor::from_slice(&scores).to_device(device); // [E]
        let rewards = ppo::token_rewards(&penalty, &terminal, &value_mask, beta); // [E, W]
        let (aims, raw) = estimate(&rewards, &old_values, &mask, &value_mask, o);
        let mean = mask::masked_mean(&raw, &mask).double_value(&[]);
        let std = mask::masked_var(&raw, &mask, true).sqrt().double_value(&[]);
        let per_episode = |x: &Tensor| x.sum(Kind::Double).double_value(&[]) / e as f64;
        let kl = per_episode(&((&old_logp - &ref_logp) * &mask));
        let penalty = per_episode(&penalty);
        let advantage_stats = (mean, std);
        Ok(Rollout { episodes, layout, scores, old_logp, old_values, rewards, aims, mask, value_mask, kl, penalty, advantage_stats })
    })
}
