//! Chores with tables of judgments that a comparison of ways to train needs: cutting a data set into two tables by group, and majority voting.

use data::config::{RankingData, RewardConfig};
use data::error::DataError;
use data::labels::table::{LabelTable, write_table};
use data::labels::{Judgment, Kind};
use data::rankings::{Ranking, load_rankings, ranks_of};
use std::collections::HashMap;
use std::path::Path;

/// Reads the rankings that a reward configuration names and writes its two sides, split by group as `reward` splits them with this seed and
/// `eval.valid_fraction`. Returns the rows of each; bad rows go to `quarantine`.
pub fn split(config: &RewardConfig, seed: u64, train: &Path, heldout: &Path, quarantine: &Path) -> Result<[u64; 2], DataError> {
    // As people said it; nothing is measured in tokens here.
    let data = RankingData { merge_judges: false, heldout: vec![], ..config.data.clone() };
    let split = load_rankings(&data, None, config.eval.valid_fraction, seed, quarantine)?;
    let write = |path: &Path, side: &[Ranking]| write_table(path, side.iter().map(Judgment::from));
    Ok([write(train, &split.train)?, write(heldout, &split.valid)?])
}

/// Majority voting: one row an item. Answer i beats j where more judges preferred i; an answer's place is by the number of answers it beats, less those that
/// beat it (Copeland's rule, which is the majority's order wherever there is one). Every judge has one vote a pair; ties are no vote. The weight is 1.
/// Returns the items and rows read.
pub fn majority(table: &Path, out: &Path) -> Result<[u64; 2], DataError> {
    let table = LabelTable::open(table)?;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut items: Vec<(Ranking, Vec<i64>)> = Vec::new();
    for judgment in table.iter() {
        let j = judgment?;
        let (Kind::Ranking, Some(ranks)) = (j.kind, &j.ranks) else { continue };
        let ranking = ranking(&j, ranks);
        let k = ranking.answers.len();
        let at = *places.entry(ranking.item()).or_insert(items.len());
        if at == items.len() {
            items.push((ranking.clone(), vec![0; k * k]));
        }
        let (first, votes) = &mut items[at];
        let order = ranking.places_of(&first.answers);
        for a in 0..k {
            for b in 0..k {
                votes[a * k + b] += i64::from(ranking.ranks[order[a]] < ranking.ranks[order[b]]);
            }
        }
    }
    let merged = items.into_iter().map(|(mut item, votes)| {
        let k = item.answers.len();
        let beaten = |a: usize| (0..k).map(|b| (votes[a * k + b] - votes[b * k + a]).signum()).sum::<i64>() as f32;
        item.ranks = ranks_of(&(0..k).map(beaten).collect::<Vec<f32>>());
        Judgment { scores: None, worth: None, judge: None, weight: 1.0, ..Judgment::from(&item) }
    });
    Ok([write_table(out, merged)?, table.len()])
}

fn ranking(j: &Judgment, ranks: &[u32]) -> Ranking {
    Ranking {
        prompt: j.prompt.clone(),
        answers: j.answers.clone(),
        ranks: ranks.to_vec(),
        scores: None,
        worth: None,
        judge: j.judge.clone(),
        weight: j.weight,
        group: j.group.clone(),
        file: j.file.clone(),
        row: j.row,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::chat::Message;

    #[test]
    fn the_majority_has_its_way_and_an_even_vote_is_a_tie() {
        let dir = tempfile::tempdir().unwrap();
        let (said, out) = (dir.path().join("said.arrow"), dir.path().join("out.arrow"));
        let judgment = |answers: [&str; 3], ranks: [u32; 3]| Judgment {
            ranks: Some(ranks.to_vec()),
            weight: 5.0,
            ..Judgment::new(Kind::Ranking, vec![Message::new("user", "q")], answers.map(String::from).to_vec())
        };
        let skipped = Judgment::new(Kind::Skipped, vec![], vec![]);
        // a > b twice against once; c is above both for one judge, below for one, and tied with a for the third.
        let rows =
            [judgment(["a", "b", "c"], [1, 2, 3]), judgment(["c", "b", "a"], [1, 3, 2]), skipped, judgment(["b", "a", "c"], [1, 2, 2])];
        write_table(&said, rows).unwrap();
        assert_eq!(majority(&said, &out).unwrap(), [1, 4]);
        let merged = LabelTable::open(&out).unwrap().get(0).unwrap();
        // a beats b, ties with c (1:1); b beats c 2:1; c beats nobody: a +1, b 0, c −1.
        assert_eq!((merged.ranks, merged.weight, merged.judge), (Some(vec![1, 2, 3]), 1.0, None));
    }
}
