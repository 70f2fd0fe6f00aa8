//! Hugging Face's `config.json`, as transformers 4 and 5 write it.

use super::reader::Reader;
use super::write::FRAME;
use super::{Config, Dropout, Family, Norm, Position, Window, rope};
use crate::error::ModelError;
use crate::model::HeadKind;
use serde_json::{Map, Value};
use std::path::Path;

/// Builds a configuration from a parsed config.json.
pub(super) fn parse(raw: Map<String, Value>, path: &Path) -> Result<Config, ModelError> {
    let r = Reader { raw: &raw, path };
    if !r.flag("is_causal", true)? {
        return r.fail("is_causal", "a decoder whose tokens see those after them is not built in");
    }
    let config = match r.get("model_type").and_then(Value::as_str) {
        Some("gpt2") => gpt2(&r)?,
        Some("llama") => llama(&r, Family::Llama)?,
        Some("mistral") => llama(&r, Family::Mistral)?,
        Some("qwen2") => llama(&r, Family::Qwen2)?,
        Some("qwen3") => llama(&r, Family::Qwen3)?,
        Some("gpt_neox") => neox(&r)?,
        Some(other) => {
            let known = "gpt2, llama, mistral, qwen2, qwen3 and gpt_neox";
            return r.fail("model_type", format!("{other:?} is not built in: {known} are"));
        }
        None => return r.fail("model_type", "is missing"),
    };
    Ok(Config { raw, ..config })
}

fn gpt2(r: &Reader<'_>) -> Result<Config, ModelError> {
    if r.flag("add_cross_attention", false)? {
        return r.fail("add_cross_attention", "a decoder with cross-attention is not built in");
    }
    let (width, heads) = (r.need("n_embd")?, r.need("n_head")?);
    Ok(Config {
        family: Family::Gpt2,
        vocab_size: r.need("vocab_size")?,
        context: r.size("n_positions")?.map_or_else(|| r.need("n_ctx"), Ok)?,
        layers: r.need("n_layer")?,
        heads,
        kv_heads: heads,
        head_dim: width.checked_div(heads).unwrap_or(0),
        width,
        ffn_width: r.size("n_inner")?.unwrap_or(4 * width),
        norm: Norm::Layer { eps: r.number("layer_norm_epsilon", 1e-5)? },
        position: Position::Learned,
        activation: r.activation("activation_function", "gelu_new")?,
        gated: false,
        qkv_bias: true,
        out_bias: true,
        mlp_bias: true,
        qk_norm: false,
        parallel: false,
        window: None,
        scale_attention: r.flag("scale_attn_weights", true)?,
        scale_by_layer: r.flag("scale_attn_by_inverse_layer_idx", false)?,
        tied: r.flag("tie_word_embeddings", true)?,
        init_std: r.number("initializer_range", 0.02)?,
        dropout: Dropout {
            embedding: r.number("embd_pdrop", 0.1)?,
            attention: r.number("attn_pdrop", 0.1)?,
            residual: r.number("resid_pdrop", 0.1)?,
        },
        bos: r.tokens("bos_token_id")?.first().copied(),
        eos: r.tokens("eos_token_id")?,
        pad: r.tokens("pad_token_id")?.first().copied(),
        raw: Map::new(),
        generation: Map::new(),
    })
}

fn llama(r: &Reader<'_>, family: Family) -> Result<Config, ModelError> {
    let (width, heads) = (r.need("hidden_size")?, r.need("num_attention_heads")?);
    // Qwen3's class has a size of its own; the others divide the width.
    let head_dim = if family == Family::Qwen3 { 128 } else { width.checked_div(heads).unwrap_or(0) };
    let head_dim = r.size("head_dim")?.unwrap_or(head_dim);
    let layers = r.need("num_hidden_layers")?;
    let (position, context) = rope::read(r, family, head_dim, r.need("max_position_embeddings")?)?;
    let bias = r.flag("attention_bias", false)?;
    Ok(Config {
        family,
        vocab_size: r.need("vocab_size")?,
        context,
        layers,
        heads,
        kv_heads: r.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        width,
        ffn_width: r.need("intermediate_size")?,
        norm: Norm::Rms { eps: r.number("rms_norm_eps", 1e-6)? },
        position,
        activation: r.activation("hidden_act", "silu")?,
        gated: true,
        qkv_bias: bias || family == Family::Qwen2,
        out_bias: bias && family != Family::Qwen2,
        mlp_bias: r.flag("mlp_bias", false)?,
        qk_norm: family == Family::Qwen3,
        parallel: false,
        window: window(r, family, layers)?,
        scale_attention: true,
        scale_by_layer: false,
        tied: r.flag("tie_word_embeddings", false)?,
        init_std: r.number("initializer_range", 0.02)?,
        dropout: Dropout { attention: r.number("attention_dropout", 0.0)?, ..Dropout::default() },
        bos: r.tokens("bos_token_id")?.first().copied(),
        eos: r.tokens("eos_token_id")?,
        pad: r.tokens("pad_token_id")?.first().copied(),
        raw: Map::new(),
        generation: Map::new(),
    })
}

/// Which blocks have a window: those that `layer_types` names; without it all of Mistral's, the upper ones of Qwen's, none of Llama's.
fn window(r: &Reader<'_>, family: Family, layers: usize) -> Result<Option<Window>, ModelError> {
    // Without the key, transformers' classes have 4096; null is none.
    let size = if r.raw.contains_key("sliding_window") { r.size("sliding_window")? } else { Some(4096) };
    let on = match family {
        Family::Mistral => true,
        Family::Qwen2 | Family::Qwen3 => r.flag("use_sliding_window", false)?,
        _ => return Ok(None),
    };
    let size = size.filter(|_| on);
    let marked = match r.get("layer_types") {
        None if family == Family::Mistral => vec![size.is_some(); layers],
        None => {
            let first = r.size("max_window_layers")?.unwrap_or(28); // the blocks below see everything
            (0..layers).map(|i| size.is_some() && i >= first).collect()
        }
        Some(list) => {
            let kind = |v: &Value| match v.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            match list.as_array().and_then(|l| l.iter().map(kind).collect::<Option<Vec<bool>>>()) {
                Some(marked) if marked.len() == layers => marked,
                _ => {
                    return r
                        .fail("layer_types", format!("{layers} times \"full_attention\" or \"sliding_attention\" are wanted, not {list}"));
                }
            }
        }
    };
    match (marked.contains(&true), size) {
        (true, None) => r.fail("layer_types", "names sliding_attention, but use_sliding_window is false or sliding_window null"),
        (any, size) => Ok(size.filter(|_| any).map(|size| Window { size, layers: marked })),
    }
}

fn neox(r: &Reader<'_>) -> Result<Config, ModelError> {
    let (width, heads) = (r.need("hidden_size")?, r.need("num_attention_heads")?);
    let head_dim = width.checked_div(heads).unwrap_or(0);
    let (position, context) = rope::read(r, Family::GptNeoX, head_dim, r.need("max_position_embeddings")?)?;
    let bias = r.flag("attention_bias", true)?;
    let hidden_dropout = r.number("hidden_dropout", 0.0)?;
    Ok(Config {
        family: Family::GptNeoX,
        vocab_size: r.need("vocab_size")?,
        context,
        layers: r.need("num_hidden_layers")?,
        heads,
        kv_heads: heads,
        head_dim,
        width,
        ffn_width: r.need("intermediate_size")?,
        norm: Norm::Layer { eps: r.number("layer_norm_eps", 1e-5)? },
        position,
        activation: r.activation("hidden_act", "gelu")?,
        gated: false,
        qkv_bias: bias,
        out_bias: bias,
        mlp_bias: true,
        qk_norm: false,
        parallel: r.flag("use_parallel_residual", true)?,
        window: None,
        scale_attention: true,
        scale_by_layer: false,
        tied: r.flag("tie_word_embeddings", false)?,
        init_std: r.number("initializer_range", 0.02)?,
        dropout: Dropout { embedding: hidden_dropout, attention: r.number("attention_dropout", 0.0)?, residual: hidden_dropout },
        bos: r.tokens("bos_token_id")?.first().copied(),
        eos: r.tokens("eos_token_id")?,
        pad: r.tokens("pad_token_id")?.first().copied(),
        raw: Map::new(),
        generation: Map::new(),
    })
}

impl Config {
    /// Whether config.json names classes, and not the one score of a reward model.
    pub(crate) fn declares_classes(&self, path: &Path) -> Result<bool, ModelError> {
        let labels = Reader { raw: &self.raw, path }.classes()?;
        Ok(labels.is_some_and(|names| names.len() != 1 || self.raw.contains_key(FRAME)))
    }

    /// The kind of head that config.json's `architectures` names; `None` where it names neither.
    pub(crate) fn declared_head(&self, path: &Path) -> Result<Option<HeadKind>, ModelError> {
        let r = Reader { raw: &self.raw, path };
        let architecture = r.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str).unwrap_or_default();
        if architecture.ends_with("ForSequenceClassification") {
            let labels = r.classes()?.map_or(0, |names| names.len());
            if labels != 1 || self.raw.contains_key(FRAME) {
                return r.fail(
                    "id2label",
                    format!("{labels} labels of a classifier: a reward or value model has one (num_labels = 1) and no {FRAME}"),
                );
            }
            return Ok(Some(HeadKind::Scalar));
        }
        let language = architecture.ends_with("LMHeadModel") || architecture.ends_with("ForCausalLM");
        Ok(language.then_some(HeadKind::Lm))
    }
}
