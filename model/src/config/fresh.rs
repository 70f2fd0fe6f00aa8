//! Shapes for models that begin at random weights. Each is the config.json that transformers would have, so there is one reading of it.

use super::{Config, Dropout, Family, hf};
use crate::error::ModelError;
use serde_json::{Value, json};
use std::path::Path;

/// Sizes of a fresh decoder; its family decides the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Vocabulary in tokens.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; 0 means as many as `heads`. Llama's kin only.
    pub kv_heads: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// One dropout for all places.
    pub dropout: f64,
}

impl TryFrom<data::config::Family> for Family {
    type Error = ModelError;

    /// The decoder of this name; BERT is none.
    fn try_from(family: data::config::Family) -> Result<Family, ModelError> {
        Ok(match family {
            data::config::Family::Gpt2 => Family::Gpt2,
            data::config::Family::Llama => Family::Llama,
            data::config::Family::GptNeox => Family::GptNeoX,
            data::config::Family::Qwen2 => Family::Qwen2,
            data::config::Family::Qwen3 => Family::Qwen3,
            data::config::Family::Bert => return Err(ModelError::Input("bert is an encoder, not a decoder".into())),
        })
    }
}

impl Config {
    /// A fresh decoder of this family with a tied head and no special tokens yet. MLPs are four times the width; gated ones, which have a third
    /// matrix, 8/3 of it rounded up to a multiple of 32, so that both have as many weights (arXiv 2002.05202).
    pub fn fresh(family: Family, s: Shape) -> Result<Config, ModelError> {
        let gated_width = (8 * s.width).div_ceil(3).next_multiple_of(32);
        let kv_heads = if s.kv_heads == 0 { s.heads } else { s.kv_heads };
        let rotary = |model_type: &str| {
            json!({
                "model_type": model_type, "vocab_size": s.vocab_size, "max_position_embeddings": s.context, "hidden_size": s.width,
                "num_hidden_layers": s.layers, "num_attention_heads": s.heads, "num_key_value_heads": kv_heads,
                "intermediate_size": gated_width, "tie_word_embeddings": true, "initializer_range": 0.02,
                "head_dim": s.width.checked_div(s.heads).unwrap_or(0), "hidden_act": "silu", "rms_norm_eps": 1e-6,
                "rope_parameters": { "rope_type": "default", "rope_theta": 10000.0 },
            })
        };
        let mut raw = match family {
            Family::Gpt2 => {
                let config = Config::gpt2(s.vocab_size, s.context, s.layers, s.heads, s.width, s.dropout)?;
                return Ok(config);
            }
            Family::GptNeoX => json!({
                "model_type": "gpt_neox", "vocab_size": s.vocab_size, "max_position_embeddings": s.context, "hidden_size": s.width,
                "num_hidden_layers": s.layers, "num_attention_heads": s.heads, "intermediate_size": 4 * s.width,
                "tie_word_embeddings": true, "initializer_range": 0.02, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
                "use_parallel_residual": true, "attention_bias": true,
                "rope_parameters": { "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25 },
            }),
            Family::Llama => rotary("llama"),
            Family::Mistral => rotary("mistral"),
            Family::Qwen2 => rotary("qwen2"),
            Family::Qwen3 => rotary("qwen3"),
        };
        if family == Family::Mistral {
            raw["sliding_window"] = Value::Null;
        }
        let raw = raw.as_object().cloned().unwrap_or_default();
        let mut config = hf::parse(raw, Path::new("model"))?;
        config.dropout = Dropout::all(s.dropout);
        config.check(Path::new("model"))?;
        Ok(config)
    }
}
