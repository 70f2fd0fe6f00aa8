//! PPO for language models (arXiv 1707.06347) with a per-token KL penalty (arXiv 1909.08593): rewards, advantages, clipped losses, KL control.
//!
//! All tensors are [B, T] over the same positions unless said otherwise; `mask` is 1 at the positions of response tokens, end token included.
//! Positions outside the mask (prompt, padding) never count, whatever they hold.

use crate::mask::{masked_sum, zero_outside};
use tch::{Kind, Tensor};

/// Estimator of KL(π ‖ π_ref) from one sampled token, with d = log π − log π_ref (Schulman 2020, "Approximating KL divergence").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KlEstimator {
    /// d: unbiased, may be negative.
    K1,
    /// ½ d²: biased, low variance.
    K2,
    /// e^−d − 1 + d: unbiased, never negative.
    K3,
}

/// Limits of a KL estimate, each ± the number; 0 is no limit. verl has 20 and 10 for k3, OpenRLHF 0 and 10 for k3, the others none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KlClamp {
    /// Of d, before the estimator, so that e^−d cannot overflow.
    pub difference: f64,
    /// Of the estimate.
    pub estimate: f64,
}

/// Per-token KL estimate. [B, T] → [B, T].
pub fn kl_penalty(log_probs: &Tensor, ref_log_probs: &Tensor, estimator: KlEstimator, clamp: KlClamp) -> Tensor {
    let within = |x: Tensor, limit: f64| if limit > 0.0 { x.clamp(-limit, limit) } else { x };
    let d = within(log_probs - ref_log_probs, clamp.difference);
    let estimate = match estimator {
        KlEstimator::K1 => d,
        KlEstimator::K2 => d.square() * 0.5,
        KlEstimator::K3 => d.neg().expm1() + d,
    };
    within(estimate, clamp.estimate)
}

/// Per-token rewards: −β·kl, plus each row's score at its last valid position. `kl` [B, T], `scores` [B] → [B, T].
///
/// Where that is, the mask says: with response tokens only it is the last of them (OpenRLHF, trlX; with answers of one fixed length OpenAI's last
/// slot); with one more position after an end token it is that one (summarize-from-feedback, TRL), whose value is that of the finished text.
/// A row without valid positions gets nothing.
pub fn token_rewards(kl: &Tensor, scores: &Tensor, mask: &Tensor, kl_coef: f64) -> Tensor {
    zero_outside(&(kl * -kl_coef), mask) + last_valid(mask) * scores.unsqueeze(1)
}

/// 1 at the last position of each row where the mask is 1, else 0. [B, T] float32.
pub fn last_valid(mask: &Tensor) -> Tensor {
    let valid = mask.ne(0).to_kind(Kind::Float);
    let after = valid.flip([1]).cumsum(1, Kind::Float).flip([1]); // valid positions from here on
    after.eq(1.0).logical_and(&valid.gt(0.0)).to_kind(Kind::Float)
}

/// Generalised advantage estimation (arXiv 1506.02438): (advantages, returns), both [B, T], 0 outside the mask.
///
/// δ_t = r_t + γ·V_{t+1} − V_t,  A_t = δ_t + γλ·A_{t+1},  R_t = A_t + V_t. After a row's last valid position V and A are 0: responses end there, also
/// those cut off by their length (as all RLHF references have it). Valid positions of a row must be next to each other.
pub fn gae(rewards: &Tensor, values: &Tensor, mask: &Tensor, gamma: f64, lambda: f64) -> (Tensor, Tensor) {
    debug_assert_eq!(rewards.size(), values.size());
    debug_assert_eq!(rewards.size(), mask.size());
    let _no_grad = tch::no_grad_guard();
    let (rewards, values) = (zero_outside(rewards, mask), zero_outside(values, mask));
    let steps = rewards.size()[1];
    let valid = mask.ne(0);
    let (mut advantage, mut next_value) = (rewards.select(1, 0).zeros_like(), rewards.select(1, 0).zeros_like()); // [B]
    let mut columns = Vec::with_capacity(steps as usize);
    for t in (0..steps).rev() {
        let value = values.select(1, t);
        let delta = rewards.select(1, t) + &next_value * gamma - &value;
        // Outside the mask the estimate starts again from 0, so what stands behind a gap never leaks in.
        advantage = (delta + &advantage * (gamma * lambda)) * valid.select(1, t);
        next_value = value;
        columns.push(advantage.shallow_clone());
    }
    columns.reverse();
    let advantages = Tensor::stack(&columns, 1);
    let returns = &advantages + &values;
    (advantages, returns)
}

/// Sums of the clipped policy objective over valid tokens; divide by the minibatch's valid tokens. Scalars.
#[derive(Debug)]
pub struct PolicyLoss {
    /// Σ max(−A·r, −A·clip(r, 1−ε, 1+ε)) with r = π/π_old, bounded by dual clipping where that is on; carries the gradient.
    pub loss: Tensor,
    /// Tokens where the clipped branch was the larger.
    pub clipped: Tensor,
    /// Σ ½·(log π − log π_old)², an estimate of the KL moved in this round.
    pub approx_kl: Tensor,
    /// Σ r.
    pub ratio: Tensor,
    /// max |log r|: exactly 0 before the first update of a round, or sampling and training disagree.
    pub max_log_ratio: Tensor,
}

/// How far the probability ratio r counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyClip {
    /// ε below 1.
    pub low: f64,
    /// ε above 1; larger than `low` lets unlikely tokens grow ("clip-higher", arXiv 2503.14476 eq. 10).
    pub high: f64,
    /// c of dual clipping (arXiv 1912.09729 eq. 5): where A < 0 the loss is at most −A·c, so that a large r cannot throw the policy. ≤ 0 is off.
    pub dual: f64,
}

impl PolicyClip {
    /// The usual range 1 ± ε.
    pub fn symmetric(epsilon: f64) -> PolicyClip {
        PolicyClip { low: epsilon, high: epsilon, dual: 0.0 }
    }
}

/// Clipped surrogate (arXiv 1707.06347 eq. 7, negated), summed.
pub fn policy_loss(log_probs: &Tensor, old_log_probs: &Tensor, advantages: &Tensor, mask: &Tensor, clip: PolicyClip) -> PolicyLoss {
    // Zero before exp: a masked position may hold anything, and exp of it may overflow into the gradient.
    let log_ratio = zero_outside(&(log_probs - old_log_probs), mask);
    let advantages = zero_outside(advantages, mask);
    let ratio = log_ratio.exp();
    let plain = -&advantages * &ratio;
    let clamped = -&advantages * ratio.clamp(1.0 - clip.low, 1.0 + clip.high);
    let mut worst = plain.maximum(&clamped);
    if clip.dual > 0.0 {
        let bounded = worst.minimum(&(&advantages * -clip.dual));
        worst = bounded.where_self(&advantages.lt(0.0), &worst);
    }
    let loss = masked_sum(&worst, mask);
    let (log_ratio, ratio) = (log_ratio.detach(), ratio.detach());
    PolicyLoss {
        loss,
        clipped: masked_sum(&clamped.detach().gt_tensor(&plain.detach()).to_kind(Kind::Float), mask),
        approx_kl: masked_sum(&(log_ratio.square() * 0.5), mask),
        ratio: masked_sum(&ratio, mask),
        max_log_ratio: log_ratio.abs().max(),
    }
}

/// Sums of the value loss over valid tokens. Scalars.
#[derive(Debug)]
pub struct ValueLoss {
    /// Σ ½·max((V−R)², (clip(V, V_old±ε)−R)²); carries the gradient.
    pub loss: Tensor,
    /// Tokens where the clipped branch was the larger.
    pub clipped: Tensor,
}

/// Value loss, clipped around the old values as OpenAI's baselines `ppo2` do; `clip` ≤ 0 does not clip. Summed.
pub fn value_loss(values: &Tensor, old_values: &Tensor, returns: &Tensor, mask: &Tensor, clip: f64) -> ValueLoss {
    let values = zero_outside(values, mask);
    let (old, returns) = (zero_outside(old_values, mask), zero_outside(returns, mask));
    let plain = (&values - &returns).square();
    if clip <= 0.0 {
        let clipped = plain.detach().sum(None).zeros_like();
        return ValueLoss { loss: masked_sum(&plain, mask) * 0.5, clipped };
    }
    let near_old = values.maximum(&(&old - clip)).minimum(&(&old + clip));
    let clamped = (near_old - &returns).square();
    let clipped = masked_sum(&clamped.detach().gt_tensor(&plain.detach()).to_kind(Kind::Float), mask);
    ValueLoss { loss: masked_sum(&plain.maximum(&clamped), mask) * 0.5, clipped }
}

/// The KL coefficient, fixed or steered to a target (arXiv 1909.08593 §2.2): e = clip(KL/target − 1, ±0.2), β ← β·(1 + e·n/horizon).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KlController {
    /// β.
    pub coef: f64,
    target: f64,
    horizon: f64,
}

impl KlController {
    /// A controller that starts at `coef`. `target` is in nats a response; ≤ 0 keeps the coefficient fixed. `horizon` is in episodes.
    pub fn new(coef: f64, target: f64, horizon: f64) -> KlController {
        KlController { coef, target, horizon }
    }

    /// Learns that `episodes` responses had the mean KL `kl` (summed over each response's tokens).
    pub fn update(&mut self, kl: f64, episodes: usize) {
        if self.target > 0.0 && kl.is_finite() {
            let error = (kl / self.target - 1.0).clamp(-0.2, 0.2);
            self.coef *= 1.0 + error * episodes as f64 / self.horizon;
        }
    }
}
