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
    /// Translate a text or rows with an encoder-decoder, by beam search; with references also BLEU.
    Translate(TranslateArgs),
    /// Fill the masked places of a text with an encoder.
    FillMask(FillMaskArgs),
    /// Name the class of a text or of rows, their number or the right choice; with the right ones also accuracy, F1 and Matthews' correlation, or Spearman's.
    Classify(ClassifyArgs),
    /// Say what pictures show; of rows with captions also how often each kind of word is right.
    Caption(CaptionArgs),
    /// Measure how surprised a language model is by a text.
    Score(ScoreArgs),
    /// Let a language model solve tasks by likelihood, untrained: perplexity, cloze, multiple choice; zero-shot or with examples in the prompt.
    Tasks(TasksArgs),
    /// Compare predictions with what is right: BLEU and ROUGE, accuracy, F1 and Matthews' correlation, or Pearson and Spearman.
    Metrics(MetricsArgs),
    /// Score answers with a reward model; with pairs and rankings also its accuracy.
    Reward(RewardArgs),
    /// Show the reward after each token of an answer, coloured by what the token adds.
    RewardTokens(RewardTokensArgs),
    /// Show which tokens of a prompt an answer comes from, and what the heads look at.
    Attribute(AttributeArgs),
    /// Fit the law of loss over size to a ladder of pre-training runs and foretell a larger one.
    Scaling(ScalingArgs),
    /// Compute the report of a pipeline (report.json, report.html and a table) or of one run (report.html and a table).
    Report(ReportArgs),
    /// List the runs in a folder and below: state, step, rate, last evaluation, and what each was made from.
    Runs(RunsArgs),
    /// Print what a model was made from, back to its texts and rankings.
    Lineage(LineageArgs),
    /// Make a model folder of a checkpoint of llama2.c.
    Convert(ConvertArgs),
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

/// How the matrices of blocks and head stand in memory; all else is float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// float32
    Float,
    /// Eight bits, a scale for 32 weights; on the CPU
    #[value(name = "q8_0")]
    Q8_0,
    /// Four bits, a scale for 32 weights; on the CPU
    #[value(name = "q4_0")]
    Q4_0,
    /// As q8_0, and what meets them is rounded to eight bits too; on the CPU, fast with AVX2 or AVX512-VNNI
    Int8,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["prompt", "prompt_ids", "data"])))]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How the model's matrices stand in memory.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Weights::Float)]
    pub weights: Weights,
    /// The text to continue, as it is (or as a user's turn with --chat).
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Token ids to continue.
    #[arg(long, value_name = "IDS", value_delimiter = ',', num_args = 1)]
    pub prompt_ids: Option<Vec<u32>>,
    /// Rows with a prompt each (JSONL, CSV, TSV, Parquet or Arrow): writes them with the model's answer as `response`, demonstrations for `sft`.
    #[arg(long, value_name = "FILE", requires = "out")]
    pub data: Option<PathBuf>,
    /// Where the rows of --data go, one JSON object a line.
    #[arg(long, value_name = "FILE", requires = "data")]
    pub out: Option<PathBuf>,
    /// Prompts that go through the model at once, for --data.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
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

/// Arguments of `translate`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["text", "data"])))]
#[command(
    after_help = "The search is that of transformers' generate(num_beams=K): a finished beam counts with its log-probability over length^penalty."
)]
pub struct TranslateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text to translate.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Rows to translate: JSONL, CSV, TSV, Parquet or Arrow.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// The field of the source.
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    pub source: String,
    /// The field of the right translation; where all rows have it, BLEU is printed.
    #[arg(long, value_name = "FIELD", default_value = "reference")]
    pub reference: String,
    /// Beams; 1 is greedy.
    #[arg(long, value_name = "K", default_value_t = 4)]
    pub beams: usize,
    /// Power of the length that a finished beam's log-probability is divided by.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub length_penalty: f64,
    /// Translations of each source.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub n_best: usize,
    /// Tokens of a translation at most; 0 means what the context has room for.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_new: usize,
    /// How BLEU cuts a line into tokens.
    #[arg(long, value_enum, default_value_t = TokenizeAs::V13a)]
    pub tokenize: TokenizeAs,
    /// Write the translations there instead of to standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write a page that shows what each word of the first translation looked at in its source.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Arguments of `fill-mask`.
#[derive(Debug, Args)]
pub struct FillMaskArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A text with the tokenizer's mask token, such as \"the [MASK] barked\".
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Guesses for each mask.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
}

/// Arguments of `classify`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["text", "data"])))]
pub struct ClassifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// A second text, for pairs.
    #[arg(long, value_name = "TEXT", conflicts_with = "data")]
    pub second_text: Option<String>,
    /// Rows: JSONL, CSV, TSV, Parquet or Arrow.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// The field of the text.
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    pub field: String,
    /// The field of the second text.
    #[arg(long, value_name = "FIELD", default_value = "second")]
    pub second: String,
    /// A choice, of which one is right; several times.
    #[arg(long, value_name = "TEXT", conflicts_with = "data")]
    pub choice: Vec<String>,
    /// The field of a list of choices, or several fields of one choice each.
    #[arg(long, value_name = "FIELD", value_delimiter = ',', default_value = "answers")]
    pub choices: Vec<String>,
    /// The field of the right class, number or choice (its number from 0, or its text); where all rows have it, figures are printed.
    #[arg(long, value_name = "FIELD", default_value = "response")]
    pub class: String,
}

/// Arguments of `caption`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["image", "data"])))]
#[command(
    after_help = "The i-th word of a kind in a caption is compared with the i-th of the right one. Beside each share: its Wilson interval at 95%, the share \
                        of guessing evenly (chance), and that of always saying the commonest word."
)]
pub struct CaptionArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A PNG or JPEG file.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Rows with pictures: JSONL, CSV, TSV, Parquet or Arrow; paths of pictures are relative to the file.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// What is asked about the picture [default: nothing; of rows their field prompt, where they have it].
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// The field of the picture.
    #[arg(long, value_name = "FIELD", default_value = "image")]
    pub field: String,
    /// The field of the right caption; where all rows have it, figures are printed.
    #[arg(long, value_name = "FIELD", default_value = "response")]
    pub response: String,
    /// A kind of words and the words of it, such as colour=red,green,blue.
    #[arg(long, value_name = "KIND=WORD,..", num_args = 1.., value_parser = kind)]
    pub words: Vec<evaluate::metrics::Kind>,
    /// Tokens of a caption at most.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub max_new: usize,
    /// The first so many rows of each file; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: usize,
    /// Write image, prompt, prediction and reference of each row, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

fn kind(text: &str) -> Result<evaluate::metrics::Kind, String> {
    evaluate::metrics::Kind::parse(text).ok_or_else(|| "must be a name, =, and at least two words with commas between them".to_string())
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
    /// How the model's matrices stand in memory.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Weights::Float)]
    pub weights: Weights,
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

/// Arguments of `tasks`.
#[derive(Debug, Args)]
#[command(after_help = "A task is a TOML file (docs/config.md, `evaluate tasks --task`; configs/tasks holds some). Figures are those of \
                        lm-evaluation-harness: acc by summed log-likelihood, acc_norm by that sum a character, perplexities over all documents.")]
pub struct TasksArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How the model's matrices stand in memory.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Weights::Float)]
    pub weights: Weights,
    /// Task files.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub task: Vec<PathBuf>,
    /// Examples in each prompt; several numbers make a curve. Not for perplexity.
    #[arg(long, value_name = "K,..", value_delimiter = ',', default_value = "0")]
    pub shots: Vec<usize>,
    /// Draws of examples for each item, each scored.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub draws: u64,
    /// Seed of the first draw.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Score the first so many items; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: usize,
    /// Write every item's likelihoods, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub items: Option<PathBuf>,
    /// Write a page with the table and the curves over K.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Arguments of `metrics`.
#[derive(Debug, Args)]
#[command(
    after_help = "BLEU is sacrebleu's (corpus, exponential smoothing), ROUGE is rouge-score's F1 without stemming, the figures of classes are \
                        scikit-learn's. Of text, a reference may be a list of several."
)]
pub struct MetricsArgs {
    /// Rows with a prediction and a reference: JSONL, CSV, TSV, Parquet or Arrow.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The field of what was predicted.
    #[arg(long, value_name = "FIELD", default_value = "prediction")]
    pub prediction: String,
    /// The field of what is right.
    #[arg(long, value_name = "FIELD", default_value = "reference")]
    pub reference: String,
    /// What the rows are [default: number where all are, else text].
    #[arg(long = "as", value_enum)]
    pub kind: Option<MeasureAs>,
    /// How BLEU cuts a line into tokens.
    #[arg(long, value_enum, default_value_t = TokenizeAs::V13a)]
    pub tokenize: TokenizeAs,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// What predictions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MeasureAs {
    /// Texts: BLEU and ROUGE.
    Text,
    /// Names of classes.
    Class,
    /// Numbers.
    Number,
}

/// sacrebleu's tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenizeAs {
    /// Western languages.
    #[value(name = "13a")]
    V13a,
    /// Chinese.
    Zh,
    /// Characters.
    Char,
    /// Blanks.
    None,
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

/// Arguments of `reward-tokens`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["data", "prompt"])))]
#[command(
    after_help = "The number after a token is what the model would give if the text ended there; after the last token it is the answer's reward. \
                        Template and prefix are the model's own."
)]
pub struct RewardTokensArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows with prompt and response: JSONL, CSV, TSV, Parquet or Arrow.
    #[arg(long, value_name = "FILE", conflicts_with = "response")]
    pub data: Option<PathBuf>,
    /// Of the rows, the first so many; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// What was asked.
    #[arg(long, value_name = "TEXT", requires = "response")]
    pub prompt: Option<String>,
    /// The answer.
    #[arg(long, value_name = "TEXT", requires = "prompt")]
    pub response: Option<String>,
    /// Write a page with the coloured answers and their curves.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Arguments of `attribute`.
#[derive(Debug, Args)]
#[command(
    after_help = "Integrated gradients go from a text of end tokens to the text and are complete: a row's sum is the log-likelihood less that of the \
                        end tokens; the largest gap is printed, and more --points make it smaller."
)]
pub struct AttributeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text before the answer, as it is (or as a user's turn with --chat).
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// The answer to be explained [default: the model's own, greedily].
    #[arg(long, value_name = "TEXT")]
    pub answer: Option<String>,
    /// Put the prompt into the model's chat template.
    #[arg(long)]
    pub chat: bool,
    /// Tokens of the model's own answer at most.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub max_new: usize,
    /// How tokens are held to account.
    #[arg(long, value_enum, default_value_t = AttributeBy::Integrated)]
    pub method: AttributeBy,
    /// Token that the way of integrated gradients begins from [default: the end token].
    #[arg(long, value_name = "ID")]
    pub baseline: Option<u32>,
    /// Points of the integral.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub points: usize,
    /// Write a page with the pictures.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// How tokens are held to account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttributeBy {
    /// Gradient times input.
    Gradient,
    /// Integrated gradients.
    Integrated,
}

/// Arguments of `scaling`.
#[derive(Debug, Args)]
#[command(
    after_help = "L(x) = E + A x^-alpha over weights (losses at the end) and over compute (6 N D; the least loss any run had reached), fitted by Huber's \
                        loss between logarithms as Chinchilla's law was. Intervals come from a residual bootstrap and are for the loss of one run."
)]
pub struct ScalingArgs {
    /// A folder of pre-training runs of different sizes on the same tokens.
    #[arg(long, value_name = "DIR")]
    pub runs: PathBuf,
    /// Foretell models of so many weights.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub predict: Vec<f64>,
    /// Runs to compare with what the others foretell; they are left out of the fit.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub against: Vec<PathBuf>,
    /// Write a page with the laws.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
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

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A checkpoint of llama2.c, version 0, such as stories260K.bin.
    #[arg(long, value_name = "FILE")]
    pub llama2c: PathBuf,
    /// Its tokenizer, such as tok512.bin.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// The model folder to be made.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}
