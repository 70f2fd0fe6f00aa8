//! Next-token loss for pre-training, fine-tuning and PPO-ptx.
//!
//! nll = −Σ log softmax(logits)[target] over valid positions, in nats. Divide by the batch's valid tokens for the loss, take exp of the mean for
//! perplexity, and divide the sum by ln 2 and by the bytes of the text for bits per byte.

use native::{NativeError, dense, dense::Packed};
use tch::{Device, Kind, Reduction, Tensor};

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

/// The map that makes logits of hidden states, and how its loss is smoothed.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// `[V, D]`, a leaf.
    pub weight: &'a Tensor,
    /// `[V]`, a leaf; trained where it requires a gradient.
    pub bias: Option<&'a Tensor>,
    /// Share ε of each target's probability that is spread evenly over the vocabulary (arXiv 1512.00567, section 7; PyTorch's `label_smoothing`):
    /// the loss is (1−ε)·nll + ε·mean over v of −log p(v).
    pub smoothing: f64,
}

/// How many positions go through a head of `vocabulary` columns at a time: 1,024, halved until their logits are at most 2²⁵ numbers (128 MiB of float32), and
/// 64 at least. Each pass moves the weight's whole gradient through memory, so fewer would be slower.
pub fn positions_at_once(vocabulary: i64) -> i64 {
    let mut positions = 1024;
    while positions > 64 && positions * vocabulary > 1 << 25 {
        positions /= 2;
    }
    positions
}

/// Columns of the logits' gradient that are laid out at a time for the weight's.
const COLUMNS_AT_ONCE: i64 = 8192;

/// The same loss straight from the hidden states, `chunk` positions at a time, the head's forward and backward at once: the logits of all positions,
/// the largest tensor of a small model's step, never exist together, and a chunk's become their own gradient in place.
///
/// `hidden` [N, D] with its graph, `weight` [V, D] a leaf, `targets` [N]; `scale` is 1 / (valid tokens of the whole batch). Returns the nll sum (not
/// scaled) and a scalar whose backward pass adds the gradient of `scale`·nll to `weight` and, through `hidden`, to all that made it; a frozen weight costs
/// no gradient. Products are in the precision of `hidden`; the loss, and the sum of the weight's gradient over the chunks, are in float32.
pub fn nll_chunked(hidden: &Tensor, weight: &Tensor, targets: &Tensor, scale: f64, chunk: i64) -> (f64, Tensor) {
    chunked(hidden, Output { weight, bias: None, smoothing: 0.0 }, targets, scale, chunk)
}

/// [`nll_chunked`] with a bias and label smoothing.
pub fn chunked(hidden: &Tensor, output: Output<'_>, targets: &Tensor, scale: f64, chunk: i64) -> (f64, Tensor) {
    debug_assert_eq!(hidden.size()[0], targets.size()[0]);
    chunked_by(hidden, output, chunk, |logits, start| {
        let targets = targets.narrow(0, start, logits.size()[0]);
        smoothed_gradient_in_place(logits, &targets, scale, output.smoothing)
    })
}

/// The same for any loss of single positions: `to_gradient` turns the logits `[n, V]` of positions from `start` on into the gradient with respect to them and
/// returns their loss.
pub(crate) fn chunked_by(
    hidden: &Tensor,
    output: Output<'_>,
    chunk: i64,
    mut to_gradient: impl FnMut(&mut Tensor, i64) -> f64,
) -> (f64, Tensor) {
    let weight = output.weight;
    let states = hidden.detach();
    let head = Head::new(&states, weight);
    let (grad_states, mut grad_weight) = (states.empty_like(), weight.requires_grad().then(|| weight.detach().zeros_like()));
    let bias = output.bias.map(|b| b.detach().to_kind(states.kind()));
    let mut grad_bias = output.bias.filter(|b| b.requires_grad()).map(|b| b.detach().zeros_like());
    let mut total = 0.0;
    for start in (0..states.size()[0]).step_by(chunk.max(1) as usize) {
        let rows = chunk.max(1).min(states.size()[0] - start);
        let part = states.narrow(0, start, rows); // [chunk, D]
        let to_gradient = |logits: &mut Tensor| {
            if let Some(bias) = &bias {
                let _ = logits.g_add_(bias);
            }
            let loss = to_gradient(logits, start);
            if let Some(grad) = &mut grad_bias {
                let _ = grad.g_add_(&logits.sum_dim_intlist(0, false, Kind::Float));
            }
            loss
        };
        let (loss, grad) = head.chunk(&part, grad_weight.as_mut(), to_gradient);
        grad_states.narrow(0, start, rows).copy_(&grad);
        total += loss;
    }
    let leaves = [(Some(hidden), Some(grad_states)), (Some(weight), grad_weight), (output.bias, grad_bias)];
    let gradients = leaves.into_iter().filter_map(|(tensor, gradient)| tensor.zip(gradient)).collect();
    (total, native::carry(gradients).unwrap_or_else(|e| panic!("{e}"))) // each gradient was made like its tensor
}

/// The output head in the precision of the states.
enum Head {
    /// By libtorch's operators, `[V, D]`.
    Plain(Tensor),
    /// By our kernels: the weight laid out for states to logits, and for gradients back.
    Packed { forward: Packed, backward: Packed },
}

impl Head {
    fn new(states: &Tensor, weight: &Tensor) -> Head {
        let weight = weight.detach();
        let kind = states.kind();
        let kernels = states.device() == Device::Cpu && dense::supported(kind) && states.size()[1] % 2 == 0;
        if kernels && let (Ok(forward), Ok(backward)) = (Packed::along(&weight, kind), Packed::across(&weight, kind)) {
            return Head::Packed { forward, backward };
        }
        Head::Plain(weight.to_kind(states.kind()))
    }

    /// The loss of one chunk `[n, D]`, by `to_gradient`, which turns logits `[n, V]` into their gradient, and the gradient of its states; that of the weight
    /// is added to `grad_weight`.
    fn chunk(&self, part: &Tensor, grad_weight: Option<&mut Tensor>, mut to_gradient: impl FnMut(&mut Tensor) -> f64) -> (f64, Tensor) {
        match self {
            Head::Plain(head) => {
                let mut logits = part.mm(&head.tr()); // [n, V]
                let loss = to_gradient(&mut logits);
                match (grad_weight, part.kind()) {
                    (Some(sum), Kind::Float) => _ = sum.addmm_(&logits.tr(), part),
                    (Some(sum), _) => _ = sum.g_add_(&logits.tr().mm(part)),
                    (None, _) => {}
                }
                (loss, logits.mm(head))
            }
            Head::Packed { forward, backward } => {
                let mut pass = |grad_weight: Option<&mut Tensor>| -> Result<(f64, Tensor), NativeError> {
                    let logits = forward.multiply_even(part)?; // [n, V], a column of 0 behind an odd V
                    let vocabulary = forward.columns();
                    let loss = to_gradient(&mut logits.narrow(1, 0, vocabulary));
                    if let Some(sum) = grad_weight {
                        let states = Packed::across(part, part.kind())?;
                        for from in (0..vocabulary).step_by(COLUMNS_AT_ONCE as usize) {
                            let columns = COLUMNS_AT_ONCE.min(vocabulary - from);
                            let some = Packed::left(&logits.narrow(1, from, columns), part.kind())?;
                            some.add_transposed(&states, &mut sum.narrow(0, from, columns))?;
                        }
                    }
                    Ok((loss, backward.multiply(&logits, None, part.kind())?))
                };
                pass(grad_weight).unwrap_or_else(|e| panic!("{e}")) // shapes were checked when the head was packed
            }
        }
    }
}

/// Turns logits [N, V] into the gradient of `scale`·loss with respect to them and returns the loss, smoothed by ε:
/// nll + ε·Σ (logit of the target − mean logit), whose gradient adds ε·(one-hot − 1/V) to that of the nll.
pub(crate) fn smoothed_gradient_in_place(logits: &mut Tensor, targets: &Tensor, scale: f64, smoothing: f64) -> f64 {
    if smoothing == 0.0 {
        return gradient_in_place(logits, targets, scale);
    }
    let (valid, at) = (targets.ne(IGNORE).unsqueeze(1), targets.clamp_min(0).unsqueeze(1)); // [N, 1]
    let above = logits.gather(1, &at, false).to_kind(Kind::Float) - logits.mean_dim(1, true, Kind::Float);
    let more = (above * &valid).sum(Kind::Double).double_value(&[]) * smoothing;
    let nll = gradient_in_place(logits, targets, scale);
    let share = (valid.to_kind(Kind::Float) * (scale * smoothing)).to_kind(logits.kind()); // [N, 1]
    let _ = logits.scatter_add_(1, &at, &share);
    let _ = logits.g_sub_(&(share / logits.size()[1] as f64));
    nll + more
}

/// Turns logits [N, V] into the gradient of `scale`·nll with respect to them and returns the nll sum.
fn gradient_in_place(logits: &mut Tensor, targets: &Tensor, scale: f64) -> f64 {
    if let Ok(nll) = native::cross_entropy_in_place(logits, targets, IGNORE, scale) {
        return nll;
    }
    // Elsewhere than on the CPU, by libtorch's operators.
    let log_probs = logits.log_softmax(-1, Kind::Float);
    let (valid, at) = (targets.ne(IGNORE).unsqueeze(1), targets.clamp_min(0).unsqueeze(1)); // [N, 1]
    let nll = -(log_probs.gather(1, &at, false) * &valid).sum(Kind::Double);
    let onehot = log_probs.zeros_like().scatter_value(1, &at, 1.0);
    logits.copy_(&((log_probs.exp() - onehot) * &valid * scale));
    nll.double_value(&[])
}
