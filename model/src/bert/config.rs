//! The shape of a BERT encoder, read from and written to its `config.json`.

use crate::config::{Activation, Dropout, Reader, load_raw};
use crate::error::ModelError;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The shape of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// Vocabulary in tokens.
    pub vocab_size: usize,
    /// Longest row in tokens, [CLS] and [SEP] included.
    pub context: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of the residual stream.
    pub width: usize,
    /// Features inside the MLPs.
    pub ffn_width: usize,
    /// Kinds of tokens: those of the first and of the second text.
    pub types: usize,
    /// Non-linearity of the MLPs and of the masked head.
    pub activation: Activation,
    /// Added to the variance in the norms.
    pub eps: f64,
    /// Standard deviation of fresh weights.
    pub init_std: f64,
    /// Dropout; embeddings and branches have one probability.
    pub dropout: Dropout,
    /// Dropout before the classifier; that of the branches where `None`.
    pub classifier_dropout: Option<f64>,
    /// Padding.
    pub pad: u32,
    /// The config.json this came from: keys that mean nothing here are written back as they were.
    pub(crate) raw: Map<String, Value>,
}

/// The `model_type` of such folders.
const MODEL_TYPE: &str = "bert";

impl BertConfig {
    /// A fresh one: MLPs four times the width, GELU, two kinds of tokens (arXiv 1810.04805).
    pub fn fresh(vocab_size: usize, context: usize, layers: usize, heads: usize, width: usize, pad: u32) -> Result<BertConfig, ModelError> {
        let config = BertConfig {
            vocab_size,
            context,
            layers,
            heads,
            width,
            ffn_width: 4 * width,
            types: 2,
            activation: Activation::Gelu,
            eps: 1e-12,
            init_std: 0.02,
            dropout: Dropout::default(),
            classifier_dropout: None,
            pad,
            raw: Map::new(),
        };
        config.check(Path::new("model"))?;
        Ok(config)
    }

    /// Reads `config.json` of a model folder.
    pub fn load(folder: &Path) -> Result<BertConfig, ModelError> {
        let (raw, path) = load_raw(folder)?;
        let r = Reader { raw: &raw, path: &path };
        for (key, reason) in
            [("is_decoder", "BERT as a decoder is not built in"), ("add_cross_attention", "cross-attention is not built in")]
        {
            if r.flag(key, false)? {
                return r.fail(key, reason);
            }
        }
        if let Some(kind) = r.get("position_embedding_type").filter(|kind| **kind != json!("absolute")) {
            return r.fail("position_embedding_type", format!("{kind} is not built in: \"absolute\" is"));
        }
        let hidden = r.number("hidden_dropout_prob", 0.1)?;
        let config = BertConfig {
            vocab_size: r.need("vocab_size")?,
            context: r.size("max_position_embeddings")?.unwrap_or(512),
            layers: r.need("num_hidden_layers")?,
            heads: r.need("num_attention_heads")?,
            width: r.need("hidden_size")?,
            ffn_width: r.need("intermediate_size")?,
            types: r.size("type_vocab_size")?.unwrap_or(2),
            activation: r.activation("hidden_act", "gelu")?,
            eps: r.number("layer_norm_eps", 1e-12)?,
            init_std: r.number("initializer_range", 0.02)?,
            dropout: Dropout { embedding: hidden, attention: r.number("attention_probs_dropout_prob", 0.1)?, residual: hidden },
            classifier_dropout: r.number_or_null("classifier_dropout")?,
            pad: r.tokens("pad_token_id")?.first().copied().unwrap_or(0),
            raw: Map::new(),
        };
        config.check(&path)?;
        Ok(BertConfig { raw, ..config })
    }

    fn check(&self, path: &Path) -> Result<(), ModelError> {
        let fail = |key: &str, reason: String| Err(ModelError::Config { path: path.to_path_buf(), key: key.into(), reason });
        let sizes = [("vocab_size", self.vocab_size), ("max_position_embeddings", self.context), ("num_hidden_layers", self.layers)];
        let more = [("num_attention_heads", self.heads), ("intermediate_size", self.ffn_width), ("type_vocab_size", self.types)];
        if let Some((key, _)) = sizes.iter().chain(&more).find(|(_, n)| *n == 0) {
            return fail(key, "must be at least 1".into());
        }
        if self.width == 0 || !self.width.is_multiple_of(self.heads) {
            return fail("num_attention_heads", format!("{} heads do not divide a width of {}", self.heads, self.width));
        }
        let d = self.dropout;
        match [d.embedding, d.attention, d.residual].iter().chain(&self.classifier_dropout).find(|p| !(0.0..1.0).contains(*p)) {
            Some(p) => fail("hidden_dropout_prob", format!("{p} is not a probability below 1")),
            None => Ok(()),
        }
    }

    /// Names of the classes in the order of their numbers; `None` where config.json names no classifier.
    pub(super) fn declared_classes(&self, path: &Path) -> Result<Option<Vec<String>>, ModelError> {
        Reader { raw: &self.raw, path }.classes()
    }

    /// Refuses classes of which several may hold at once, and numbers.
    pub(super) fn check_single_label(&self, path: &Path) -> Result<(), ModelError> {
        Reader { raw: &self.raw, path }.single_label()
    }

    /// Refuses an output matrix of its own: here it is the embedding.
    pub(super) fn check_tied(&self, path: &Path) -> Result<(), ModelError> {
        let r = Reader { raw: &self.raw, path };
        if r.flag("tie_word_embeddings", true)? {
            Ok(())
        } else {
            r.fail("tie_word_embeddings", "an output matrix of its own is not built in")
        }
    }

    /// config.json for transformers; `classes` are a classifier's.
    pub(super) fn to_hf(&self, classes: Option<&[String]>) -> Map<String, Value> {
        let mut out = self.raw.clone();
        let activation = match self.activation {
            Activation::GeluTanh => "gelu_new",
            Activation::Gelu => "gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
        };
        let architecture = if classes.is_some() { "BertForSequenceClassification" } else { "BertForMaskedLM" };
        let known = json!({
            "architectures": [architecture], "model_type": MODEL_TYPE, "dtype": "float32", "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "hidden_size": self.width, "intermediate_size": self.ffn_width, "type_vocab_size": self.types, "hidden_act": activation,
            "layer_norm_eps": self.eps, "initializer_range": self.init_std, "hidden_dropout_prob": self.dropout.residual,
            "attention_probs_dropout_prob": self.dropout.attention, "classifier_dropout": self.classifier_dropout,
            "pad_token_id": self.pad, "position_embedding_type": "absolute", "tie_word_embeddings": true,
        });
        out.extend(known.as_object().cloned().unwrap_or_default());
        for key in ["torch_dtype", "num_labels", "id2label", "label2id"] {
            out.remove(key);
        }
        if let Some(classes) = classes {
            let names = classes.iter().enumerate();
            out.insert("id2label".into(), names.clone().map(|(i, name)| (i.to_string(), json!(name))).collect::<Map<_, _>>().into());
            out.insert("label2id".into(), names.map(|(i, name)| (name.clone(), json!(i))).collect::<Map<_, _>>().into());
            out.insert("problem_type".into(), json!("single_label_classification"));
        }
        out
    }
}
