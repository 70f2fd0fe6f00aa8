//! Preference losses from soft labels: what is learnt is not an order of answers but how probable each order is.
//!
//! `scores` [B, K] hold one reward an answer; `worth` [B, K] the fitted worth in logits, of which only differences matter; `present` [B, K] is not 0 where
//! there is an answer; `weights` [B] say how much a ranking counts. All three losses are cross-entropies: with scores equal to the worths (up to a
//! constant) their gradient is zero, and their value is the labels' entropy, not zero. Divide each by [`weight`] of the whole batch.

use tch::{Kind, Tensor};

/// Most answers of one ranking that [`plackett_luce`] takes: its work grows with 2^K.
pub const MOST_ANSWERS: usize = 10;

/// Bradley-Terry on all pairs: Σ_b w_b · (mean over the ranking's pairs of −p·log σ(d) − (1−p)·log σ(−d)), d = s_i − s_j, p = σ(worth_i − worth_j).
/// Scalar.
///
/// The cross-entropy of a preference given as a probability (Christiano et al., arXiv 1706.03741, section 2.2.3, where μ is such a distribution). ε gives a
/// share of each probability to the other side, as with hard labels: p ← (1−ε)·p + ε·(1−p).
pub fn pairs(scores: &Tensor, worth: &Tensor, present: &Tensor, weights: &Tensor, label_smoothing: f64) -> Tensor {
    debug_assert_eq!(scores.size(), worth.size());
    let absent = present.eq(0);
    let differences = |x: &Tensor| {
        let x = x.masked_fill(&absent, 0.0);
        x.unsqueeze(2) - x.unsqueeze(1) // [B, K, K]: i minus j
    };
    let (d, p) = (differences(scores), differences(worth).sigmoid());
    let p = p * (1.0 - 2.0 * label_smoothing) + label_smoothing;
    let there = present.ne(0);
    let pair = there.unsqueeze(2).logical_and(&there.unsqueeze(1)).triu(1); // [B, K, K]: i before j
    let log_p: Tensor = d.log_sigmoid() * &p - d.neg().log_sigmoid() * (p - 1.0);
    let loss = log_p.neg() * &pair;
    let over = |x: &Tensor| x.sum_dim_intlist([1i64, 2].as_slice(), false, Kind::Float); // [B]
    (weights * over(&loss) / over(&pair).clamp_min(1.0)).sum(None)
}

/// Softmax of the best: −Σ_b w_b · Σ_i softmax(worth)_i · log softmax(s)_i over the answers present. Scalar. The probability of being the best of all
/// under Plackett-Luce (ListNet, Cao et al. 2007, "top one").
pub fn best(scores: &Tensor, worth: &Tensor, present: &Tensor, weights: &Tensor) -> Tensor {
    debug_assert_eq!(scores.size(), worth.size());
    let absent = present.eq(0);
    let target = worth.masked_fill(&absent, f64::from(f32::MIN)).softmax(1, None); // [B, K]
    let scores = scores.masked_fill(&absent, 0.0);
    let rest = scores.masked_fill(&absent, f64::from(f32::MIN)).logsumexp(1, true); // [B, 1]
    let nll = (target.masked_fill(&absent, 0.0) * (rest - scores)).sum_dim_intlist(1, false, None); // [B]
    (weights * nll).sum(None)
}

/// Plackett-Luce: the expectation of the whole ranking's −log P(ranking | scores) over the rankings that the worths make probable. Scalar.
///
/// A ranking is chosen answer by answer from the set R of those left. With P(R) the probability, under the worths, that R is ever what is left, and c_i
/// the probability that i is not the last one,
///   E = Σ_{R, |R| ≥ 2} P(R) · log Σ_{j∈R} e^{s_j} − Σ_i c_i·s_i,
/// a sum over sets and not over orders. For K = 2 this is [`pairs`].
///
/// # Panics
/// With more than [`MOST_ANSWERS`] columns.
pub fn plackett_luce(scores: &Tensor, worth: &Tensor, present: &Tensor, weights: &Tensor) -> Tensor {
    debug_assert_eq!(scores.size(), worth.size());
    let (b, k) = (scores.size()[0], scores.size()[1]);
    assert!(k as usize <= MOST_ANSWERS, "{k} answers, at most {MOST_ANSWERS}");
    let rows = |t: &Tensor| -> Vec<f64> { Vec::try_from(t.to_kind(Kind::Double).flatten(0, -1)).unwrap_or_default() };
    let (worths, there) = (rows(worth), rows(present));
    let sets: Vec<usize> = (0..1usize << k).filter(|set| set.count_ones() >= 2).collect();
    let (mut left, mut chosen) = (Vec::new(), Vec::new());
    for (worth, there) in worths.chunks(k as usize).zip(there.chunks(k as usize)) {
        let (p, c) = left_and_chosen(worth, there);
        left.extend(sets.iter().map(|&set| p[set] as f32));
        chosen.extend(c.iter().map(|&c| c as f32));
    }
    let to = |values: &[f32], columns: i64| Tensor::from_slice(values).view([b, columns]).to_device(scores.device());
    let outside: Vec<bool> = sets.iter().flat_map(|set| (0..k).map(move |i| set >> i & 1 == 0)).collect();
    let outside = Tensor::from_slice(&outside).view([1, sets.len() as i64, k]).to_device(scores.device()); // [1, S, K]
    let scores = scores.masked_fill(&present.eq(0), 0.0);
    let rest = scores.unsqueeze(1).masked_fill(&outside, f64::from(f32::MIN)).logsumexp(2, false); // [B, S]
    let expected = |x: Tensor| x.sum_dim_intlist(1, false, None::<Kind>); // [B]
    let nll = expected(rest * to(&left, sets.len() as i64)) - expected(scores * to(&chosen, k));
    (weights * nll).sum(None)
}

/// P(R) of every set of answers (bit i: answer i) and c_i, of one ranking.
fn left_and_chosen(worth: &[f64], present: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let k = worth.len();
    let (mut p, mut chosen) = (vec![0.0; 1 << k], vec![0.0; k]);
    let all = (0..k).filter(|&i| present[i] != 0.0).fold(0usize, |set, i| set | 1 << i);
    p[all] = 1.0;
    // A set is larger as a number than what is left of it: downwards, each is complete when its turn comes.
    for set in (1..=all).rev().filter(|set| set.count_ones() >= 2) {
        if p[set] == 0.0 {
            continue;
        }
        let inside = || (0..k).filter(move |i| set >> i & 1 == 1);
        let top = inside().map(|i| worth[i]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = inside().map(|i| (worth[i] - top).exp()).sum();
        for i in inside() {
            let q = p[set] * (worth[i] - top).exp() / sum;
            p[set & !(1 << i)] += q;
            chosen[i] += q;
        }
    }
    (p, chosen)
}

/// What the losses here are divided by: the weight of the rankings with at least two answers.
pub fn weight(present: &Tensor, weights: &Tensor) -> f64 {
    let enough = present.ne(0).sum_dim_intlist(1, false, None::<Kind>).gt(1);
    (weights * enough).sum(Kind::Double).double_value(&[])
}
