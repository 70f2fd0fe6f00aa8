//! The shape of a decoder. Fields are general; a family is a setting of them.

mod fresh;
mod hf;
mod reader;
mod rope;
mod write;

pub use fresh::Shape;
pub(crate) use reader::Reader;
pub use rope::{Rope, RopeScaling};
pub(crate) use write::FRAME;

use crate::error::ModelError;
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How others generate with a model, beside its `config.json`.
pub(crate) const GENERATION: &str = "generation_config.json";

/// Which Hugging Face `model_type` the folder bears: it decides tensor names and the defaults of missing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-2: learned positions, LayerNorm, fused query-key-value, `[in, out]` weights, tied head.
    Gpt2,
    /// Llama: rotary positions, RMSNorm, gated MLP, grouped key-value heads.
    Llama,
    /// Mistral: Llama with a sliding window in every block.
    Mistral,
    /// Qwen2: Llama with biases on query, key and value, and a window in some blocks where asked for.
    Qwen2,
    /// Qwen3: Llama with RMSNorm on every head's query and key, and a window in some blocks where asked for.
    Qwen3,
    /// GPT-NeoX, Pythia: LayerNorm, rotation of a part of each head, query-key-value fused head by head, both branches from one input.
    GptNeoX,
}

/// Normalisation before each branch and at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Norm {
    /// Mean and variance, with weight and bias (arXiv 1607.06450).
    Layer {
        /// Added to the variance.
        eps: f64,
    },
    /// Root mean square, with weight (arXiv 1910.07467).
    Rms {
        /// Added to the mean square.
        eps: f64,
    },
}

/// How a token knows its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// A learned vector for each of the context's places, added to the embedding.
    Learned,
    /// Rotation of queries and keys (arXiv 2104.09864).
    Rotary(Rope),
}

/// Attention that reaches back a bounded number of tokens (arXiv 2004.05150, section 3.1; Mistral: arXiv 2310.06825).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Tokens that a token sees, itself among them.
    pub size: usize,
    /// Which blocks have it.
    pub layers: Vec<bool>,
}

/// Non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU, approximated with tanh (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// GELU with the error function (`gelu`).
    Gelu,
    /// ReLU.
    Relu,
    /// SiLU, also called swish.
    Silu,
}

/// Dropout probabilities while training.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dropout {
    /// After the embeddings.
    pub embedding: f64,
    /// On attention weights.
    pub attention: f64,
    /// On the output of each branch.
    pub residual: f64,
}

impl Dropout {
    /// The same probability everywhere.
    pub fn all(p: f64) -> Dropout {
        Dropout { embedding: p, attention: p, residual: p }
    }
}

/// The shape of a decoder and its special tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Naming and defaults.
    pub family: Family,
    /// Vocabulary in tokens.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features of one head.
    pub head_dim: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Features inside the MLP.
    pub ffn_width: usize,
    /// Normalisation.
    pub norm: Norm,
    /// Positions.
    pub position: Position,
    /// Non-linearity of the MLP.
    pub activation: Activation,
    /// MLP with a gate: `down(act(gate(x)) * up(x))` (arXiv 2002.05202).
    pub gated: bool,
    /// Biases on query, key and value.
    pub qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub out_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// RMSNorm on every head's query and key.
    pub qk_norm: bool,
    /// Both branches of a block read its input, and are added to it together (GPT-NeoX's `use_parallel_residual`).
    pub parallel: bool,
    /// A bounded reach of attention; `None` where every block sees the whole sequence.
    pub window: Option<Window>,
    /// Divide attention scores by the root of `head_dim` (GPT-2's `scale_attn_weights`).
    pub scale_attention: bool,
    /// Divide attention scores of block i by i + 1 as well (GPT-2's `scale_attn_by_inverse_layer_idx`).
    pub scale_by_layer: bool,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Standard deviation of fresh weights.
    pub init_std: f64,
    /// Dropout.
    pub dropout: Dropout,
    /// First token of a text, if the model knows one.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// The config.json this came from: keys that mean nothing here are written back as they were.
    pub(crate) raw: Map<String, Value>,
    /// The generation_config.json beside it, in the same way.
    pub(crate) generation: Map<String, Value>,
}

impl Config {
    /// A fresh GPT-2: MLP four times the width, tied head, one dropout for all places, no special tokens yet.
    pub fn gpt2(vocab_size: usize, context: usize, layers: usize, heads: usize, width: usize, dropout: f64) -> Result<Config, ModelError> {
        let config = Config {
            family: Family::Gpt2,
            vocab_size,
            context,
            layers,
            heads,
            kv_heads: heads,
            head_dim: width.checked_div(heads).unwrap_or(0),
            width,
            ffn_width: 4 * width,
            norm: Norm::Layer { eps: 1e-5 },
            position: Position::Learned,
            activation: Activation::GeluTanh,
            gated: false,
            qkv_bias: true,
            out_bias: true,
            mlp_bias: true,
            qk_norm: false,
            parallel: false,
            window: None,
            scale_attention: true,
            scale_by_layer: false,
            tied: true,
            init_std: 0.02,
            dropout: Dropout { embedding: dropout, attention: dropout, residual: dropout },
            bos: None,
            eos: vec![],
            pad: None,
            raw: Map::new(),
            generation: Map::new(),
        };
        config.check(Path::new("model"))?;
        Ok(config)
    }

    /// Names the special tokens, for `config.json` and `generation_config.json`.
    pub fn set_special(&mut self, bos: Option<u32>, eos: &[u32], pad: Option<u32>) {
        self.bos = bos;
        self.eos = eos.to_vec();
        self.pad = pad;
    }

    /// Refuses shapes that cannot be.
    pub(crate) fn check(&self, path: &Path) -> Result<(), ModelError> {
        let fail = |key: &str, reason: String| Err(ModelError::Config { path: path.to_path_buf(), key: key.into(), reason });
        let sizes = [
            ("vocabulary size", self.vocab_size),
            ("context", self.context),
            ("layers", self.layers),
            ("heads", self.heads),
            ("key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("width", self.width),
            ("MLP width", self.ffn_width),
        ];
        if let Some((key, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return fail(key, "must be at least 1".into());
        }
        if matches!(self.family, Family::Gpt2 | Family::GptNeoX) && !self.width.is_multiple_of(self.heads) {
            return fail("heads", format!("{} heads do not divide a width of {}", self.heads, self.width));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail("key-value heads", format!("{} do not divide {} heads", self.kv_heads, self.heads));
        }
        if let Position::Rotary(rope) = &self.position {
            rope.check().or_else(|reason| fail("rope_parameters", reason))?;
        }
        if self.window.as_ref().is_some_and(|w| w.size == 0) {
            return fail("sliding_window", "must be at least 1: a token sees itself".into());
        }
        let d = self.dropout;
        for (key, p) in [("embedding dropout", d.embedding), ("attention dropout", d.attention), ("residual dropout", d.residual)] {
            if !(0.0..1.0).contains(&p) {
                return fail(key, format!("{p} is not a probability below 1"));
            }
        }
        Ok(())
    }

    /// Divisor-included factor on the attention scores of block `layer`.
    pub(crate) fn attention_scale(&self, layer: usize) -> f64 {
        let base = if self.scale_attention { 1.0 / (self.head_dim as f64).sqrt() } else { 1.0 };
        if self.scale_by_layer { base / (layer + 1) as f64 } else { base }
    }

    /// How many tokens block `layer` sees, itself among them; `None` for all.
    pub(crate) fn window_of(&self, layer: usize) -> Option<i64> {
        self.window.as_ref().filter(|w| w.layers[layer]).map(|w| w.size as i64)
    }

    /// Reads `config.json` of a model folder, and what its `generation_config.json` adds: further tokens that end a text.
    pub fn load(folder: &Path) -> Result<Config, ModelError> {
        let (raw, path) = load_raw(folder)?;
        let mut config = hf::parse(raw, &path)?;
        config.check(&path)?;
        config.read_generation(&folder.join(GENERATION))?;
        Ok(config)
    }

    fn read_generation(&mut self, path: &Path) -> Result<(), ModelError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(ModelError::io(path)(e)),
        };
        self.generation = serde_json::from_str(&text).map_err(ModelError::json(path))?;
        let ends = Reader { raw: &self.generation, path }.tokens("eos_token_id")?;
        let more: Vec<u32> = ends.into_iter().filter(|id| !self.eos.contains(id)).collect();
        self.eos.extend(more);
        Ok(())
    }
}

/// `config.json` of a model folder as it stands, and its path.
pub(crate) fn load_raw(folder: &Path) -> Result<(Map<String, Value>, PathBuf), ModelError> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
    let raw = serde_json::from_str(&text).map_err(ModelError::json(&path))?;
    Ok((raw, path))
}

/// What kind of network a model folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A decoder: [`crate::Model`].
    Decoder,
    /// An encoder-decoder: [`crate::Seq2Seq`].
    EncoderDecoder,
    /// An encoder: [`crate::Bert`].
    Encoder,
}

/// The kind of network in a folder, by its `model_type`; a type that nothing here reads counts as a decoder, whose reader complains of it.
pub fn kind_of(folder: &Path) -> Result<Kind, ModelError> {
    let (raw, _) = load_raw(folder)?;
    Ok(match raw.get("model_type").and_then(Value::as_str) {
        Some("marian") => Kind::EncoderDecoder,
        Some("bert") => Kind::Encoder,
        _ => Kind::Decoder,
    })
}
