//! Seconds of one optimiser step, by what they go to.

use super::cluster::{Cluster, ring};
use super::layout::{Job, Layout, Recompute, Zero};
use super::shape::Shape;

/// Where a step's time goes, on the device that is busy longest. The optimiser's own pass over its states is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// Matrix products and attention that the model needs.
    pub products: f64,
    /// The same once more, where memory was saved by it.
    pub again: f64,
    /// Waiting while the pipeline fills and drains.
    pub bubble: f64,
    /// Exchanges among devices that share matrices; nothing hides them.
    pub tensor: f64,
    /// Activations handed to the next stage and gradients handed back.
    pub pipeline: f64,
    /// Gradients (and cut weights) among copies, as far as no pass hides them.
    pub data: f64,
}

impl Time {
    /// Of a step.
    pub fn of(shape: &Shape, cluster: &Cluster, job: &Job, layout: &Layout) -> Time {
        let (t, p, d) = (layout.tensor, layout.pipeline, layout.data);
        let m = layout.micro_batches(job) as f64;
        let micro_tokens = (layout.micro * job.context) as f64;
        let speed = cluster.peak * cluster.efficiency * (t * p) as f64;
        let products = m * micro_tokens * shape.flops(job.context) / speed;
        let forward = |block: f64| m * micro_tokens * shape.layers as f64 * block / speed;
        let again = match layout.recompute {
            Recompute::Nothing => 0.0,
            Recompute::Attention => forward(shape.attention_flops(job.context)),
            Recompute::Blocks => forward(shape.block_flops() + shape.attention_flops(job.context)),
        };
        let bubble = (products + again) * (p - 1) as f64 / m;

        let activations = 2.0 * micro_tokens * shape.width as f64; // bfloat16
        // Attention and MLP each end in a sum over devices, forward and backward: a gather and a scatter each.
        let sums = if layout.recompute == Recompute::Blocks { 6.0 } else { 4.0 };
        let blocks = shape.layers.div_ceil(p) as f64;
        let tensor = m * blocks * sums * 2.0 * ring(activations, t, cluster.link(t, 1), cluster.latency);
        let hop = activations / t as f64 / cluster.link(p, t * d) + cluster.latency;
        let pipeline = if p > 1 { 2.0 * m * hop } else { 0.0 };

        let weights = shape.weights() / (t * p) as f64;
        let over = |bytes: f64| ring(weights * bytes, d, cluster.link(d, t), cluster.latency);
        let (gather, scatter) = (over(job.states.weights), over(job.states.gradients));
        // A backward pass is two thirds of a micro-batch; what is exchanged for each is hidden behind its own, but for the gradient that is ready last, the
        // embedding's. Where weights are cut, the embedding has to be there before anything can be computed, too.
        let part = (shape.vocabulary * shape.width) as f64 / t as f64 / (shape.weights() / (t * p) as f64);
        let behind = |share: f64, exchange: f64, bare: f64| (exchange - share * (products + again) / m).max(bare * part.min(1.0));
        let data = match layout.zero {
            Zero::Off => behind(2.0 / 3.0, 2.0 * scatter, 2.0 * scatter),
            Zero::Optimizer => behind(2.0 / 3.0, scatter, scatter) + gather,
            Zero::Gradients => m * behind(2.0 / 3.0, scatter, scatter) + gather,
            Zero::Weights => m * behind(1.0, 2.0 * gather + scatter, gather + scatter),
        };
        Time { products, again, bubble, tensor, pipeline, data }
    }

    /// A step's seconds.
    pub fn total(&self) -> f64 {
        self.products + self.again + self.bubble + self.tensor + self.pipeline + self.data
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::States;
    use super::*;

    /// Narayanan et al. 2021, section 5.1: GPT-3 over 300 billion tokens on 1,024 A100s, batch 1,536, blocks computed again: 34 days. Theirs follow from
    /// the 140 of 312 TFLOP/s that they measured; ours come from the parts. 15% is what an efficiency of 0.6 for every product may be off.
    #[test]
    fn days_of_gpt_3() {
        let cluster = Cluster::named("a100", 1024).unwrap();
        let job = Job { context: 2048, batch: 1536, states: States::MIXED };
        let layout = Layout { tensor: 8, pipeline: 8, data: 16, zero: Zero::Off, micro: 1, recompute: Recompute::Blocks };
        let step = Time::of(&Shape::named("175b").unwrap(), &cluster, &job, &layout).total();
        let days = step * 300e9 / (1536.0 * 2048.0) / 86_400.0;
        assert!((days / 34.0 - 1.0).abs() < 0.15, "{days}");
    }

    /// Korthikanti et al. 2023: 530 billion weights on 2,240 A100s run 29% faster when attention alone is computed again.
    #[test]
    fn attention_again_instead_of_blocks() {
        let (shape, cluster) = (Shape::named("530b").unwrap(), Cluster::named("a100", 2240).unwrap());
        let job = Job { context: 2048, batch: 2240, states: States::MIXED };
        let step = |recompute| {
            let layout = Layout { tensor: 8, pipeline: 35, data: 8, zero: Zero::Off, micro: 1, recompute };
            Time::of(&shape, &cluster, &job, &layout).total()
        };
        let faster = step(Recompute::Blocks) / step(Recompute::Attention);
        assert!((faster - 1.29).abs() < 0.05, "{faster}");
    }

    #[test]
    fn data_parallel_by_hand() {
        let shape = Shape::gpt(2, 64, 4, 100, 0);
        let cluster = Cluster { devices: 4, per_node: 1, memory: 1e9, peak: 1e9, efficiency: 0.5, inside: 1e9, between: 1e5, latency: 0.0 };
        let job = Job { context: 16, batch: 8, states: States::OURS };
        let layout = Layout { tensor: 1, pipeline: 1, data: 4, zero: Zero::Off, micro: 2, recompute: Recompute::Nothing };
        let time = Time::of(&shape, &cluster, &job, &layout);
        let products = 32.0 * shape.flops(16) / 0.5e9; // 2 sequences of 16 tokens a device
        let exchange = 2.0 * 0.75 * 4.0 * shape.weights() / 1e5;
        assert!((time.products - products).abs() < 1e-12);
        assert!((time.data - (exchange - 2.0 / 3.0 * products)).abs() < 1e-9);
        let alone = Time::of(&shape, &cluster, &job, &Layout { data: 1, ..layout });
        assert_eq!((alone.data, alone.bubble, alone.tensor, alone.pipeline), (0.0, 0.0, 0.0, 0.0));
    }
}
