//! The simulated judges at work on items that somebody else drew: a table of open items becomes judgments, as if people had ranked them.

use super::gold::{Gold, gold};
use super::judge::JUDGES;
use crate::dice::Dice;
use data::error::DataError;
use data::labels::table::{LabelTable, TableWriter};
use data::labels::{Judgment, Kind, text_of};
use data::rankings::ranks_of;
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum People {
    /// So many of [`JUDGES`] an item, drawn for each.
    Judges(usize),
    /// Nobody: the true preference itself, without an error.
    Truth,
}

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Open items of two answers or more.
    pub items: usize,
    /// Judgments written.
    pub judgments: usize,
    /// Rows left out: not open, or with fewer than two answers.
    pub skipped: usize,
}

/// Where judgments go: a table of judgments, or JSON Lines with `prompt`, `answers`, `ranks`, `judge`, `weight` where the name ends so.
enum Out {
    Table(TableWriter),
    Lines(BufWriter<NamedTempFile>),
}

/// Lets `people` judge the open items of the table `input`. Equal seeds write equal bytes; an item's judgments depend on the seed, its key and its
/// answers alone, not on the items beside it.
pub fn judge(input: &Path, output: &Path, people: People, seed: u64) -> Result<Judged, DataError> {
    let table = LabelTable::open(input)?;
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
    let mut out = match output.extension().is_some_and(|e| e == "jsonl") {
        true => Out::Lines(BufWriter::new(NamedTempFile::new_in(folder).map_err(DataError::io("write", output))?)),
        false => Out::Table(TableWriter::create(output)?),
    };
    let mut judged = Judged::default();
    for item in table.iter() {
        let item = item?;
        if item.kind != Kind::Open || item.answers.len() < 2 {
            judged.skipped += 1;
            continue;
        }
        judged.items += 1;
        let prompt = text_of(&item.prompt);
        let golds: Vec<Gold> = item.answers.iter().map(|a| gold(&prompt, a)).collect();
        for judgment in rankings(&item, &golds, people, seed) {
            judged.judgments += 1;
            match &mut out {
                Out::Table(table) => table.push(judgment)?,
                Out::Lines(file) => {
                    let row = json!({
                        "item": judgment.item, "prompt": prompt, "answers": judgment.answers, "ranks": judgment.ranks,
                        "judge": judgment.judge, "weight": judgment.weight,
                    });
                    writeln!(file, "{row}").map_err(DataError::io("write", output))?;
                }
            }
        }
    }
    match out {
        Out::Table(table) => _ = table.finish()?,
        Out::Lines(file) => {
            let file = file.into_inner().map_err(|e| DataError::io("write", output)(e.into_error()))?;
            file.persist(output).map_err(|e| DataError::io("rename", output)(e.error))?;
        }
    }
    Ok(judged)
}

fn rankings(item: &Judgment, golds: &[Gold], people: People, seed: u64) -> Vec<Judgment> {
    let ranked = |ranks: Vec<u32>| Judgment { kind: Kind::Ranking, ranks: Some(ranks), scores: None, ..item.clone() };
    let People::Judges(count) = people else {
        let truth: Vec<f32> = golds.iter().map(|g| g.gold as f32).collect();
        return vec![Judgment { scores: Some(truth.clone()), ..ranked(ranks_of(&truth)) }];
    };
    let mut dice = Dice::new(seed, &item.item);
    let mut bench: Vec<usize> = (0..JUDGES.len()).collect();
    dice.shuffle(&mut bench);
    let judges = bench.into_iter().take(count).map(|j| &JUDGES[j]);
    judges
        .map(|judge| Judgment { judge: Some(judge.id.to_string()), weight: judge.weight as f32, ..ranked(judge.rank(golds, &mut dice)) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::chat::Message;
    use data::labels::table::write_table;

    /// Three answers of known order to a prompt of the world.
    fn item(kind: Kind) -> Judgment {
        let answers = ["The Blue Fig is a cafe.", "The Blue Fig is a cheap cafe at the harbour. See you there!", "It is"];
        let prompt = Message::new("user", "name: The Blue Fig | kind: cafe | price: cheap | area: harbour");
        Judgment { scores: Some(vec![0.5; 3]), ..Judgment::new(kind, vec![prompt], answers.map(String::from).to_vec()) }
    }

    #[test]
    fn open_items_are_judged_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write_table(&path("open.arrow"), [item(Kind::Open), item(Kind::Skipped)]).unwrap();
        let run = |name: &str, people, seed| judge(&path("open.arrow"), &path(name), people, seed).unwrap();
        assert_eq!(run("truth.arrow", People::Truth, 1), Judged { items: 1, judgments: 1, skipped: 1 });
        let truth = LabelTable::open(&path("truth.arrow")).unwrap().get(0).unwrap();
        assert_eq!((truth.kind, truth.ranks, truth.judge), (Kind::Ranking, Some(vec![2, 1, 3]), None));
        assert_eq!(run("a.arrow", People::Judges(2), 1).judgments, 2);
        let rows: Vec<Judgment> = LabelTable::open(&path("a.arrow")).unwrap().iter().map(Result::unwrap).collect();
        assert!(rows[0].judge != rows[1].judge && rows.iter().all(|r| r.judge.is_some() && r.scores.is_none()));
        run("b.arrow", People::Judges(2), 1);
        run("c.jsonl", People::Judges(6), 2);
        let bytes = |name: &str| std::fs::read(path(name)).unwrap();
        assert!(bytes("a.arrow") == bytes("b.arrow"), "equal seeds, equal bytes");
        let lines = std::fs::read_to_string(path("c.jsonl")).unwrap();
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((lines.lines().count(), first["answers"].as_array().map(Vec::len)), (JUDGES.len(), Some(3)));
    }
}
