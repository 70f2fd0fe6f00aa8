//! The shape of an encoder-decoder, read from and written to Marian's `config.json` (transformers' `MarianMTModel`).

use crate::config::{Activation, Dropout, Reader, load_raw};
use crate::error::ModelError;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Blocks of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// Blocks.
    pub layers: usize,
    /// Attention heads of each.
    pub heads: usize,
    /// Features inside the MLP.
    pub ffn_width: usize,
}

/// The shape of an encoder-decoder with one vocabulary and one embedding for both sides and the output.
#[derive(Debug, Clone, PartialEq)]
pub struct Seq2SeqConfig {
    /// Vocabulary in tokens.
    pub vocab_size: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Longest source and longest target in tokens.
    pub context: usize,
    /// The encoder.
    pub encoder: Stack,
    /// The decoder.
    pub decoder: Stack,
    /// Non-linearity of the MLPs.
    pub activation: Activation,
    /// Multiply embeddings by the root of the width (arXiv 1706.03762, section 3.4).
    pub scale_embedding: bool,
    /// Dropout; embeddings and branches have one probability.
    pub dropout: Dropout,
    /// Dropout inside the MLPs.
    pub inner_dropout: f64,
    /// Ends source and target.
    pub eos: u32,
    /// Padding.
    pub pad: u32,
    /// What the decoder begins with.
    pub start: u32,
    /// The config.json this came from: keys that mean nothing here are written back as they were.
    pub(crate) raw: Map<String, Value>,
}

/// The `model_type` of such folders.
pub(super) const MODEL_TYPE: &str = "marian";

impl Seq2SeqConfig {
    /// A fresh one: both sides alike, ReLU, scaled embeddings, as in arXiv 1706.03762; the decoder begins with the padding token, as Marian does.
    pub fn fresh(vocab_size: usize, context: usize, width: usize, side: Stack, eos: u32, pad: u32) -> Result<Seq2SeqConfig, ModelError> {
        let config = Seq2SeqConfig {
            vocab_size,
            width,
            context,
            encoder: side,
            decoder: side,
            activation: Activation::Relu,
            scale_embedding: true,
            dropout: Dropout::default(),
            inner_dropout: 0.0,
            eos,
            pad,
            start: pad,
            raw: Map::new(),
        };
        config.check(Path::new("model"))?;
        Ok(config)
    }

    /// Reads `config.json` of a model folder.
    pub fn load(folder: &Path) -> Result<Seq2SeqConfig, ModelError> {
        let (raw, path) = load_raw(folder)?;
        let r = Reader { raw: &raw, path: &path };
        let wanted = [
            ("static_position_embeddings", true, "learned positions are not built in"),
            ("share_encoder_decoder_embeddings", true, "two vocabularies are not built in"),
            ("tie_word_embeddings", true, "an output matrix of its own is not built in"),
            ("normalize_before", false, "pre-normalisation is not built in"),
            ("normalize_embedding", false, "a norm behind the embeddings is not built in"),
            ("add_final_layer_norm", false, "a norm at the end is not built in"),
        ];
        for (key, value, reason) in wanted {
            if r.flag(key, value)? != value {
                return r.fail(key, reason);
            }
        }
        let side = |side: &str| -> Result<Stack, ModelError> {
            Ok(Stack {
                layers: r.need(&format!("{side}_layers"))?,
                heads: r.need(&format!("{side}_attention_heads"))?,
                ffn_width: r.need(&format!("{side}_ffn_dim"))?,
            })
        };
        let token =
            |key: &str| -> Result<u32, ModelError> { r.tokens(key)?.first().copied().map_or_else(|| r.fail(key, "is missing"), Ok) };
        let dropout = r.number("dropout", 0.1)?;
        let config = Seq2SeqConfig {
            vocab_size: r.need("vocab_size")?,
            width: r.need("d_model")?,
            context: r.size("max_position_embeddings")?.unwrap_or(1024),
            encoder: side("encoder")?,
            decoder: side("decoder")?,
            activation: r.activation("activation_function", "gelu")?,
            scale_embedding: r.flag("scale_embedding", false)?,
            dropout: Dropout { embedding: dropout, attention: r.number("attention_dropout", 0.0)?, residual: dropout },
            inner_dropout: r.number("activation_dropout", 0.0)?,
            eos: token("eos_token_id")?,
            pad: token("pad_token_id")?,
            start: token("decoder_start_token_id")?,
            raw: Map::new(),
        };
        config.check(&path)?;
        Ok(Seq2SeqConfig { raw, ..config })
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let fail = |key: &str, reason: String| Err(ModelError::Config { path: path.to_path_buf(), key: key.into(), reason });
        for (key, side) in [("encoder", self.encoder), ("decoder", self.decoder)] {
            if side.layers == 0 || side.heads == 0 || side.ffn_width == 0 {
                return fail(key, "layers, heads and MLP width must be at least 1".into());
            }
            if !self.width.is_multiple_of(side.heads) || self.width == 0 {
                return fail(key, format!("{} heads do not divide a width of {}", side.heads, self.width));
            }
        }
        if self.vocab_size == 0 || self.context == 0 {
            return fail("vocab_size", "vocabulary and context must be at least 1".into());
        }
        let largest = self.eos.max(self.pad).max(self.start);
        if largest as usize >= self.vocab_size {
            return fail("vocab_size", format!("{} tokens, but {largest} is a special one", self.vocab_size));
        }
        let d = self.dropout;
        match [d.embedding, d.attention, d.residual, self.inner_dropout].iter().find(|p| !(0.0..1.0).contains(*p)) {
            Some(p) => fail("dropout", format!("{p} is not a probability below 1")),
            None => Ok(()),
        }
    }

    /// config.json for transformers.
    pub(super) fn to_hf(&self) -> Map<String, Value> {
        let mut out = self.raw.clone();
        let activation = match self.activation {
            Activation::GeluTanh => "gelu_new",
            Activation::Gelu => "gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
        };
        let known = json!({
            "architectures": ["MarianMTModel"], "model_type": MODEL_TYPE, "is_encoder_decoder": true, "dtype": "float32",
            "vocab_size": self.vocab_size, "decoder_vocab_size": self.vocab_size, "d_model": self.width, "max_position_embeddings": self.context,
            "encoder_layers": self.encoder.layers, "encoder_attention_heads": self.encoder.heads, "encoder_ffn_dim": self.encoder.ffn_width,
            "decoder_layers": self.decoder.layers, "decoder_attention_heads": self.decoder.heads, "decoder_ffn_dim": self.decoder.ffn_width,
            "activation_function": activation, "scale_embedding": self.scale_embedding, "static_position_embeddings": true,
            "share_encoder_decoder_embeddings": true, "tie_word_embeddings": true, "dropout": self.dropout.residual,
            "attention_dropout": self.dropout.attention, "activation_dropout": self.inner_dropout,
            "eos_token_id": self.eos, "pad_token_id": self.pad, "decoder_start_token_id": self.start,
        });
        out.extend(known.as_object().cloned().unwrap_or_default());
        out.remove("torch_dtype");
        for key in ["bad_words_ids", "forced_eos_token_id", "num_beams", "max_length"] {
            out.remove(key); // generation_config.json has them
        }
        out
    }

    /// generation_config.json for transformers: what [`super::beam`] does.
    pub(super) fn generation(&self) -> Value {
        json!({
            "decoder_start_token_id": self.start, "eos_token_id": self.eos, "pad_token_id": self.pad, "forced_eos_token_id": self.eos,
            "bad_words_ids": [[self.pad]], "max_length": self.context,
        })
    }
}
