//! `label ingest`: whatever people have, read into one table of judgments.
//!
//! Each form of export has a [`Reader`]. It is chosen by the file's first bytes ([`Reader::detect`]) unless the user names it.
//! A reader hands every unit of its input (a row, an annotation, a comparison) to the [`Sink`]: as one judgment, or with the reason why not.
//! So the table and the quarantine sum to the input.
//!
//! A new form is a module with a [`Reader`] and a line in [`readers`]. Most readers walk their file with [`rows::read`], which opens whatever
//! container the rows are in (JSON Lines, a JSON array, CSV, TSV, Parquet, Arrow; compressed or not) and sends what is too broken to be a row to
//! the quarantine. Rows that stand one after the other are read by all cores, a block of them at a time ([`blocks`]).

pub mod annotation;
pub mod argilla;
mod blocks;
mod counts;
mod demos;
mod fields;
mod files;
pub mod head;
mod hh;
pub mod judgments;
pub mod label_studio;
pub mod mapping;
mod mturk;
mod oasst;
mod openai;
mod pairs;
mod part;
pub mod prodigy;
mod ranked;
mod report;
pub mod rows;
pub mod store;
mod times;
pub mod values;

use anyhow::Context;
use data::error::SourceError;
use data::labels::Judgment;
use data::quarantine::Reason;
use indicatif::{ProgressBar, ProgressStyle};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use head::Head;

/// Arguments of `label ingest`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Forms by name:\n{}", forms()))]
pub struct Args {
    /// Files, globs ("exports/*.json.gz") and folders. All of them go into one table.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    /// The table to write (Arrow IPC).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The form of all the files; told from their content where absent.
    #[arg(long, value_name = "NAME")]
    pub format: Option<String>,
    /// A TOML file that says which columns hold what; all the files are read by it.
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub mapping: Option<PathBuf>,
    /// Buckets of a Label Studio Ranker from best to worst, "_" being what stayed in the list, such as best,_,rejected. Known names (best,
    /// rejected, 1, 2...) need no order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub buckets: Vec<String>,
    /// Where bad units go, with their reasons [default: OUT with the ending .quarantine.jsonl].
    #[arg(long, value_name = "FILE")]
    pub quarantine: Option<PathBuf>,
    /// Largest share of bad units (0 to 1); with more there is no table and the exit code is 2.
    #[arg(long, value_name = "SHARE", default_value_t = data::config::Quarantine::default().max_fraction)]
    pub max_fraction: f64,
    /// This many bad units are always allowed.
    #[arg(long, value_name = "N", default_value_t = data::config::Quarantine::default().always_allow)]
    pub always_allow: u64,
    /// Threads that make judgments of records; the table is the same for any number [default: one a core].
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print the counts as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What readers may want to know beside the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--mapping`: the reader `mapping` is made from it, and then reads every file.
    pub mapping: Option<PathBuf>,
    /// `--buckets`: of Label Studio's Ranker, from best to worst.
    pub buckets: Vec<String>,
}

/// All readers, in the order in which they are asked for what a file is; [`mapping`] is there only when it has been given a file to go by,
/// and is the first then.
pub fn readers(options: &Options) -> anyhow::Result<Vec<Box<dyn Reader>>> {
    let mut readers: Vec<Box<dyn Reader>> = Vec::new();
    if let Some(path) = &options.mapping {
        readers.push(mapping::load(path)?);
    }
    readers.push(Box::new(hh::Hh));
    readers.push(Box::new(openai::OpenAi));
    readers.push(Box::new(oasst::Oasst));
    readers.push(Box::new(mturk::Mturk));
    readers.push(Box::new(pairs::Pairs));
    readers.push(Box::new(ranked::Ranked));
    readers.push(Box::new(demos::Messages));
    readers.push(Box::new(demos::Alpaca));
    readers.push(Box::new(demos::Prompts));
    readers.push(Box::new(judgments::Judgments));
    readers.push(Box::new(label_studio::LabelStudio::new(options)));
    readers.push(Box::new(argilla::Argilla));
    readers.push(Box::new(prodigy::Prodigy));
    Ok(readers)
}

/// Reads one form of export.
pub trait Reader: Sync {
    /// The name in `--format` and messages, such as `label-studio`.
    fn name(&self) -> &'static str;

    /// One line for the help and the documentation: what files these are.
    fn about(&self) -> &'static str;

    /// How surely the file is of this form: 0 not, 50 its columns look like it, 100 beyond doubt. Of equals the first in the list wins.
    fn detect(&self, head: &Head) -> u8;

    /// Reads the file, every unit of it into the sink. An error is for a file broken as a whole.
    fn read(&self, file: &Path, sink: &mut dyn Sink) -> Result<(), SourceError>;
}

/// Where readers put what they read.
pub trait Sink {
    /// A judgment; the sink sets its `file`. One that cannot stand in the table (a ranking of one answer, ranks that do not fit the answers, a
    /// weight of 0) is rejected instead.
    fn keep(&mut self, judgment: Judgment) -> Result<(), SourceError>;

    /// A unit of the input that is no judgment, with its row, the kind of fault, the fault in words, and its text.
    fn reject(&mut self, row: u64, reason: Reason, detail: String, raw: &str) -> Result<(), SourceError>;

    /// Units so far, kept and rejected: [`rows::read`] sees by it that no row vanishes.
    fn units(&self) -> u64;

    /// The table itself, where the units go there as they are: records can then be read by several threads ([`blocks`]).
    fn store(&mut self) -> Option<&mut store::Store> {
        None
    }
}

/// Runs `label ingest`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let counts = ingest(args)?;
    if args.json { report::json(&counts, args) } else { report::terminal(&counts, args) }
}

/// Reads the files into the table; what was in each of them.
fn ingest(args: &Args) -> anyhow::Result<Vec<counts::FileCounts>> {
    if !(0.0..=1.0).contains(&args.max_fraction) {
        return Err(crate::exit::input(format!("--max-fraction is a share from 0 to 1, not {}", args.max_fraction)));
    }
    let readers = readers(&Options { mapping: args.mapping.clone(), buckets: args.buckets.clone() })?;
    let files = files::find(&args.paths, &args.out)?;
    let chosen = choose(&files, &readers, args.format.as_deref())?;
    let quarantine = args.quarantine.clone().unwrap_or_else(|| args.out.with_extension("quarantine.jsonl"));
    let sizes: Vec<u64> = files.iter().map(|file| std::fs::metadata(file).map_or(0, |m| m.len())).collect();
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {eta} left  {msg}")?;
    let bar = ProgressBar::new(sizes.iter().sum()).with_style(style);
    let threads = args.threads.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let mut store = store::Store::create(&args.out, &quarantine, bar.clone())?.with_threads(threads);
    let mut done = 0;
    for ((file, reader), size) in files.iter().zip(&chosen).zip(&sizes) {
        bar.set_message(file.display().to_string());
        store.begin(file, reader.name(), done)?;
        reader.read(file, &mut store).with_context(|| format!("reading {} as {}", file.display(), reader.name()))?;
        done += size;
        bar.set_position(done);
    }
    bar.finish_and_clear();
    let limits = data::config::Quarantine { max_fraction: args.max_fraction, always_allow: args.always_allow };
    store.finish(&limits, Some("--max-fraction or --always-allow"))
}

/// The reader of each file: the named one, or the one that knows its content best.
fn choose<'a>(files: &[PathBuf], readers: &'a [Box<dyn Reader>], name: Option<&str>) -> anyhow::Result<Vec<&'a dyn Reader>> {
    if let Some(name) = name {
        let Some(reader) = readers.iter().find(|r| r.name() == name) else {
            let hint =
                if name == "mapping" { "--format mapping is --mapping FILE".to_string() } else { format!("known forms:\n{}", forms()) };
            return Err(crate::exit::input(format!("there is no form named {name:?}; {hint}")));
        };
        return Ok(files.iter().map(|_| reader.as_ref()).collect());
    }
    let (mut chosen, mut unknown) = (Vec::new(), Vec::new());
    for file in files {
        let head = head::Owned::read(file)?;
        let head = head.head();
        let mut best: Option<(&dyn Reader, u8)> = None;
        for reader in readers {
            let sure = reader.detect(&head);
            if sure > best.map_or(0, |(_, sure)| sure) {
                best = Some((reader.as_ref(), sure));
            }
        }
        match best {
            Some((reader, _)) => chosen.push(reader),
            None => unknown.push(format!("  {} ({}, {})", file.display(), head.form, head.fields())),
        }
    }
    if unknown.is_empty() {
        return Ok(chosen);
    }
    Err(crate::exit::input(format!(
        "the content of these files is of no known form:\n{}\nleave them out, name their form with --format, or say with --mapping which columns hold \
         what. Known forms:\n{}",
        unknown.join("\n"),
        forms()
    )))
}

/// The readers with what they read, one a line.
fn forms() -> String {
    let readers = readers(&Options::default()).unwrap_or_default();
    let lines = readers.iter().map(|r| (r.name(), r.about()));
    lines.chain([("mapping", mapping::ABOUT)]).map(|(name, about)| format!("  {name:<14} {about}\n")).collect()
}
