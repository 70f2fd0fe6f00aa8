//! All ways to spread a job, from the fastest that fits.

use super::cluster::Cluster;
use super::layout::{Job, Layout, Recompute, Zero};
use super::memory::Memory;
use super::shape::Shape;
use super::time::Time;

/// Share of a device's memory that a plan may fill; the rest is for buffers, workspaces and what the allocator loses.
const USABLE: f64 = 0.9;

/// A layout with its costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// How the job is spread.
    pub layout: Layout,
    /// What fills the fullest device.
    pub memory: Memory,
    /// Where a step's time goes.
    pub time: Time,
    /// Whether it fits.
    pub fits: bool,
    /// Tokens a second, all devices together.
    pub tokens_per_s: f64,
    /// Share of the devices' peak that the model's own operations reach (what is computed again does not count).
    pub utilisation: f64,
}

/// One layout's costs; what is wrong with it otherwise.
pub fn evaluate(shape: &Shape, cluster: &Cluster, job: &Job, layout: Layout) -> Result<Plan, String> {
    let Layout { tensor: t, pipeline: p, data: d, micro, .. } = layout;
    if [t, p, d, micro].contains(&0) {
        return Err("every count must be at least 1".into());
    }
    if t.checked_mul(p).and_then(|n| n.checked_mul(d)) != Some(cluster.devices) {
        return Err(format!("tensor {t} × pipeline {p} × data {d} is not what the cluster has: {} devices", cluster.devices));
    }
    if !shape.heads.is_multiple_of(t) || !shape.kv_heads.is_multiple_of(t) {
        return Err(format!("{} heads ({} of keys) cannot be shared by {t} devices", shape.heads, shape.kv_heads));
    }
    if p > shape.layers {
        return Err(format!("{} blocks do not make {p} stages", shape.layers));
    }
    if d.checked_mul(micro).is_none_or(|n| !job.batch.is_multiple_of(n)) {
        return Err(format!("a batch of {} is no multiple of {d} copies × micro-batches of {micro}", job.batch));
    }
    let (memory, time) = (Memory::of(shape, job, &layout), Time::of(shape, cluster, job, &layout));
    let tokens_per_s = (job.batch * job.context) as f64 / time.total();
    Ok(Plan {
        layout,
        memory,
        time,
        fits: memory.total() <= USABLE * cluster.memory,
        tokens_per_s,
        utilisation: tokens_per_s * shape.flops(job.context) / (cluster.peak * cluster.devices as f64),
    })
}

/// The fastest layouts that fit, at most `top`; among equally fast ones (within 1%) the simpler goes first. Where none fits, the one that needs least memory.
///
/// Matrices are shared inside a machine only. ZeRO-2 and -3 go without a pipeline: its micro-batches would exchange everything each time.
pub fn best(shape: &Shape, cluster: &Cluster, job: &Job, top: usize) -> Vec<Plan> {
    let mut all = Vec::new();
    let powers = |limit: u64| (0..u64::BITS).map(|i| 1u64 << i).take_while(move |&n| n <= limit);
    for t in powers(cluster.per_node) {
        for p in (1..=shape.layers).filter(|p| shape.layers.is_multiple_of(*p) && cluster.devices.is_multiple_of(t * p)) {
            for zero in [Zero::Off, Zero::Optimizer, Zero::Gradients, Zero::Weights] {
                if zero >= Zero::Gradients && p > 1 {
                    continue;
                }
                for recompute in [Recompute::Nothing, Recompute::Attention, Recompute::Blocks] {
                    let layouts =
                        powers(16).map(|micro| Layout { tensor: t, pipeline: p, data: cluster.devices / (t * p), zero, micro, recompute });
                    all.extend(layouts.filter_map(|layout| evaluate(shape, cluster, job, layout).ok()));
                }
            }
        }
    }
    if !all.iter().any(|plan| plan.fits) {
        all.sort_by(|a, b| a.memory.total().total_cmp(&b.memory.total()));
        return all.into_iter().take(1).collect();
    }
    all.retain(|plan| plan.fits);
    let parts = |plan: &Plan| (plan.layout.tensor * plan.layout.pipeline, plan.layout.zero, plan.layout.recompute);
    let percent = |plan: &Plan| (plan.time.total().ln() * 100.0).round();
    all.sort_by(|a, b| percent(a).total_cmp(&percent(b)).then(parts(a).cmp(&parts(b))).then(a.time.total().total_cmp(&b.time.total())));
    all.truncate(top);
    all
}

#[cfg(test)]
mod tests {
    use super::super::layout::States;
    use super::*;

    #[test]
    fn a_small_model_needs_no_splitting_and_a_large_one_does() {
        let job = Job { context: 1024, batch: 512, states: States::MIXED };
        let small = best(&Shape::named("124m").unwrap(), &Cluster::named("a100", 8).unwrap(), &job, 1)[0];
        assert!(small.fits && (small.layout.tensor, small.layout.pipeline, small.layout.data) == (1, 1, 8), "{}", small.layout);
        let large = best(&Shape::named("70b").unwrap(), &Cluster::named("a100", 64).unwrap(), &Job { context: 4096, ..job }, 5);
        assert!(large.iter().all(|p| p.fits && (p.layout.tensor * p.layout.pipeline > 1 || p.layout.zero > Zero::Off)));
        assert!(large.windows(2).all(|w| w[0].time.total() <= 1.02 * w[1].time.total()), "fastest first");
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_least_it_needs() {
        let plans = best(
            &Shape::named("70b").unwrap(),
            &Cluster::named("v100", 8).unwrap(),
            &Job { context: 4096, batch: 64, states: States::MIXED },
            5,
        );
        assert!(plans.len() == 1 && !plans[0].fits && plans[0].memory.total() > 28.8e9);
    }

    #[test]
    fn impossible_layouts_are_refused() {
        let (shape, cluster) = (Shape::named("70b").unwrap(), Cluster::named("a100", 16).unwrap());
        let job = Job { context: 4096, batch: 64, states: States::MIXED };
        let layout = Layout { tensor: 8, pipeline: 2, data: 1, zero: Zero::Off, micro: 1, recompute: Recompute::Nothing };
        let error = |layout| evaluate(&shape, &cluster, &job, layout).unwrap_err();
        assert!(error(Layout { data: 2, ..layout }).contains("16 devices"));
        let wraps = (1 << 60) + 1; // 16 times as much is 16 again in 64 bits
        assert!(error(Layout { data: wraps, ..layout }).contains("16 devices"));
        assert!(error(Layout { tensor: 16, pipeline: 1, ..layout }).contains("8 of keys"));
        assert!(error(Layout { micro: 3, ..layout }).contains("no multiple"));
        assert!(error(Layout { tensor: 1, pipeline: 1, data: 16, micro: wraps, ..layout }).contains("no multiple"));
        assert!(error(Layout { micro: 0, ..layout }).contains("at least 1"));
        assert!(evaluate(&shape, &cluster, &job, layout).is_ok());
    }
}
