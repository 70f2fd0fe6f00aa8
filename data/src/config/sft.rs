//! Configuration of `sft`.

use super::classify::ClassifyTask;
use super::common::{
    Checkpoint, Device, Distill, Distributed, Eval, Lora, Optim, Precision, Quarantine, Schedule, Source, Template, Train,
};
use super::pretrain::Tokenizer;
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
    /// CPU threads; 0 means as many as `OMP_NUM_THREADS` says, else the cores that Slurm gives the task, else this process's share of all cores. Where other
    /// programs compute beside it, fewer are quicker.
    pub threads: usize,
    /// What is learnt.
    pub objective: Task,
    /// What is asked of a row where the objective is to classify.
    pub task: ClassifyTask,
    /// The model to start from.
    pub model: InitModel,
    /// Eyes for the decoder: rows then have pictures (`columns.image`).
    pub vision: Vision,
    /// Low-rank adapters instead of all weights.
    pub lora: Lora,
    /// How text becomes token ids, where `model.fresh` makes the model; a BPE or characters are learnt from the rows.
    pub tokenizer: Tokenizer,
    /// The demonstrations.
    pub data: DemoData,
    /// Loss.
    pub loss: SftLoss,
    /// A teacher to learn from beside the data.
    pub distill: Distill,
    /// Optimiser.
    pub optim: Optim,
    /// Learning rate over time.
    pub schedule: Schedule,
    /// Length and batches.
    pub train: Train,
    /// Evaluation.
    pub eval: Eval,
    /// Answers to held-out prompts against the held-out responses.
    pub bleu: Bleu,
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
            objective: Task::default(),
            task: ClassifyTask::default(),
            model: InitModel::default(),
            vision: Vision::default(),
            lora: Lora::default(),
            tokenizer: Tokenizer::default(),
            data: DemoData::default(),
            loss: SftLoss::default(),
            distill: Distill::default(),
            optim: Optim { lr: 1e-4, weight_decay: 0.01, ..Optim::default() },
            schedule: Schedule::default(),
            train: Train::default(),
            eval: Eval::default(),
            bleu: Bleu::default(),
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
    /// Dropout probability while training; of an encoder-decoder in embeddings and branches.
    pub dropout: f64,
    /// Of `reward`: the embeddings and so many of the first blocks are not trained, a guard against overfitting where labels are few; 0 trains all.
    pub freeze: usize,
    /// A fresh encoder-decoder, where `init` is empty.
    pub fresh: FreshPair,
}

/// Shape of a fresh encoder-decoder (arXiv 1706.03762): both sides alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FreshPair {
    /// Blocks of the encoder, and of the decoder; 0 makes no model, and `model.init` must name one.
    pub layers: usize,
    /// Attention heads; must divide `width`.
    pub heads: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Features inside the MLPs; 0 means four times the width.
    pub ffn_width: usize,
    /// Longest source and longest target in tokens.
    pub context: usize,
}

impl Default for FreshPair {
    fn default() -> Self {
        FreshPair { layers: 0, heads: 4, width: 256, ffn_width: 0, context: 128 }
    }
}

/// A vision transformer (arXiv 2010.11929) whose patch states, through a linear map, stand before the text in the decoder (arXiv 2304.08485). A model folder in
/// `model.init` that has one already (`vision/`) brings it: leave all of this out then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vision {
    /// A folder of transformers' `ViTModel` to start from, whose shape is taken; only the map to the decoder is fresh then.
    pub init: String,
    /// Blocks of a fresh one; 0 makes none.
    pub layers: usize,
    /// Attention heads; must divide `width`.
    pub heads: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Features inside the MLPs; 0 means four times the width.
    pub ffn_width: usize,
    /// Pixels to which pictures are stretched, in width and height.
    pub image_size: usize,
    /// Width and height of a patch in pixels; must divide `image_size`. A picture takes (image_size / patch_size)² places of the decoder's context.
    pub patch_size: usize,
}

impl Default for Vision {
    fn default() -> Self {
        Vision { init: String::new(), layers: 0, heads: 4, width: 128, ffn_width: 0, image_size: 48, patch_size: 8 }
    }
}

impl Vision {
    /// Is one asked for?
    pub fn asked(&self) -> bool {
        self.layers > 0 || !self.init.is_empty()
    }
}

/// What is learnt from rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// To write the response to the prompt.
    #[default]
    Answer,
    /// To tell which of the responses that occur (classes) the prompt has, or what `task` says. By an encoder, or by a decoder that reads the row between start and
    /// extract tokens (GPT-1).
    Classify,
}

/// Loss of `sft`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SftLoss {
    /// Share of each target's probability spread evenly over the vocabulary (arXiv 1512.00567); the validation loss is without.
    pub label_smoothing: f64,
    /// Weight of the auxiliary language-model loss of a decoder that classifies: the mean over the next tokens of its rows is added, times this, to the mean over
    /// its rows (Radford et al. 2018, eq. 5, has 0.5); 0 is without. The validation loss is without.
    pub lm_weight: f64,
}

/// How a line falls into tokens for BLEU (sacrebleu's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BleuTokens {
    /// Western languages.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// Chinese.
    Zh,
    /// Characters.
    Char,
    /// Blanks.
    None,
}

/// Answers to held-out prompts against the held-out responses, by BLEU (arXiv 1804.08771), at every evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bleu {
    /// So many of the held-out rows are answered; 0 means none.
    pub rows: usize,
    /// How a line falls into tokens.
    pub tokenize: BleuTokens,
    /// Beams of an encoder-decoder's search; 1 is greedy, as a decoder always is here.
    pub beams: usize,
    /// Tokens of an answer at most; a long prompt leaves fewer of the context.
    pub max_new_tokens: usize,
}

impl Default for Bleu {
    fn default() -> Self {
        Bleu { rows: 0, tokenize: BleuTokens::default(), beams: 1, max_new_tokens: 64 }
    }
}

/// Demonstrations: prompt and response, or chats.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DemoData {
    /// Where the rows are.
    pub sources: Vec<Source>,
    /// Rows held out; without, `eval.valid_fraction` of the prompts' groups is.
    pub heldout: Vec<Source>,
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
