//! Hugging Face's `config.json`, as transformers 4 and 5 write it.

use super::{Activation, Config, Dropout, Family, Norm, Position, RotaryScaling};
use crate::error::ModelError;
use crate::model::HeadKind;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A config.json under reading: every complaint names file and key.
struct Reader<'a> {
    raw: &'a Map<String, Value>,
    path: &'a Path,
}

impl Reader<'_> {
    fn fail<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, ModelError> {
        Err(ModelError::Config { path: self.path.to_path_buf(), key: key.into(), reason: reason.into() })
    }

    /// The value, with JSON's null as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.raw.get(key).filter(|v| !v.is_null())
    }

    fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.get(key).map(Value::as_u64) {
            None => Ok(None),
            Some(Some(n)) => Ok(Some(n as usize)),
            Some(None) => self.fail(key, format!("{} is not a whole number", self.raw[key])),
        }
    }

    fn need(&self, key: &str) -> Result<usize, ModelError> {
        match self.size(key)? {
            Some(n) => Ok(n),
            None => self.fail(key, "is missing"),
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.get(key).map(Value::as_f64) {
            None => Ok(default),
            Some(Some(x)) => Ok(x),
            Some(None) => self.fail(key, format!("{} is not a number", self.raw[key])),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key).map(Value::as_bool) {
            None => Ok(default),
            Some(Some(x)) => Ok(x),
            Some(None) => self.fail(key, format!("{} is neither true nor false", self.raw[key])),
        }
    }

    /// One token id, or a list of them.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = match self.get(key) {
            None => Some(vec![]),
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(v) => one(v).map(|id| vec![id]),
        };
        ids.map_or_else(|| self.fail(key, format!("{} is no token id", self.raw[key])), Ok)
    }

    fn activation(&self, key: &str, default: &str) -> Result<Activation, ModelError> {
        match self.get(key).and_then(Value::as_str).unwrap_or(default) {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "gelu" => Ok(Activation::Gelu),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => self.fail(key, format!("{other:?} is not built in: gelu_new, gelu, relu or silu are")),
        }
    }
}

/// Builds a configuration from a parsed config.json.
pub(super) fn parse(raw: Map<String, Value>, path: &Path) -> Result<Config, ModelError> {
    let r = Reader { raw: &raw, path };
    let config = match r.get("model_type").and_then(Value::as_str) {
        Some("gpt2") => gpt2(&r)?,
        Some("llama") => llama(&r, Family::Llama)?,
        Some("mistral") => llama(&r, Family::Mistral)?,
        Some("qwen2") => llama(&r, Family::Qwen2)?,
        Some("qwen3") => llama(&r, Family::Qwen3)?,
        Some(other) => return r.fail("model_type", format!("{other:?} is not built in: gpt2, llama, mistral, qwen2 and qwen3 are")),
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
    })
}

fn llama(r: &Reader<'_>, family: Family) -> Result<Config, ModelError> {
    let (width, heads) = (r.need("hidden_size")?, r.need("num_attention_heads")?);
    let context = r.need("max_position_embeddings")?;
    // Qwen2 and Qwen3 carry a window that `use_sliding_window` switches on; Mistral's is always on.
    let windowed = family == Family::Mistral || r.flag("use_sliding_window", false)?;
    if windowed && r.size("sliding_window")?.is_some_and(|w| w < context) {
        return r.fail("sliding_window", "windowed attention is not built in: use a window of the whole context, or null");
    }
    let bias = r.flag("attention_bias", false)?;
    Ok(Config {
        family,
        vocab_size: r.need("vocab_size")?,
        context,
        layers: r.need("num_hidden_layers")?,
        heads,
        kv_heads: r.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim: r.size("head_dim")?.unwrap_or(width.checked_div(heads).unwrap_or(0)),
        width,
        ffn_width: r.need("intermediate_size")?,
        norm: Norm::Rms { eps: r.number("rms_norm_eps", 1e-6)? },
        position: rotary(r)?,
        activation: r.activation("hidden_act", "silu")?,
        gated: true,
        qkv_bias: bias || family == Family::Qwen2,
        out_bias: bias && family != Family::Qwen2,
        mlp_bias: r.flag("mlp_bias", false)?,
        qk_norm: family == Family::Qwen3,
        scale_attention: true,
        scale_by_layer: false,
        tied: r.flag("tie_word_embeddings", false)?,
        init_std: r.number("initializer_range", 0.02)?,
        dropout: Dropout { attention: r.number("attention_dropout", 0.0)?, ..Dropout::default() },
        bos: r.tokens("bos_token_id")?.first().copied(),
        eos: r.tokens("eos_token_id")?,
        pad: r.tokens("pad_token_id")?.first().copied(),
        raw: Map::new(),
    })
}

/// `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (transformers 4).
fn rotary(r: &Reader<'_>) -> Result<Position, ModelError> {
    let empty = Map::new();
    let (key, rope) = ["rope_parameters", "rope_scaling"]
        .into_iter()
        .find_map(|k| r.get(k).and_then(Value::as_object).map(|o| (k, o)))
        .unwrap_or(("rope_parameters", &empty));
    let inner = Reader { raw: rope, path: r.path };
    let theta = inner.number("rope_theta", r.number("rope_theta", 10000.0)?)?;
    let kind = ["rope_type", "type"].iter().find_map(|k| inner.get(k).and_then(Value::as_str)).unwrap_or("default");
    if inner.number("partial_rotary_factor", r.number("partial_rotary_factor", 1.0)?)? != 1.0 {
        return r.fail("partial_rotary_factor", "partial rotation is not built in");
    }
    let scaling = match kind {
        "default" => None,
        "llama3" => Some(RotaryScaling {
            factor: inner.number("factor", 8.0)?,
            low: inner.number("low_freq_factor", 1.0)?,
            high: inner.number("high_freq_factor", 4.0)?,
            original_context: inner.number("original_max_position_embeddings", 8192.0)?,
        }),
        other => return r.fail(key, format!("rope_type {other:?} is not built in: default and llama3 are")),
    };
    Ok(Position::Rotary { theta, scaling })
}

impl Config {
    /// The kind of head that config.json's `architectures` names; `None` where it names neither.
    pub(crate) fn declared_head(&self, path: &Path) -> Result<Option<HeadKind>, ModelError> {
        let r = Reader { raw: &self.raw, path };
        let architecture = r.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str).unwrap_or_default();
        if architecture.ends_with("ForSequenceClassification") {
            let labels = match r.get("id2label").and_then(Value::as_object) {
                Some(labels) => labels.len(),
                None => r.size("num_labels")?.unwrap_or(2), // transformers' own default
            };
            if labels != 1 {
                return r.fail("id2label", format!("{labels} labels: a reward or value model has one (num_labels = 1)"));
            }
            return Ok(Some(HeadKind::Scalar));
        }
        let language = architecture.ends_with("LMHeadModel") || architecture.ends_with("ForCausalLM");
        Ok(language.then_some(HeadKind::Lm))
    }

    /// config.json for transformers: the source's keys, or GPT-2's usual ones, with what this project knows put over them.
    pub fn to_hf(&self, head: HeadKind) -> Map<String, Value> {
        let mut out = self.raw.clone();
        let family = match self.family {
            Family::Gpt2 => "GPT2",
            Family::Llama => "Llama",
            Family::Mistral => "Mistral",
            Family::Qwen2 => "Qwen2",
            Family::Qwen3 => "Qwen3",
        };
        let architecture = match (head, self.family) {
            (HeadKind::Scalar, _) => format!("{family}ForSequenceClassification"),
            (HeadKind::Lm, Family::Gpt2) => "GPT2LMHeadModel".to_string(),
            (HeadKind::Lm, _) => format!("{family}ForCausalLM"),
        };
        let mut put = |key: &str, value: Value| _ = out.insert(key.to_string(), value);
        put("architectures", json!([architecture]));
        put("model_type", json!(family.to_lowercase()));
        put("dtype", json!("float32"));
        put("vocab_size", json!(self.vocab_size));
        put("tie_word_embeddings", json!(self.tied));
        put("bos_token_id", json!(self.bos));
        put("eos_token_id", ids(&self.eos));
        put("pad_token_id", json!(self.pad));
        if self.family == Family::Gpt2 {
            let (Norm::Layer { eps } | Norm::Rms { eps }) = self.norm;
            let activation = match self.activation {
                Activation::GeluTanh => "gelu_new",
                Activation::Gelu => "gelu",
                Activation::Relu => "relu",
                Activation::Silu => "silu",
            };
            put("activation_function", json!(activation));
            put("n_positions", json!(self.context));
            put("n_embd", json!(self.width));
            put("n_layer", json!(self.layers));
            put("n_head", json!(self.heads));
            put("n_inner", if self.ffn_width == 4 * self.width { Value::Null } else { json!(self.ffn_width) });
            put("layer_norm_epsilon", json!(eps));
            put("initializer_range", json!(self.init_std));
            put("embd_pdrop", json!(self.dropout.embedding));
            put("attn_pdrop", json!(self.dropout.attention));
            put("resid_pdrop", json!(self.dropout.residual));
            put("scale_attn_weights", json!(self.scale_attention));
            put("scale_attn_by_inverse_layer_idx", json!(self.scale_by_layer));
        } else {
            put("attention_dropout", json!(self.dropout.attention));
        }
        for key in ["torch_dtype", "num_labels", "id2label", "label2id", "quantization_config"] {
            out.remove(key);
        }
        if head == HeadKind::Scalar {
            out.insert("id2label".into(), json!({"0": "LABEL_0"}));
            out.insert("label2id".into(), json!({"LABEL_0": 0}));
        }
        out
    }
}

/// One id as a number, several as a list, none as null: as transformers has it.
pub(crate) fn ids(list: &[u32]) -> Value {
    match list {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}
