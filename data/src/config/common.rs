//! Sections that several stages share. Every field has a default, a unit and one sentence; `docs/config.md` is made from them.

pub use super::distill::Distill;
pub use super::optim::{Muon, Optim, OptimKind, Sgd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The first GPU if libtorch sees one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device; an error when there is none.
    Cuda,
}

/// Precision of activations and matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bfloat16 on a GPU and where the CPU multiplies it faster than float32 (AMX; AMD's AVX512-BF16), else float32.
    Auto,
    /// float32 throughout.
    #[default]
    Float32,
    /// bfloat16, wherever it is.
    Bfloat16,
}

/// A file, a glob or a folder, and which of its columns hold what.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// File, glob (`a/*.jsonl.gz`) or folder, relative to the working directory. `${NAME:-default}` takes an environment variable.
    pub path: String,
    /// Format; guessed from the file name when absent.
    pub format: Option<Format>,
    /// Which columns (CSV, Parquet, Arrow) or fields (JSONL) hold what.
    pub columns: Columns,
}

/// File formats that `data` reads. JSON Lines and text may be compressed (`.gz`, `.zst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Plain UTF-8 text: one document a file, or several separated by a line `<|endoftext|>`.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC file (Feather V2).
    Arrow,
}

/// Column names. Only those that a stage reads matter; the defaults are the names most data sets use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// Names of all columns in their order, for CSV and TSV files without a header; empty where the first line is one.
    pub header: Vec<String>,
    /// A document for pre-training.
    pub text: String,
    /// What the model is asked.
    pub prompt: String,
    /// What it should answer; the class of a text that is classified, its number, or the right choice.
    pub response: String,
    /// The second text, where pairs are classified.
    pub second: String,
    /// A chat: a list of `{"role", "content"}`. Used instead of prompt and response where the row has it. What would be left out is refused: `tool_calls`
    /// where the template does not read them, and `tools` that the row offers.
    pub messages: String,
    /// A picture: the path of a PNG or JPEG file, relative to the file that holds the row.
    pub image: String,
    /// The preferred answer of a pair.
    pub chosen: String,
    /// The other answer of a pair.
    pub rejected: String,
    /// The answers of a K-wise ranking, or the choices of which one is right: one list column, or K columns by name.
    pub answers: Vec<String>,
    /// Scores of the answers, higher is better, equal is a tie: one list column, or K columns by name. Empty scores leave that answer out.
    pub scores: Vec<String>,
    /// Ranks of the answers, 1 is best, equal is a tie: one list column, or K columns by name. Used when `scores` is empty.
    pub ranks: Vec<String>,
    /// Who judged.
    pub judge: String,
    /// How much the row counts (a positive number); 1 where the column is absent.
    pub weight: String,
    /// Rows with equal values stay on one side of the train/validation split; the prompt when empty.
    pub group: String,
}

impl Default for Columns {
    fn default() -> Self {
        Columns {
            header: vec![],
            text: "text".into(),
            prompt: "prompt".into(),
            response: "response".into(),
            second: "second".into(),
            messages: "messages".into(),
            image: "image".into(),
            chosen: "chosen".into(),
            rejected: "rejected".into(),
            answers: vec!["answers".into()],
            scores: vec![],
            ranks: vec!["ranks".into()],
            judge: "judge".into(),
            weight: "weight".into(),
            group: String::new(),
        }
    }
}

/// How many bad rows a run may meet before it stops.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quarantine {
    /// Largest share of bad rows (0 to 1) among all rows read; more stop the run with exit code 2.
    pub max_fraction: f64,
    /// This many bad rows are always allowed, so that one bad row of three does not stop a small run.
    pub always_allow: u64,
}

impl Default for Quarantine {
    fn default() -> Self {
        Quarantine { max_fraction: 0.05, always_allow: 0 }
    }
}

/// Shape of the learning rate over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Half a cosine from the peak to `min_ratio` of it.
    #[default]
    Cosine,
    /// A straight line from the peak to `min_ratio` of it.
    Linear,
    /// The peak throughout.
    Constant,
    /// The peak times the root of the step that reaches it over the present step (arXiv 1706.03762, section 5.3), not below `min_ratio` of it.
    InverseSqrt,
}

/// Warm-up and decay of the learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub decay: Decay,
    /// Optimiser steps over which the rate rises in equal parts to the peak; the first of them already moves.
    pub warmup_steps: u64,
    /// Final rate as a share of the peak (0 to 1).
    pub min_ratio: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { decay: Decay::Cosine, warmup_steps: 20, min_ratio: 0.1 }
    }
}

/// Length of the run and size of its batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Optimiser steps; 0 means: as many as `epochs` need.
    pub steps: u64,
    /// Passes over the training rows, when `steps` is 0.
    pub epochs: f64,
    /// Sequences (pre-training, SFT) or comparisons (reward) an optimiser step, over all ranks.
    pub batch: usize,
    /// Of these, so many at a time through the model; must divide `batch`. 0 means all at once.
    pub micro_batch: usize,
    /// Draw the rows in an order shuffled anew each epoch; without it, in the order of the files.
    pub shuffle: bool,
    /// Keep only each block's input for the backward pass and work the rest out again: the same gradients, less memory, a third more work.
    pub activation_checkpointing: bool,
    /// Steps between two lines of metrics.jsonl.
    pub log_every: u64,
}

impl Default for Train {
    fn default() -> Self {
        Train { steps: 0, epochs: 1.0, batch: 8, micro_batch: 0, shuffle: true, activation_checkpointing: false, log_every: 1 }
    }
}

/// Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): the weights W of the blocks' linear maps stay as they are, and only A and B of
/// W + (alpha / rank) · B·A are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// Rank of B·A, even numbers are fastest; 0 trains all weights instead.
    pub rank: usize,
    /// The change is multiplied by alpha / rank.
    pub alpha: f64,
    /// Dropout probability of what an adapter reads, while training; not for `ppo`, which learns without dropout.
    pub dropout: f64,
    /// Maps that get an adapter, by the last parts of their names in the model folder, such as `c_attn` or `q_proj`; none means all of the blocks.
    pub targets: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Lora { rank: 0, alpha: 16.0, dropout: 0.0, targets: vec![] }
    }
}

impl Lora {
    /// Itself where there are to be adapters.
    pub fn on(&self) -> Option<&Lora> {
        (self.rank > 0).then_some(self)
    }
}

/// Evaluation while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Optimiser steps (PPO: rounds) between evaluations; 0 evaluates only before the first and after the last step.
    pub every: u64,
    /// Evaluate before the first step too, so that curves have a beginning; false begins to train at once.
    pub at_start: bool,
    /// Share of the documents or prompt groups held out (0 to 1).
    pub valid_fraction: f64,
    /// At most so many validation rows (sequences, comparisons or prompts) an evaluation; 0 means all.
    pub max_rows: usize,
    /// Prompt continued at each evaluation of `pretrain` and `sft`, so that one sees the model learn; empty shows none in `pretrain`, and in `sft` the answer to a
    /// held-out row. Nothing is shown of a prompt that fills the context.
    pub sample_prompt: String,
    /// Tokens of that sample at most; a long prompt leaves fewer of the context.
    pub sample_tokens: usize,
}

impl Default for Eval {
    fn default() -> Self {
        Eval { every: 100, at_start: true, valid_fraction: 0.05, max_rows: 256, sample_prompt: String::new(), sample_tokens: 48 }
    }
}

/// When to save and what to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Optimiser steps (PPO: rounds) between checkpoints; 0 saves only at the end or when stopped.
    pub every: u64,
    /// Newest checkpoints kept.
    pub keep_last: usize,
    /// Keep the checkpoint with the best evaluation as well.
    pub keep_best: bool,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { every: 200, keep_last: 2, keep_best: true }
    }
}

/// Which part of the training state each process keeps its share of (ZeRO, arXiv 1910.02054); checkpoints load under any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shard {
    /// Of nothing: each has all of it, 16 bytes a weight.
    #[default]
    None,
    /// Of the optimiser's moments (ZeRO-1): 8 + 12/N bytes a weight with N processes, gradients whole between the micro-batches of a step. As many bytes travel as with none.
    Optimizer,
    /// Of gradients too (ZeRO-2): 4 + 12/N bytes a weight, and an exchange for each micro-batch.
    Gradients,
    /// Of the weights too (ZeRO-3, FSDP): 16/N bytes a weight, and what computes: two blocks, embeddings and head. Weights travel twice for each micro-batch.
    Parameters,
}

/// How several processes share their work (docs/distributed.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Distributed {
    /// Which part of the training state each process keeps its share of; a single process has all of it.
    pub shard: Shard,
}

/// How conversations become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// The prompt, a newline, the response.
    #[default]
    Plain,
    /// `<|im_start|>role\n…<|im_end|>\n`, as ChatML has it.
    Chatml,
    /// `<|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|>` after `<|begin_of_text|>`, as Llama 3 has it.
    Llama3,
    /// `<|role|>\n…` and the tokenizer's end token, as Zephyr has it.
    Zephyr,
    /// The Jinja template in the model's tokenizer_config.json or chat_template.jinja. Where it tells the date (`strftime_now`), that is the day on which the run
    /// began, also when it goes on later; the environment variable `SOURCE_DATE_EPOCH` (seconds since 1970) takes the clock's place.
    Model,
}
