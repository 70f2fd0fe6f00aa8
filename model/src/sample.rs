//! Drawing one token from a distribution, by plain arithmetic: the outcome depends on the numbers given and nothing else.

use native::RUN;

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

/// The token at `u` (in [0, 1)) of the distribution function of `probs`, which need not sum to 1; `runs`: the sums of [`RUN`] of them at a time.
pub fn draw_any(probs: &[f32], runs: &[f32], u: f64) -> u32 {
    let goal = u * runs.iter().map(|&r| f64::from(r)).sum::<f64>();
    // The run that reaches the goal, or the last with a share: rounding may leave the sum short of it.
    let (mut before, mut found) = (0.0, (0, 0.0));
    for (i, &own) in runs.iter().enumerate() {
        if own > 0.0 {
            found = (i * RUN, before);
            if before + f64::from(own) > goal {
                break;
            }
        }
        before += f64::from(own);
    }
    let (start, mut sum) = found;
    let mut last = 0;
    for (id, &p) in (start as u32..).zip(&probs[start..]).take(RUN) {
        if p > 0.0 {
            sum += f64::from(p);
            last = id;
            if sum > goal {
                break;
            }
        }
    }
    last
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
    let last = match (all, filter.top_p < 1.0) {
        (true, false) => return draw_any(probs, &probs.chunks(RUN).map(|run| run.iter().sum()).collect::<Vec<f32>>(), u),
        (true, true) => nucleus(probs, filter.top_p, scratch),
        (false, cut) => {
            most_probable(probs, filter.top_k, scratch);
            if cut {
                scratch.sort_unstable_by(order(probs));
                let total = sum_of(probs, scratch);
                let kept = reaching(probs, scratch, 0.0, filter.top_p * total);
                scratch.truncate(kept);
            }
            scratch.iter().copied().max_by(order(probs)).unwrap_or(0)
        }
    };
    // In the order of their ids, whatever order they were found in.
    let last = (probs[last as usize], last);
    scratch.clear();
    scratch.extend((0..).zip(probs.iter()).filter(|&(id, &p)| p > last.0 || (p == last.0 && id <= last.1)).map(|(id, _)| id));
    pick_of(probs, scratch, u)
}

/// Descending by probability, and by id among equals: one order, whatever a sort does.
fn order(probs: &[f32]) -> impl Fn(&u32, &u32) -> std::cmp::Ordering + Copy + '_ {
    |a, b| probs[*b as usize].total_cmp(&probs[*a as usize]).then(a.cmp(b))
}

fn sum_of(probs: &[f32], ids: &[u32]) -> f64 {
    ids.iter().map(|&id| f64::from(probs[id as usize])).sum()
}

/// The k first in the order, in any order among themselves. One pass, with a list of 2k at most that is thinned when full.
fn most_probable(probs: &[f32], k: usize, kept: &mut Vec<u32>) {
    let room = (2 * k).max(64);
    let mut floor = f32::NEG_INFINITY;
    let thin = |kept: &mut Vec<u32>| {
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, order(probs));
            kept.truncate(k);
        }
    };
    kept.clear();
    for (id, &p) in (0..).zip(probs) {
        // Ids rise: one that equals the k-th so far comes behind it.
        if p > floor {
            kept.push(id);
            if kept.len() == room {
                thin(kept);
                floor = probs[kept[k - 1] as usize];
            }
        }
    }
    thin(kept);
}

/// How many of `ids`, in the order, it takes until the sum reaches `goal` from `sum` on; at least one.
fn reaching(probs: &[f32], ids: &[u32], mut sum: f64, goal: f64) -> usize {
    let short = |id: &&u32| {
        let before = sum;
        sum += f64::from(probs[**id as usize]);
        before < goal
    };
    ids.iter().take_while(short).count().max(1)
}

/// The last token, in the order, of those that together reach the share. Only tokens as probable as it, within an eighth, are sorted: weights are first
/// summed by exponent and three bits of the fraction, which rise with them.
fn nucleus(probs: &[f32], share: f64, scratch: &mut Vec<u32>) -> u32 {
    let class = |p: f32| (p.max(0.0).to_bits() >> 20) as usize;
    let mut sums = [0f64; 1 << 11];
    probs.iter().for_each(|&p| sums[class(p)] += f64::from(p));
    let goal = share * sums.iter().sum::<f64>();
    let mut above = 0.0;
    let highest = (0..sums.len()).rev().find(|&c| {
        let reached = above + sums[c] >= goal && sums[c] > 0.0;
        above += if reached { 0.0 } else { sums[c] };
        reached
    });
    let Some(border) = highest else { return 0 };
    scratch.clear();
    scratch.extend((0..).zip(probs).filter(|&(_, &p)| class(p) == border).map(|(id, _)| id));
    scratch.sort_unstable_by(order(probs));
    scratch[reaching(probs, scratch, above, goal) - 1]
}

/// Inverse of the distribution function over the tokens `ids`.
fn pick_of(probs: &[f32], ids: &[u32], u: f64) -> u32 {
    let goal = u * sum_of(probs, ids);
    let (mut sum, mut last) = (0.0, 0);
    for &id in ids {
        let p = probs[id as usize];
        if p > 0.0 {
            sum += f64::from(p);
            last = id;
            if sum > goal {
                break;
            }
        }
    }
    last
}
