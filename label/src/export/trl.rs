//! Pairs for TRL's `RewardTrainer` and `DPOTrainer`: every two answers that a judge ranked differently are a row of `prompt`, `chosen`, `rejected`.
//!
//! All rows are of one type, since `datasets` allows no other: texts, or, where any prompt is more than one turn of the user's, conversations.
//! `margin` is the difference of fitted worths in logits, else of scores; it is there only if all pairs have one.

use super::{Whole, Written, plain};
use data::labels::Judgment;
use data::labels::table::LabelTable;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::path::Path;

/// Writes the pairs.
pub fn write(table: &LabelTable, out: &Path) -> anyhow::Result<Written> {
    let (mut texts, mut margins, mut pairs) = (true, true, 0u64);
    for judgment in table.iter() {
        let judgment = judgment?;
        let here = ordered(&judgment).0.len() as u64;
        if here > 0 {
            texts &= matches!(&judgment.prompt[..], [only] if only.role == "user");
            margins &= judgment.worth.is_some() || judgment.scores.is_some();
        }
        pairs += here;
    }
    let mut written = Written { judgments: table.len(), rows: pairs, what: "pairs", ..Written::default() };
    if pairs == 0 {
        return Err(crate::exit::input("no judgment of the table orders two answers: there is no pair to write"));
    }
    let mut file = Whole::create(out)?;
    for judgment in table.iter() {
        let judgment = judgment?;
        if !comparing(&judgment) {
            written.leave(format!("judgments of the kind {}", judgment.kind.name()), 1);
            continue;
        }
        let (pairs, ties) = ordered(&judgment);
        written.leave("tied pairs", ties);
        for (better, worse) in pairs {
            file.line(&row(&judgment, better, worse, texts, margins))?;
        }
    }
    file.finish()?;
    if !margins {
        written.notes.push("no margin: not every pair has worths or scores".to_string());
    }
    if !texts {
        written.notes.push("prompt, chosen and rejected are conversations".to_string());
    }
    Ok(written)
}

/// True for judgments of several answers: rankings, and ratings in one row. What `reward` learns from is what is written.
fn comparing(judgment: &Judgment) -> bool {
    judgment.kind.compares() && judgment.answers.len() > 1
}

/// Pairs (better, worse) in the judge's order, and the number of ties.
fn ordered(judgment: &Judgment) -> (Vec<(usize, usize)>, u64) {
    let (mut pairs, mut ties) = (Vec::new(), 0);
    if !comparing(judgment) {
        return (pairs, ties);
    }
    let k = judgment.answers.len();
    let ranks = judgment.order().unwrap_or_else(|| vec![1; k]);
    for (i, j) in (0..k).flat_map(|i| (i + 1..k).map(move |j| (i, j))) {
        match ranks[i].cmp(&ranks[j]) {
            Ordering::Less => pairs.push((i, j)),
            Ordering::Greater => pairs.push((j, i)),
            Ordering::Equal => ties += 1,
        }
    }
    (pairs, ties)
}

fn row(judgment: &Judgment, better: usize, worse: usize, texts: bool, margins: bool) -> Map<String, Value> {
    let answer = |at: usize| match texts {
        true => Value::from(judgment.answers[at].as_str()),
        false => json!([{ "role": "assistant", "content": judgment.answers[at] }]),
    };
    let prompt = match (&judgment.prompt[..], texts) {
        ([only], true) => Value::from(only.content.as_str()),
        (turns, _) => plain::turns(turns),
    };
    let mut row =
        Map::from_iter([("prompt".to_string(), prompt), ("chosen".to_string(), answer(better)), ("rejected".to_string(), answer(worse))]);
    if let (true, Some(by)) = (margins, judgment.worth.as_ref().or(judgment.scores.as_ref())) {
        // A score may contradict the rank; a margin is never negative.
        row.insert("margin".to_string(), plain::real((by[better] - by[worse]).max(0.0)));
    }
    row
}
