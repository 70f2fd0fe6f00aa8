//! Which items to ask people about, and which of the answers drawn to show: at random, or where reward models know least.
//!
//! What asking about answers i and j may teach (their *gain*), of reward models r with scores s_r:
//! - `uncertain`: entropy, in bits, of p = mean over r of sigmoid(s_r[i] − s_r[j]), the Bradley-Terry probability that i is preferred. It is 1
//!   at p = ½ (uncertainty sampling, Lewis & Gale 1994, arXiv cmp-lg/9407020).
//! - `disagree`: variance over r of s_r[i] − s_r[j] (query by committee; Christiano et al. 2017, arXiv 1706.03741, section 2.2.4).
//!
//! The gain of an item is the mean over the pairs shown. Everything here is numbers: no model, no file.

use clap::ValueEnum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How items and answers are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choose {
    /// All by chance.
    Random,
    /// Where the reward models' probability is nearest to one half.
    Uncertain,
    /// Where the reward models differ most from one another.
    Disagree,
    /// Half of them uncertain, half of them in dispute.
    Mixed,
}

/// Why an item was chosen; its name stands in the item's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// By chance.
    Random,
    /// For its entropy.
    Uncertain,
    /// For its variance.
    Disagree,
}

impl Reason {
    /// The flag, such as `chosen:random`.
    pub fn flag(self) -> &'static str {
        match self {
            Reason::Random => "chosen:random",
            Reason::Uncertain => "chosen:uncertain",
            Reason::Disagree => "chosen:disagree",
        }
    }

    /// The name in the report.
    pub fn name(self) -> &'static str {
        &self.flag()["chosen:".len()..]
    }
}

/// Scores of one prompt's answers: `scores[r][i]` is model r's of answer i.
pub type Scores = Vec<Vec<f32>>;

/// One item chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its number among the candidates.
    pub item: usize,
    /// The answers to show, by their number, ascending.
    pub answers: Vec<usize>,
    /// Why.
    pub reason: Reason,
}

/// What to choose.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How.
    pub choose: Choose,
    /// Items; all there are, if they are fewer.
    pub items: usize,
    /// Answers an item.
    pub k: usize,
    /// Share of the items that is chosen at random whatever `choose` says, so that the judgments also tell about all the rest.
    pub share_random: f64,
    /// Seed of chance.
    pub seed: u64,
}

/// The gain of asking about answers `i` and `j`.
pub fn gain(reason: Reason, scores: &Scores, i: usize, j: usize) -> f64 {
    let differences = scores.iter().map(|s| f64::from(s[i]) - f64::from(s[j]));
    let n = scores.len().max(1) as f64;
    match reason {
        Reason::Random => 0.0,
        Reason::Uncertain => {
            let p = differences.map(figures::stats::sigmoid).sum::<f64>() / n;
            let bits = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
            bits(p) + bits(1.0 - p)
        }
        Reason::Disagree => {
            let mean = differences.clone().sum::<f64>() / n;
            differences.map(|d| (d - mean) * (d - mean)).sum::<f64>() / n
        }
    }
}

/// The `k` of `count` answers to show, ascending, and their mean gain: the best pair, then one after the other that which adds most to those
/// taken; equals in the order they were drawn. By chance: the first, since their order is chance already.
fn answers(reason: Reason, scores: &Scores, count: usize, k: usize) -> (Vec<usize>, f64) {
    let k = k.min(count);
    if reason == Reason::Random || k < 2 {
        return ((0..k).collect(), 0.0);
    }
    let with = |taken: &[usize], i: usize| taken.iter().map(|&j| gain(reason, scores, i, j)).sum::<f64>();
    let pairs = (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
    let Some(((i, j), _)) = first_best(pairs.map(|(i, j)| ((i, j), gain(reason, scores, i, j)))) else { return (vec![], 0.0) };
    let mut taken = vec![i, j];
    while taken.len() < k {
        let rest = (0..count).filter(|i| !taken.contains(i)).map(|i| (i, with(&taken, i)));
        match first_best(rest) {
            Some((next, _)) => taken.push(next),
            None => break,
        }
    }
    taken.sort_unstable();
    let total: f64 = (1..taken.len()).map(|n| with(&taken[..n], taken[n])).sum();
    (taken.clone(), total / (taken.len() * (taken.len() - 1) / 2) as f64)
}

fn first_best<T>(candidates: impl Iterator<Item = (T, f64)>) -> Option<(T, f64)> {
    candidates.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// Chooses among candidates of which `counts[c]` answers were drawn; `scores` has one entry a candidate, or is empty where there are no reward
/// models and `choose` is random. Each candidate is chosen once at most. In the order of the candidates.
pub fn choose(counts: &[usize], scores: &[Scores], plan: &Plan) -> Vec<Chosen> {
    let none = Scores::new();
    let scores = |item: usize| scores.get(item).unwrap_or(&none);
    let total = plan.items.min(counts.len());
    let random = match plan.choose {
        Choose::Random => total,
        _ => ((plan.share_random * total as f64).round() as usize).min(total),
    };
    let reasons: &[Reason] = match plan.choose {
        Choose::Random => &[],
        Choose::Uncertain => &[Reason::Uncertain],
        Choose::Disagree => &[Reason::Disagree],
        Choose::Mixed => &[Reason::Uncertain, Reason::Disagree],
    };
    let mut dice = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut shuffled: Vec<usize> = (0..counts.len()).collect();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, ((u128::from(dice.next_u64()) * (i + 1) as u128) >> 64) as usize);
    }
    // Chance first: a random sample of what is left over would be one of the easy items only.
    let mut chosen: Vec<Chosen> = Vec::with_capacity(total);
    let mut free = vec![true; counts.len()];
    for &item in &shuffled[..random] {
        free[item] = false;
        chosen.push(Chosen { item, answers: answers(Reason::Random, scores(item), counts[item], plan.k).0, reason: Reason::Random });
    }
    // For each reason the candidates from the greatest gain down; equals in shuffled order. The reasons take turns.
    let mut queues: Vec<_> = reasons
        .iter()
        .map(|&reason| {
            let with_gain = |&item: &usize| {
                let (answers, gain) = answers(reason, scores(item), counts[item], plan.k);
                (gain, Chosen { item, answers, reason })
            };
            let mut all: Vec<(f64, Chosen)> = shuffled.iter().filter(|&&item| free[item]).map(with_gain).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            all.into_iter().map(|(_, chosen)| chosen)
        })
        .collect();
    'full: loop {
        for queue in &mut queues {
            if chosen.len() == total {
                break 'full;
            }
            if let Some(next) = queue.find(|c| free[c.item]) {
                free[next.item] = false;
                chosen.push(next);
            }
        }
        if queues.is_empty() {
            break;
        }
    }
    chosen.sort_by_key(|c| c.item);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(choose: Choose, items: usize, k: usize, share_random: f64) -> Plan {
        Plan { choose, items, k, share_random, seed: 3 }
    }

    #[test]
    fn gains_by_hand() {
        // One model: p = sigmoid(log 3) = 3/4, entropy 2 − 3/4·log2 3.
        let one = vec![vec![3f32.ln(), 0.0, 0.0]];
        let expected = 2.0 - 0.75 * 3f64.log2();
        assert!((gain(Reason::Uncertain, &one, 0, 1) - expected).abs() < 1e-6);
        assert!((gain(Reason::Uncertain, &one, 1, 0) - expected).abs() < 1e-6, "either way round");
        assert_eq!(gain(Reason::Uncertain, &one, 1, 2), 1.0);
        assert_eq!(gain(Reason::Disagree, &one, 0, 1), 0.0, "one model never disagrees with itself");
        // Differences 2 and −1: mean ½, variance 2.25. A model far away saturates without becoming NaN.
        let two = vec![vec![2.0, 0.0], vec![-1.0, 0.0]];
        assert!((gain(Reason::Disagree, &two, 0, 1) - 2.25).abs() < 1e-12);
        assert_eq!(gain(Reason::Uncertain, &vec![vec![1e6, 0.0]], 0, 1), 0.0);
    }

    #[test]
    fn the_nearest_answers_and_the_nearest_items_are_uncertain() {
        // Item 1 has two answers of equal score among its four, item 0 none, item 2 is in between.
        let scores = vec![vec![vec![0.0, 4.0, 8.0, 12.0]], vec![vec![5.0, 0.0, 5.0, 9.0]], vec![vec![0.0, 1.0, 9.0, 20.0]]];
        let chosen = choose(&[4, 4, 4], &scores, &plan(Choose::Uncertain, 2, 2, 0.0));
        assert_eq!(chosen.iter().map(|c| (c.item, c.answers.clone())).collect::<Vec<_>>(), [(1, vec![0, 2]), (2, vec![0, 1])]);
        assert!(chosen.iter().all(|c| c.reason == Reason::Uncertain));
        // Three answers: 9 is nearer to 5 and 5 than 0 is.
        assert_eq!(choose(&[4], &scores[1..2], &plan(Choose::Uncertain, 1, 3, 0.0))[0].answers, [0, 2, 3]);
    }

    #[test]
    fn disputed_is_not_the_same_as_uncertain() {
        // Item 0: both models say a tie. Item 1: they contradict each other strongly. Item 2: they agree strongly.
        let scores = vec![vec![vec![1.0, 1.0], vec![2.0, 2.0]], vec![vec![3.0, 0.0], vec![0.0, 4.0]], vec![vec![5.0, 0.0], vec![5.0, 0.0]]];
        let first = |how| choose(&[2, 2, 2], &scores, &plan(how, 1, 2, 0.0))[0].item;
        assert_eq!((first(Choose::Uncertain), first(Choose::Disagree)), (0, 1));
        let mixed = choose(&[2, 2, 2], &scores, &plan(Choose::Mixed, 2, 2, 0.0));
        assert_eq!(mixed.iter().map(|c| (c.item, c.reason)).collect::<Vec<_>>(), [(0, Reason::Uncertain), (1, Reason::Disagree)]);
        // All are wanted: each once, whatever the reason.
        let all = choose(&[2, 2, 2], &scores, &plan(Choose::Mixed, 9, 2, 0.0));
        assert_eq!(all.iter().map(|c| c.item).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_share_is_chance_and_the_seed_decides_it() {
        let scores: Vec<Scores> = (0..40).map(|i| vec![vec![0.0, i as f32, 50.0]]).collect();
        let counts = vec![3; 40];
        let chosen = choose(&counts, &scores, &plan(Choose::Uncertain, 20, 2, 0.25));
        let random: Vec<&Chosen> = chosen.iter().filter(|c| c.reason == Reason::Random).collect();
        assert_eq!((chosen.len(), random.len()), (20, 5));
        assert!(random.iter().all(|c| c.answers == [0, 1]), "by chance the first two drawn");
        assert!(random.iter().any(|c| c.item > 20), "{random:?}");
        let again = |seed| choose(&counts, &scores, &Plan { seed, ..plan(Choose::Uncertain, 20, 2, 0.25) });
        assert_eq!(chosen, again(3));
        assert_ne!(chosen, again(4));
        let random = choose(&counts, &[], &plan(Choose::Random, 7, 2, 0.0));
        assert!(random.len() == 7 && random.is_sorted_by_key(|c| c.item) && random.iter().all(|c| c.reason == Reason::Random));
    }
}
