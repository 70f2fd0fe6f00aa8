//! What a decoder weighs and how much it computes.

use serde_json::Value;

/// Values of `model_type` whose blocks are those that are counted here.
const DECODERS: [&str; 6] = ["gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox"];

/// A decoder's sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Blocks.
    pub layers: u64,
    /// Width of the residual stream, h.
    pub width: u64,
    /// Query heads, a.
    pub heads: u64,
    /// Key and value heads; fewer where queries share them.
    pub kv_heads: u64,
    /// Width of a head: h/a but where a folder says otherwise (Qwen3).
    pub head_dim: u64,
    /// Inner width of the MLP.
    pub ffn: u64,
    /// The MLP has a gate (three matrices instead of two).
    pub gated: bool,
    /// Tokens it knows, V.
    pub vocabulary: u64,
    /// The output head is the embedding.
    pub tied: bool,
    /// Learned positions, 0 where they are rotary.
    pub positions: u64,
}

impl Shape {
    /// GPT-2's proportions: MLP of 4 h, no gate, tied head, learned positions.
    pub fn gpt(layers: u64, width: u64, heads: u64, vocabulary: u64, positions: u64) -> Shape {
        Shape {
            layers,
            width,
            heads,
            kv_heads: heads,
            head_dim: width / heads,
            ffn: 4 * width,
            gated: false,
            vocabulary,
            tied: true,
            positions,
        }
    }

    /// A published shape: `7b`, `13b`, `70b` (Llama 2, arXiv 2307.09288), `175b` (GPT-3, arXiv 2005.14165), `530b` (MT-NLG, arXiv 2201.11990), or one of
    /// GPT-2's: `124m`, `1.5b`.
    pub fn named(name: &str) -> Option<Shape> {
        let llama = |layers, width, heads, kv_heads, ffn| Shape {
            layers,
            width,
            heads,
            kv_heads,
            head_dim: width / heads,
            ffn,
            gated: true,
            vocabulary: 32_000,
            tied: false,
            positions: 0,
        };
        Some(match name {
            "7b" => llama(32, 4096, 32, 32, 11_008),
            "13b" => llama(40, 5120, 40, 40, 13_824),
            "70b" => llama(80, 8192, 64, 8, 28_672),
            "124m" => Shape::gpt(12, 768, 12, 50_257, 1024),
            "1.5b" => Shape::gpt(48, 1600, 25, 50_257, 1024),
            "175b" => Shape::gpt(96, 12_288, 96, 51_200, 2048),
            "530b" => Shape::gpt(105, 20_480, 128, 51_200, 2048),
            _ => return None,
        })
    }

    /// The shape in a Hugging Face `config.json` of a decoder that this project reads.
    pub fn from_hf(config: &Value) -> Result<Shape, String> {
        let family = config.get("model_type").and_then(Value::as_str).ok_or("model_type is missing")?;
        if !DECODERS.contains(&family) {
            return Err(format!("model_type {family:?} is none of the decoders that are planned: {}", DECODERS.join(", ")));
        }
        let number = |keys: &[&str]| keys.iter().find_map(|key| config.get(key)?.as_u64());
        let need = |keys: &[&str]| number(keys).filter(|&n| n > 0).ok_or_else(|| format!("{} is missing", keys.join(" or ")));
        let (width, heads) = (need(&["hidden_size", "n_embd"])?, need(&["num_attention_heads", "n_head"])?);
        let gpt2 = family == "gpt2";
        Ok(Shape {
            layers: need(&["num_hidden_layers", "n_layer"])?,
            width,
            heads,
            kv_heads: number(&["num_key_value_heads"]).unwrap_or(heads),
            // Qwen3's class has a size of its own; the others divide the width.
            head_dim: number(&["head_dim"]).unwrap_or(if family == "qwen3" { 128 } else { width / heads }),
            ffn: number(&["intermediate_size", "n_inner"]).unwrap_or(4 * width),
            gated: !gpt2 && family != "gpt_neox",
            vocabulary: need(&["vocab_size"])?,
            tied: config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(gpt2),
            positions: if gpt2 { need(&["n_positions"])? } else { 0 },
        })
    }

    /// Weights of one block's matrices.
    pub fn block(&self) -> f64 {
        let (h, kv) = (self.width as f64, (self.kv_heads * self.head_dim) as f64);
        let attention = 2.0 * h * self.queries() + 2.0 * h * kv;
        attention + if self.gated { 3.0 } else { 2.0 } * h * self.ffn as f64
    }

    /// Width of all query heads together: h but where heads have a width of their own.
    pub fn queries(&self) -> f64 {
        (self.heads * self.head_dim) as f64
    }

    /// Weights of embedding and head.
    pub fn embeddings(&self) -> f64 {
        (self.vocabulary * if self.tied { 1 } else { 2 } + self.positions) as f64 * self.width as f64
    }

    /// All weights. Norms and biases, a few parts in ten thousand, are left out.
    pub fn weights(&self) -> f64 {
        self.layers as f64 * self.block() + self.embeddings()
    }

    /// Operations of one block's matrices on one token, forward: two for each weight.
    pub fn block_flops(&self) -> f64 {
        2.0 * self.block()
    }

    /// Operations of one block's attention on one token of a sequence of `context`, forward: scores and sums, 4·s·h as in the papers (half of it, were the
    /// masked half skipped).
    pub fn attention_flops(&self, context: u64) -> f64 {
        4.0 * context as f64 * self.queries()
    }

    /// Operations on one token, forward and backward (twice the forward): 72·L·h²·(1 + s/(6h) + V/(12·h·L)) for GPT's proportions.
    pub fn flops(&self, context: u64) -> f64 {
        let head = 2.0 * (self.vocabulary * self.width) as f64;
        3.0 * (self.layers as f64 * (self.block_flops() + self.attention_flops(context)) + head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes() {
        for (name, weights) in
            [("7b", 6.738e9), ("13b", 13.016e9), ("70b", 68.977e9), ("124m", 124.44e6), ("1.5b", 1.5576e9), ("175b", 174.6e9)]
        {
            let got = Shape::named(name).unwrap().weights();
            assert!((got / weights - 1.0).abs() < 2e-3, "{name}: {got:e}");
        }
    }

    /// Korthikanti et al., equation 7 of appendix A, for GPT's proportions.
    #[test]
    fn operations_of_the_paper() {
        let s = Shape::named("175b").unwrap();
        let (l, h, v, t) = (s.layers as f64, s.width as f64, s.vocabulary as f64, 2048.0);
        let paper = 72.0 * l * h * h * (1.0 + t / (6.0 * h) + v / (12.0 * h * l));
        assert!((s.flops(2048) / paper - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_folder_tells_its_shape() {
        let llama = serde_json::json!({ "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
            "intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": false });
        assert_eq!(Shape::from_hf(&llama).unwrap(), Shape::named("7b").unwrap());
        let gpt2 = serde_json::json!({ "model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257, "n_positions": 1024 });
        assert_eq!(Shape::from_hf(&gpt2).unwrap(), Shape::named("124m").unwrap());
        assert_eq!(Shape::from_hf(&serde_json::json!({ "model_type": "llama" })).unwrap_err(), "hidden_size or n_embd is missing");
    }

    /// Qwen3-0.6B: 16 heads of 128 over a width of 1,024.
    #[test]
    fn heads_may_be_wider_than_the_stream() {
        let mut config = serde_json::json!({ "model_type": "qwen3", "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "num_hidden_layers": 28, "intermediate_size": 3072, "vocab_size": 151_936, "tie_word_embeddings": true });
        let shape = Shape::from_hf(&config).unwrap();
        assert_eq!(shape.weights(), 595_984_384.0);
        assert_eq!(shape.attention_flops(10), 4.0 * 10.0 * 2048.0);
        config.as_object_mut().unwrap().remove("head_dim");
        assert_eq!(Shape::from_hf(&config).unwrap(), shape, "128 is what transformers takes where nothing is said");
    }

    #[test]
    fn what_is_no_decoder_is_refused() {
        let bert = serde_json::json!({ "model_type": "bert", "hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 100 });
        assert!(Shape::from_hf(&bert).unwrap_err().starts_with("model_type \"bert\" is none of the decoders"));
        assert_eq!(Shape::from_hf(&serde_json::json!({})).unwrap_err(), "model_type is missing");
    }
}
