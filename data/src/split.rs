//! Splitting rows into training and validation by group, so that no prompt is on both sides.

use crate::quarantine::QuarantineReport;

/// Rows on both sides of the split, and what became of the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Split<T> {
    /// Rows to learn from.
    pub train: Vec<T>,
    /// Rows held out.
    pub valid: Vec<T>,
    /// Rows read, rejected and skipped.
    pub report: QuarantineReport,
}

/// Place of a group on the unit interval. It depends on nothing but the group's text and the seed: the same prompt falls on the same
/// side in every stage and data set that uses this seed and fraction.
pub fn unit_hash(group: &str, seed: u64) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(group.as_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // 53 bits: every value is a double below 1.
    (u64::from_le_bytes(first) >> 11) as f64 / (1u64 << 53) as f64
}

/// Groups whose [`unit_hash`] lies below `fraction` are held out. If that leaves one side without a group although there are two or more,
/// the group nearest to the border changes sides, so that small data sets can be evaluated (and trained on) too.
pub fn by_group<T>(rows: Vec<T>, fraction: f64, seed: u64, group: impl Fn(&T) -> &str) -> (Vec<T>, Vec<T>) {
    if fraction <= 0.0 {
        return (rows, Vec::new());
    }
    let places: Vec<f64> = rows.iter().map(|row| unit_hash(group(row), seed)).collect();
    let lowest = places.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let two_groups = lowest < highest;
    let held_out = |place: f64| {
        if two_groups && lowest >= fraction {
            place == lowest
        } else if two_groups && highest < fraction {
            place != highest
        } else {
            place < fraction
        }
    };
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for (row, place) in rows.into_iter().zip(places) {
        if held_out(place) { valid.push(row) } else { train.push(row) }
    }
    (train, valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("prompt {}", i / 3)).collect()
    }

    #[test]
    fn groups_stay_whole_and_the_share_is_about_right() {
        let (train, valid) = by_group(rows(3000), 0.1, 7, |r| r);
        assert_eq!(train.len() + valid.len(), 3000);
        assert!(valid.iter().all(|v| !train.contains(v)));
        assert!((200..400).contains(&valid.len()), "{}", valid.len());
        assert_ne!(valid, by_group(rows(3000), 0.1, 8, |r| r).1, "the seed must matter");
    }

    #[test]
    fn both_sides_have_something_when_there_are_two_groups() {
        for seed in 0..20 {
            for fraction in [0.001, 0.999] {
                let (train, valid) = by_group(rows(6), fraction, seed, |r| r);
                assert_eq!((train.len(), valid.len()), (3, 3));
            }
        }
        assert_eq!(by_group(rows(6), 0.0, 1, |r| r).1.len(), 0);
    }
}
