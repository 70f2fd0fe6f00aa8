//! Arguments.

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Ask a model, measure it, or report a whole pipeline.
#[derive(Debug, Parser)]
#[command(name = "evaluate", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a prompt.
    Generate(GenerateArgs),
    /// Measure how surprised a language model is by a text.
    Score(ScoreArgs),
    /// Score answers with a reward model; with pairs and rankings also its accuracy.
    Reward(RewardArgs),
    /// Compute the report of a pipeline (report.json, report.html and a table) or of one run (report.html and a table).
    Report(ReportArgs),
    /// List the runs in a folder and below: state, step, rate, last evaluation, and what each was made from.
    Runs(RunsArgs),
    /// Print what a model was made from, back to its texts and rankings.
    Lineage(LineageArgs),
}

/// The model and the machine.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A Hugging Face model folder, or a run folder (its model/ is taken).
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Where the tensors live.
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    /// CPU threads; 0 means all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
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

/// Arguments of `generate`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["prompt", "prompt_ids"])))]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text to continue, as it is (or as a user's turn with --chat).
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Token ids to continue.
    #[arg(long, value_name = "IDS", value_delimiter = ',', num_args = 1)]
    pub prompt_ids: Option<Vec<u32>>,
    /// Put the prompt into the model's chat template and stop where the template ends an answer.
    #[arg(long, conflicts_with = "prompt_ids")]
    pub chat: bool,
    /// Take the most probable token each time.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    pub greedy: bool,
    /// Tokens at most [default: 64, or what the context leaves].
    #[arg(long, value_name = "N")]
    pub max_new: Option<usize>,
    /// Logits are divided by this.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f64,
    /// Sample from the K most probable tokens; 0 means all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Sample from the most probable tokens that together reach this share.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Seed of the sample.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `score`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["text", "ids"])))]
#[command(
    after_help = "Every token but the first is predicted. A text longer than the context is scored in windows of a whole context that begin \
                        half a context apart; each token counts once, in the first window that reaches it."
)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A UTF-8 text file; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Read special tokens such as <|endoftext|> in the text as tokens, not as characters.
    #[arg(long, conflicts_with = "ids")]
    pub special: bool,
    /// Token ids.
    #[arg(long, value_name = "IDS", value_delimiter = ',', num_args = 1)]
    pub ids: Option<Vec<u32>>,
}

/// Arguments of `reward`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["data", "ids"])))]
#[command(after_help = "Rows are prompt and response; prompt, chosen and rejected; or prompt, answers and ranks (1 is best) or scores; \
                        or judgments, in a table that `label` or `reward` wrote. Any format that training reads. Template, prefix and column names are those of the model's run folder where it has a \
                        config.toml, unless given here.")]
pub struct RewardArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows to score: JSONL, CSV, TSV, Parquet or Arrow.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Token ids of one prompt with its answer, scored as they are.
    #[arg(long, value_name = "IDS", value_delimiter = ',', num_args = 1, conflicts_with_all = ["config", "template", "prompt_prefix"])]
    pub ids: Option<Vec<u32>>,
    /// A reward.toml whose data section tells template, prefix and column names.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How prompt and answer become text [default: the run's, else the model's own, else plain].
    #[arg(long, value_enum)]
    pub template: Option<Template>,
    /// Put before every prompt [default: what the model was trained with].
    #[arg(long, value_name = "TEXT")]
    pub prompt_prefix: Option<String>,
    /// Answers that go through the model at once.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
}

/// How prompt and answer become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// The prompt, a newline, the answer.
    Plain,
    /// ChatML.
    Chatml,
    /// Llama 3's.
    Llama3,
    /// Zephyr's.
    Zephyr,
    /// The Jinja template in the model folder.
    Model,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("folder").required(true))]
pub struct ReportArgs {
    /// runs/RECIPE: the folder that holds pretrain, sft, reward and ppo.
    #[arg(long, value_name = "DIR", group = "folder")]
    pub runs: Option<PathBuf>,
    /// runs/RECIPE/STAGE: one run, finished or not.
    #[arg(long, value_name = "DIR", group = "folder")]
    pub run: Option<PathBuf>,
}

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// A folder that holds run folders, such as runs.
    #[arg(value_name = "DIR", default_value = "runs")]
    pub dir: PathBuf,
    /// Write a page as well.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lineage`.
#[derive(Debug, Args)]
pub struct LineageArgs {
    /// A model folder with a lineage.json, or a run folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Compare folders and files that are still there with what was recorded.
    #[arg(long)]
    pub check: bool,
    /// Print one JSON object instead of a tree.
    #[arg(long)]
    pub json: bool,
}
