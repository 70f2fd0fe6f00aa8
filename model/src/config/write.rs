//! config.json for others: transformers reads what is written here.

use super::{Activation, Config, Family, Norm};
use crate::model::HeadKind;
use serde_json::{Map, Value, json};

/// Key of config.json with the input shape, target and tokens of a decoder that classifies (`data::frames::Frame`); transformers passes over it.
pub(crate) const FRAME: &str = "input_frame";

impl Config {
    /// config.json for transformers: the source's keys, or GPT-2's usual ones, with what this project knows put over them.
    pub fn to_hf(&self, head: HeadKind) -> Map<String, Value> {
        let mut out = self.raw.clone();
        let (family, model_type) = match self.family {
            Family::Gpt2 => ("GPT2", "gpt2"),
            Family::Llama => ("Llama", "llama"),
            Family::Mistral => ("Mistral", "mistral"),
            Family::Qwen2 => ("Qwen2", "qwen2"),
            Family::Qwen3 => ("Qwen3", "qwen3"),
            Family::GptNeoX => ("GPTNeoX", "gpt_neox"),
        };
        let architecture = match (head, self.family) {
            (HeadKind::Scalar, _) => format!("{family}ForSequenceClassification"),
            (HeadKind::Lm, Family::Gpt2) => "GPT2LMHeadModel".to_string(),
            (HeadKind::Lm, _) => format!("{family}ForCausalLM"),
        };
        let mut put = |key: &str, value: Value| _ = out.insert(key.to_string(), value);
        put("architectures", json!([architecture]));
        put("model_type", json!(model_type));
        put("dtype", json!("float32"));
        put("vocab_size", json!(self.vocab_size));
        put("tie_word_embeddings", json!(self.tied));
        put("bos_token_id", json!(self.bos));
        put("eos_token_id", ids(&self.eos));
        // transformers scores a row at its last token that is no padding, which must not pass over the end token. Without padding it takes one row at a time.
        put("pad_token_id", json!(self.pad.filter(|pad| head == HeadKind::Lm || !self.eos.contains(pad))));
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
            if self.family == Family::GptNeoX {
                put("hidden_dropout", json!(self.dropout.residual)); // transformers has one for embedding and branches
            }
        }
        for key in ["torch_dtype", "num_labels", "id2label", "label2id", "quantization_config", "problem_type", FRAME] {
            out.remove(key);
        }
        if head == HeadKind::Scalar {
            out.insert("id2label".into(), json!({"0": "LABEL_0"}));
            out.insert("label2id".into(), json!({"LABEL_0": 0}));
        }
        out
    }

    /// generation_config.json for transformers: what the source's said, with the tokens that this project knows put over it.
    pub(crate) fn to_generation(&self) -> Map<String, Value> {
        let mut out = self.generation.clone();
        for (key, value) in [("bos_token_id", json!(self.bos)), ("eos_token_id", ids(&self.eos)), ("pad_token_id", json!(self.pad))] {
            if !value.is_null() {
                out.insert(key.into(), value);
            }
        }
        out
    }
}

/// One id as a number, several as a list, none as null: as transformers has it.
fn ids(list: &[u32]) -> Value {
    match list {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}
