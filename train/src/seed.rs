//! One number from several, so that every random draw has a seed that depends on nothing but the run's seed and its place.

/// Finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit.
fn scramble(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A seed for `tch::manual_seed` from the run's seed and a place, such as (step, micro-batch). Never negative.
pub fn mix(seed: u64, a: u64, b: u64) -> i64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let x = [seed, a, b].iter().fold(0, |x: u64, y| scramble(x.wrapping_add(GOLDEN) ^ scramble(y.wrapping_add(GOLDEN))));
    (x >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::mix;
    use std::collections::HashSet;

    #[test]
    fn neighbours_differ_and_order_matters() {
        let mut seen = HashSet::new();
        for seed in 0..20 {
            for step in 0..50 {
                for micro in 0..20 {
                    assert!(seen.insert(mix(seed, step, micro)), "{seed} {step} {micro}");
                }
            }
        }
        assert!(seen.iter().all(|s| *s >= 0));
        assert_ne!(mix(1, 2, 3), mix(1, 3, 2));
    }
}
