//! Drawing one token from a distribution, by plain arithmetic: the outcome depends on the numbers given and nothing else.

/// Candidate tokens are restricted to these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filter {
    /// Only the k most probable; 0 means all.
    pub top_k: usize,
    /// Only the most probable that together reach this share, after `top_k`; 1 means all.
    pub top_p: f64,
}

/// A uniform number in [0, 1) that belongs to this seed, row and position: a row's samples do not depend on its neighbours.
pub fn uniform(seed: u64, row: u64, position: u64) -> f64 {
    let mixed = mix(mix(mix(seed) ^ row) ^ position);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The largest of `logits`, the first of equals, passing over `banned`. NaN counts as smallest.
pub fn greedy(logits: &[f32], banned: &[u32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, None);
    for (id, &x) in logits.iter().enumerate() {
        let better = best.1.is_none() || x > best.0;
        if better && !x.is_nan() && !banned.contains(&(id as u32)) {
            best = (x, Some(id as u32));
        }
    }
    best.1.unwrap_or(0)
}

/// The token at `u` (in [0, 1)) of the distribution function of `probs`, which need not sum to 1. `banned` tokens have no share.
/// `scratch` saves allocations between calls.
pub fn draw(probs: &mut [f32], filter: Filter, banned: &[u32], u: f64, scratch: &mut Vec<u32>) -> u32 {
    for &id in banned {
        if let Some(p) = probs.get_mut(id as usize) {
            *p = 0.0;
        }
    }
    let all = filter.top_k == 0 || filter.top_k >= probs.len();
    if all && filter.top_p >= 1.0 {
        return pick(probs.iter().enumerate().map(|(id, &p)| (id as u32, p)), u);
    }
    scratch.clear();
    scratch.extend(0..probs.len() as u32);
    // Descending, and by id among equals, so that the order is one whatever the sort does.
    let order = |a: &u32, b: &u32| probs[*b as usize].total_cmp(&probs[*a as usize]).then(a.cmp(b));
    if !all {
        scratch.select_nth_unstable_by(filter.top_k - 1, order);
        scratch.truncate(filter.top_k);
    }
    if filter.top_p < 1.0 {
        let total: f64 = scratch.iter().map(|&id| f64::from(probs[id as usize])).sum();
        // Tokens below this floor weigh less than 1 - top_p together, so none of them is needed: the sort gets short.
        let floor = total * (1.0 - filter.top_p) / scratch.len() as f64;
        scratch.retain(|&id| f64::from(probs[id as usize]) >= floor);
        scratch.sort_unstable_by(order);
        let mut sum = 0.0;
        let kept = scratch.iter().take_while(|&&id| {
            let before = sum;
            sum += f64::from(probs[id as usize]);
            before < filter.top_p * total
        });
        let kept = kept.count().max(1);
        scratch.truncate(kept);
    }
    scratch.sort_unstable();
    pick(scratch.iter().map(|&id| (id, probs[id as usize])), u)
}

/// Inverse of the distribution function over the candidates in their order.
fn pick(candidates: impl Iterator<Item = (u32, f32)> + Clone, u: f64) -> u32 {
    let total: f64 = candidates.clone().map(|(_, p)| f64::from(p)).sum();
    let (mut sum, mut last) = (0.0, 0);
    for (id, p) in candidates {
        if p > 0.0 {
            sum += f64::from(p);
            last = id;
            if sum > u * total {
                break;
            }
        }
    }
    last // rounding may leave the sum short of u: the last token with a share it is
}
