//! Configuration of `sft`.

use super::common::{Checkpoint, Device, Distributed, Eval, Lora, Optim, Precision, Quarantine, Schedule, Source, Template, Train};
use super::watch::{Alarm, Log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Base model and demonstrations to fine-tuned model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Seed of the order, dropout and samples.
    pub seed: u64,
    /// Where the tensors live.
    pub device: Device,
    /// Precision of activations and matrix products; weights, optimiser, softmax and losses stay in float32.
    pub precision: Precision,
    /// CPU threads; 0 means all cores.
    pub threads: usize,
    /// The model to start from.
    pub model: InitModel,
    /// Low-rank adapters instead of all weights.
    pub lora: Lora,
    /// The demonstrations.
    pub data: DemoData,
    /// Optimiser.
    pub optim: Optim,
    /// Learning rate over time.
    pub schedule: Schedule,
    /// Length and batches.
    pub train: Train,
    /// Evaluation.
    pub eval: Eval,
    /// Checkpoints.
    pub checkpoint: Checkpoint,
    /// Several processes.
    pub distributed: Distributed,
    /// Logs besides metrics.jsonl.
    pub log: Log,
    /// Alarms.
    pub alarm: Alarm,
}

impl Default for SftConfig {
    fn default() -> Self {
        SftConfig {
            seed: 1,
            device: Device::default(),
            precision: Precision::default(),
            threads: 0,
            model: InitModel::default(),
            lora: Lora::default(),
            data: DemoData::default(),
            optim: Optim { lr: 1e-4, weight_decay: 0.01, ..Optim::default() },
            schedule: Schedule::default(),
            train: Train::default(),
            eval: Eval::default(),
            checkpoint: Checkpoint::default(),
            distributed: Distributed::default(),
            log: Log::default(),
            alarm: Alarm::default(),
        }
    }
}

/// A model to start from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InitModel {
    /// A run's folder (its `model/` is taken) or any Hugging Face model folder.
    pub init: String,
    /// A folder with an adapter that PEFT or one of our runs wrote for `init`; empty for none. Trained further with `lora.rank` above 0 (rank and alpha must
    /// be the adapter's), merged into the weights without.
    pub adapter: String,
    /// Dropout probability while training.
    pub dropout: f64,
}

/// Demonstrations: prompt and response, or chats.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DemoData {
    /// Where the rows are.
    pub sources: Vec<Source>,
    /// How a conversation becomes text.
    pub template: Template,
    /// Longest row in tokens, prompt and response; longer ones go to the quarantine. 0 means the model's context.
    pub max_length: usize,
    /// Put several rows into one sequence (each sees only itself) instead of padding them.
    pub packing: bool,
    /// Bad rows allowed.
    pub quarantine: Quarantine,
    /// Variations of the prompts.
    pub augment: Augment,
}

/// Variations of the training prompts by chance, with the same response: of a chat, the last turn before the last answer. A variation that no longer fits
/// into `data.max_length` is a plain copy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Variations of each training row beside the row itself; 0 switches all of this off.
    pub copies: usize,
    /// Probability that a word is left out.
    pub delete: f64,
    /// Probability that a word changes places with the one before it.
    pub swap: f64,
    /// Probability that a word is replaced: by a synonym where `synonyms` has one, else by a word of the prompts, drawn by frequency.
    pub replace: f64,
    /// File of words that may stand for one another, a line each group, separated by commas.
    pub synonyms: String,
}
