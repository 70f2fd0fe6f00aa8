//! Learning rate over a run: linear warm-up, then cosine, line, constant or inverse square root.

use data::config::{Decay, Schedule};
use std::f64::consts::PI;

/// The rate of optimiser step `step` (0-based) of `total`.
///
/// Warm-up: `peak·(step+1)/(warmup+1)`, so the first step already moves and the peak is reached at step `warmup`.
/// After it, with `p = (step - warmup)/(total - warmup)`: cosine `min + (1-min)·½(1+cos πp)`, linear `1 - (1-min)·p` of the peak. So with no
/// warm-up and `min_ratio = 0` the linear form is the `lr·(1 - (update-1)/N)` of the PPO references, whose last step is not 0.
///
/// Inverse square root: peak·√(w/t), with t = step + 1 counted from 1 and w = warmup + 1 that of the peak. With a peak of (d·w)^−½, d the model's width, warm-up
/// and decay together are d^−½·min(t^−½, t·w^−1.5) (arXiv 1706.03762, equation 3).
pub fn lr(step: u64, total: u64, schedule: &Schedule, peak: f64) -> f64 {
    let warmup = schedule.warmup_steps;
    if step < warmup {
        return peak * (step + 1) as f64 / (warmup + 1) as f64;
    }
    let span = total.saturating_sub(warmup).max(1) as f64;
    let p = ((step - warmup) as f64 / span).min(1.0);
    let min = schedule.min_ratio;
    peak * match schedule.decay {
        Decay::Cosine => min + (1.0 - min) * 0.5 * (1.0 + (PI * p).cos()),
        Decay::Linear => 1.0 - (1.0 - min) * p,
        Decay::Constant => 1.0,
        Decay::InverseSqrt => ((warmup + 1) as f64 / (step + 1) as f64).sqrt().max(min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(decay: Decay, warmup_steps: u64, min_ratio: f64) -> Schedule {
        Schedule { decay, warmup_steps, min_ratio }
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn warms_up_without_a_zero_step_and_meets_the_peak() {
        let c = s(Decay::Cosine, 4, 0.1);
        near(lr(0, 100, &c, 1.0), 0.2);
        near(lr(3, 100, &c, 1.0), 0.8);
        near(lr(4, 100, &c, 1.0), 1.0);
        near(lr(52, 100, &c, 1.0), 0.55);
        near(lr(100, 100, &c, 1.0), 0.1);
        near(lr(200, 100, &c, 1.0), 0.1);
    }

    #[test]
    fn linear_to_zero_is_that_of_the_ppo_references() {
        let l = s(Decay::Linear, 0, 0.0);
        for update in 1..=7u64 {
            near(lr(update - 1, 7, &l, 3e-6), 3e-6 * (1.0 - (update - 1) as f64 / 7.0));
        }
    }

    #[test]
    fn inverse_square_root_is_the_transformers() {
        let (d, w) = (512f64, 4000u64);
        let schedule = s(Decay::InverseSqrt, w - 1, 0.0);
        for t in [1, 17, 3999, 4000, 4001, 16_000, 100_000u64] {
            let x = t as f64;
            near(lr(t - 1, 100_000, &schedule, (d * w as f64).powf(-0.5)), d.powf(-0.5) * x.powf(-0.5).min(x * (w as f64).powf(-1.5)));
        }
        near(lr(99, 100, &s(Decay::InverseSqrt, 0, 0.5), 1.0), 0.5);
    }

    #[test]
    fn short_runs_are_all_warm_up() {
        let l = s(Decay::Constant, 20, 0.0);
        near(lr(9, 10, &l, 2.1), 1.0);
        near(lr(0, 0, &s(Decay::Linear, 0, 0.5), 1.0), 1.0);
    }
}
