//! Several judges of the same answers to one ranking.

use super::{Ranking, ranks_of};
use std::collections::HashMap;

/// Rankings of the same answers to the same prompt become one, in the place of the first. Scores are averaged with the judges' weights (mean
/// opinion); where a judge gave ranks only, minus the rank is the score, for all of them. Fitted worths are averaged likewise where all have one. The
/// weights add up.
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
    let fitted = item.iter().all(|r| r.worth.is_some());
    let weights: f64 = item.iter().map(|r| f64::from(r.weight)).sum();
    let mut judgments = item.into_iter();
    let mut first = judgments.next()?;
    if judgments.len() == 0 {
        return Some(first);
    }
    let k = first.answers.len();
    let (mut sums, mut worths) = (vec![0.0; k], vec![0.0; k]);
    for judgment in std::iter::once(first.clone()).chain(judgments) {
        let (scores, weight) = (scores(&judgment, scored), f64::from(judgment.weight));
        for (i, at) in judgment.places_of(&first.answers).into_iter().enumerate() {
            sums[i] += scores[at] * weight;
            worths[i] += judgment.worth.as_ref().map_or(0.0, |worth| f64::from(worth[at])) * weight;
        }
    }
    let mean = |sums: &[f64]| sums.iter().map(|sum| (sum / weights) as f32).collect::<Vec<f32>>();
    let means = mean(&sums);
    first.ranks = ranks_of(&means);
    first.scores = Some(means);
    first.worth = fitted.then(|| mean(&worths));
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
