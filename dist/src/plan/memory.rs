//! Bytes of the fullest device.

use super::layout::{Job, Layout, Recompute, Zero};
use super::shape::Shape;

/// What fills a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Weights.
    pub weights: f64,
    /// Gradients.
    pub gradients: f64,
    /// Moments and master weights.
    pub optimizer: f64,
    /// What the backward pass will read.
    pub activations: f64,
}

impl Memory {
    /// Of the first stage of the pipeline, which holds the embedding and has the most micro-batches on their way.
    pub fn of(shape: &Shape, job: &Job, layout: &Layout) -> Memory {
        let t = layout.tensor as f64;
        let blocks = shape.layers.div_ceil(layout.pipeline) as f64;
        let ends = if layout.pipeline == 1 { shape.embeddings() } else { (shape.vocabulary + shape.positions) as f64 * shape.width as f64 };
        let weights = (blocks * shape.block() + ends) / t;
        let cut = |from: Zero| if layout.zero >= from { layout.data as f64 } else { 1.0 };
        // One-forward-one-backward: as many micro-batches are on their way as stages follow, so a first stage holds what all blocks would of one.
        let in_flight = layout.pipeline.min(layout.micro_batches(job)) as f64;
        let logits = if layout.pipeline == 1 { 4.0 * (layout.micro * job.context * shape.vocabulary) as f64 / t } else { 0.0 };
        // The block that is computed again is whole for that time.
        let once = Layout { recompute: Recompute::Attention, ..*layout };
        let again = if layout.recompute == Recompute::Blocks { activations(shape, job.context, &once) } else { 0.0 };
        // Cut weights are gathered a block at a time: the one at work, and the next on its way.
        let gathered = if layout.zero == Zero::Weights && layout.data > 1 { 2.0 * shape.block() / t * job.states.weights } else { 0.0 };
        Memory {
            weights: weights * job.states.weights / cut(Zero::Weights) + gathered,
            gradients: weights * job.states.gradients / cut(Zero::Gradients),
            optimizer: weights * job.states.optimizer / cut(Zero::Optimizer),
            activations: in_flight * blocks * activations(shape, job.context, layout) + again + logits,
        }
    }

    /// All together.
    pub fn total(&self) -> f64 {
        self.weights + self.gradients + self.optimizer + self.activations
    }
}

/// Bytes that one block keeps of one micro-batch, in bfloat16, with sequence parallelism over the tensor-parallel devices (arXiv 2205.05198, table 2):
///   nothing again    s·b·h/t · (34 + 5·a·s/h)
///   attention again  s·b·h/t · 34
///   blocks again     s·b·h/t · 2
/// The 34 of GPT's proportions: 4 for the two norms' inputs, 11 for attention (input, queries, keys, values, what the output map reads, a mask), 19 for the MLP
/// (input, inner values before and after the activation, a mask). Other widths, of heads too, are counted by the same rule, a gate's inner values as well.
fn activations(shape: &Shape, context: u64, layout: &Layout) -> f64 {
    let (s, b, h, a, t) = (context as f64, layout.micro as f64, shape.width as f64, shape.heads as f64, layout.tensor as f64);
    let (q, kv) = (shape.queries() / h, (shape.kv_heads * shape.head_dim) as f64 / h);
    let attention = 2.0 + 2.0 * q + 4.0 * kv + 2.0 * q + 1.0; // input, queries, keys and values, what the output map reads, dropout's mask
    let inner = shape.ffn as f64 / h;
    let mlp = 2.0 + inner * if shape.gated { 8.0 } else { 4.0 } + 1.0; // input; inner values before and after; dropout's mask
    let norms = 4.0;
    let scores = 5.0 * a * s / h;
    s * b * h / t
        * match layout.recompute {
            Recompute::Nothing => attention + mlp + norms + scores,
            Recompute::Attention => attention + mlp + norms,
            Recompute::Blocks => 2.0,
        }
}

#[cfg(test)]
mod tests {
    use super::super::layout::States;
    use super::*;

    const JOB: Job = Job { context: 2048, batch: 64, states: States::MIXED };
    const LAYOUT: Layout = Layout { tensor: 1, pipeline: 1, data: 1, zero: Zero::Off, micro: 1, recompute: Recompute::Nothing };

    /// Figure 1 of the ZeRO paper: 7.5 billion weights over 64 devices. (It leaves out the blocks that ZeRO-3 has gathered.)
    #[test]
    fn model_states_of_the_zero_paper() {
        let shape = Shape { vocabulary: 0, positions: 0, ..Shape::gpt(72, 2946, 1, 0, 0) };
        assert!((shape.weights() / 7.5e9 - 1.0).abs() < 1e-3, "{}", shape.weights());
        for (zero, gigabytes) in [(Zero::Off, 120.0), (Zero::Optimizer, 31.4), (Zero::Gradients, 16.6), (Zero::Weights, 1.9)] {
            let m = Memory::of(&shape, &JOB, &Layout { data: 64, zero, ..LAYOUT });
            let gathered = if zero == Zero::Weights { 2.0 * 2.0 * shape.block() } else { 0.0 };
            let states = (m.total() - m.activations - gathered) / 1e9;
            assert!((states - gigabytes).abs() < 0.06 + gigabytes * 1e-3, "{zero:?}: {states}");
        }
    }

    /// Korthikanti et al.: 34 + 5as/h bytes; computing attention again saves 70% for GPT-3 and 65% for MT-NLG.
    #[test]
    fn activations_of_the_paper() {
        for (name, saved) in [("175b", 0.70), ("530b", 0.65)] {
            let shape = Shape::named(name).unwrap();
            let of = |recompute| activations(&shape, 2048, &Layout { recompute, ..LAYOUT });
            let sbh = 2048.0 * shape.width as f64;
            assert!((of(Recompute::Attention) / sbh - 34.0).abs() < 1e-9);
            assert!((1.0 - of(Recompute::Attention) / of(Recompute::Nothing) - saved).abs() < 0.006, "{name}");
            assert!((of(Recompute::Blocks) / sbh - 2.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_first_stage_holds_as_much_as_all_blocks_of_one_micro_batch() {
        let shape = Shape::named("175b").unwrap();
        let whole = Memory::of(&shape, &JOB, &LAYOUT);
        let staged = Memory::of(&shape, &JOB, &Layout { pipeline: 8, ..LAYOUT });
        let logits = 4.0 * 2048.0 * shape.vocabulary as f64;
        assert!((staged.activations / (whole.activations - logits) - 1.0).abs() < 1e-12);
        assert!(staged.weights < whole.weights / 7.0);
        let shared = Memory::of(&shape, &JOB, &Layout { tensor: 8, ..LAYOUT });
        assert!((whole.total() / shared.total() - 8.0).abs() < 1e-9);
    }
}
