//! Which tensor is which, and how llama.cpp wants it to lie.

use model::Config;
use model::config::Family;
use tch::Tensor;

/// Learned positions, which stay in float32: they are added, not multiplied.
pub(crate) const POSITIONS: &str = "position_embd.weight";

/// How a tensor of a model folder becomes one of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Same,
    /// From `[in, out]` to `[out, in]`.
    Transposed,
    /// Rows of each of so many heads from "first half, second half" to "pair after pair": llama.cpp turns neighbours.
    Turned(i64),
    /// Query, key and value from head by head to one after the other, for so many heads.
    Apart(i64),
}

impl Form {
    /// As the file has it.
    pub fn apply(self, x: &Tensor) -> Tensor {
        let size = x.size();
        match self {
            Form::Same => x.shallow_clone(),
            Form::Transposed => x.transpose(0, 1).contiguous(),
            Form::Turned(heads) => x.reshape([heads, 2, size[0] / heads / 2, -1]).transpose(1, 2).reshape(size.as_slice()),
            Form::Apart(heads) => x.reshape([heads, 3, size[0] / heads / 3, -1]).transpose(0, 1).reshape(size.as_slice()),
        }
    }

    /// Back again.
    pub fn undo(self, x: &Tensor) -> Tensor {
        let size = x.size();
        match self {
            Form::Same => x.shallow_clone(),
            Form::Transposed => x.transpose(0, 1).contiguous(),
            Form::Turned(heads) => x.reshape([heads, size[0] / heads / 2, 2, -1]).transpose(1, 2).reshape(size.as_slice()),
            Form::Apart(heads) => x.reshape([3, heads, size[0] / heads / 3, -1]).transpose(0, 1).reshape(size.as_slice()),
        }
    }
}

/// Parts of a block, with what a name of a model folder ends in.
const GPT2: &[(&str, &str)] = &[
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];
const LLAMA: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
const NEOX: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("attention.query_key_value", "attn_qkv"),
    ("attention.dense", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.dense_4h_to_h", "ffn_down"),
];

/// The file's name of the folder's tensor `name`, and its form there.
pub(crate) fn of(c: &Config, name: &str) -> Option<(String, Form)> {
    let outside = match name {
        "transformer.wte.weight" | "model.embed_tokens.weight" | "gpt_neox.embed_in.weight" => Some("token_embd.weight"),
        "transformer.wpe.weight" => Some(POSITIONS),
        "transformer.ln_f.weight" | "model.norm.weight" | "gpt_neox.final_layer_norm.weight" => Some("output_norm.weight"),
        "transformer.ln_f.bias" | "gpt_neox.final_layer_norm.bias" => Some("output_norm.bias"),
        "lm_head.weight" | "embed_out.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(name) = outside {
        return Some((name.to_string(), Form::Same));
    }
    let (root, parts) = match c.family {
        Family::Gpt2 => ("transformer.h.", GPT2),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => ("model.layers.", LLAMA),
        Family::GptNeoX => ("gpt_neox.layers.", NEOX),
    };
    let (block, rest) = name.strip_prefix(root)?.split_once('.')?;
    let (part, end) = rest.rsplit_once('.')?;
    let (_, new) = parts.iter().find(|(old, _)| *old == part)?;
    let turned = matches!(c.family, Family::Llama | Family::Mistral);
    let form = match *new {
        "attn_q" if turned => Form::Turned(c.heads as i64),
        "attn_k" if turned => Form::Turned(c.kv_heads as i64),
        "attn_qkv" if c.family == Family::GptNeoX => Form::Apart(c.heads as i64),
        _ if c.family == Family::Gpt2 && end == "weight" && !new.ends_with("norm") => Form::Transposed,
        _ => Form::Same,
    };
    Some((format!("blk.{block}.{new}.{end}"), form))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn forms_come_back() {
        let x = Tensor::arange(24 * 5, (Kind::Float, tch::Device::Cpu)).view([24, 5]);
        let bias = Tensor::arange(24, (Kind::Float, tch::Device::Cpu));
        for form in [Form::Same, Form::Transposed, Form::Turned(3), Form::Apart(4)] {
            assert_eq!(form.undo(&form.apply(&x)), x, "{form:?}");
            if form != Form::Transposed {
                assert_eq!(form.undo(&form.apply(&bias)), bias, "{form:?}");
            }
        }
        // One head of four features: 0 1 | 2 3 becomes 0 2 1 3.
        assert_eq!(Form::Turned(1).apply(&Tensor::from_slice(&[0f32, 1., 2., 3.])), Tensor::from_slice(&[0f32, 2., 1., 3.]));
        // Two heads of one feature: q0 k0 v0 q1 k1 v1 becomes q0 q1 k0 k1 v0 v1.
        assert_eq!(Form::Apart(2).apply(&Tensor::from_slice(&[0f32, 1., 2., 3., 4., 5.])), Tensor::from_slice(&[0f32, 3., 1., 4., 2., 5.]));
    }
}
