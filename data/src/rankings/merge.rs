//! Several judges of the same answers to one ranking.

use super::{Ranking, ranks_of};
use std::collections::HashMap;

/// Rankings of the same answers to the same prompt become one, in the place of the first. Scores are averaged with the judges' weights (mean
/// opinion); where a judge gave ranks only, minus the rank is the score, for all of them. The weights add up.
pub(super) fn judges(rankings: Vec<Ranking>) -> Vec<Ranking> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut items: Vec<Vec<Ranking>> = Vec::new();
    for ranking in rankings {
        let place = *places.entry(ranking.item()).or_insert(items.len());
        match items.get_mut(place) {
            Some(item) => item.push(ranking),
            None => items.push(vec![ranking]),
        }
    }
    items.into_iter().filter_map(merge).collect()
}

fn merge(item: Vec<Ranking>) -> Option<Ranking> {
    let scored = item.iter().all(|r| r.scores.is_some());
    let weights: f64 = item.iter().map(|r| f64::from(r.weight)).sum();
    let mut judgments = item.into_iter();
    let mut first = judgments.next()?;
    if judgments.len() == 0 {
        return Some(first);
    }
    let mut sums: Vec<f64> = scores(&first, scored).iter().map(|s| s * f64::from(first.weight)).collect();
    for judgment in judgments {
        let scores = scores(&judgment, scored);
        for (sum, at) in sums.iter_mut().zip(judgment.places_of(&first.answers)) {
            *sum += scores[at] * f64::from(judgment.weight);
        }
    }
    let means: Vec<f32> = sums.iter().map(|sum| (sum / weights) as f32).collect();
    first.ranks = ranks_of(&means);
    first.scores = Some(means);
    first.judge = None;
    first.weight = weights as f32;
    Some(first)
}

fn scores(ranking: &Ranking, scored: bool) -> Vec<f64> {
    match &ranking.scores {
        Some(scores) if scored => scores.iter().map(|s| f64::from(*s)).collect(),
        _ => ranking.ranks.iter().map(|rank| -f64::from(*rank)).collect(),
    }
}
