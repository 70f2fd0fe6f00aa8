//! What each family calls its tensors.

use crate::config::Family;

/// The scalar head of every family.
pub(crate) const SCALAR_HEAD: &str = "score.weight";

/// Tensor names of a family; those inside a block follow `layers` and the block's number.
#[derive(Debug)]
pub(crate) struct Names {
    pub embedding: &'static str,
    pub positions: &'static str,
    pub layers: &'static str,
    pub norm1: &'static str,
    /// One fused matrix, or query, key and value.
    pub qkv: &'static [&'static str],
    pub out: &'static str,
    pub norm2: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub norm: &'static str,
    /// The language head where it is not tied.
    pub head: &'static str,
}

const GPT2: Names = Names {
    embedding: "transformer.wte.weight",
    positions: "transformer.wpe.weight",
    layers: "transformer.h",
    norm1: "ln_1",
    qkv: &["attn.c_attn"],
    out: "attn.c_proj",
    norm2: "ln_2",
    gate: "",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    norm: "transformer.ln_f",
    head: "lm_head.weight",
};

const LLAMA: Names = Names {
    embedding: "model.embed_tokens.weight",
    positions: "",
    layers: "model.layers",
    norm1: "input_layernorm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.o_proj",
    norm2: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    norm: "model.norm",
    head: "lm_head.weight",
};

const GPT_NEOX: Names = Names {
    embedding: "gpt_neox.embed_in.weight",
    positions: "",
    layers: "gpt_neox.layers",
    norm1: "input_layernorm",
    qkv: &["attention.query_key_value"],
    out: "attention.dense",
    norm2: "post_attention_layernorm",
    gate: "",
    up: "mlp.dense_h_to_4h",
    down: "mlp.dense_4h_to_h",
    norm: "gpt_neox.final_layer_norm",
    head: "embed_out.weight",
};

impl Names {
    pub fn of(family: Family) -> &'static Names {
        match family {
            Family::Gpt2 => &GPT2,
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => &LLAMA,
            Family::GptNeoX => &GPT_NEOX,
        }
    }
}

/// Under which names a folder may hold the tensor: its own; without the trunk's prefix, as folders of the bare trunk have it (the first
/// GPT-2 release); the head of GPT-NeoX also under the name that it bears inside transformers 5.
pub(crate) fn aliases(name: &str) -> impl Iterator<Item = &str> {
    let bare = ["transformer.", "model.", "gpt_neox.", "bert."].into_iter().find_map(|prefix| name.strip_prefix(prefix));
    [Some(name), bare, (name == GPT_NEOX.head).then_some(LLAMA.head)].into_iter().flatten()
}

/// Is this the name of some family's head? A folder may hold one that the network in memory does without.
pub(crate) fn is_head(name: &str) -> bool {
    [GPT2.head, GPT_NEOX.head, SCALAR_HEAD].contains(&name)
}

/// What to do where a folder lacks the tensor of this name.
pub(crate) fn advice(name: &str) -> &'static str {
    if [GPT2.head, GPT_NEOX.head].contains(&name) {
        "config.json says that the output matrix is not the embedding: name the folder of a language model"
    } else if name.starts_with("cls.") || name.starts_with("classifier.") {
        "an encoder without this head: name a folder that has it, or train one on this"
    } else {
        "does config.json belong to these weights?"
    }
}

/// Masks and tables that old versions of transformers saved among the weights.
pub(crate) fn is_buffer(name: &str) -> bool {
    let ends = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"];
    ends.iter().any(|end| name.ends_with(end))
}
