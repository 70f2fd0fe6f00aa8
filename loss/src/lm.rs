//! Next-token loss for pre-training, fine-tuning and PPO-ptx.
//!
//! nll = −Σ log softmax(logits)[target] over valid positions, in nats. Divide by the batch's valid tokens for the loss, take exp of the mean for
//! perplexity, and divide the sum by ln 2 and by the bytes of the text for bits per byte.

use tch::{Reduction, Tensor};

/// Targets with this id are not predicted (PyTorch's default, and Hugging Face's label for "no loss here").
pub const IGNORE: i64 = -100;

/// Summed negative log-likelihood. `logits` [.., V], `targets` [..] int64, [`IGNORE`] where nothing is to be learned. Scalar.
pub fn nll_sum(logits: &Tensor, targets: &Tensor) -> Tensor {
    let shape = logits.size();
    let (vocab, outer) = shape.split_last().expect("logits have a vocabulary dimension");
    debug_assert_eq!(outer, targets.size());
    let (logits, targets) = (logits.reshape([-1, *vocab]), targets.reshape([-1]));
    logits.cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Sum, IGNORE, 0.0)
}

/// Puts [`IGNORE`] where the mask is 0. `targets` and `mask` [..] → [..].
pub fn mask_targets(targets: &Tensor, mask: &Tensor) -> Tensor {
    debug_assert_eq!(targets.size(), mask.size());
    targets.masked_fill(&mask.eq(0), IGNORE)
}

/// Number of targets that count.
pub fn target_count(targets: &Tensor) -> i64 {
    targets.ne(IGNORE).sum(None).int64_value(&[])
}

/// The same loss straight from the hidden states, `chunk` positions at a time, forward and backward at once: the logits of all positions, the
/// largest tensor of a small model's step, never exist together.
///
/// `hidden` [N, D] with its graph, `weight` [V, D] a leaf, `targets` [N]. Adds the gradient of `scale`·nll to `weight` and, through `hidden`, to all that
/// made it, and returns the nll sum (not scaled). `scale` is 1 / (valid tokens of the whole batch).
pub fn nll_backward_chunked(hidden: &Tensor, weight: &Tensor, targets: &Tensor, scale: f64, chunk: i64) -> f64 {
    debug_assert_eq!(hidden.size()[0], targets.size()[0]);
    let leaf = hidden.detach().set_requires_grad(true); // [N, D]; collects d nll / d hidden
    let mut total = 0.0;
    for start in (0..hidden.size()[0]).step_by(chunk.max(1) as usize) {
        let rows = chunk.max(1).min(hidden.size()[0] - start);
        let logits = leaf.narrow(0, start, rows).linear(weight, None::<&Tensor>); // [chunk, V]
        let nll = nll_sum(&logits, &targets.narrow(0, start, rows));
        total += nll.double_value(&[]);
        (nll * scale).backward();
    }
    // Σ hidden·g has the gradient g with respect to hidden: it carries the collected gradient into the graph.
    (hidden * leaf.grad()).sum(None).backward();
    total
}
