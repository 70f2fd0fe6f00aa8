//! Masked means and variances, whitening, log-probabilities, entropy: each exists once, here.
//!
//! A mask is a tensor of 0 and 1 (any kind that multiplies with floats). Where it is 0, values are ignored even if they are NaN or infinite.

use tch::{Kind, Reduction, Tensor};

/// Added to a variance before its root is taken (lm-human-preferences `utils/core.py`, TRL, summarize-from-feedback alike).
pub const WHITEN_EPS: f64 = 1e-8;

/// `x` where the mask is 1, and 0 elsewhere. Unlike a product with the mask this keeps NaN out, also of the gradient.
pub fn zero_outside(x: &Tensor, mask: &Tensor) -> Tensor {
    x.masked_fill(&mask.eq(0), 0.0)
}

/// Sum over valid items. Scalar.
pub fn masked_sum(x: &Tensor, mask: &Tensor) -> Tensor {
    debug_assert_eq!(x.size(), mask.size());
    zero_outside(x, mask).sum(None)
}

/// Number of valid items.
pub fn count(mask: &Tensor) -> f64 {
    mask.sum(Kind::Double).double_value(&[])
}

/// Mean over valid items; 0 where there is none. Scalar.
pub fn masked_mean(x: &Tensor, mask: &Tensor) -> Tensor {
    masked_sum(x, mask) / count(mask).max(1.0)
}

/// Variance over valid items. `unbiased` divides by n − 1 (TRL, verl), otherwise by n (lm-human-preferences, summarize-from-feedback).
/// 0 where there are too few items. Scalar.
pub fn masked_var(x: &Tensor, mask: &Tensor, unbiased: bool) -> Tensor {
    let n = count(mask);
    let divisor = if unbiased { n - 1.0 } else { n };
    let centred = x - masked_mean(x, mask);
    masked_sum(&centred.square(), mask) / divisor.max(1.0)
}

/// Scales the valid items to unit variance: (x − μ)/√(σ² + 1e-8). Their mean becomes 0, or with `shift_mean = false` stays μ, unscaled, which is how
/// rewards are whitened. Items outside the mask become 0. Constant input loses its scale but not, with `shift_mean = false`, its mean.
pub fn whiten(x: &Tensor, mask: &Tensor, shift_mean: bool, unbiased: bool) -> Tensor {
    let mean = masked_mean(x, mask);
    let scaled = (x - &mean) * (masked_var(x, mask, unbiased) + WHITEN_EPS).rsqrt();
    zero_outside(&if shift_mean { scaled } else { scaled + mean }, mask)
}

/// Log-probability of each target. `logits` [B, T, V] (float32, already divided by the temperature), `targets` [B, T] int64 → [B, T].
pub fn log_probs(logits: &Tensor, targets: &Tensor) -> Tensor {
    let shape = logits.size();
    let (vocab, outer) = shape.split_last().expect("logits have a vocabulary dimension");
    debug_assert_eq!(outer, targets.size());
    // Cross-entropy without reduction: one fused log-softmax, and the gradient allocates once. No target is -1, so none is ignored.
    logits.reshape([-1, *vocab]).cross_entropy_loss(&targets.reshape([-1]), None::<&Tensor>, Reduction::None, -1, 0.0).neg().reshape(outer)
}

/// [`log_probs`] of `targets` [N] under softmax(logits / temperature) and the [`entropy`] of that, both [N] float32, with one pass over the logits [N, V]
/// (float32 or bfloat16) and one over their gradient on the CPU.
pub fn token_log_probs(logits: &Tensor, targets: &Tensor, temperature: f64) -> (Tensor, Tensor) {
    if let Ok(both) = native::token_log_probs(logits, targets, 1.0 / temperature) {
        return both;
    }
    let logits = logits.to_kind(Kind::Float) / temperature;
    (log_probs(&logits, targets), entropy(&logits))
}

/// Entropy of each predicted distribution in nats: logsumexp − Σ p·logit. `logits` [B, T, V] → [B, T].
pub fn entropy(logits: &Tensor) -> Tensor {
    let p = logits.softmax(-1, None);
    logits.logsumexp(-1, false) - (p * logits).sum_dim_intlist(-1, false, None)
}
