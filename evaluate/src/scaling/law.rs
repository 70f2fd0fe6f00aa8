//! L(x) = E + A·x^(−α): a power law above an irreducible loss (Henighan et al. 2020, arXiv 2010.14701), fitted as Chinchilla's was (Hoffmann et al. 2022, arXiv
//! 2203.15556, section 3.3 and appendix D.3): Huber's loss with δ = 10⁻³ between logarithms, the best of a grid of starts.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// Where Huber's loss turns from square to straight.
const DELTA: f64 = 1e-3;
/// Fits of the bootstrap.
const RESAMPLES: usize = 1000;
/// Steps of one descent at most.
const STEPS: usize = 600;
/// Exponents of the grid of starts.
const EXPONENTS: [f64; 5] = [0.05, 0.15, 0.3, 0.6, 1.2];
/// Shares of the least loss that is irreducible, for the grid of starts.
const SHARES: [f64; 4] = [0.2, 0.6, 0.9, 0.98];
/// Weights of the law.
const PARAMETERS: usize = 3;

/// A fitted law.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Law {
    /// E: the loss that no size takes away.
    pub irreducible: f64,
    /// A.
    pub scale: f64,
    /// α.
    pub exponent: f64,
    /// Σ Huber of the fit.
    pub objective: f64,
    /// Root of the mean squared difference of logarithms.
    pub residual: f64,
}

/// What a law foretells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Size or compute.
    pub x: f64,
    /// The loss.
    pub loss: f64,
    /// Interval at 95% for the loss of one run.
    pub interval: [f64; 2],
}

impl Law {
    /// The law's loss at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.irreducible + self.scale * x.powf(-self.exponent)
    }

    /// The law through (x, loss) points: at least four, at different x. `None` otherwise, or where a number is not positive.
    pub fn fit(points: &[(f64, f64)]) -> Option<Law> {
        let mut xs: Vec<f64> = points.iter().map(|p| p.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        if xs.len() <= PARAMETERS || points.iter().any(|p| !(p.0 > 0.0 && p.1 > 0.0 && p.0.is_finite() && p.1.is_finite())) {
            return None;
        }
        let logs = Logs::new(points);
        let least = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(|p| p.1).fold(0.0, f64::max);
        let starts =
            EXPONENTS.iter().flat_map(|&alpha| SHARES.map(|share| [(least * share).ln(), (most - least * share).max(1e-6).ln(), alpha]));
        let found = starts.map(|start| logs.descend(start)).min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(logs.law(found))
    }

    /// The loss at `x` with its interval: the points' differences from the law (widened by √(n/(n − 3))) are dealt out anew to the law's values, the law is fitted
    /// again, and one more difference is that of the new run (residual bootstrap, Davison & Hinkley 1997, section 6.2.3).
    pub fn predict(&self, points: &[(f64, f64)], x: f64, seed: u64) -> Prediction {
        let n = points.len() as f64;
        let wide = (n / (n - PARAMETERS as f64).max(1.0)).sqrt();
        let residuals: Vec<f64> = points.iter().map(|p| wide * (p.1.ln() - self.at(p.0).ln())).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || residuals[((u128::from(rng.next_u64()) * residuals.len() as u128) >> 64) as usize];
        let x0 = Logs::new(points).middle;
        let start = [self.irreducible.max(1e-9).ln(), (self.scale * x0.powf(-self.exponent)).max(1e-9).ln(), self.exponent];
        let mut losses: Vec<f64> = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            let dealt: Vec<(f64, f64)> = points.iter().map(|p| (p.0, self.at(p.0) * draw().exp())).collect();
            let logs = Logs::new(&dealt);
            losses.push(logs.law(logs.descend(start)).at(x) * draw().exp());
        }
        losses.sort_by(f64::total_cmp);
        let at = |q: f64| losses[((losses.len() - 1) as f64 * q).round() as usize];
        Prediction { x, loss: self.at(x), interval: [at(0.025), at(0.975)] }
    }
}

/// The points' logarithms; x is measured from the middle, so that E, A and α depend less on one another.
struct Logs {
    middle: f64,
    points: Vec<(f64, f64)>,
}

/// ln E, ln A at the middle, α.
type Weights = [f64; PARAMETERS];

impl Logs {
    fn new(points: &[(f64, f64)]) -> Logs {
        let middle = (points.iter().map(|p| p.0.ln()).sum::<f64>() / points.len() as f64).exp();
        Logs { middle, points: points.iter().map(|p| ((p.0 / middle).ln(), p.1.ln())).collect() }
    }

    fn residual(&self, [e, a, alpha]: Weights, (x, loss): (f64, f64)) -> f64 {
        (e.exp() + (a - alpha * x).exp()).ln() - loss
    }

    fn objective(&self, weights: Weights) -> f64 {
        let huber = |r: f64| if r.abs() <= DELTA { r * r / 2.0 } else { DELTA * (r.abs() - DELTA / 2.0) };
        let sum: f64 = self.points.iter().map(|&p| huber(self.residual(weights, p))).sum();
        // A loss does not grow with size.
        if weights[2] < 0.0 || !sum.is_finite() { f64::INFINITY } else { sum }
    }

    /// Nelder and Mead's simplex (1965, doi 10.1093/comjnl/7.4.308), begun anew once where it ended.
    fn descend(&self, start: Weights) -> (Weights, f64) {
        let first = self.simplex(start, 0.2);
        self.simplex(first.0, 0.05)
    }

    fn simplex(&self, start: Weights, size: f64) -> (Weights, f64) {
        let with = |w: Weights| (w, self.objective(w));
        let mut corners = vec![with(start)];
        for i in 0..PARAMETERS {
            let mut corner = start;
            corner[i] += size;
            corners.push(with(corner));
        }
        for _ in 0..STEPS {
            corners.sort_by(|a, b| a.1.total_cmp(&b.1));
            let (best, worst) = (corners[0], corners[PARAMETERS]);
            let spread = (0..PARAMETERS).map(|i| (worst.0[i] - best.0[i]).abs()).fold(0.0, f64::max);
            if spread < 1e-9 {
                break;
            }
            let centre: Weights = std::array::from_fn(|i| corners[..PARAMETERS].iter().map(|c| c.0[i]).sum::<f64>() / PARAMETERS as f64);
            let along = |t: f64| with(std::array::from_fn(|i| centre[i] + t * (worst.0[i] - centre[i])));
            let reflected = along(-1.0);
            corners[PARAMETERS] = if reflected.1 < best.1 {
                let expanded = along(-2.0);
                if expanded.1 < reflected.1 { expanded } else { reflected }
            } else if reflected.1 < corners[PARAMETERS - 1].1 {
                reflected
            } else {
                let contracted = along(if reflected.1 < worst.1 { -0.5 } else { 0.5 });
                if contracted.1 < worst.1.min(reflected.1) {
                    contracted
                } else {
                    let shrunk: Vec<_> = corners[1..].iter().map(|c| with(std::array::from_fn(|i| (c.0[i] + best.0[i]) / 2.0))).collect();
                    corners.splice(1.., shrunk);
                    continue;
                }
            };
        }
        corners.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((start, f64::INFINITY))
    }

    fn law(&self, (weights, objective): (Weights, f64)) -> Law {
        let [e, a, exponent] = weights;
        let squares: f64 = self.points.iter().map(|&p| self.residual(weights, p).powi(2)).sum();
        Law {
            irreducible: e.exp(),
            scale: (a + exponent * self.middle.ln()).exp(),
            exponent,
            objective,
            residual: (squares / self.points.len() as f64).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_points_give_their_law_back() {
        let truth = |x: f64| 1.7 + 40.0 * x.powf(-0.32);
        let points: Vec<(f64, f64)> = [4e4, 7e4, 1.5e5, 2.5e5, 5e5, 9e5].map(|x| (x, truth(x))).to_vec();
        let law = Law::fit(&points).unwrap();
        assert!(
            (law.irreducible - 1.7).abs() < 1e-3 && (law.exponent - 0.32).abs() < 1e-3 && (law.scale / 40.0 - 1.0).abs() < 0.01,
            "{law:?}"
        );
        let p = law.predict(&points, 4e6, 1);
        assert!((p.loss - truth(4e6)).abs() < 1e-4 && p.interval[1] - p.interval[0] < 1e-3, "{p:?}");
    }

    #[test]
    fn too_few_or_impossible_points_give_none() {
        assert!(Law::fit(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (3.0, 1.1)]).is_none());
        assert!(Law::fit(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (4.0, f64::NAN)]).is_none());
        assert!(Law::fit(&[(0.0, 3.0), (2.0, 2.0), (3.0, 1.0), (4.0, 1.0)]).is_none());
    }

    /// Sixty ladders with a tenth of a percent of noise, that of a seed: how often is the next size's loss inside.
    #[test]
    fn intervals_hold_what_they_promise() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut normal = || (0..12).map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0;
        let truth = |x: f64| 1.2 + 60.0 * x.powf(-0.35);
        let mut inside = 0;
        for seed in 0..60 {
            let points: Vec<(f64, f64)> =
                [4e4, 7e4, 1.5e5, 2.5e5, 5e5, 9e5, 1.5e6].map(|x| (x, truth(x) * (1e-3 * normal()).exp())).to_vec();
            let [lo, hi] = Law::fit(&points).unwrap().predict(&points, 4e6, seed).interval;
            let came = truth(4e6) * (1e-3 * normal()).exp();
            inside += usize::from((lo..=hi).contains(&came));
        }
        assert!(inside >= 48, "{inside} of 60 within 95% intervals");
    }
}
