//! Figures of a predictor of numbers from pairs of what it said and what is right.

use super::{pearson, spearman};
use crate::stats;
use serde::Serialize;

/// Figures over all rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// Spearman's rho; none where one side is constant or a number is not finite.
    pub spearman: Option<f64>,
    /// Its interval at 95% (Fisher's z with the variance of Bonett and Wright 2000, doi 10.1007/BF02294183); none below four rows.
    pub spearman_ci: Option<[f64; 2]>,
    /// Pearson's r.
    pub pearson: Option<f64>,
    /// Mean squared error.
    pub mse: f64,
    /// That of always saying the mean of what is right: its variance.
    pub mse_of_mean: f64,
    /// Rows.
    pub rows: u64,
}

/// Figures of (said, right) pairs; `None` without rows.
pub fn numbers(pairs: &[(f64, f64)]) -> Option<Numbers> {
    let n = pairs.len() as f64;
    let mean = stats::mean(&pairs.iter().map(|p| p.1).collect::<Vec<_>>())?;
    let average = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let rho = spearman(pairs);
    Some(Numbers {
        spearman: rho,
        spearman_ci: rho.filter(|_| pairs.len() > 3).map(|rho| interval(rho, n)),
        pearson: pearson(pairs),
        mse: average(&|(x, y)| (x - y).powi(2)),
        mse_of_mean: average(&|(_, y)| (y - mean).powi(2)),
        rows: pairs.len() as u64,
    })
}

/// tanh(artanh ρ ± 1.96 √((1 + ρ²/2) / (n − 3)))
fn interval(rho: f64, n: f64) -> [f64; 2] {
    let (z, half) = (rho.atanh(), 1.959_963_985 * ((1.0 + rho * rho / 2.0) / (n - 3.0)).sqrt());
    [(z - half).tanh(), (z + half).tanh()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_a_constant_and_a_noisy_predictor() {
        let right = [1.0, 2.0, 3.0, 4.0, 5.0];
        let of = |said: [f64; 5]| numbers(&said.into_iter().zip(right).collect::<Vec<_>>()).unwrap();
        let perfect = of(right);
        assert_eq!((perfect.spearman, perfect.spearman_ci, perfect.mse, perfect.mse_of_mean), (Some(1.0), Some([1.0, 1.0]), 0.0, 2.0));
        let constant = of([3.0; 5]);
        assert_eq!((constant.spearman, constant.spearman_ci, constant.mse), (None, None, 2.0));
        let broken = of([1.0, f64::NAN, 3.0, f64::NAN, f64::INFINITY]);
        assert_eq!((broken.spearman, broken.spearman_ci, broken.pearson, broken.mse.is_nan()), (None, None, None, true));
        let [lo, hi] = of([1.0, 3.0, 2.0, 5.0, 4.0]).spearman_ci.unwrap();
        assert!(lo < 0.8 && 0.8 < hi && hi < 1.0, "{lo} {hi}");
        assert!(numbers(&[]).is_none());
    }
}
