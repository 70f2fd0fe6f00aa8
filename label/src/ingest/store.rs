//! The sink behind the readers: judgments to the table, the rest to the quarantine, everything counted.

use super::Sink;
use super::counts::FileCounts;
use super::part::Part;
use anyhow::bail;
use data::config;
use data::error::SourceError;
use data::labels::Judgment;
use data::labels::table::{Rows, TableWriter};
use data::quarantine::{Quarantine, Reason};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Units that come one by one are written when there are so many.
const PART: u64 = 1024;

/// The table and the quarantine being written.
pub struct Store {
    table: TableWriter,
    bad: Quarantine,
    quarantine: PathBuf,
    files: Vec<FileCounts>,
    /// The file being read.
    now: FileCounts,
    /// Its units that came one by one and are not yet written.
    part: Part,
    threads: usize,
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
            part: Part::of(FileCounts::default()),
            threads: 1,
            bar,
            start: (0, 0),
        })
    }

    /// Lets so many threads make judgments of records.
    pub fn with_threads(self, threads: usize) -> Store {
        Store { threads, ..self }
    }

    /// The next file; `done` bytes lie before it.
    pub fn begin(&mut self, file: &Path, format: &str, done: u64) -> Result<(), SourceError> {
        self.end()?;
        self.now = FileCounts::of(file, format);
        self.part = self.part();
        self.start = (done, data::source::bytes_read());
        Ok(())
    }

    fn end(&mut self) -> Result<(), SourceError> {
        self.settle()?;
        let counts = std::mem::take(&mut self.now);
        if !counts.format.is_empty() {
            self.files.push(counts);
        }
        Ok(())
    }

    /// Gives both files their names, unless too much is bad. What was read and what was written must be the same. `set_by` is what sets the limits,
    /// if anything does.
    pub fn finish(mut self, limits: &config::Quarantine, set_by: Option<&'static str>) -> anyhow::Result<Vec<FileCounts>> {
        self.end()?;
        let sum = |of: fn(&FileCounts) -> u64| self.files.iter().map(of).sum::<u64>();
        let (units, kept, rejected) = (sum(|f| f.units), sum(FileCounts::kept_all), sum(FileCounts::rejected_all));
        let report = self.bad.finish(limits, units).map_err(|e| e.with_limits(set_by))?;
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

    /// An empty part of the file being read.
    pub(super) fn part(&self) -> Part {
        Part::of(FileCounts::of(&self.now.file, &self.now.format))
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Writes the units of a part of this file; its judgments may have become `rows` already.
    pub(super) fn take(&mut self, part: Part, rows: Option<Rows>) -> Result<(), SourceError> {
        for mut judgment in part.kept {
            if judgment.file.as_os_str().is_empty() {
                judgment.file.clone_from(&self.now.file);
            }
            self.table.push(judgment)?;
        }
        rows.map_or(Ok(()), |rows| self.table.add(rows))?;
        for bad in part.bad {
            self.bad.reject(&self.now.file, bad.row, bad.reason, bad.detail, &bad.raw);
        }
        self.now.add(&part.counts);
        self.bar.set_position(self.start.0 + data::source::bytes_read() - self.start.1);
        Ok(())
    }

    /// Takes the units that came one by one, once they are many.
    fn when_full(&mut self) -> Result<(), SourceError> {
        if self.part.counts.units < PART { Ok(()) } else { self.settle() }
    }

    fn settle(&mut self) -> Result<(), SourceError> {
        let empty = self.part();
        let part = std::mem::replace(&mut self.part, empty);
        self.take(part, None)
    }
}

impl Sink for Store {
    fn keep(&mut self, judgment: Judgment) -> Result<(), SourceError> {
        self.part.keep(judgment)?;
        self.when_full()
    }

    fn reject(&mut self, row: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError> {
        self.part.reject(row, reason, detail, raw)?;
        self.when_full()
    }

    fn units(&self) -> u64 {
        self.now.units + self.part.units()
    }

    fn store(&mut self) -> Option<&mut Store> {
        Some(self)
    }
}
