//! Learning from a round: several passes of clipped policy and value steps over its episodes (arXiv 1707.06347, equation 7).

use crate::batch::{Batch, Critic, Episode};
use crate::ptx::Mixer;
use crate::rollout::Rollout;
use anyhow::{Result, ensure};
use data::config::PpoConfig;
use data::config::plan::Rounds;
use dist::{Gradients, World};
use loss::ppo::PolicyClip;
use loss::{mask, ppo};
use model::Model;
use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};
use train::{Optimizer, phase, seed};

/// The micro-batches of each optimiser step of one pass: a fresh shuffle, and within a step rows of like length together.
pub fn plan_pass(rounds: &Rounds, run_seed: u64, round: u64, pass: usize, length: impl Fn(usize) -> usize) -> Vec<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..rounds.episodes).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed::mix(run_seed, round, 1_000 + pass as u64) as u64));
    let micro_batches = |step: &[usize]| {
        let mut step = step.to_vec();
        step.sort_by_key(|&i| (length(i), i));
        step.chunks(rounds.micro_batch).map(<[usize]>::to_vec).collect()
    };
    order.chunks(rounds.minibatch).map(micro_batches).collect()
}

/// What learns.
pub struct Learner<'a> {
    /// π.
    pub policy: &'a Model,
    /// V.
    pub critic: &'a Critic,
    /// Optimiser of the policy (and of a shared head).
    pub policy_optim: &'a mut Optimizer,
    /// Optimiser of a separate critic.
    pub value_optim: Option<&'a mut Optimizer>,
    /// Pre-training text mixed in.
    pub mixer: Option<&'a mut Mixer>,
    /// The ranks that share each step.
    pub world: &'a World,
    /// Their gradients, of all that learns.
    pub gradients: &'a Gradients<'a>,
}

/// Sums of what a round's metrics need, with what they are divided by in the end.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<&'static str, (f64, f64)>);

impl Tally {
    fn add(&mut self, name: &'static str, sum: f64, count: f64) {
        let entry = self.0.entry(name).or_default();
        *entry = (entry.0 + sum, entry.1 + count);
    }

    fn extend(&mut self, other: Tally) {
        other.0.into_iter().for_each(|(name, (sum, count))| self.add(name, sum, count));
    }

    /// The sums over all ranks, in one exchange. All have the same names.
    fn over(mut self, world: &World) -> Result<Tally> {
        let mut numbers: Vec<f64> = self.0.values().flat_map(|&(sum, count)| [sum, count]).collect();
        world.sum_all(&mut numbers)?;
        self.0.values_mut().zip(numbers.chunks(2)).for_each(|(entry, pair)| *entry = (pair[0], pair[1]));
        Ok(self)
    }

    /// The mean of one metric, 0 where nothing was added.
    pub fn mean(&self, name: &str) -> f64 {
        self.0.get(name).map_or(0.0, |(sum, count)| sum / count.max(1.0))
    }

    fn means(&self) -> BTreeMap<&'static str, f64> {
        self.0.keys().map(|name| (*name, self.mean(name))).collect()
    }
}

/// One round's passes. Returns the means over tokens of the metrics, and the gradient norm of the last step.
pub fn learn(
    learner: &mut Learner<'_>,
    roll: &Rollout,
    c: &PpoConfig,
    rounds: &Rounds,
    round: u64,
    lr: f64,
) -> Result<BTreeMap<&'static str, f64>> {
    let mut tally = Tally::default();
    let (mut norm, mut steps) = (0.0, 0u64);
    for pass in 0..c.ppo.epochs {
        let mut this_pass = Tally::default();
        for micro_batches in plan_pass(rounds, c.seed, round, pass, |i| roll.episodes[i].len()) {
            let first = (steps == 0).then_some(round);
            let mut this_step = Tally::default();
            if let Some(mixer) = learner.mixer.as_deref_mut() {
                // Before the rest: a step's last backward pass reaches all that learns, and sums over ranks.
                let nll = phase(c"pre-training mix", || mixer.backward(learner.policy, learner.world, learner.gradients))?;
                this_step.add("loss/ptx", nll, f64::from(u8::from(learner.world.is_main())));
            }
            this_step.extend(backward(learner, roll, c, &micro_batches, first)?);
            let this_step = this_step.over(learner.world)?;
            // NaN or infinite where any part is; with one trunk the policy's step carries the value loss too.
            let value_loss = this_step.mean("loss/value");
            let policy_loss = this_step.mean("loss/policy") + this_step.mean("loss/ptx");
            let carried = if learner.value_optim.is_none() { policy_loss + value_loss } else { policy_loss };
            norm = phase(c"optimiser", || learner.policy_optim.guarded_step(learner.world, carried, lr, c.optim.clip_norm))?;
            if let Some(optim) = learner.value_optim.as_deref_mut() {
                phase(c"optimiser", || optim.guarded_step(learner.world, value_loss, lr * c.value.lr_ratio, c.optim.clip_norm))?;
            }
            this_pass.extend(this_step);
            steps += 1;
        }
        let approx_kl = this_pass.mean("policy/approxkl");
        tally.extend(this_pass);
        if c.ppo.target_approxkl > 0.0 && approx_kl > c.ppo.target_approxkl {
            break;
        }
    }
    let mut means = tally.means();
    means.insert("grad_norm", norm);
    means.insert("updates", steps as f64);
    Ok(means)
}

/// Forward and backward of one optimiser step over this rank's share of its micro-batches: the gradients of policy and critic, and this rank's sums of the metrics. `first` names
/// the round whose first step this is: then the ratio must be 1.
///
/// loss = policy + `value_coef` · value − `entropy_coef` · entropy, each a mean over the tokens (or valued states) of the whole step, so that
/// micro-batches of any size add up to one gradient.
pub fn backward(learner: &Learner<'_>, roll: &Rollout, c: &PpoConfig, micro_batches: &[Vec<usize>], first: Option<u64>) -> Result<Tally> {
    let o = &c.ppo;
    let device = roll.mask.device();
    let index_of = |rows: &[usize]| Tensor::from_slice(&rows.iter().map(|&i| i as i64).collect::<Vec<_>>()).to_device(device);
    let step = micro_batches.concat();
    let total = |count: &dyn Fn(&Episode) -> usize| step.iter().map(|&i| count(&roll.episodes[i])).sum::<usize>() as f64;
    let (tokens, states) = (total(&|e| e.response.len()), total(&|e| roll.layout.states(e)));
    let aims = roll.aims_of(&index_of(&step), o);
    let clip = PolicyClip { low: o.clip, high: if o.clip_high > 0.0 { o.clip_high } else { o.clip }, dual: o.dual_clip };
    let mut tally = Tally::default();
    let starts = micro_batches.iter().scan(0, |at, chunk| Some(std::mem::replace(at, *at + chunk.len() as i64)));
    for (_, (at, chunk), last) in learner.world.share(starts.zip(micro_batches)) {
        let picked: Vec<&Episode> = chunk.iter().map(|&i| &roll.episodes[i]).collect();
        let batch = Batch::new(&picked, roll.layout, device);
        let index = index_of(chunk);
        let pick = |grid: &Tensor| grid.index_select(0, &index); // [b, W]
        let aim = |grid: &Tensor| grid.narrow(0, at, chunk.len() as i64); // [b, W]
        let hidden = phase(c"policy forward", || batch.hidden(learner.policy)); // [M, D]
        let (logp, entropy) = phase(c"policy head", || batch.log_probs(learner.policy, &hidden, c.rollout.temperature));
        let old = pick(&roll.old_logp);
        if let Some(round) = first {
            gate(&logp, &old, round)?;
        }
        let policy = ppo::policy_loss(&logp, &old, &aim(&aims.advantages), batch.mask(), clip);
        let values = phase(c"critic forward", || learner.critic.values(&batch, &hidden));
        let value = ppo::value_loss(&values, &pick(&roll.old_values), &aim(&aims.returns), batch.value_mask(), o.value_clip);
        let entropy = entropy.sum(Kind::Float);
        let entropy = if o.entropy_coef == 0.0 { entropy.detach() } else { entropy };
        let loss = &policy.loss / tokens + &value.loss * (o.value_coef / states) - &entropy * (o.entropy_coef / tokens);
        phase(c"backward", || learner.gradients.backward(&loss, last))?;
        let (tokens, states) = (mask::count(batch.mask()), mask::count(batch.value_mask()));
        for (name, t, count) in [
            ("loss/policy", &policy.loss, tokens),
            ("loss/value", &value.loss, states),
            ("policy/approxkl", &policy.approx_kl, tokens),
            ("policy/clipfrac", &policy.clipped, tokens),
            ("val/clipfrac", &value.clipped, states),
            ("val/ratio", &policy.ratio, tokens),
            ("objective/entropy", &entropy, tokens),
        ] {
            tally.add(name, t.sum(Kind::Double).double_value(&[]), count);
        }
    }
    Ok(tally)
}

/// Before the first step of a round old and new policy are one, so the ratio is 1 at every token. Padding, positions, dropout or temperature that
/// differ between sampling and learning would show here first.
fn gate(logp: &Tensor, old: &Tensor, round: u64) -> Result<()> {
    let worst = (logp.detach() - old).abs().max().double_value(&[]);
    ensure!(
        worst == 0.0,
        "the probability ratio is not 1 before the first update of round {round} (largest difference of log-probabilities {worst:e}): \
         the roll-out and the update do not compute the same policy"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_covers_every_episode_once_and_passes_differ() {
        let rounds = Rounds { rounds: 1, episodes: 12, rollout_batch: 12, minibatch: 6, micro_batch: 3 };
        let pass = |n| plan_pass(&rounds, 7, 0, n, |i| i % 4);
        let mut all: Vec<usize> = pass(0).into_iter().flatten().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        assert_eq!(pass(0).len(), 2);
        assert_ne!(pass(0), pass(1));
        assert_eq!(pass(1), pass(1));
    }

    #[test]
    fn the_gate_lets_only_equality_through() {
        let a = Tensor::from_slice(&[-1.0f32, -2.0]);
        assert!(gate(&a, &a.copy(), 0).is_ok());
        assert!(gate(&(&a + 1e-6), &a, 0).is_err());
    }
}
