//! The tables to train on: one row an item with soft labels, or every row with the judge's weight.

use super::model::Fit;
use super::panel::{NONE, Panel};
use data::error::DataError;
use data::labels::table::{LabelTable, TableWriter};
use data::labels::{Judgment, Kind, flag};
use data::rankings::ranks_of;
use std::collections::HashMap;
use std::path::Path;

/// Writes one ranking an item that somebody has compared: `worth` are the fitted logits, `ranks` follow from them, `weight` is the sum of the
/// judges' reliabilities (times the rows' own weights). No judge, no places, no times: it is everybody's word. Returns the rows written, and
/// the items left out because nobody has compared their answers.
pub fn fit(path: &Path, tables: &[LabelTable], panel: &Panel, fit: &Fit) -> Result<(u64, u64), DataError> {
    let mut writer = TableWriter::create(path)?;
    let (by_item, mut without) = (panel.by_item(), 0);
    for (at, item) in panel.items.iter().enumerate() {
        let votes = by_item.of(at).iter().map(|v| &panel.votes[*v as usize]).filter(|v| panel.told(v).len() > 1);
        let weight: f64 = votes.map(|v| f64::from(v.weight) * fit.weight(v.judge)).sum();
        if weight <= 0.0 {
            without += 1;
            continue;
        }
        let row = tables[item.first.table as usize].get(item.first.row)?;
        let mut judgment = Judgment {
            item: row.item,
            group: row.group,
            authors: row.authors,
            weight: weight as f32,
            file: row.file,
            row: row.row,
            ..Judgment::new(Kind::Ranking, row.prompt, row.answers)
        };
        for answer in &item.answers[judgment.answers.len()..] {
            let (place, i) = panel.answers[*answer as usize].first;
            let other = tables[place.table as usize].get(place.row)?;
            judgment.answers.push(other.answers[i as usize].clone());
            // Authors of all answers or of none.
            judgment.authors = judgment.authors.zip(other.authors).map(|(mut all, more)| {
                all.push(more[i as usize].clone());
                all
            });
        }
        let worth: Vec<f32> = item.answers.iter().map(|a| fit.worth(*a) as f32).collect();
        judgment.ranks = Some(ranks_of(&worth));
        judgment.worth = Some(worth);
        writer.push(judgment)?;
    }
    Ok((writer.finish()?, without))
}

/// Writes every row of the tables unchanged but for its weight, which is multiplied by the judge's reliability; rows without a judge and
/// keys keep theirs. Rows of `dropped` judges are left out. Returns the rows written and those left out.
pub fn weigh(path: &Path, tables: &[LabelTable], panel: &Panel, fit: &Fit, dropped: &[String]) -> Result<(u64, u64), DataError> {
    let judges: HashMap<&str, u32> = panel.judges.iter().enumerate().map(|(i, j)| (j.name.as_str(), i as u32)).collect();
    let (mut writer, mut without) = (TableWriter::create(path)?, 0);
    for judgment in tables.iter().flat_map(LabelTable::iter) {
        let mut judgment = judgment?;
        if judgment.judge.as_ref().is_some_and(|name| dropped.contains(name)) {
            without += 1;
            continue;
        }
        let judge = judgment.judge.as_deref().and_then(|name| judges.get(name)).copied().unwrap_or(NONE);
        if !judgment.has(flag::GOLD) {
            judgment.weight *= fit.weight(judge) as f32;
        }
        writer.push(judgment)?;
    }
    Ok((writer.finish()?, without))
}
