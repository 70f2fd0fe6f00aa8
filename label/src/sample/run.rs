//! `label sample`: answers drawn from models, and of them what people should be asked about.
//!
//! Draw ([`draw`](crate::draw)) or take what was drawn before ([`pool`](crate::pool)), score with reward models ([`score`](crate::score)), choose ([`choose`](label::choose)), write a table of open items. Equal arguments write equal bytes.

use crate::draw::{self, Answer, Tally, Writer};
use crate::{pool, score};
use anyhow::{Context, Result};
use clap::ValueEnum;
use data::config::{Quarantine, Source, Template};
use data::labels::table::TableWriter;
use data::labels::{Judgment, Kind};
use data::prompts::{self, Conversation};
use data::quarantine::QuarantineReport;
use indicatif::{ProgressBar, ProgressStyle};
use label::choose::{self, Choose, Chosen, Scores};
use label::exit::input;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest answer where nothing is said and the context allows it.
const MAX_NEW: usize = 256;
/// Bad prompts allowed: a share of all, and always a few.
const LIMITS: Quarantine = Quarantine { max_fraction: 0.05, always_allow: 10 };
/// How often an empty or repeated answer is drawn again.
const REDRAWS: u64 = 4;

/// Arguments of `label sample`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model folder, or a run folder (its model/ is taken); several take turns.
    #[arg(long = "model", value_name = "DIR", required_unless_present = "from")]
    pub models: Vec<PathBuf>,
    /// Prompts: JSON Lines, CSV, Parquet... with a text in `prompt` or a conversation in `messages`; a file, a glob or a folder.
    #[arg(long, value_name = "PATH", required_unless_present = "from")]
    pub prompts: Option<String>,
    /// A table that was drawn before: nothing is drawn, K of the answers of each open item are chosen.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "prompts", "draw", "max_new", "template"])]
    pub from: Option<PathBuf>,
    /// The table to write (Arrow IPC).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Answers shown together.
    #[arg(long, value_name = "K", default_value_t = 4)]
    pub k: usize,
    /// Answers drawn a prompt, of which K are chosen [default: K, or 2 K where reward models choose].
    #[arg(long, value_name = "N")]
    pub draw: Option<usize>,
    /// Items to write [default: one for each prompt].
    #[arg(long, value_name = "N")]
    pub items: Option<usize>,
    /// A reward model's folder; several are an ensemble.
    #[arg(long = "reward", value_name = "DIR")]
    pub rewards: Vec<PathBuf>,
    /// How prompts and answers are chosen [default: random; uncertain with one --reward, disagree with
    /// several].
    #[arg(long, value_enum, value_name = "HOW")]
    pub choose: Option<Choose>,
    /// Share of the items chosen at random all the same.
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub share_random: f64,
    /// How a prompt becomes text: plain, chatml, llama3, zephyr or model [default: the model's own, else plain].
    #[arg(long, value_name = "NAME", value_parser = template)]
    pub template: Option<Template>,
    /// Logits are divided by this.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f64,
    /// Only the most probable tokens that together reach this share.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Tokens an answer at most [default: 256, or half of the smallest context].
    #[arg(long, value_name = "N")]
    pub max_new: Option<usize>,
    /// Equal seeds write equal bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Rows that go through a model at a time.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: usize,
    /// Where the tensors live.
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    /// CPU threads; 0 means all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Where prompts go that cannot be used, with their reasons [default: OUT with the ending .quarantine.jsonl].
    #[arg(long, value_name = "FILE")]
    pub quarantine: Option<PathBuf>,
}

/// Where the tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The first GPU if libtorch sees one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device.
    Cuda,
}

fn template(name: &str) -> Result<Template, String> {
    serde_json::from_value(serde_json::Value::String(name.to_string())).map_err(|_| "plain, chatml, llama3, zephyr or model".to_string())
}

/// A seed from a seed and places, each bit of which depends on all of them.
pub fn mix(seed: u64, places: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    std::iter::once(&seed).chain(places).for_each(|part| _ = hasher.update(&part.to_le_bytes()));
    hasher.finalize().as_bytes()[..8].iter().fold(0, |x, byte| x << 8 | u64::from(*byte))
}

/// The candidates, and what is to be said of how they came about.
struct Pool {
    prompts: Vec<Conversation>,
    answers: Vec<Vec<Answer>>,
    said: Vec<String>,
}

/// What there is to say at the end.
struct Outcome {
    items: BTreeMap<choose::Reason, usize>,
    answers: usize,
    /// Prompts without two distinct answers.
    alone: usize,
    /// Items with fewer answers than wanted.
    short: usize,
    /// Answers that do not fit into a reward model's context.
    unscored: u64,
}

/// Runs `label sample`.
pub fn run(args: &Args) -> Result<()> {
    let device = device(args)?;
    let choose = plan(args)?;
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} answers, {per_sec}, {eta} left  {msg}")?);
    let mut pool = match &args.from {
        Some(path) => taken(path)?,
        None => drawn(args, choose.choose, device, &bar)?,
    };
    let count = pool.answers.iter().map(Vec::len).sum::<usize>() * args.rewards.len();
    bar.inc_length(count as u64);
    let (scores, unscored) = score::score(&args.rewards, &pool.prompts, &mut pool.answers, args.batch, device, &bar)?;
    bar.finish_and_clear();

    let usable: Vec<usize> = (0..pool.prompts.len()).filter(|&p| pool.answers[p].len() > 1).collect();
    if usable.is_empty() {
        let hint = if unscored > 0 { "lower --max-new" } else { "raise --temperature" };
        let said = pool.said.join("; ");
        return Err(input(format!(
            "no prompt has two distinct answers to compare ({said}; {unscored} answers are too long for a reward model): {hint}"
        )));
    }
    let counts: Vec<usize> = usable.iter().map(|&p| pool.answers[p].len()).collect();
    let usable_scores: Vec<Scores> = usable.iter().map(|&p| scores[p].clone()).collect();
    let chosen = choose::choose(&counts, &usable_scores, &choose);
    let mut table = TableWriter::create(&args.out)?;
    let mut outcome = Outcome { items: BTreeMap::new(), answers: 0, alone: pool.prompts.len() - usable.len(), short: 0, unscored };
    for one in &chosen {
        let p = usable[one.item];
        outcome.answers += one.answers.len();
        outcome.short += usize::from(one.answers.len() < args.k);
        *outcome.items.entry(one.reason).or_default() += 1;
        table.push(item(&pool.prompts[p], &pool.answers[p], &scores[p], one))?;
    }
    table.finish()?;
    say(args, &pool.said, &outcome);
    Ok(())
}

/// Candidates out of an earlier table.
fn taken(path: &Path) -> Result<Pool> {
    let (prompts, answers, others) = pool::read(path)?;
    let said = if others > 0 { vec![format!("{others} rows of {} are no open items", path.display())] } else { vec![] };
    Ok(Pool { prompts, answers, said })
}

/// Candidates drawn from the models.
fn drawn(args: &Args, choose: Choose, device: tch::Device, bar: &ProgressBar) -> Result<Pool> {
    let labels = draw::labels(&args.models)?;
    let open = |(path, label): (&PathBuf, String)| Writer::open(path, label, args.template, device);
    let writers = args.models.iter().zip(labels).map(open).collect::<Result<Vec<_>>>()?;
    let plan = draw_plan(args, choose, &writers)?;
    for path in &args.rewards {
        score::load(path, device)?; // what is no reward model should be heard of before an hour of drawing
    }
    let (prompts, report) = read_prompts(args, &writers, plan.max_new)?;
    bar.set_length((prompts.len() * plan.draw) as u64);
    let (answers, tally) = draw::draw(&writers, &prompts, &plan, device, bar)?;
    let models = if writers.len() == 1 { "1 model".to_string() } else { format!("{} models", writers.len()) };
    let Tally { drawn, empty, duplicates, missing, unfinished } = tally;
    let mut said = vec![format!(
        "{drawn} answers drawn from {models}: {empty} empty, {duplicates} repeated (drawn again up to {REDRAWS} times, {missing} places stayed empty), \
         {unfinished} cut at --max-new"
    )];
    if let Some(n) = report.skipped.get("duplicate") {
        said.push(format!("{n} prompts stood there before and were taken once"));
    }
    if report.rejected > 0 {
        said.push(format!("{} of {} prompts are in {}", report.rejected, report.read, report.path.display()));
    }
    Ok(Pool { prompts, answers, said })
}

fn device(args: &Args) -> Result<tch::Device> {
    if args.threads > 0 {
        tch::set_num_threads(args.threads.min(1024) as i32);
    }
    match args.device {
        Device::Cpu => Ok(tch::Device::Cpu),
        Device::Auto => Ok(tch::Device::cuda_if_available()),
        Device::Cuda if tch::Cuda::is_available() => Ok(tch::Device::Cuda(0)),
        Device::Cuda => Err(input("--device cuda, but libtorch sees no CUDA device: use --device cpu")),
    }
}

/// How to choose.
fn plan(args: &Args) -> Result<choose::Plan> {
    // Disputed before uncertain: what is nearest to ½ is often two answers that are much alike (docs/labels/sample.md has figures).
    let choose = args.choose.unwrap_or(match args.rewards.len() {
        0 => Choose::Random,
        1 => Choose::Uncertain,
        _ => Choose::Disagree,
    });
    let needed = match choose {
        Choose::Random => 0,
        Choose::Uncertain => 1,
        Choose::Disagree | Choose::Mixed => 2,
    };
    let name = choose.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default();
    if args.rewards.len() < needed {
        let why = if needed == 1 { "a reward model: give it with --reward" } else { "an ensemble: give --reward at least twice" };
        return Err(input(format!("--choose {name} needs {why}")));
    }
    if args.k < 2 {
        return Err(input(format!("--k {}: two answers at least are compared", args.k)));
    }
    if args.items == Some(0) {
        return Err(input("--items 0: at least one item"));
    }
    if !(0.0..=1.0).contains(&args.share_random) {
        return Err(input(format!("--share-random {} is no share from 0 to 1", args.share_random)));
    }
    let items = args.items.unwrap_or(usize::MAX);
    Ok(choose::Plan { choose, items, k: args.k, share_random: args.share_random, seed: mix(args.seed, &[u64::MAX]) })
}

/// How to draw.
fn draw_plan(args: &Args, choose: Choose, writers: &[Writer]) -> Result<draw::Plan> {
    let draw = args.draw.unwrap_or(if choose == Choose::Random { args.k } else { 2 * args.k });
    if draw < args.k {
        return Err(input(format!("--draw {draw} is less than --k {}", args.k)));
    }
    // Greedy answers of one model are all the same.
    if !(args.temperature > 0.0 && args.temperature.is_finite()) {
        return Err(input(format!("--temperature {} is not a positive number", args.temperature)));
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        return Err(input(format!("--top-p {} is not in (0, 1]", args.top_p)));
    }
    let context = writers.iter().map(Writer::context).min().unwrap_or(0);
    let max_new = args.max_new.unwrap_or(MAX_NEW.min(context / 2));
    if max_new == 0 || max_new >= context {
        return Err(input(format!("--max-new {max_new}: prompt and answer must fit into the smallest context, {context} tokens")));
    }
    let (temperature, top_p, seed, batch) = (args.temperature, args.top_p, args.seed, args.batch);
    Ok(draw::Plan { draw, max_new, temperature, top_p, seed, batch, redraws: REDRAWS })
}

/// The prompts that all models can be asked.
fn read_prompts(args: &Args, writers: &[Writer], max_new: usize) -> Result<(Vec<Conversation>, QuarantineReport)> {
    let path = args.prompts.clone().unwrap_or_default();
    let source = Source { path: path.clone(), ..Source::default() };
    let quarantine = args.quarantine.clone().unwrap_or_else(|| args.out.with_extension("quarantine.jsonl"));
    let read = prompts::load_conversations(&[source], &LIMITS, &quarantine, &mut |turns| {
        for writer in writers {
            if let Some(complaint) = writer.complaint(turns, max_new)? {
                return Ok(Some(complaint));
            }
        }
        Ok(None)
    });
    read.map_err(|e| e.with_limits(None)).with_context(|| format!("--prompts {path}"))
}

/// An open item.
fn item(prompt: &Conversation, answers: &[Answer], scores: &Scores, chosen: &Chosen) -> Judgment {
    let picked = || chosen.answers.iter().map(|&i| &answers[i]);
    let known = picked().all(|a| !a.author.is_empty());
    Judgment {
        group: prompt.group.clone(),
        authors: known.then(|| picked().map(|a| a.author.clone()).collect()),
        scores: (!scores.is_empty()).then(|| chosen.answers.iter().map(|&i| score::mean(scores, i)).collect()),
        flags: vec![chosen.reason.flag().to_string()],
        file: prompt.file.clone(),
        row: prompt.row,
        ..Judgment::new(Kind::Open, prompt.turns.clone(), picked().map(|a| a.text.clone()).collect())
    }
}

fn say(args: &Args, said: &[String], outcome: &Outcome) {
    let items: usize = outcome.items.values().sum();
    let reasons: Vec<String> = outcome.items.iter().map(|(reason, n)| format!("{n} {}", reason.name())).collect();
    eprintln!("label: {items} items ({}) with {} answers in {}", reasons.join(", "), outcome.answers, args.out.display());
    said.iter().for_each(|line| eprintln!("label: {line}"));
    if outcome.alone + outcome.short > 0 || outcome.unscored > 0 {
        eprintln!(
            "label: {} prompts have no two distinct answers and are left out; {} items have fewer than {} answers; {} answers are too long for a reward model",
            outcome.alone, outcome.short, args.k, outcome.unscored
        );
    }
}
