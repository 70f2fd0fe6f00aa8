//! Figures of a classifier from pairs of what it said and what is right, as scikit-learn computes them (a quotient without anything below the line is 0).

use crate::stats::wilson;
use serde::Serialize;
use std::collections::BTreeMap;

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Of those called so, the share that is.
    pub precision: f64,
    /// Of those that are, the share called so.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// How many are.
    pub support: u64,
}

/// Figures over all classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classes {
    /// Share that is right.
    pub accuracy: f64,
    /// Its interval at 95% (Wilson).
    pub accuracy_ci: [f64; 2],
    /// Accuracy of always saying the commonest class.
    pub majority: f64,
    /// Mean precision of the classes.
    pub macro_precision: f64,
    /// Mean recall of the classes.
    pub macro_recall: f64,
    /// Mean F1 of the classes.
    pub macro_f1: f64,
    /// Mean F1 of the classes, weighted by their support.
    pub weighted_f1: f64,
    /// Matthews' correlation (for several classes: Gorodkin 2004, doi 10.1016/j.compbiolchem.2004.09.006), from −1 to 1; 0 where one side has but one class.
    pub matthews: f64,
    /// Rows.
    pub rows: u64,
    /// The classes in the order of their names.
    pub classes: Vec<Class>,
}

/// Figures of (said, right) pairs; `None` without rows.
pub fn classes<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Classes> {
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new(); // said, is, both
    let (mut n, mut hits) = (0u64, 0u64);
    for (said, right) in rows {
        counts.entry(said).or_default()[0] += 1;
        counts.entry(right).or_default()[1] += 1;
        if said == right {
            counts.entry(said).or_default()[2] += 1;
            hits += 1;
        }
        n += 1;
    }
    let accuracy_ci = wilson(hits as f64, n)?;
    let share = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    let one = |(name, [said, is, both]): (&&str, &[u64; 3])| Class {
        name: (*name).to_string(),
        precision: share(*both, *said),
        recall: share(*both, *is),
        f1: share(2 * both, said + is),
        support: *is,
    };
    let classes: Vec<Class> = counts.iter().map(one).collect();
    let total = n as f64;
    let sum = |of: &dyn Fn(&[u64; 3]) -> u64| counts.values().map(of).map(|x| x as f64).sum::<f64>();
    let (said2, is2, cross) = (sum(&|c| c[0] * c[0]), sum(&|c| c[1] * c[1]), sum(&|c| c[0] * c[1]));
    let below = (total * total - said2) * (total * total - is2);
    Some(Classes {
        accuracy: hits as f64 / total,
        accuracy_ci,
        majority: classes.iter().map(|c| c.support).max().unwrap_or(0) as f64 / total,
        macro_precision: classes.iter().map(|c| c.precision).sum::<f64>() / classes.len() as f64,
        macro_recall: classes.iter().map(|c| c.recall).sum::<f64>() / classes.len() as f64,
        macro_f1: classes.iter().map(|c| c.f1).sum::<f64>() / classes.len() as f64,
        weighted_f1: classes.iter().map(|c| c.f1 * c.support as f64).sum::<f64>() / total,
        matthews: if below > 0.0 { (hits as f64 * total - cross) / below.sqrt() } else { 0.0 },
        rows: n,
        classes,
    })
}
