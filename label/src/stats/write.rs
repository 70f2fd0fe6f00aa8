//! The tables to train on: one row an item with soft labels, or every row with the judge's weight.

use data::error::DataError;
use data::labels::table::{LabelTable, TableWriter};
use data::labels::{Judgment, Kind, flag};
use data::rankings::ranks_of;
use judges::fit::Fit;
use judges::panel::Panel;
use std::path::Path;

/// Writes one ranking an item that somebody has compared: `worth` are the fitted logits, `ranks` follow from them, `weight` is the sum of the
/// judges' reliabilities (times the rows' own weights). No judge, no places, no times: it is everybody's word. Returns the rows written, and
/// the items left out because nobody has compared their answers.
pub fn fit(path: &Path, tables: &[LabelTable], panel: &Panel, fit: &Fit) -> Result<(u64, u64), DataError> {
    let (mut writer, mut without) = (TableWriter::create(path)?, 0);
    for item in 0..panel.items.len() {
        let Some(soft) = fit.soft(panel, item) else {
            without += 1;
            continue;
        };
        let row = tables[soft.first.table as usize].get(soft.first.row)?;
        let mut judgment = Judgment {
            item: row.item,
            group: row.group,
            authors: row.authors,
            weight: soft.weight,
            ranks: Some(ranks_of(&soft.worth)),
            worth: Some(soft.worth),
            file: row.file,
            row: row.row,
            ..Judgment::new(Kind::Ranking, row.prompt, row.answers)
        };
        for (place, i) in &soft.answers[judgment.answers.len()..] {
            let (other, i) = (tables[place.table as usize].get(place.row)?, *i as usize);
            judgment.answers.push(other.answers[i].clone());
            // Authors of all answers or of none.
            judgment.authors = judgment.authors.zip(other.authors).map(|(mut all, more)| {
                all.push(more[i].clone());
                all
            });
        }
        writer.push(judgment)?;
    }
    Ok((writer.finish()?, without))
}

/// Writes every row of the tables unchanged but for its weight, which is multiplied by the judge's reliability; rows without a judge and
/// keys keep theirs. Rows of `dropped` judges are left out. Returns the rows written and those left out.
pub fn weigh(path: &Path, tables: &[LabelTable], panel: &Panel, fit: &Fit, dropped: &[String]) -> Result<(u64, u64), DataError> {
    let (mut writer, mut without) = (TableWriter::create(path)?, 0);
    for judgment in tables.iter().flat_map(LabelTable::iter) {
        let mut judgment = judgment?;
        if judgment.judge.as_ref().is_some_and(|name| dropped.contains(name)) {
            without += 1;
            continue;
        }
        if !judgment.has(flag::GOLD) {
            judgment.weight *= fit.weight(panel.judge_named(judgment.judge.as_deref())) as f32;
        }
        writer.push(judgment)?;
    }
    Ok((writer.finish()?, without))
}
