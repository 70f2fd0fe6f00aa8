//! How well scores agree with people's rankings, beside what guesses by length reach and beside how far people agree with
//! one another.

use crate::stats::{self, CalibrationBin};
use data::labels::text_of;
use data::rankings::Ranking;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// A preference model against people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreferenceReport {
    /// Share of non-tied pairs in which the better answer has the higher score; equal scores count half.
    pub accuracy: f64,
    /// Bootstrap interval of `accuracy` over groups: pairs of one prompt are not independent, so this is the honest one.
    pub accuracy_ci: [f64; 2],
    /// Wilson interval of `accuracy`, as if all pairs were independent.
    pub accuracy_wilson: [f64; 2],
    /// `accuracy` with each pair weighted by its ranking's weight.
    pub weighted_accuracy: f64,
    /// Non-tied pairs.
    pub pairs: u64,
    /// Pairs left out because the judge called them tied.
    pub tied_pairs: u64,
    /// Rankings.
    pub rankings: u64,
    /// Groups (prompts) with at least one non-tied pair.
    pub groups: u64,
    /// Accuracy of "the longer answer is better" on the same pairs, by characters; equal lengths count half.
    pub baseline_longer: f64,
    /// Accuracy of "the shorter answer is better" on the same pairs.
    pub baseline_shorter: f64,
    /// Expected calibration error of sigmoid(score difference).
    pub ece: f64,
    /// The bins behind it.
    pub calibration: Vec<CalibrationBin>,
    /// Mean of score(better) − score(worse).
    pub margin: f64,
    /// Mean of all scores.
    pub score_mean: f64,
    /// Standard deviation of all scores.
    pub score_std: f64,
    /// How far two judges agree about the same pair.
    pub judge_agreement: Option<Agreement>,
    /// Accuracy against the judges' majority, where any pair was judged more than once.
    pub majority: Option<Majority>,
}

/// Judge against judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Share of agreement among pairs of judgments of the same two answers, neither of them a tie.
    pub agreement: f64,
    /// Bootstrap interval over groups.
    pub ci: [f64; 2],
    /// Pairs of judgments compared.
    pub comparisons: u64,
}

/// The model against the majority of judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Majority {
    /// Share of pairs in which the model sides with the majority; equal scores count half.
    pub accuracy: f64,
    /// Bootstrap interval over groups.
    pub ci: [f64; 2],
    /// Pairs of answers with a majority.
    pub pairs: u64,
    /// "The longer answer is better" on these pairs.
    pub baseline_longer: f64,
}

/// Sums of each group: right pairs, all pairs.
type Groups<'a> = BTreeMap<&'a str, (f64, f64)>;

impl PreferenceReport {
    /// The keys of a reward run's `summary.json`, flat: `judge_agreement` is a number, or null when no pair has two judges.
    pub fn summary(&self) -> serde_json::Map<String, Value> {
        let mut map = match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => serde_json::Map::new(), // a struct of numbers always becomes an object
        };
        map.remove("majority");
        map.insert("judge_agreement".into(), json!(self.judge_agreement.as_ref().map(|a| a.agreement)));
        if let Some(a) = &self.judge_agreement {
            map.insert("judge_agreement_ci".into(), json!(a.ci));
            map.insert("judge_comparisons".into(), json!(a.comparisons));
        }
        if let Some(m) = &self.majority {
            map.insert("majority_accuracy".into(), json!(m.accuracy));
            map.insert("majority_accuracy_ci".into(), json!(m.ci));
            map.insert("majority_pairs".into(), json!(m.pairs));
            map.insert("majority_baseline_longer".into(), json!(m.baseline_longer));
        }
        map
    }
}

/// Compares scores with rankings: `scores[i][k]` is the model's score of answer k of `rankings[i]`, higher is better. `None` when no
/// judge told any pair apart. `seed` draws the bootstrap.
///
/// # Panics
/// When the two lists do not have the same lengths: that is a mistake of the caller, not of the data.
pub fn evaluate(rankings: &[Ranking], scores: &[Vec<f64>], seed: u64) -> Option<PreferenceReport> {
    assert_eq!(rankings.len(), scores.len(), "one list of scores a ranking");
    let mut groups: Groups = BTreeMap::new();
    let mut margins = Vec::new();
    let (mut weighted, mut weights, mut longer, mut tied) = (0.0, 0.0, 0.0, 0usize);
    for (ranking, scores) in rankings.iter().zip(scores) {
        assert_eq!(ranking.answers.len(), scores.len(), "one score an answer");
        for (better, worse) in ranking.pairs() {
            let margin = scores[better] - scores[worse];
            let group = groups.entry(&ranking.group).or_default();
            group.0 += stats::right(margin);
            group.1 += 1.0;
            weighted += f64::from(ranking.weight) * stats::right(margin);
            weights += f64::from(ranking.weight);
            longer += stats::right(length(&ranking.answers[better]) - length(&ranking.answers[worse]));
            margins.push(margin);
        }
        tied += ranking.ties();
    }
    let pairs = margins.len() as u64;
    let right: f64 = groups.values().map(|g| g.0).sum();
    let all: Vec<f64> = scores.iter().flatten().copied().collect();
    let calibration = stats::calibration(&margins).unwrap_or(stats::Calibration { ece: f64::NAN, bins: vec![] });
    let (judge_agreement, majority) = between_judges(rankings, scores, seed);
    Some(PreferenceReport {
        accuracy: right / pairs as f64,
        accuracy_wilson: stats::wilson(right, pairs)?,
        accuracy_ci: interval(&groups, seed)?,
        weighted_accuracy: weighted / weights,
        pairs,
        tied_pairs: tied as u64,
        rankings: rankings.len() as u64,
        groups: groups.len() as u64,
        baseline_longer: longer / pairs as f64,
        baseline_shorter: 1.0 - longer / pairs as f64,
        ece: calibration.ece,
        calibration: calibration.bins,
        margin: stats::mean(&margins)?,
        score_mean: stats::mean(&all)?,
        score_std: stats::std(&all)?,
        judge_agreement,
        majority,
    })
}

/// Length in characters.
fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

fn interval(groups: &Groups, seed: u64) -> Option<[f64; 2]> {
    stats::bootstrap_ratio(&groups.values().copied().collect::<Vec<_>>(), seed)
}

/// What all judges said about two answers: `first` < `second` as texts.
#[derive(Default)]
struct Verdicts<'a> {
    group: &'a str,
    /// Judgments for the first and for the second answer.
    votes: [u64; 2],
    /// Who has voted, as far as named.
    judges: Vec<&'a str>,
    /// score(first) − score(second).
    margin: f64,
    /// length(first) − length(second).
    longer: f64,
}

/// Agreement between judges, and of the model with their majority. Only pairs of *different* texts count; a judge who saw a pair
/// twice counts once; rankings without a judge's name are taken as so many judges.
fn between_judges(rankings: &[Ranking], scores: &[Vec<f64>], seed: u64) -> (Option<Agreement>, Option<Majority>) {
    let mut index: HashMap<(String, &str, &str), usize> = HashMap::new();
    let mut verdicts: Vec<Verdicts> = Vec::new();
    for (row, scores) in rankings.iter().zip(scores) {
        let prompt = text_of(&row.prompt);
        for (better, worse) in row.pairs() {
            let (a, b) = (row.answers[better].as_str(), row.answers[worse].as_str());
            if a == b {
                continue;
            }
            let (first, second) = if a < b { (a, b) } else { (b, a) };
            let at = *index.entry((prompt.clone(), first, second)).or_insert_with(|| {
                verdicts.push(Verdicts { group: &row.group, ..Verdicts::default() });
                verdicts.len() - 1
            });
            let verdict = &mut verdicts[at];
            if let Some(judge) = &row.judge {
                if verdict.judges.contains(&judge.as_str()) {
                    continue;
                }
                verdict.judges.push(judge);
            }
            let sign = if a < b { 1.0 } else { -1.0 };
            verdict.votes[usize::from(a > b)] += 1;
            verdict.margin = sign * (scores[better] - scores[worse]);
            verdict.longer = sign * (length(a) - length(b));
        }
    }
    let pairs_of = |n: u64| n * n.saturating_sub(1) / 2;
    let (mut agree, mut side, mut longer): (Groups, Groups, f64) = (BTreeMap::new(), BTreeMap::new(), 0.0);
    for v in verdicts.iter().filter(|v| v.votes[0] + v.votes[1] > 1) {
        let group = agree.entry(v.group).or_default();
        group.0 += (pairs_of(v.votes[0]) + pairs_of(v.votes[1])) as f64;
        group.1 += pairs_of(v.votes[0] + v.votes[1]) as f64;
    }
    let several = !agree.is_empty();
    for v in verdicts.iter().filter(|v| several && v.votes[0] != v.votes[1]) {
        let sign = if v.votes[0] > v.votes[1] { 1.0 } else { -1.0 };
        let group = side.entry(v.group).or_default();
        group.0 += stats::right(sign * v.margin);
        group.1 += 1.0;
        longer += stats::right(sign * v.longer);
    }
    let total = |groups: &Groups| groups.values().fold((0.0, 0.0), |t, g| (t.0 + g.0, t.1 + g.1));
    let (agreed, compared) = total(&agree);
    let (sided, pairs) = total(&side);
    (
        interval(&agree, seed).map(|ci| Agreement { agreement: agreed / compared, ci, comparisons: compared as u64 }),
        interval(&side, seed).map(|ci| Majority { accuracy: sided / pairs, ci, pairs: pairs as u64, baseline_longer: longer / pairs }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ranking by `judge` of `answers`, grouped by its prompt.
    fn ranking(prompt: &str, judge: Option<&str>, answers: &[&str], ranks: &[u32]) -> Ranking {
        Ranking {
            prompt: vec![data::chat::Message::new("user", prompt)],
            answers: answers.iter().map(|a| (*a).into()).collect(),
            ranks: ranks.to_vec(),
            scores: None,
            worth: None,
            judge: judge.map(Into::into),
            weight: 1.0,
            group: prompt.into(),
            file: "made.up".into(),
            row: 1,
        }
    }

    #[test]
    fn accuracy_baselines_and_ties_by_hand() {
        // Pairs: (a > bb), (a > ccc); bb and ccc are tied. Scores order a over bb, and ccc over a.
        let mut one = ranking("p", None, &["a", "bb", "ccc"], &[1, 2, 2]);
        one.weight = 3.0;
        let two = ranking("q", None, &["xx", "yy"], &[2, 1]); // equal length, equal score
        let report = evaluate(&[one, two], &[vec![1.0, 0.0, 2.0], vec![0.5, 0.5]], 1).unwrap();
        assert_eq!((report.pairs, report.tied_pairs, report.rankings, report.groups), (3, 1, 2, 2));
        assert!((report.accuracy - 1.5 / 3.0).abs() < 1e-12);
        assert!((report.weighted_accuracy - 3.5 / 7.0).abs() < 1e-12);
        assert!((report.baseline_longer - 0.5 / 3.0).abs() < 1e-12, "the shorter wins both unequal pairs");
        assert!((report.baseline_shorter - 2.5 / 3.0).abs() < 1e-12);
        assert!((report.margin - (1.0 - 1.0 + 0.0) / 3.0).abs() < 1e-12);
        assert_eq!((report.judge_agreement, report.majority), (None, None));
    }

    #[test]
    fn no_pair_no_report() {
        assert!(evaluate(&[ranking("p", None, &["a", "b"], &[1, 1])], &[vec![0.0, 1.0]], 1).is_none());
        assert!(evaluate(&[], &[], 1).is_none());
    }

    #[test]
    fn judges_agree_whatever_the_order_of_the_answers() {
        let rankings = [
            ranking("p", Some("j1"), &["a", "b", "c"], &[1, 2, 3]),
            ranking("p", Some("j2"), &["c", "b", "a"], &[2, 2, 1]), // a > b, a > c, b = c: agrees twice
            ranking("p", Some("j3"), &["b", "a"], &[1, 2]),         // b > a: against both
            ranking("p", Some("j3"), &["b", "a"], &[1, 2]),         // the same judge again
            ranking("q", Some("j1"), &["a", "b"], &[1, 2]),         // another prompt: nobody to agree with
        ];
        // The model says a > b > c everywhere.
        let scores = [vec![3.0, 2.0, 1.0], vec![1.0, 2.0, 3.0], vec![2.0, 3.0], vec![2.0, 3.0], vec![3.0, 2.0]];
        let report = evaluate(&rankings, &scores, 1).unwrap();
        let agreement = report.judge_agreement.unwrap();
        // (a, b): j1 j2 agree, j3 disagrees with both; (a, c): j1 j2 agree; (b, c): j1 alone.
        assert_eq!((agreement.comparisons, agreement.agreement), (4, 0.5));
        // Majorities: p: a > b, a > c, b > c; q: a > b.
        let majority = report.majority.unwrap();
        assert_eq!((majority.pairs, majority.accuracy, majority.baseline_longer), (4, 1.0, 0.5));
    }

    #[test]
    fn judgments_of_one_prompt_widen_the_interval() {
        // 40 prompts, each judged 10 times alike; the model is right about every second prompt.
        let rankings: Vec<Ranking> = (0..400).map(|i| ranking(&format!("p{}", i / 10), Some("j"), &["a", "b"], &[1, 2])).collect();
        let scores: Vec<Vec<f64>> = (0..400).map(|i| if i / 10 % 2 == 0 { vec![1.0, 0.0] } else { vec![0.0, 1.0] }).collect();
        let report = evaluate(&rankings, &scores, 5).unwrap();
        let width = |ci: [f64; 2]| ci[1] - ci[0];
        assert_eq!(report.accuracy, 0.5);
        assert!(width(report.accuracy_ci) > 2.0 * width(report.accuracy_wilson), "{report:?}");
    }

    #[test]
    fn the_summary_is_flat() {
        let rankings = [ranking("p", Some("x"), &["a", "b"], &[1, 2]), ranking("p", Some("y"), &["a", "b"], &[1, 2])];
        let summary = evaluate(&rankings, &[vec![1.0, 0.0], vec![1.0, 0.0]], 1).unwrap().summary();
        for key in ["accuracy", "pairs", "baseline_longer", "baseline_shorter", "ece", "judge_agreement", "majority_accuracy"] {
            assert!(summary[key].is_number(), "{key}");
        }
        assert_eq!(summary["accuracy_ci"].as_array().map(Vec::len), Some(2));
        assert_eq!(summary["calibration"][0]["count"], 2);
        assert!(!summary.contains_key("majority"));
        let alone = evaluate(&rankings[..1], &[vec![1.0, 0.0]], 1).unwrap().summary();
        assert!(alone["judge_agreement"].is_null() && !alone.contains_key("majority_accuracy"));
    }
}
