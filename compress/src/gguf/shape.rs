//! What llama.cpp must know of a model's shape.

use super::write::{Entry, Value};
use anyhow::Result;
use model::Config;
use model::config::{Activation, Family, Norm, Position, RopeScaling};
use program::refuse;
use std::path::Path;

/// The architecture's name in llama.cpp, and its entries.
pub(super) fn entries(c: &Config, folder: &Path) -> Result<(&'static str, Vec<Entry>)> {
    let at = folder.display();
    let architecture = match c.family {
        Family::Gpt2 => "gpt2",
        Family::Llama | Family::Mistral => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
        Family::GptNeoX => "gptneox",
    };
    let usual = match c.family {
        Family::Gpt2 | Family::GptNeoX => matches!(c.activation, Activation::GeluTanh | Activation::Gelu), // ggml's GELU is the one with tanh
        _ => c.activation == Activation::Silu,
    };
    if !usual {
        refuse!("{at}: llama.cpp's {architecture} has another activation than {:?}", c.activation);
    }
    if c.window.is_some() {
        refuse!("{at}: llama.cpp's {architecture} has no sliding window: it would see more than this model was trained to");
    }
    if !c.scale_attention || c.scale_by_layer {
        refuse!("{at}: llama.cpp's {architecture} divides attention scores by the root of the head's width alone");
    }
    let name = folder.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned());
    let number = |key: &str, n: usize| Entry::number(&format!("{architecture}.{key}"), n as u32);
    let float = |key: &str, x: f64| Entry::new(&format!("{architecture}.{key}"), Value::F32(x as f32));
    let mut entries = vec![
        Entry::new("general.name", Value::Text(name)),
        number("context_length", c.context),
        number("embedding_length", c.width),
        number("feed_forward_length", c.ffn_width),
        number("block_count", c.layers),
        number("attention.head_count", c.heads),
        number("attention.head_count_kv", c.kv_heads),
        number("vocab_size", c.vocab_size),
        match c.norm {
            Norm::Layer { eps } => float("attention.layer_norm_epsilon", eps),
            Norm::Rms { eps } => float("attention.layer_norm_rms_epsilon", eps),
        },
    ];
    if c.family == Family::GptNeoX {
        entries.push(Entry::new("gptneox.use_parallel_residual", Value::Bool(c.parallel)));
    }
    if let Position::Rotary(rope) = &c.position {
        entries.extend([number("rope.dimension_count", rope.width), float("rope.freq_base", rope.theta)]);
        entries.extend([number("attention.key_length", c.head_dim), number("attention.value_length", c.head_dim)]);
        match rope.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => {
                entries.push(Entry::new(&format!("{architecture}.rope.scaling.type"), Value::Text("linear".into())));
                entries.push(float("rope.scaling.factor", factor));
            }
            _ => refuse!("{at}: stretched rotary positions other than linear ones are not written to GGUF"),
        }
    }
    Ok((architecture, entries))
}
