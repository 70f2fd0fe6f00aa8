//! The shape of a ViT, read from and written to the `config.json` of transformers' `ViTModel`.

use crate::config::{Activation, Dropout, Reader, load_raw};
use crate::error::ModelError;
use data::config::Vision;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The shape of a vision transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Width and height of a picture in pixels.
    pub image_size: usize,
    /// Width and height of a patch in pixels.
    pub patch_size: usize,
    /// Colour channels of a picture.
    pub channels: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Features inside the MLPs.
    pub ffn_width: usize,
    /// Non-linearity of the MLPs.
    pub activation: Activation,
    /// Queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Added to the variance in the norms.
    pub eps: f64,
    /// Standard deviation of fresh weights.
    pub init_std: f64,
    /// Dropout; embeddings and branches have one probability.
    pub dropout: Dropout,
    /// The config.json this came from: keys that mean nothing here are written back as they were.
    pub(crate) raw: Map<String, Value>,
}

/// The `model_type` of such folders.
const MODEL_TYPE: &str = "vit";

impl VisionConfig {
    /// A fresh one: MLPs four times the width where nothing else is said, GELU, RGB (arXiv 2010.11929).
    pub fn fresh(v: &Vision) -> Result<VisionConfig, ModelError> {
        let config = VisionConfig {
            image_size: v.image_size,
            patch_size: v.patch_size,
            channels: 3,
            layers: v.layers,
            heads: v.heads,
            width: v.width,
            ffn_width: if v.ffn_width == 0 { 4 * v.width } else { v.ffn_width },
            activation: Activation::Gelu,
            qkv_bias: true,
            eps: 1e-12,
            init_std: 0.02,
            dropout: Dropout::default(),
            raw: Map::new(),
        };
        config.check(Path::new("vision"))?;
        Ok(config)
    }

    /// Reads `config.json` of a folder.
    pub fn load(folder: &Path) -> Result<VisionConfig, ModelError> {
        let (raw, path) = load_raw(folder)?;
        let r = Reader { raw: &raw, path: &path };
        match raw.get("model_type").and_then(Value::as_str) {
            Some(MODEL_TYPE) => {}
            other => return r.fail("model_type", format!("{} is no vision transformer that is built in: \"vit\" is", json!(other))),
        }
        let hidden = r.number("hidden_dropout_prob", 0.0)?;
        let config = VisionConfig {
            image_size: square(&r, "image_size", 224)?,
            patch_size: square(&r, "patch_size", 16)?,
            channels: r.size("num_channels")?.unwrap_or(3),
            layers: r.need("num_hidden_layers")?,
            heads: r.need("num_attention_heads")?,
            width: r.need("hidden_size")?,
            ffn_width: r.need("intermediate_size")?,
            activation: r.activation("hidden_act", "gelu")?,
            qkv_bias: r.flag("qkv_bias", true)?,
            eps: r.number("layer_norm_eps", 1e-12)?,
            init_std: r.number("initializer_range", 0.02)?,
            dropout: Dropout { embedding: hidden, attention: r.number("attention_probs_dropout_prob", 0.0)?, residual: hidden },
            raw: Map::new(),
        };
        config.check(&path)?;
        Ok(VisionConfig { raw, ..config })
    }

    /// Patches of a picture, row by row from the top.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let fail = |key: &str, reason: String| Err(ModelError::Config { path: path.to_path_buf(), key: key.into(), reason });
        let sizes = [("image_size", self.image_size), ("patch_size", self.patch_size), ("num_hidden_layers", self.layers)];
        let more = [("num_attention_heads", self.heads), ("intermediate_size", self.ffn_width)];
        if let Some((key, _)) = sizes.iter().chain(&more).find(|(_, n)| *n == 0) {
            return fail(key, "must be at least 1".into());
        }
        if self.channels != 3 {
            return fail("num_channels", format!("{} channels: pictures have 3 here", self.channels));
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            return fail("patch_size", format!("patches of {} pixels do not divide pictures of {}", self.patch_size, self.image_size));
        }
        if self.width == 0 || !self.width.is_multiple_of(self.heads) {
            return fail("num_attention_heads", format!("{} heads do not divide a width of {}", self.heads, self.width));
        }
        let d = self.dropout;
        match [d.embedding, d.attention, d.residual].iter().find(|p| !(0.0..1.0).contains(*p)) {
            Some(p) => fail("hidden_dropout_prob", format!("{p} is not a probability below 1")),
            None => Ok(()),
        }
    }

    /// config.json for transformers' `ViTModel`.
    pub(super) fn to_hf(&self) -> Map<String, Value> {
        let mut out = self.raw.clone();
        let activation = match self.activation {
            Activation::GeluTanh => "gelu_new",
            Activation::Gelu => "gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
        };
        let known = json!({
            "architectures": ["ViTModel"], "model_type": MODEL_TYPE, "dtype": "float32", "image_size": self.image_size,
            "patch_size": self.patch_size, "num_channels": self.channels, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "hidden_size": self.width, "intermediate_size": self.ffn_width, "hidden_act": activation,
            "qkv_bias": self.qkv_bias, "layer_norm_eps": self.eps, "initializer_range": self.init_std,
            "hidden_dropout_prob": self.dropout.residual, "attention_probs_dropout_prob": self.dropout.attention,
        });
        out.extend(known.as_object().cloned().unwrap_or_default());
        out.remove("torch_dtype");
        out
    }
}

/// A size that config.json gives as a number, or as twice the same number.
fn square(r: &Reader<'_>, key: &str, default: usize) -> Result<usize, ModelError> {
    match r.get(key) {
        Some(Value::Array(both)) => match both.iter().map(Value::as_u64).collect::<Option<Vec<_>>>().as_deref() {
            Some(&[a, b]) if a == b => Ok(a as usize),
            _ => r.fail(key, format!("{} is not square: width and height must be equal", json!(both))),
        },
        _ => Ok(r.size(key)?.unwrap_or(default)),
    }
}
