//! Losses of the reward model, from pairs and from rankings of K answers with ties.
//!
//! `scores` [B, K] hold one reward an answer; `ranks` [B, K] int64: 1 is best, equal is a tie, 0 marks an absent answer (rows are padded to the
//! largest K). `weights` [B] say how much a ranking counts.

use tch::{Kind, Tensor};

/// What to do with tied pairs under Bradley-Terry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// Leave them out.
    Skip,
    /// Train towards probability one half.
    Half,
}

/// Bradley-Terry on pairs, summed: Σ w·[−(1−ε)·log σ(d) − ε·log σ(−d)] with d = better − worse (− margin). All [P] → scalar.
///
/// ε is the label smoothing (the share of labels taken to be flipped, arXiv 2305.18290 appendix "cDPO"); ε = ½ is a tie. The margin is
/// Llama 2's (arXiv 2307.09288, eq. 2). Without both it is eq. 1 of arXiv 2203.02155 for one pair.
pub fn bradley_terry(better: &Tensor, worse: &Tensor, weights: &Tensor, margin: Option<&Tensor>, label_smoothing: f64) -> Tensor {
    let d = match margin {
        Some(margin) => better - worse - margin,
        None => better - worse,
    };
    (weights * smoothed(&d, label_smoothing)).sum(None)
}

/// −(1−ε)·log σ(d) − ε·log σ(−d), elementwise.
fn smoothed(d: &Tensor, eps: f64) -> Tensor {
    let loss = d.log_sigmoid() * (eps - 1.0);
    if eps == 0.0 { loss } else { loss - d.neg().log_sigmoid() * eps }
}

/// The pairs of each ranking as 0/1 masks [B, K, K]: (answer i is better than answer j, i and j tie with i before j).
fn pair_masks(ranks: &Tensor) -> (Tensor, Tensor) {
    let (i, j) = (ranks.unsqueeze(2), ranks.unsqueeze(1)); // [B, K, 1], [B, 1, K]
    let present = i.gt(0).logical_and(&j.gt(0));
    let better = i.lt_tensor(&j).logical_and(&present);
    let tied = i.eq_tensor(&j).logical_and(&present).triu(1);
    (better, tied)
}

/// Pairs of each ranking that the loss uses. [B] float32.
fn pair_counts(ranks: &Tensor, ties: Ties) -> Tensor {
    let (better, tied) = pair_masks(ranks);
    let count = |mask: Tensor| mask.sum_dim_intlist([1i64, 2].as_slice(), false, Kind::Float);
    match ties {
        Ties::Skip => count(better),
        Ties::Half => count(better) + count(tied),
    }
}

/// Bradley-Terry on all pairs of each ranking: Σ_b w_b · (mean over the ranking's pairs of the pair loss), as in arXiv 2203.02155 eq. 1, so that
/// a ranking of nine does not outvote a pair. Scalar. Divide by [`pair_weight`] of the whole batch.
///
/// With `levels` [B, K] the loss asks for a margin: d = better − worse − m, where m is by how much the better one's level is higher (arXiv 2307.09288,
/// eq. 2, whose m(r) is a function of the labeller's rating); never below 0. Ties have none.
pub fn bradley_terry_rankings(
    scores: &Tensor,
    ranks: &Tensor,
    weights: &Tensor,
    levels: Option<&Tensor>,
    ties: Ties,
    label_smoothing: f64,
) -> Tensor {
    debug_assert_eq!(scores.size(), ranks.size());
    let scores = scores.masked_fill(&ranks.eq(0), 0.0);
    let d = scores.unsqueeze(2) - scores.unsqueeze(1); // [B, K, K]: score of i minus score of j
    let (better, tied) = pair_masks(ranks);
    let mut loss = match levels {
        Some(levels) => {
            let levels = levels.masked_fill(&ranks.eq(0), 0.0);
            let margin = (levels.unsqueeze(2) - levels.unsqueeze(1)).relu(); // [B, K, K]
            smoothed(&(&d - margin), label_smoothing) * better
        }
        None => smoothed(&d, label_smoothing) * better,
    };
    if ties == Ties::Half {
        loss += smoothed(&d, 0.5) * tied;
    }
    let sums = loss.sum_dim_intlist([1i64, 2].as_slice(), false, None); // [B]
    (weights * sums / pair_counts(ranks, ties).clamp_min(1.0)).sum(None)
}

/// What [`bradley_terry_rankings`] is divided by: the weight of the rankings that have a pair to learn from.
pub fn pair_weight(ranks: &Tensor, weights: &Tensor, ties: Ties) -> f64 {
    (weights * pair_counts(ranks, ties).gt(0.0)).sum(Kind::Double).double_value(&[])
}

/// Plackett-Luce on whole rankings, summed: −Σ_b w_b · log P(ranking_b). Scalar. Divide by [`ranking_weight`] of the whole batch.
///
/// Answers are chosen one after the other, each with probability softmax of its score among those left (Luce 1959, Plackett 1975). A group of m
/// tied answers follows Efron's (1977) average over their unknown order: with R the answers not yet placed and D the tied group,
///   log P = Σ_groups [ Σ_{i∈D} s_i − Σ_{l=0}^{m−1} log( Σ_R e^s − (l/m)·Σ_D e^s ) ].
/// For K = 2 without a tie this is Bradley-Terry.
pub fn plackett_luce(scores: &Tensor, ranks: &Tensor, weights: &Tensor) -> Tensor {
    debug_assert_eq!(scores.size(), ranks.size());
    let absent = ranks.eq(0);
    let scores = scores.masked_fill(&absent, 0.0);
    let (i, j) = (ranks.unsqueeze(2), ranks.unsqueeze(1));
    let left = j.ge_tensor(&i).logical_and(&absent.unsqueeze(1).logical_not()).to_kind(Kind::Float); // [B, K, K]: j not placed before i
    let tied = j.eq_tensor(&i).to_kind(Kind::Float); // [B, K, K]; includes j = i
    let size = tied.sum_dim_intlist(2, true, None); // [B, K, 1]: m
    let place = tied.tril(-1).sum_dim_intlist(2, true, None); // [B, K, 1]: l, i's place within its group
    // Item i's term is s_i − log Σ_j c_ij e^{s_j}. Absent items keep c_ii = 1, which makes their term 0 without a NaN in the gradient.
    let eye = Tensor::eye(scores.size()[1], (Kind::Float, scores.device()));
    let c = (left - &tied * (place / size)).where_self(&absent.unsqueeze(2).logical_not(), &eye);
    let log_rest = (scores.unsqueeze(1) + c.log()).logsumexp(2, false); // [B, K]; log 0 = −∞ leaves an item out
    let log_p = (scores - log_rest).masked_fill(&absent, 0.0).sum_dim_intlist(1, false, None); // [B]
    -(weights * log_p).sum(None)
}

/// Softmax cross-entropy of the best answer among those present, summed: −Σ_b w_b · log softmax(s)_best (arXiv 1909.08593 eq. 1). Answers tied for the
/// best share the probability. The first stage of Plackett-Luce: what comes after the best does not count. Scalar; divide by [`ranking_weight`].
pub fn best(scores: &Tensor, ranks: &Tensor, weights: &Tensor) -> Tensor {
    debug_assert_eq!(scores.size(), ranks.size());
    let absent = ranks.eq(0);
    let top = ranks.masked_fill(&absent, i64::MAX).amin([1i64].as_slice(), true); // [B, 1]
    let is_best = ranks.eq_tensor(&top).to_kind(Kind::Float); // [B, K]
    let target = &is_best / is_best.sum_dim_intlist(1, true, None).clamp_min(1.0);
    let scores = scores.masked_fill(&absent, 0.0);
    let rest = scores.masked_fill(&absent, f64::from(f32::MIN)).logsumexp(1, true); // [B, 1]
    let nll = (target * (rest - scores)).sum_dim_intlist(1, false, None); // [B]
    (weights * nll).sum(None)
}

/// What [`plackett_luce`] and [`best`] are divided by: the weight of the rankings with at least two answers.
pub fn ranking_weight(ranks: &Tensor, weights: &Tensor) -> f64 {
    let enough = ranks.gt(0).sum_dim_intlist(1, false, None::<Kind>).gt(1);
    (weights * enough).sum(Kind::Double).double_value(&[])
}

/// Σ score² over the answers present, which pulls scores towards zero. Scalar; divide by the number of answers.
///
/// A single score has a square whatever K is. [`centre_pairs`] is the form for pairs that other projects have.
pub fn centre_sum(scores: &Tensor, ranks: &Tensor) -> Tensor {
    scores.masked_fill(&ranks.eq(0), 0.0).square().sum(None)
}

/// Σ_b w_b · (mean over the ranking's pairs of (s_i + s_j)²): the centring of arXiv 2312.09244 eq. 2 and of TRL, which leaves the two scores of a pair
/// free to part and only keeps their middle near zero. The pairs are those of [`bradley_terry_rankings`]. Scalar; divide by [`pair_weight`].
pub fn centre_pairs(scores: &Tensor, ranks: &Tensor, weights: &Tensor, ties: Ties) -> Tensor {
    debug_assert_eq!(scores.size(), ranks.size());
    let scores = scores.masked_fill(&ranks.eq(0), 0.0);
    let (better, tied) = pair_masks(ranks);
    let pairs = if ties == Ties::Half { better.logical_or(&tied) } else { better };
    let sums = (scores.unsqueeze(2) + scores.unsqueeze(1)).square() * pairs; // [B, K, K]
    let sums = sums.sum_dim_intlist([1i64, 2].as_slice(), false, None); // [B]
    (weights * sums / pair_counts(ranks, ties).clamp_min(1.0)).sum(None)
}

/// better − worse of every pair without a tie, all rankings together. [P]
pub fn margins(scores: &Tensor, ranks: &Tensor) -> Tensor {
    let (better, _) = pair_masks(ranks);
    (scores.unsqueeze(2) - scores.unsqueeze(1)).masked_select(&better)
}
