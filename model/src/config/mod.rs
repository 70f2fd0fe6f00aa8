//! The shape of a decoder. Fields are general; a family is a setting of them.

mod hf;

pub(crate) use hf::ids;

use crate::error::ModelError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Which Hugging Face `model_type` the folder bears: it decides tensor names and the defaults of missing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-2: learned positions, LayerNorm, fused query-key-value, `[in, out]` weights, tied head.
    Gpt2,
    /// Llama: rotary positions, RMSNorm, gated MLP, grouped key-value heads.
    Llama,
    /// Mistral without a sliding window: Llama's network.
    Mistral,
    /// Qwen2: Llama with biases on query, key and value.
    Qwen2,
    /// Qwen3: Llama with RMSNorm on every head's query and key.
    Qwen3,
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Position {
    /// A learned vector for each of the context's places, added to the embedding.
    Learned,
    /// Rotation of queries and keys (arXiv 2104.09864).
    Rotary {
        /// Base of the wavelengths.
        theta: f64,
        /// Llama 3's stretching of long wavelengths; `None` for plain rotation.
        scaling: Option<RotaryScaling>,
    },
}

/// Llama 3.1's scaling of rotary frequencies to a longer context than the one first trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryScaling {
    /// Long wavelengths are stretched by this.
    pub factor: f64,
    /// Wavelengths above `original_context / low` are long.
    pub low: f64,
    /// Wavelengths below `original_context / high` stay as they are.
    pub high: f64,
    /// Context in tokens before the stretching.
    pub original_context: f64,
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
            scale_attention: true,
            scale_by_layer: false,
            tied: true,
            init_std: 0.02,
            dropout: Dropout { embedding: dropout, attention: dropout, residual: dropout },
            bos: None,
            eos: vec![],
            pad: None,
            raw: Map::new(),
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
        if self.family == Family::Gpt2 && !self.width.is_multiple_of(self.heads) {
            return fail("heads", format!("{} heads do not divide a width of {}", self.heads, self.width));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail("key-value heads", format!("{} do not divide {} heads", self.kv_heads, self.heads));
        }
        if matches!(self.position, Position::Rotary { .. }) && !self.head_dim.is_multiple_of(2) {
            return fail("head size", format!("{} is odd: rotation takes features in pairs", self.head_dim));
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

    /// Reads `config.json` of a model folder.
    pub fn load(folder: &Path) -> Result<Config, ModelError> {
        let path: PathBuf = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        let raw: Map<String, Value> = serde_json::from_str(&text).map_err(ModelError::json(&path))?;
        let config = hf::parse(raw, &path)?;
        config.check(&path)?;
        Ok(config)
    }
}
