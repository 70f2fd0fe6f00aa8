//! The sink behind the readers: judgments to the table, the rest to the quarantine, everything counted.

use super::Sink;
use super::counts::FileCounts;
use anyhow::bail;
use data::config;
use data::error::SourceError;
use data::labels::table::TableWriter;
use data::labels::{Judgment, Kind};
use data::quarantine::{Quarantine, Reason};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Units between two looks at how far the reading is.
const LOOK: u64 = 1024;

/// The table and the quarantine being written.
pub struct Store {
    table: TableWriter,
    bad: Quarantine,
    quarantine: PathBuf,
    files: Vec<FileCounts>,
    /// The file being read.
    now: FileCounts,
    bar: ProgressBar,
    /// Bytes of the files before this one, and what the process had read when it began.
    start: (u64, u64),
}

impl Store {
    /// Begins a table; neither it nor the quarantine appears before [`Store::finish`].
    pub fn create(out: &Path, quarantine: &Path, bar: ProgressBar) -> Result<Store, SourceError> {
        Ok(Store {
            table: TableWriter::create(out)?,
            bad: Quarantine::new(quarantine),
            quarantine: quarantine.to_path_buf(),
            files: Vec::new(),
            now: FileCounts::default(),
            bar,
            start: (0, 0),
        })
    }

    /// The next file; `done` bytes lie before it.
    pub fn begin(&mut self, file: &Path, format: &str, done: u64) {
        self.end();
        self.now = FileCounts::of(file, format);
        self.start = (done, data::source::bytes_read());
    }

    fn end(&mut self) {
        let counts = std::mem::take(&mut self.now);
        if !counts.format.is_empty() {
            self.files.push(counts);
        }
    }

    /// Gives both files their names, unless too much is bad. What was read and what was written must be the same.
    pub fn finish(mut self, limits: &config::Quarantine) -> anyhow::Result<Vec<FileCounts>> {
        self.end();
        let sum = |of: fn(&FileCounts) -> u64| self.files.iter().map(of).sum::<u64>();
        let (units, kept, rejected) = (sum(|f| f.units), sum(FileCounts::kept_all), sum(FileCounts::rejected_all));
        let report = self.bad.finish(limits, units)?;
        if kept == 0 {
            let detail = match rejected {
                0 => "the files are empty".to_string(),
                _ => format!("{units} units read, {rejected} rejected (see {})", self.quarantine.display()),
            };
            return Err(crate::exit::input(format!("there is no judgment to write: {detail}")));
        }
        let written = self.table.finish()?;
        if written != kept || report.rejected != rejected || kept + rejected != units {
            bail!(
                "internal error: {units} units were read, but {written} (counted {kept}) are in the table and {} (counted {rejected}) in the quarantine",
                report.rejected
            );
        }
        Ok(self.files)
    }

    fn unit(&mut self) {
        self.now.units += 1;
        if self.now.units.is_multiple_of(LOOK) {
            self.bar.set_position(self.start.0 + data::source::bytes_read() - self.start.1);
        }
    }

    fn put_away(&mut self, row: u64, reason: Reason, detail: String, raw: &str) {
        self.bad.reject(&self.now.file, row, reason, detail, raw);
        *self.now.rejected.entry(reason).or_default() += 1;
    }
}

impl Sink for Store {
    fn keep(&mut self, mut judgment: Judgment) -> Result<(), SourceError> {
        self.unit();
        if let Err((reason, detail)) = fit(&judgment) {
            self.put_away(judgment.row, reason, detail, &judgment.group);
            return Ok(());
        }
        if judgment.file.as_os_str().is_empty() {
            judgment.file = self.now.file.clone();
        }
        self.now.keep(&judgment);
        self.table.push(judgment)
    }

    fn reject(&mut self, row: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.unit();
        self.put_away(row, reason, detail, raw);
        Ok(())
    }

    fn units(&self) -> u64 {
        self.now.units
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
    let mut seen = ranks.clone();
    seen.sort_unstable();
    seen.dedup();
    let dense = seen.iter().zip(1..).all(|(rank, expected)| *rank == expected);
    if dense { Ok(()) } else { Err((Reason::BadRanking, format!("ranks {ranks:?} do not count from 1 without gaps"))) }
}
