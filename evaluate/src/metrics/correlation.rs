//! Correlation of two lists of numbers.

/// Pearson's r; `None` where a list has fewer than two numbers, all are the same, or one is not finite.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    // Asked of the numbers, for the mean of equal ones is rounded and seldom theirs.
    let never_changes = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.windows(2).all(|two| of(&two[0]) == of(&two[1]));
    if never_changes(&|p| p.0) || never_changes(&|p| p.1) {
        return None;
    }
    let n = pairs.len() as f64;
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|p| of(p.0 - mx, p.1 - my)).sum::<f64>();
    let (xx, yy) = (sum(&|x, _| x * x), sum(&|_, y| y * y));
    (xx > 0.0 && yy > 0.0).then(|| sum(&|x, y| x * y) / (xx * yy).sqrt())
}

/// Spearman's rho: Pearson's r of the ranks, where equal numbers share the mean of theirs. `None` where Pearson's r is.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.iter().any(|(x, y)| !(x.is_finite() && y.is_finite())) {
        return None;
    }
    let (x, y) = (ranks(pairs.iter().map(|p| p.0)), ranks(pairs.iter().map(|p| p.1)));
    pearson(&x.into_iter().zip(y).collect::<Vec<_>>())
}

/// Of finite numbers: one that is not itself would have no rank.
fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut rest = order.as_slice();
    let mut before = 0;
    while let Some(&first) = rest.first() {
        let (same, later) = rest.split_at(rest.iter().take_while(|&&i| values[i] == values[first]).count());
        same.iter().for_each(|&i| ranks[i] = before as f64 + (same.len() + 1) as f64 / 2.0);
        before += same.len();
        rest = later;
    }
    ranks
}
