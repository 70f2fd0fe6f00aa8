//! Configuration of `pretrain`.

use super::common::{Checkpoint, Device, Distill, Distributed, Eval, Lora, Optim, Precision, Quarantine, Schedule, Source, Train};
use super::watch::{Alarm, Log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Text to base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// Seed of the weights, the order, dropout and samples.
    pub seed: u64,
    /// Where the tensors live.
    pub device: Device,
    /// Precision of activations and matrix products; weights, optimiser, softmax and losses stay in float32.
    pub precision: Precision,
    /// CPU threads; 0 means as many as `OMP_NUM_THREADS` says, else the cores that Slurm gives the task, else this process's share of all cores. Where other
    /// programs compute beside it, fewer are quicker.
    pub threads: usize,
    /// What is predicted.
    pub objective: Predict,
    /// Share of the tokens that a masked model predicts (0 to 1): of these 80% become the mask, 10% a random token, 10% stay.
    pub masked_share: f64,
    /// Shape of a fresh model, or the folder to start from.
    pub model: ModelShape,
    /// Low-rank adapters instead of all weights.
    pub lora: Lora,
    /// How text becomes token ids.
    pub tokenizer: Tokenizer,
    /// The corpus.
    pub data: TextData,
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
    /// Checkpoints.
    pub checkpoint: Checkpoint,
    /// Several processes.
    pub distributed: Distributed,
    /// Logs besides metrics.jsonl.
    pub log: Log,
    /// Alarms.
    pub alarm: Alarm,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        PretrainConfig {
            seed: 1,
            device: Device::default(),
            precision: Precision::default(),
            threads: 0,
            objective: Predict::default(),
            masked_share: 0.15,
            model: ModelShape::default(),
            lora: Lora::default(),
            tokenizer: Tokenizer::default(),
            data: TextData::default(),
            distill: Distill::default(),
            optim: Optim::default(),
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

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Predict {
    /// Each token from those before it.
    #[default]
    Next,
    /// Masked tokens from both sides (BERT, arXiv 1810.04805): for family `bert`.
    Masked,
}

/// Shape of a fresh GPT-2 model. All sizes in units of features, heads or tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelShape {
    /// Model folder or run folder to start from; empty makes a fresh model of the shape below.
    pub init: String,
    /// A folder with an adapter for `init`; empty for none: see `model.adapter` of `sft`.
    pub adapter: String,
    /// Family of a fresh model.
    pub family: Family,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; must divide `width`.
    pub heads: usize,
    /// Heads of keys and values, which query heads share; must divide `heads`. 0 means as many as `heads`. Not for gpt2 and gpt-neox.
    pub kv_heads: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Dropout probability while training (embeddings, attention, residual branches).
    pub dropout: f64,
    /// The width at which `optim.lr` was found, for maximal-update parametrisation (arXiv 2203.03466): initial weights and rates of a fresh model follow from the
    /// ratio of the widths, so that the rate is good at this width too. Keep `width / heads` the same at all widths. 0 switches it off.
    pub mup_base_width: usize,
}

impl Default for ModelShape {
    fn default() -> Self {
        ModelShape {
            init: String::new(),
            adapter: String::new(),
            family: Family::default(),
            kv_heads: 0,
            layers: 4,
            heads: 4,
            width: 128,
            context: 128,
            dropout: 0.0,
            mup_base_width: 0,
        }
    }
}

/// Family of a fresh model. All have a tied head; a model folder in `model.init` brings its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Learned positions, LayerNorm, GELU.
    #[default]
    Gpt2,
    /// Rotary positions, RMSNorm, gated MLP without biases.
    Llama,
    /// Rotary positions on a quarter of each head, LayerNorm, both branches of a block side by side: the family of Pythia.
    GptNeox,
    /// Llama with biases on query, key and value.
    Qwen2,
    /// Llama with RMSNorm on every head's query and key.
    Qwen3,
    /// An encoder that sees both sides, for `objective = "masked"`.
    Bert,
}

/// Kind of tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// Byte-level BPE trained on the corpus.
    #[default]
    Bpe,
    /// One token a byte.
    Byte,
    /// One token a character of the corpus.
    Char,
    /// Lower-cased WordPiece trained on the corpus, with [CLS], [SEP] and [MASK], as BERT has it.
    Wordpiece,
    /// A `tokenizer.json` from `path`.
    File,
}

/// How text becomes token ids. A model folder given in `model.init` brings its own and this section is not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tokenizer {
    /// Kind.
    pub kind: TokenizerKind,
    /// Vocabulary of a trained BPE or WordPiece, special tokens included.
    pub vocab_size: usize,
    /// `tokenizer.json`, or the folder that holds it, for kind `file`.
    pub path: String,
    /// BPE and WordPiece are trained on at most so many bytes of the corpus, drawn evenly.
    pub train_bytes: u64,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Tokenizer { kind: TokenizerKind::Bpe, vocab_size: 1024, path: String::new(), train_bytes: 50_000_000 }
    }
}

/// What becomes validation text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextSplit {
    /// Whole documents (16 KiB pieces of long ones), picked by a hash of their text: the same ones whatever their order.
    #[default]
    Documents,
    /// The end of the corpus, cut at a character: one book can be learned from and its last part be held out (nanoGPT).
    End,
}

/// The corpus.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextData {
    /// Where the documents are.
    pub sources: Vec<Source>,
    /// Tokens of a row, those around a masked one included; 0: as many as the model can read. Shorter rows first teach attention to neighbours, which masked models
    /// are slow to find (BERT read nine tenths of its rows at a quarter of its length: arXiv 1810.04805, appendix A.2).
    pub row: usize,
    /// What `eval.valid_fraction` takes for validation.
    pub split: TextSplit,
    /// Folder of tokenised shards, shared by runs; empty means `.cache/shards`.
    pub cache: String,
    /// Bad rows allowed.
    pub quarantine: Quarantine,
}
