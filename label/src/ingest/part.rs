//! The units of some records, on their way to the table: checked and counted, but not yet written.

use super::Sink;
use super::counts::FileCounts;
use data::error::SourceError;
use data::labels::table::Rows;
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;

/// Characters of a bad unit that are kept; the quarantine shows fewer.
const SHOWN: usize = 256;

/// A unit for the quarantine.
#[derive(Debug, Clone)]
pub(super) struct Bad {
    pub row: u64,
    pub reason: Reason,
    pub detail: String,
    pub raw: String,
}

/// Units of one file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub counts: FileCounts,
    /// Of this file where they name none.
    pub kept: Vec<Judgment>,
    pub bad: Vec<Bad>,
}

impl Part {
    /// Nothing yet, of the file that the (empty) counts are of.
    pub(super) fn of(counts: FileCounts) -> Part {
        Part { counts, kept: Vec::new(), bad: Vec::new() }
    }

    /// The part with its judgments as columns, if it has any; this one is empty again and keeps its list of judgments.
    pub(super) fn finish(&mut self) -> Result<(Part, Option<Rows>), SourceError> {
        let rows = if self.kept.is_empty() { None } else { Some(Rows::of(&self.kept, &self.counts.file)?) };
        self.kept.clear();
        let counts = self.counts.taken();
        Ok((Part { counts, kept: Vec::new(), bad: std::mem::take(&mut self.bad) }, rows))
    }

    fn put_away(&mut self, row: u64, reason: Reason, detail: String, raw: &str) {
        let raw = raw.trim_start().chars().take(SHOWN).collect();
        *self.counts.rejected.entry(reason).or_default() += 1;
        self.bad.push(Bad { row, reason, detail, raw });
    }
}

impl Sink for Part {
    fn keep(&mut self, judgment: Judgment) -> Result<(), SourceError> {
        self.counts.units += 1;
        if let Err((reason, detail)) = fit(&judgment) {
            self.put_away(judgment.row, reason, detail, &judgment.group);
            return Ok(());
        }
        self.counts.keep(&judgment);
        self.kept.push(judgment);
        Ok(())
    }

    fn reject(&mut self, row: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.counts.units += 1;
        self.put_away(row, reason, detail, raw);
        Ok(())
    }

    fn units(&self) -> u64 {
        self.counts.units
    }
}

/// What every row of the table must keep to, whoever made it.
fn fit(judgment: &Judgment) -> Result<(), (Reason, String)> {
    let k = judgment.answers.len();
    let lengths = [
        ("ranks", judgment.ranks.as_ref().map(Vec::len)),
        ("scores", judgment.scores.as_ref().map(Vec::len)),
        ("worths", judgment.worth.as_ref().map(Vec::len)),
        ("places", judgment.shown.as_ref().map(Vec::len)),
        ("authors", judgment.authors.as_ref().map(Vec::len)),
    ];
    if let Some((what, n)) = lengths.iter().find_map(|(what, n)| n.filter(|n| *n != k).map(|n| (what, n))) {
        return Err((Reason::BadRanking, format!("{n} {what} for {k} answers")));
    }
    if !(judgment.weight > 0.0 && judgment.weight.is_finite()) {
        return Err((Reason::BadWeight, format!("weight {} is not a positive number", judgment.weight)));
    }
    if judgment.kind != Kind::Ranking {
        return Ok(());
    }
    if k < 2 {
        return Err((Reason::BadRanking, format!("{k} judged answers; a ranking needs two")));
    }
    // A ranking of which no answer was good enough may have no order.
    let Some(ranks) = &judgment.ranks else {
        let unordered = judgment.worth.is_some() || judgment.has(data::labels::flag::REJECT_ALL);
        return if unordered { Ok(()) } else { Err((Reason::BadRanking, "a ranking without ranks".to_string())) };
    };
    // As many distinct ranks as the greatest says, and none of them 0.
    let new = |(i, rank): (usize, &u32)| *rank > 0 && !ranks[..i].contains(rank);
    let distinct = ranks.iter().enumerate().filter(|at| new(*at)).count() as u32;
    let dense = !ranks.contains(&0) && ranks.iter().max() == Some(&distinct);
    if dense { Ok(()) } else { Err((Reason::BadRanking, format!("ranks {ranks:?} do not count from 1 without gaps"))) }
}
