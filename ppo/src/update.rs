//! Learning from a round: several passes of clipped policy and value steps over its episodes (arXiv 1707.06347, equation 7).

use crate::batch::{Batch, Critic, Episode};
use crate::ptx::Mixer;
use crate::rollout::Rollout;
use anyhow::{Result, ensure};
use data::config::PpoConfig;
use data::config::plan::Rounds;
use loss::{mask, ppo};
use model::Model;
use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};
use train::{AdamW, seed};

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
    pub policy_optim: &'a mut AdamW,
    /// Optimiser of a separate critic.
    pub value_optim: Option<&'a mut AdamW>,
    /// Pre-training text mixed in.
    pub mixer: Option<&'a mut Mixer>,
}

/// Sums over tokens of what a round's metrics need; means come out at the end.
#[derive(Debug, Default)]
struct Tally {
    sums: BTreeMap<&'static str, f64>,
    tokens: f64,
}

impl Tally {
    fn add(&mut self, name: &'static str, sum: f64) {
        *self.sums.entry(name).or_default() += sum;
    }

    fn means(&self) -> BTreeMap<&'static str, f64> {
        self.sums.iter().map(|(k, v)| (*k, v / self.tokens.max(1.0))).collect()
    }
}

/// One round's passes. Returns the means over tokens of the metrics, and the gradient norm of the last step.
pub fn learn(
    learner: &mut Learner<'_>,
    roll: &Rollout,
    c: &PpoConfig,
    rounds: &Rounds,
    round: u64,
    (lr, pad): (f64, u32),
) -> Result<BTreeMap<&'static str, f64>> {
    let o = &c.ppo;
    let device = roll.mask.device();
    let width = roll.mask.size()[1] as usize;
    let mut tally = Tally::default();
    let mut means = BTreeMap::new();
    let (mut norm, mut steps) = (0.0, 0u64);
    'passes: for pass in 0..o.epochs {
        let mut pass_tally = Tally::default();
        for (step, micro_batches) in plan_pass(rounds, c.seed, round, pass, |i| roll.episodes[i].len()).into_iter().enumerate() {
            let tokens: usize = micro_batches.iter().flatten().map(|&i| roll.episodes[i].response.len()).sum();
            let tokens = tokens as f64; // the whole optimiser step's: micro-batches of any size add up to the same gradient
            for chunk in &micro_batches {
                let picked: Vec<&Episode> = chunk.iter().map(|&i| &roll.episodes[i]).collect();
                let batch = Batch::new(&picked, pad, width, device);
                let index = Tensor::from_slice(&chunk.iter().map(|&i| i as i64).collect::<Vec<_>>()).to_device(device);
                let pick = |grid: &Tensor| grid.index_select(0, &index); // [b, R]
                let hidden = learner.policy.forward_hidden(&batch.ids, None, false); // [b, T, D]; no dropout: sampling had none
                let (logp, logits) = batch.log_probs(learner.policy, &hidden, c.rollout.temperature);
                let old = pick(&roll.old_logp);
                if pass == 0 && step == 0 {
                    gate(&logp, &old, round)?;
                }
                let policy = ppo::policy_loss(&logp, &old, &pick(&roll.advantages), &batch.mask, o.clip);
                let values = learner.critic.values(&batch, &hidden);
                let value = ppo::value_loss(&values, &pick(&roll.old_values), &pick(&roll.returns), &batch.mask, o.value_clip);
                let entropy = mask::entropy(&logits).sum(Kind::Float);
                let total = &policy.loss + &value.loss * o.value_coef - &entropy * o.entropy_coef;
                (total / tokens).backward();
                let sum = |t: &Tensor| t.sum(Kind::Double).double_value(&[]);
                for (name, t) in [
                    ("loss/policy", &policy.loss),
                    ("loss/value", &value.loss),
                    ("policy/clipfrac", &policy.clipped),
                    ("policy/approxkl", &policy.approx_kl),
                    ("val/clipfrac", &value.clipped),
                    ("val/ratio", &policy.ratio),
                    ("objective/entropy", &entropy),
                ] {
                    pass_tally.add(name, sum(t));
                }
                pass_tally.tokens += batch.mask.sum(Kind::Double).double_value(&[]);
            }
            if let Some(mixer) = learner.mixer.as_deref_mut() {
                tally.add("ptx_sum", mixer.backward(learner.policy)?);
            }
            norm = learner.policy_optim.clip_and_step(lr, c.optim.clip_norm)?;
            if let Some(optim) = learner.value_optim.as_deref_mut() {
                optim.clip_and_step(lr * c.value.lr_ratio, c.optim.clip_norm)?;
            }
            steps += 1;
        }
        let pass_means = pass_tally.means();
        let approx_kl = pass_means.get("policy/approxkl").copied().unwrap_or(0.0);
        for (name, sum) in pass_tally.sums {
            tally.add(name, sum);
        }
        tally.tokens += pass_tally.tokens;
        if o.target_approxkl > 0.0 && approx_kl > o.target_approxkl {
            break 'passes;
        }
    }
    let ptx = tally.sums.remove("ptx_sum");
    means.extend(tally.means());
    if let Some(sum) = ptx {
        means.insert("loss/ptx", sum / steps.max(1) as f64);
    }
    means.insert("grad_norm", norm);
    means.insert("updates", steps as f64);
    Ok(means)
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
