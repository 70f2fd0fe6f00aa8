//! `label export`: a table of judgments for another program.

mod parquet;
pub mod plain;
mod studio;
mod trl;

use anyhow::Context;
use data::error::DataError;
use data::labels::table::LabelTable;
use program::say;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Arguments of `label export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The table of judgments.
    #[arg(value_name = "TABLE")]
    pub table: PathBuf,
    /// What to write.
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: Form,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print the counts as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `label export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Tasks for Label Studio with what has been said about them, and OUT.xml, the labelling interface that goes with them.
    LabelStudio,
    /// Pairs for TRL: JSON Lines of prompt, chosen, rejected (and margin, where every pair has one).
    Trl,
    /// Every judgment as a JSON object a line, without loss; `label ingest` reads it back.
    Jsonl,
    /// The table as Parquet.
    Parquet,
}

/// What was written and what was left out, by cause.
#[derive(Debug, Default)]
pub struct Written {
    /// Judgments of the table.
    pub judgments: u64,
    /// Rows (pairs, tasks) of the file.
    pub rows: u64,
    /// What a row is.
    pub what: &'static str,
    /// What this form cannot hold.
    pub left_out: BTreeMap<String, u64>,
    /// What a reader of the file should know.
    pub notes: Vec<String>,
}

impl Written {
    /// Counts something that the form cannot hold.
    pub fn leave(&mut self, what: impl Into<String>, n: u64) {
        if n > 0 {
            *self.left_out.entry(what.into()).or_default() += n;
        }
    }
}

/// Runs `label export`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    program::keep_input(&args.table, &args.out)?;
    let table = LabelTable::open(&args.table).with_context(|| format!("opening {}", args.table.display()))?;
    if table.is_empty() {
        return Err(crate::exit::input(format!("{} holds no judgments", args.table.display())));
    }
    let written = match args.to {
        Form::Jsonl => jsonl(&table, &args.out)?,
        Form::Parquet => parquet::write(&table, &args.out)?,
        Form::Trl => trl::write(&table, &args.out)?,
        Form::LabelStudio => studio::write(&table, &args.out)?,
    };
    if args.json {
        let Written { judgments, rows, left_out, notes, .. } = &written;
        say!("{}", serde_json::json!({ "out": args.out, "judgments": judgments, "rows": rows, "left_out": left_out, "notes": notes }));
        return Ok(());
    }
    say!("{} judgments read, {} {} written to {}", written.judgments, written.rows, written.what, args.out.display());
    written.left_out.iter().for_each(|(what, n)| say!("left out: {n} {what}"));
    written.notes.iter().for_each(|note| say!("{note}"));
    Ok(())
}

fn jsonl(table: &LabelTable, out: &Path) -> anyhow::Result<Written> {
    let mut file = Whole::create(out)?;
    for judgment in table.iter() {
        file.line(&plain::to_json(&judgment?))?;
    }
    file.finish()?;
    Ok(Written { judgments: table.len(), rows: table.len(), what: "lines", ..Written::default() })
}

/// A file that appears under its name whole or not at all.
pub(crate) struct Whole {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Whole {
    /// Begins it; its folder is made when needed.
    pub fn create(path: &Path) -> Result<Whole, DataError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
        let file = NamedTempFile::new_in(folder).map_err(DataError::io("write", path))?;
        Ok(Whole { path: path.to_path_buf(), file: BufWriter::new(file) })
    }

    /// Where to write.
    pub fn writer(&mut self) -> &mut impl Write {
        &mut self.file
    }

    /// Writes text.
    pub fn text(&mut self, text: &str) -> Result<(), DataError> {
        self.file.write_all(text.as_bytes()).map_err(DataError::io("write", &self.path))
    }

    /// Writes a value as JSON and ends the line.
    pub fn line(&mut self, value: &impl serde::Serialize) -> Result<(), DataError> {
        serde_json::to_writer(&mut self.file, value).map_err(|e| DataError::io("write", &self.path)(e.into()))?;
        self.text("\n")
    }

    /// Gives it its name.
    pub fn finish(self) -> Result<(), DataError> {
        let temp = self.file.into_inner().map_err(|e| DataError::io("write", &self.path)(e.into_error()))?;
        temp.as_file().sync_all().map_err(DataError::io("write", &self.path))?;
        temp.persist(&self.path).map_err(|e| DataError::io("rename", &self.path)(e.error))?;
        Ok(())
    }
}
