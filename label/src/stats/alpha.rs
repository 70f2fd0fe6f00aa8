//! Krippendorff's alpha for ordinal values, with any number of judges and missing values.
//!
//! α = 1 − D_o / D_e (Krippendorff, *Content Analysis*, 3rd edition 2013, section 12.3). The ordinal difference of two values is
//! δ²(c, k) = (n_c/2 + Σ of n_g between them + n_k/2)², n_g being how often value g occurs among the pairable ones. That is the squared
//! difference of the values' mid-ranks among all of them, so ordinal alpha is interval alpha on pooled mid-ranks and costs one sort.

use super::interval::{Blocks, Estimate};

/// The values that several judges gave to each unit.
#[derive(Debug, Default)]
pub struct Units {
    values: Vec<f32>,
    /// Where each unit ends in `values`, and its prompt.
    ends: Vec<(u32, u32)>,
}

impl Units {
    /// Adds a unit of a prompt. A unit with fewer than two values has nothing to compare and is left out.
    pub fn push(&mut self, prompt: u32, values: impl IntoIterator<Item = f32>) {
        let before = self.values.len();
        self.values.extend(values);
        if self.values.len() < before + 2 {
            self.values.truncate(before);
        } else {
            self.ends.push((self.values.len() as u32, prompt));
        }
    }

    /// Alpha over all units; n counts their values. `None` where nothing can be compared or all values are the same. The interval holds the
    /// mid-ranks of the whole sample and draws units: they cancel but for their own small change.
    pub fn alpha(&self, blocks: &Blocks) -> Option<Estimate> {
        let ranks = mid_ranks(&self.values);
        // Σ of squared differences within units over (m − 1), n, Σx, Σx².
        let mut sums = blocks.sums::<4>();
        let mut start = 0;
        for &(end, prompt) in &self.ends {
            let unit = &ranks[start..end as usize];
            start = end as usize;
            let m = unit.len() as f64;
            let (x, xx) = unit.iter().fold((0.0, 0.0), |(x, xx), r| (x + r, xx + r * r));
            let within: f64 = unit.iter().map(|r| (r - x / m).powi(2)).sum(); // about the mean: no cancellation
            sums.add(blocks.of(prompt), [2.0 * m * within / (m - 1.0), m, x, xx]);
        }
        sums.estimate(self.values.len() as u64, |[within, n, x, xx]| {
            let all = 2.0 * (n * xx - x * x);
            (all > 1e-9 * n * xx).then(|| 1.0 - (within / n) / (all / (n * (n - 1.0))))
        })
    }
}

/// Mid-ranks, centred on 0 so that their squares stay small: equal values share the mean of their places.
fn mid_ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
    let mut ranks = vec![0.0; values.len()];
    let centre = (values.len() as f64 - 1.0) / 2.0;
    let mut begin = 0;
    for tied in order.chunk_by(|a, b| values[*a as usize] == values[*b as usize]) {
        let rank = begin as f64 + (tied.len() as f64 - 1.0) / 2.0 - centre;
        tied.iter().for_each(|i| ranks[*i as usize] = rank);
        begin += tied.len();
    }
    ranks
}
