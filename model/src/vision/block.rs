//! A block of a vision transformer: x + attention(norm(x)), then x + mlp(norm(x)) (arXiv 2010.11929, equations 2 and 3).

use super::config::VisionConfig;
use crate::config::{Activation, Dropout, Norm};
use crate::error::ModelError;
use crate::init::Builder;
use crate::layers::{Linear, LinearShape, NormLayer};
use crate::stack::{MultiHead, Sight, dropped};
use tch::Tensor;

/// One block, under the names that transformers' folders have.
#[derive(Debug)]
pub(super) struct Block {
    norm1: NormLayer,
    attention: MultiHead,
    norm2: NormLayer,
    up: Linear,
    down: Linear,
    activation: Activation,
    pub dropout: Dropout,
}

impl Block {
    pub fn new(b: &mut Builder<'_>, c: &VisionConfig, index: usize) -> Result<Block, ModelError> {
        let root = format!("encoder.layer.{index}");
        let linear = |b: &mut Builder<'_>, name: &str, input: usize, output: usize, bias: bool| {
            Linear::new(b, &format!("{root}.{name}"), LinearShape { input, output, bias, in_out: false, std: c.init_std })
        };
        let norm = |b: &mut Builder<'_>, name: &str| NormLayer::new(b, &format!("{root}.{name}"), c.width, Norm::Layer { eps: c.eps });
        let (d, f) = (c.width, c.ffn_width);
        let attention = MultiHead {
            query: linear(b, "attention.attention.query", d, d, c.qkv_bias)?,
            key: linear(b, "attention.attention.key", d, d, c.qkv_bias)?,
            value: linear(b, "attention.attention.value", d, d, c.qkv_bias)?,
            out: linear(b, "attention.output.dense", d, d, true)?,
            heads: c.heads as i64,
        };
        Ok(Block {
            norm1: norm(b, "layernorm_before")?,
            attention,
            norm2: norm(b, "layernorm_after")?,
            up: linear(b, "intermediate.dense", d, f, true)?,
            down: linear(b, "output.dense", f, d, true)?,
            activation: c.activation,
            dropout: c.dropout,
        })
    }

    /// `[B·T, D]` to `[B·T, D]`, B = `rows`; every token sees all of its row.
    pub fn forward(&self, x: &Tensor, rows: i64, train: bool) -> Tensor {
        let normed = self.norm1.forward(x);
        let seen = self.attention.keys(&normed, rows);
        let y = self.attention.forward(&normed, rows, &seen, Sight::All, if train { self.dropout.attention } else { 0.0 });
        let x = dropped(y, self.dropout.residual, train).g_add_(x);
        let y = self.down.plain(&self.activation.apply(self.up.plain(&self.norm2.forward(&x))));
        dropped(y, self.dropout.residual, train).g_add_(&x)
    }
}
