//! `label stats`: can these judges be believed?
//!
//! Tables of judgments become numbers in memory ([`judges::panel`]); from them come agreement, biases and each judge's conduct ([`report`]), and one
//! fit of answers' worths and judges' reliabilities ([`judges::fit`]). [`terminal`] and [`page`] show it, [`write`] writes tables to train on.

pub mod alpha;
pub mod findings;
pub mod interval;
pub mod items;
pub mod kendall;
pub mod lines;
pub mod page;
pub mod pairs;
pub mod report;
pub mod terminal;
pub mod time;
pub mod write;

use crate::exit::input;
use anyhow::Context;
use data::labels::flag;
use data::labels::table::LabelTable;
use indicatif::{ProgressBar, ProgressStyle};
use judges::fit::{self, Fit};
use judges::panel::{Panel, Place};
use program::say;
use report::Report;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `label stats`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Tables of judgments, as `label ingest` and `label serve` write them
    #[arg(required = true, value_name = "TABLE")]
    pub tables: Vec<PathBuf>,
    /// A table whose rankings are known right orders of their items, to check the judges by
    #[arg(long, value_name = "TABLE")]
    pub gold: Option<PathBuf>,
    /// Writes one row an item, with the fitted worths of its answers as soft labels
    #[arg(long, value_name = "OUT.arrow")]
    pub fit: Option<PathBuf>,
    /// Writes every row again, its weight times its judge's reliability
    #[arg(long, value_name = "OUT.arrow")]
    pub weigh: Option<PathBuf>,
    /// Leaves these judges out of everything; without it nobody is
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub drop_judges: Vec<String>,
    /// Writes a page with plots, which needs nothing but itself
    #[arg(long, value_name = "OUT.html")]
    pub html: Option<PathBuf>,
    /// Prints all numbers as JSON instead of the table
    #[arg(long)]
    pub json: bool,
    /// Draws the resamples of the intervals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs `label stats`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    refuse_overwriting(args)?;
    let tables = args.tables.iter().map(|path| LabelTable::open(path)).collect::<Result<Vec<_>, _>>()?;
    let (panel, dropped) = read(&tables, args)?;
    let fit = fit(&panel);
    let report = report::build(&panel, &fit, args.seed, dropped);
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        program::text(terminal::render(&report));
    }
    if let Some(path) = &args.html {
        let title = args.tables.iter().map(|t| t.file_stem().unwrap_or_default().to_string_lossy()).collect::<Vec<_>>().join(", ");
        figures::report::replace(path, &page::render(&report, &title))?;
        eprintln!("wrote {}", path.display());
    }
    if let Some(path) = &args.fit {
        let (written, without) = write::fit(path, &tables, &panel, &fit)?;
        eprintln!("wrote {written} items with soft labels to {}{}", path.display(), left_out(without, "items that nobody compared"));
    }
    if let Some(path) = &args.weigh {
        let (written, without) = write::weigh(path, &tables, &panel, &fit, &args.drop_judges)?;
        eprintln!("wrote {written} rows with weights to {}{}", path.display(), left_out(without, "rows of the judges you dropped"));
    }
    Ok(())
}

fn left_out(n: u64, what: &str) -> String {
    if n == 0 { String::new() } else { format!("; left out {n} {what}") }
}

/// A result must not replace what it was computed from.
fn refuse_overwriting(args: &Args) -> anyhow::Result<()> {
    let outputs: Vec<&Path> = [&args.fit, &args.weigh, &args.html].into_iter().flatten().map(PathBuf::as_path).collect();
    for (i, out) in outputs.iter().enumerate() {
        let same = |other: &Path| program::is_same_file(other, out);
        if args.tables.iter().chain(&args.gold).any(|table| same(table)) {
            return Err(input(format!("{} is one of the tables to read: write the result to another file", out.display())));
        }
        if outputs[..i].iter().any(|other| same(other)) {
            return Err(input(format!("{} is named for two results: name two files", out.display())));
        }
    }
    Ok(())
}

/// All rows but those of dropped judges, who are counted.
fn read(tables: &[LabelTable], args: &Args) -> anyhow::Result<(Panel, Vec<(String, u64)>)> {
    let gold = args.gold.as_ref().map(|path| LabelTable::open(path)).transpose()?;
    let mut dropped: BTreeMap<&str, u64> = args.drop_judges.iter().map(|name| (name.as_str(), 0)).collect();
    let mut panel = Panel::default();
    let bar = ProgressBar::new(tables.iter().map(LabelTable::len).sum());
    bar.set_style(ProgressStyle::with_template("reading {bar:40} {human_pos}/{human_len} rows, {eta} left")?);
    for (number, table) in tables.iter().enumerate() {
        for row in 0..table.len() {
            let judgment = table.get(row)?;
            match judgment.judge.as_deref().and_then(|name| dropped.get_mut(name)) {
                Some(rows) => *rows += 1,
                None => panel.push(&judgment, Place { table: number as u32, row }),
            }
            if row % 1024 == 1023 {
                bar.inc(1024);
            }
        }
    }
    bar.finish_and_clear();
    if let Some(name) = dropped.iter().find(|(_, rows)| **rows == 0).map(|(name, _)| *name) {
        let known: Vec<&str> = panel.judges.iter().map(|j| j.name.as_str()).take(10).collect();
        return Err(input(format!(
            "--drop-judges: nobody is called {name:?}; judges are {}{}",
            known.join(", "),
            more(&panel, known.len())
        )));
    }
    if panel.votes.is_empty() {
        let names: Vec<String> = args.tables.iter().map(|t| t.display().to_string()).collect();
        return Err(input(format!("{}: no row ranks or scores an answer, so there is nothing to say of the judges", names.join(", "))));
    }
    // Keys come last, and may speak of items that nobody judged; their place is never read again.
    for row in gold.iter().flat_map(LabelTable::iter) {
        let mut key = row?;
        if !key.has(flag::GOLD) {
            key.flags.push(flag::GOLD.to_string());
        }
        panel.push(&key, Place::KEY);
    }
    Ok((panel, dropped.into_iter().map(|(name, rows)| (name.to_string(), rows)).collect()))
}

fn more(panel: &Panel, shown: usize) -> String {
    if panel.judges.len() > shown { format!(" and {} more", panel.judges.len() - shown) } else { String::new() }
}

fn fit(panel: &Panel) -> Fit {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    let fit = fit::fit(panel, &fit::Options::default(), |round, change| {
        bar.set_message(format!("fitting judges and answers: round {round}, reliabilities move by {change:.4}"));
    });
    bar.finish_and_clear();
    fit
}

/// Reads tables into a panel, as the command does: for other programs and tests.
pub fn panel_of(paths: &[PathBuf]) -> anyhow::Result<Panel> {
    let tables = paths.iter().map(|path| LabelTable::open(path)).collect::<Result<Vec<_>, _>>().context("opening the tables")?;
    Ok(read(&tables, &Args { tables: paths.to_vec(), ..Args::default() })?.0)
}

/// The report on tables, as the command makes it.
pub fn report_of(paths: &[PathBuf], seed: u64) -> anyhow::Result<Report> {
    let panel = panel_of(paths)?;
    let fit = fit(&panel);
    Ok(report::build(&panel, &fit, seed, Vec::new()))
}
