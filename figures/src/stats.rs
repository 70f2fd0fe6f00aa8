//! Small statistics with their uncertainty. All intervals are at 95%.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Two-sided 95% quantile of the standard normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// Resamples of every bootstrap in this crate.
pub const RESAMPLES: usize = 1000;

/// Bins of the calibration table.
pub const CALIBRATION_BINS: usize = 10;

/// Mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (n − 1 below the line); `None` of fewer than two values.
pub fn std(values: &[f64]) -> Option<f64> {
    let m = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|v| (v - m) * (v - m)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Wilson's score interval of a share: `successes` of `n` (Wilson 1927, doi 10.1080/01621459.1927.10502953).
/// `successes` may hold halves (ties); the interval is then a little too wide, never too narrow. `None` when n = 0.
pub fn wilson(successes: f64, n: u64) -> Option<[f64; 2]> {
    if n == 0 {
        return None;
    }
    let n = n as f64;
    let p = (successes / n).clamp(0.0, 1.0);
    let z2 = Z95 * Z95;
    let middle = p + z2 / (2.0 * n);
    let half = Z95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // At 0 of n and n of n one end is exactly 0 or 1; rounding must not move it.
    let lo = if p == 0.0 { 0.0 } else { (middle - half) / scale };
    let hi = if p == 1.0 { 1.0 } else { (middle + half) / scale };
    Some([lo, hi])
}

/// How often one side wins against another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// (wins + ties / 2) / pairs.
    pub rate: f64,
    /// Wilson interval of `rate`.
    pub ci: [f64; 2],
    /// Pairs won.
    pub wins: u64,
    /// Pairs in which both are equally good.
    pub ties: u64,
    /// All pairs.
    pub pairs: u64,
}

/// Win rate of the first of each pair, a tie as half a win. `None` without pairs. A score that is not a number loses to any
/// that is one.
pub fn win_rate(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<WinRate> {
    let (mut wins, mut ties, mut n) = (0u64, 0u64, 0u64);
    for (ours, theirs) in pairs {
        n += 1;
        match (ours.is_nan(), theirs.is_nan()) {
            (false, true) => wins += 1,
            (true, true) => ties += 1,
            (true, false) => {}
            _ if ours > theirs => wins += 1,
            _ if ours == theirs => ties += 1,
            _ => {}
        }
    }
    let won = wins as f64 + ties as f64 / 2.0;
    wilson(won, n).map(|ci| WinRate { rate: won / n as f64, ci, wins, ties, pairs: n })
}

/// Percentile bootstrap of a ratio Σa / Σb over whole groups: groups are drawn with replacement, so that judgments of one prompt
/// stand or fall together (cluster bootstrap, Davison & Hinkley 1997, section 3.8). With b = 1 it is the bootstrap of a mean.
/// `None` without groups, or when Σb = 0.
pub fn bootstrap_ratio(groups: &[(f64, f64)], seed: u64) -> Option<[f64; 2]> {
    let total: f64 = groups.iter().map(|g| g.1).sum();
    if groups.is_empty() || total <= 0.0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ratios: Vec<f64> = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let (mut a, mut b) = (0.0, 0.0);
        for _ in 0..groups.len() {
            let group = groups[below(&mut rng, groups.len())];
            a += group.0;
            b += group.1;
        }
        if b > 0.0 {
            ratios.push(a / b);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let at = |q: f64| ratios[((ratios.len() - 1) as f64 * q).round() as usize];
    (!ratios.is_empty()).then(|| [at(0.025), at(0.975)])
}

/// Mean of paired differences with its bootstrap interval over the pairs. `None` without pairs.
pub fn paired_difference(differences: &[f64], seed: u64) -> Option<(f64, [f64; 2])> {
    let groups: Vec<(f64, f64)> = differences.iter().map(|&d| (d, 1.0)).collect();
    Some((mean(differences)?, bootstrap_ratio(&groups, seed)?))
}

/// A uniform index below `n`, by multiplication (Lemire, arXiv 1805.10941); its bias, n / 2^64, is nothing here.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// One bin of a calibration table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Mean predicted probability of the answers that the model calls better.
    pub confidence: f64,
    /// Share of them that people called better.
    pub accuracy: f64,
    /// Pairs in the bin.
    pub count: u64,
}

/// Expected calibration error and its bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Σ count/n · |accuracy − confidence| (Guo et al. 2017, arXiv 1706.04599, equation 5).
    pub ece: f64,
    /// The bins that hold anything, lowest confidence first.
    pub bins: Vec<CalibrationBin>,
}

/// Calibration of a preference model from its margins, score(better) − score(worse) as people ordered them. The model's confidence
/// in its own choice is sigmoid(|margin|), which lies between ½ and 1: ten equal bins of that range. (Binning the probability of
/// the better answer instead would compare it with an outcome that is always 1.) A margin of 0 counts half right.
pub fn calibration(margins: &[f64]) -> Option<Calibration> {
    let mut sums = [(0.0, 0.0, 0u64); CALIBRATION_BINS]; // Σ confidence, Σ right, count
    let mut n = 0u64;
    for &margin in margins.iter().filter(|m| !m.is_nan()) {
        let confidence = sigmoid(margin.abs());
        let bin = ((confidence - 0.5) * 2.0 * CALIBRATION_BINS as f64) as usize;
        let sum = &mut sums[bin.min(CALIBRATION_BINS - 1)];
        sum.0 += confidence;
        sum.1 += right(margin);
        sum.2 += 1;
        n += 1;
    }
    let bins: Vec<CalibrationBin> = sums
        .iter()
        .filter(|s| s.2 > 0)
        .map(|s| CalibrationBin { confidence: s.0 / s.2 as f64, accuracy: s.1 / s.2 as f64, count: s.2 })
        .collect();
    let ece = bins.iter().map(|b| b.count as f64 / n as f64 * (b.accuracy - b.confidence).abs()).sum();
    (n > 0).then_some(Calibration { ece, bins })
}

/// 1 for a positive margin, ½ for none, 0 for a negative one or one that is not a number.
pub(crate) fn right(margin: f64) -> f64 {
    if margin > 0.0 {
        1.0
    } else if margin == 0.0 {
        0.5
    } else {
        0.0
    }
}

/// 1 / (1 + exp(−x)).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn mean_and_std() {
        assert_eq!(mean(&[]), None);
        assert_eq!(std(&[1.0]), None);
        assert!(close(mean(&[1.0, 2.0, 4.0]).unwrap(), 7.0 / 3.0));
        assert!(close(std(&[1.0, 2.0, 4.0]).unwrap(), 1.527_525_231_65)); // statistics.stdev
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
        for (k, n, lo, hi) in [(81.0, 263, 0.2553, 0.3662), (15.0, 148, 0.0624, 0.1605), (0.0, 20, 0.0, 0.1611), (1.0, 29, 0.0061, 0.1718)]
        {
            let [a, b] = wilson(k, n).unwrap();
            assert!((a - lo).abs() < 5.1e-5 && (b - hi).abs() < 5.1e-5, "{k}/{n}: {a} {b}");
        }
        assert_eq!(wilson(10.0, 10).unwrap()[1], 1.0);
        assert_eq!(wilson(0.0, 0), None);
    }

    #[test]
    fn ties_are_half_and_nan_loses() {
        let w = win_rate([(1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (1.0, f64::NAN)]).unwrap();
        assert_eq!((w.wins, w.ties, w.pairs), (3, 1, 6));
        assert!(close(w.rate, 3.5 / 6.0));
        assert!(w.ci[0] < w.rate && w.rate < w.ci[1]);
        assert!(win_rate([]).is_none());
    }

    #[test]
    fn bootstrap_is_seeded_covers_and_widens_with_clusters() {
        // 400 judgments, half right. As 400 groups of one, and as 40 groups of ten that are all right or all wrong.
        let single: Vec<(f64, f64)> = (0..400).map(|i| (f64::from(i % 2), 1.0)).collect();
        let clustered: Vec<(f64, f64)> = (0..40).map(|i| (10.0 * f64::from(i % 2), 10.0)).collect();
        let a = bootstrap_ratio(&single, 7).unwrap();
        let b = bootstrap_ratio(&clustered, 7).unwrap();
        assert_eq!(a, bootstrap_ratio(&single, 7).unwrap());
        assert_ne!(a, bootstrap_ratio(&single, 8).unwrap());
        let [lo, hi] = wilson(200.0, 400).unwrap();
        assert!((a[0] - lo).abs() < 0.015 && (a[1] - hi).abs() < 0.015, "{a:?} {lo} {hi}");
        let ratio = (b[1] - b[0]) / (a[1] - a[0]);
        assert!((2.4..4.0).contains(&ratio), "ten judgments a group: sqrt(10) times wider, got {ratio}");
        assert_eq!(bootstrap_ratio(&[(0.0, 0.0)], 1), None);
    }

    #[test]
    fn calibration_of_an_honest_and_of_a_boastful_model() {
        // Margin log(0.8/0.2): the model says 80%; people agree in 8 of 10 cases.
        let m = (0.8f64 / 0.2).ln();
        let honest: Vec<f64> = (0..10).map(|i| if i < 8 { m } else { -m }).collect();
        let c = calibration(&honest).unwrap();
        assert!(c.ece < 1e-9 && c.bins.len() == 1 && c.bins[0].count == 10);
        let boastful: Vec<f64> = honest.iter().map(|x| x * 10.0).collect();
        let c = calibration(&boastful).unwrap();
        assert!((c.ece - 0.2).abs() < 1e-4, "{c:?}");
        // Nobody knows anything: confidence ½, half right.
        assert_eq!(calibration(&[0.0, 0.0]).unwrap().bins, vec![CalibrationBin { confidence: 0.5, accuracy: 0.5, count: 2 }]);
        assert!(calibration(&[]).is_none());
    }
}
