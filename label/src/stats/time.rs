//! Time that judges take for an item.

use judges::panel::Panel;
use serde::Serialize;

/// Below this part of the median of all judgments a judgment counts as too fast. A third is the usual mark of "speeders" in surveys; it is a
/// reason to look, not a proof.
pub const TOO_FAST: f64 = 1.0 / 3.0;

/// Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Judgments with a known time.
    pub n: u64,
    /// A quarter takes no longer than this.
    pub lower: f64,
    /// Half takes no longer.
    pub median: f64,
    /// Three quarters take no longer.
    pub upper: f64,
    /// Share of the judgments that took less than a third of the median of all judges.
    pub too_fast: f64,
}

/// Of all judgments, and of each judge.
pub fn times(panel: &Panel) -> (Option<Times>, Vec<Option<Times>>) {
    let known = |votes: &mut dyn Iterator<Item = usize>| -> Vec<f64> {
        let mut seconds: Vec<f64> = votes.map(|v| f64::from(panel.votes[v].seconds)).filter(|s| s.is_finite() && *s >= 0.0).collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    };
    let all = known(&mut (0..panel.votes.len()));
    let Some(median) = quantile(&all, 0.5) else { return (None, vec![None; panel.judges.len()]) };
    let by_judge = panel.by_judge();
    let of = |seconds: &[f64]| {
        Some(Times {
            n: seconds.len() as u64,
            lower: quantile(seconds, 0.25)?,
            median: quantile(seconds, 0.5)?,
            upper: quantile(seconds, 0.75)?,
            too_fast: seconds.partition_point(|s| *s < TOO_FAST * median) as f64 / seconds.len() as f64,
        })
    };
    let judges = (0..panel.judges.len()).map(|j| of(&known(&mut by_judge.of(j).iter().map(|v| *v as usize)))).collect();
    (of(&all), judges)
}

/// Quantile of sorted values, between neighbours by linear interpolation (numpy's default).
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = (sorted.len().checked_sub(1)? as f64) * q;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = sorted[(low + 1).min(sorted.len() - 1)];
    Some(sorted[low] + part * (high - sorted[low]))
}
