//! Kendall's rank correlations between judges: tau-b of two, and the coefficient of concordance W of all.

/// τ_b = (C − D) / √((n₀ − n₁)(n₀ − n₂)) with n₀ pairs, n₁ and n₂ of them tied in the one and in the other (Kendall 1945). `None` when a
/// ranking tells nothing apart.
pub fn tau_b(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mut balance, mut in_a, mut in_b) = (0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in i + 1..a.len() {
            let (x, y) = (sign(a[i] - a[j]), sign(b[i] - b[j]));
            balance += x * y;
            in_a += x * x;
            in_b += y * y;
        }
    }
    (in_a > 0.0 && in_b > 0.0).then(|| balance / (in_a * in_b).sqrt())
}

/// W = 12 S / (m²(k³ − k) − m Σ T), S the squared deviations of the rank sums from their mean, T = Σ (t³ − t) over one ranking's groups of
/// ties (Kendall & Gibbons 1990, section 6.10). `rankings` are m lists of k mid-ranks. `None` with fewer than two, or when nobody tells
/// anything apart.
pub fn w(rankings: &[Vec<f64>]) -> Option<f64> {
    let (m, k) = (rankings.len() as f64, rankings.first()?.len());
    let sums: Vec<f64> = (0..k).map(|i| rankings.iter().map(|r| r[i]).sum()).collect();
    let mean = sums.iter().sum::<f64>() / k as f64;
    let s: f64 = sums.iter().map(|x| (x - mean).powi(2)).sum();
    let k = k as f64;
    let ties: f64 = rankings.iter().map(|r| tie_sum(r)).sum();
    let below = m * m * (k.powi(3) - k) - m * ties;
    (m >= 2.0 && below > 1e-9).then(|| 12.0 * s / below)
}

/// Σ (t³ − t) over groups of equal values.
fn tie_sum(ranks: &[f64]) -> f64 {
    // Each member of a group of t adds t² − 1.
    ranks.iter().map(|x| (ranks.iter().filter(|y| *y == x).count() as f64).powi(2) - 1.0).sum()
}

/// Dense ranks to mid-ranks: tied answers share the mean of their places, from 1.
pub fn mid_ranks(ranks: &[u32]) -> Vec<f64> {
    let place = |r: &u32| {
        let (better, tied) = ranks.iter().fold((0.0, 0.0), |(b, t), x| (b + f64::from(x < r), t + f64::from(x == r)));
        better + (tied + 1.0) / 2.0
    };
    ranks.iter().map(place).collect()
}

fn sign(x: f64) -> f64 {
    f64::from(x > 0.0) - f64::from(x < 0.0)
}
