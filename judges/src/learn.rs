//! What a reward model learns from: rankings that count as much as their judges can be believed, or one ranking an item with the fitted worths as soft labels.

use crate::fit::{self, Fit};
use crate::panel::{Panel, Place};
use data::labels::Judgment;
use data::rankings::{Ranking, ranks_of};
use serde::Serialize;

/// What is known of a judge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Known {
    /// The name.
    pub judge: String,
    /// β of [`fit`]: 1 is the typical judgment, 0 is clicking at random, below 0 a scale read the wrong way round.
    pub reliability: f64,
    /// Its 95% interval.
    pub ci: [f64; 2],
    /// Rankings by this judge.
    pub rankings: u64,
    /// Of these, on prompts that another judge has ranked answers of too: what the reliability is read from. With none it is that of a typical judge.
    pub compared: u64,
    /// What this judge's rankings are multiplied by: the reliability, but never nothing.
    pub weight: f64,
}

/// Rankings as numbers, and the fit to them.
pub struct Opinion {
    panel: Panel,
    fit: Fit,
}

impl Opinion {
    /// Of these rankings alone. The same whatever the number of threads.
    pub fn of(rankings: &[Ranking]) -> Opinion {
        let mut panel = Panel::default();
        for (row, ranking) in rankings.iter().enumerate() {
            panel.push(&Judgment::from(ranking), Place { table: 0, row: row as u64 });
        }
        let fit = fit::fit(&panel, &fit::Options::default(), |_, _| {});
        Opinion { panel, fit }
    }

    /// The judges, in the order of their first ranking.
    pub fn judges(&self) -> Vec<Known> {
        let known = |at: usize| {
            let (rows, judge) = (&self.panel.judges[at], self.fit.judges[at]);
            Known {
                judge: rows.name.clone(),
                reliability: judge.beta,
                ci: judge.interval(),
                rankings: rows.comparisons,
                compared: self.fit.compared[at],
                weight: self.fit.weight(at as u32),
            }
        };
        (0..self.panel.judges.len()).map(known).collect()
    }

    /// The rankings, each with its weight times its judge's reliability; those of nobody keep theirs.
    pub fn weigh(&self, mut rankings: Vec<Ranking>) -> Vec<Ranking> {
        for ranking in &mut rankings {
            ranking.weight *= self.fit.weight(self.panel.judge_named(ranking.judge.as_deref())) as f32;
        }
        rankings
    }

    /// One ranking an item, in the place of its first: everybody's word, with the worths of its answers as soft labels and the sum of the weights that
    /// [`weigh`](Opinion::weigh) gives.
    pub fn fitted(&self, rankings: &[Ranking]) -> Vec<Ranking> {
        let soft = (0..self.panel.items.len()).filter_map(|item| self.fit.soft(&self.panel, item));
        let ranking = |soft: fit::Soft| {
            let first = &rankings[soft.first.row as usize];
            let answer = |(place, at): &(Place, u32)| rankings[place.row as usize].answers[*at as usize].clone();
            Ranking {
                answers: soft.answers.iter().map(answer).collect(),
                ranks: ranks_of(&soft.worth),
                scores: None,
                worth: Some(soft.worth),
                judge: None,
                weight: soft.weight,
                ..first.clone()
            }
        };
        soft.map(ranking).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::chat::Message;
    use std::path::PathBuf;

    fn ranking(question: usize, judge: Option<&str>, ranks: [u32; 3]) -> Ranking {
        Ranking {
            prompt: vec![Message::new("user", &format!("question {question}"))],
            answers: ["good", "fair", "poor"].map(String::from).to_vec(),
            ranks: ranks.to_vec(),
            scores: None,
            worth: None,
            judge: judge.map(String::from),
            weight: 2.0,
            group: question.to_string(),
            file: PathBuf::from("rows"),
            row: question as u64,
        }
    }

    /// Three who see what is good, one who reads the scale upside down, one who says whatever comes, one who was alone with each question of his, and nobody.
    fn crowd() -> Vec<Ranking> {
        let any = [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1], [1, 3, 2], [2, 1, 3]];
        let mut rankings: Vec<Ranking> = (0..30)
            .flat_map(|q| {
                let careful = ["ada", "ben", "eve"].map(|name| ranking(q, Some(name), [1, 2, 3]));
                careful.into_iter().chain([ranking(q, Some("upside"), [3, 2, 1]), ranking(q, Some("dice"), any[q % 6])])
            })
            .collect();
        rankings.extend((30..40).map(|q| ranking(q, Some("alone"), [2, 1, 3])));
        rankings.push(ranking(40, None, [1, 2, 3]));
        rankings
    }

    #[test]
    fn who_agrees_with_the_others_counts_more_and_who_was_alone_as_anybody() {
        let rankings = crowd();
        let opinion = Opinion::of(&rankings);
        let judges = opinion.judges();
        let of = |name: &str| judges.iter().find(|j| j.judge == name).unwrap();
        assert!(["ada", "ben", "eve"].iter().all(|name| of(name).reliability > 1.0 && of(name).compared == 30), "{judges:?}");
        assert!(of("dice").reliability.abs() < 0.35 && of("dice").ci[0] < 0.0 && of("dice").ci[1] > 0.0, "{judges:?}");
        assert!(of("upside").ci[1] < 0.0 && of("upside").weight == 0.01, "{judges:?}");
        assert_eq!((of("alone").rankings, of("alone").compared, of("alone").weight), (10, 0, 1.0));

        let weighed = opinion.weigh(rankings.clone());
        assert_eq!(weighed.len(), rankings.len());
        for (before, after) in rankings.iter().zip(&weighed) {
            let by = before.judge.as_deref().map_or(1.0, |name| of(name).weight);
            assert_eq!(*after, Ranking { weight: (2.0 * by as f32), ..before.clone() });
        }
    }

    #[test]
    fn an_item_becomes_one_ranking_with_worths() {
        let rankings = crowd();
        let opinion = Opinion::of(&rankings);
        let fitted = opinion.fitted(&rankings);
        assert_eq!(fitted.len(), 41);
        let weighed = opinion.weigh(rankings);
        for (q, item) in fitted.iter().enumerate() {
            let sum: f32 = weighed.iter().filter(|r| r.row == q as u64).map(|r| r.weight).sum();
            assert!((item.weight - sum).abs() < 1e-4 * sum, "{item:?}");
            assert_eq!((item.row, item.judge.as_deref(), item.answers.len()), (q as u64, None, 3));
            let worth = item.worth.as_ref().unwrap();
            assert_eq!(item.ranks, if (30..40).contains(&q) { [2, 1, 3] } else { [1, 2, 3] }, "{worth:?}");
        }
        // Five agree more or less on the first, one person alone spoke of the last: less is known of it.
        let lead = |r: &Ranking| r.worth.as_ref().map(|w| w[0] - w[2]).unwrap();
        assert!(lead(&fitted[0]) > lead(&fitted[40]) && lead(&fitted[40]) > 0.0, "{} {}", lead(&fitted[0]), lead(&fitted[40]));
    }

    /// Answers that only a later row of the item has join it.
    #[test]
    fn the_rows_of_an_item_may_show_its_answers_in_any_order() {
        let mut turned = ranking(0, Some("ben"), [3, 2, 1]);
        turned.answers.reverse();
        let rankings = [ranking(0, Some("ada"), [1, 2, 3]), turned];
        let fitted = Opinion::of(&rankings).fitted(&rankings);
        assert_eq!(fitted.len(), 1);
        assert_eq!((fitted[0].answers.as_slice(), fitted[0].ranks.as_slice()), (rankings[0].answers.as_slice(), &[1, 2, 3][..]));
    }
}
