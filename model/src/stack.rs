//! Blocks of encoders, and of decoders that look at an encoder's states: post-normalisation over rows padded on the right (arXiv 1706.03762, section 3.1).
//!
//! x ← norm(x + attention(x)); in a decoder then x ← norm(x + attention(x to the encoder's states)); x ← norm(x + mlp(x)).
//!
//! Letters: B rows, T their tokens, S tokens that are looked at, D width, H heads, C features of one.

use crate::config::{Activation, Dropout, Norm};
use crate::error::ModelError;
use crate::init::Builder;
use crate::layers::{Linear, LinearShape, NormLayer};
use tch::{Device, Kind, Tensor};

/// Keys and values `[B, H, S, C]`.
#[derive(Debug)]
pub(crate) struct KeyValues {
    keys: Tensor,
    values: Tensor,
}

impl KeyValues {
    /// With these behind them.
    fn then(&self, more: &KeyValues) -> KeyValues {
        let join = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 2);
        KeyValues { keys: join(&self.keys, &more.keys), values: join(&self.values, &more.values) }
    }

    /// The rows of these numbers `[B']`.
    pub fn rows(&self, numbers: &Tensor) -> KeyValues {
        KeyValues { keys: self.keys.index_select(0, numbers), values: self.values.index_select(0, numbers) }
    }
}

/// What the tokens of a row may look at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sight<'a> {
    /// Everything.
    All,
    /// Themselves and what precedes them.
    Before,
    /// Where this is true, `[B, 1, 1, S]`.
    Where(&'a Tensor),
}

/// Attention with several heads.
#[derive(Debug)]
pub(crate) struct MultiHead {
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub heads: i64,
}

impl MultiHead {
    /// `[B·T, D]` to `[B, H, T, C]`.
    fn by_head(&self, x: &Tensor, rows: i64) -> Tensor {
        x.view([rows, -1, self.heads, x.size()[1] / self.heads]).transpose(1, 2)
    }

    /// Keys and values of `[B·S, D]`.
    pub fn keys(&self, memory: &Tensor, rows: i64) -> KeyValues {
        KeyValues { keys: self.by_head(&self.key.plain(memory), rows), values: self.by_head(&self.value.plain(memory), rows) }
    }

    /// `[B·T, D]` to `[B·T, D]`.
    pub fn forward(&self, x: &Tensor, rows: i64, seen: &KeyValues, sight: Sight<'_>, dropout: f64) -> Tensor {
        let q = self.by_head(&self.query.plain(x), rows);
        let (mask, causal) = match sight {
            Sight::All => (None, false),
            Sight::Before => (None, true),
            Sight::Where(mask) => (Some(mask), false),
        };
        let y = Tensor::scaled_dot_product_attention(&q, &seen.keys, &seen.values, mask, dropout, causal, None::<f64>, false);
        self.out.plain(&y.transpose(1, 2).reshape(x.size()))
    }

    /// The weights themselves, softmax(q·k/√C), `[B, H, T, S]`, in float32.
    fn weights(&self, x: &Tensor, rows: i64, seen: &KeyValues, sight: Sight<'_>) -> Tensor {
        let q = self.by_head(&self.query.plain(x), rows).to_kind(Kind::Float);
        let mut scores = q.matmul(&seen.keys.to_kind(Kind::Float).transpose(2, 3)) / (q.size()[3] as f64).sqrt();
        match sight {
            Sight::All => {}
            Sight::Before => {
                let (t, s) = (scores.size()[2], scores.size()[3]);
                let hidden = Tensor::ones([t, s], (Kind::Bool, x.device())).triu(1);
                scores = scores.masked_fill(&hidden, f64::NEG_INFINITY);
            }
            Sight::Where(mask) => scores = scores.masked_fill(&mask.logical_not(), f64::NEG_INFINITY),
        }
        scores.softmax(-1, Kind::Float)
    }
}

/// Tensor names within a block.
#[derive(Debug)]
pub(crate) struct BlockNames {
    /// Query, key, value, output and the norm behind.
    pub attention: [&'static str; 5],
    /// The same of the attention to an encoder; empty where there is none.
    pub cross: [&'static str; 5],
    /// Up, down and the norm behind.
    pub mlp: [&'static str; 3],
}

/// Sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockShape {
    pub width: usize,
    pub heads: usize,
    pub ffn_width: usize,
    pub activation: Activation,
    pub eps: f64,
    /// Standard deviation of fresh matrices; `None` for √(2/(in + out)) (Glorot and Bengio 2010).
    pub std: Option<f64>,
}

/// One block.
#[derive(Debug)]
pub(crate) struct Block {
    attention: MultiHead,
    norm1: NormLayer,
    cross: Option<(MultiHead, NormLayer)>,
    up: Linear,
    down: Linear,
    norm2: NormLayer,
    activation: Activation,
    /// Places of dropout; the MLP's inner features have one of their own.
    pub dropout: Dropout,
    pub inner_dropout: f64,
}

/// What a decoder's block looks at in the encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looked<'a> {
    pub seen: &'a KeyValues,
    pub sight: Sight<'a>,
}

impl Block {
    /// The block whose tensors' names begin with `root`.
    pub fn new(b: &mut Builder<'_>, root: &str, names: &BlockNames, s: BlockShape) -> Result<Block, ModelError> {
        let linear = |b: &mut Builder<'_>, name: &str, input: usize, output: usize| {
            let std = s.std.unwrap_or((2.0 / (input + output) as f64).sqrt());
            Linear::new(b, &format!("{root}.{name}"), LinearShape { input, output, bias: true, in_out: false, std })
        };
        let norm = |b: &mut Builder<'_>, name: &str| NormLayer::new(b, &format!("{root}.{name}"), s.width, Norm::Layer { eps: s.eps });
        let many = |b: &mut Builder<'_>, names: &[&str; 5]| -> Result<(MultiHead, NormLayer), ModelError> {
            let mut part = |name: &str| linear(b, name, s.width, s.width);
            let (query, key, value, out) = (part(names[0])?, part(names[1])?, part(names[2])?, part(names[3])?);
            Ok((MultiHead { query, key, value, out, heads: s.heads as i64 }, norm(b, names[4])?))
        };
        let (attention, norm1) = many(b, &names.attention)?;
        let cross = if names.cross[0].is_empty() { None } else { Some(many(b, &names.cross)?) };
        let up = linear(b, names.mlp[0], s.width, s.ffn_width)?;
        let down = linear(b, names.mlp[1], s.ffn_width, s.width)?;
        let norm2 = norm(b, names.mlp[2])?;
        Ok(Block { attention, norm1, cross, up, down, norm2, activation: s.activation, dropout: Dropout::default(), inner_dropout: 0.0 })
    }

    /// `[B·T, D]` to `[B·T, D]`.
    pub fn forward(&self, x: &Tensor, rows: i64, sight: Sight<'_>, looked: Option<Looked<'_>>, train: bool) -> Tensor {
        let own = self.attention.keys(x, rows);
        self.rest(x, rows, &own, sight, looked, train)
    }

    /// The newest token of each row, `[B, D]`; `past` holds the keys and values of those before it and takes up its own.
    pub fn step(&self, x: &Tensor, past: &mut Option<KeyValues>, looked: Looked<'_>) -> Tensor {
        let rows = x.size()[0];
        let own = self.attention.keys(x, rows);
        let all = match past.as_ref() {
            Some(past) => past.then(&own),
            None => own,
        };
        let y = self.rest(x, rows, &all, Sight::All, Some(looked), false);
        *past = Some(all);
        y
    }

    fn rest(&self, x: &Tensor, rows: i64, own: &KeyValues, sight: Sight<'_>, looked: Option<Looked<'_>>, train: bool) -> Tensor {
        let attention_dropout = if train { self.dropout.attention } else { 0.0 };
        let y = self.attention.forward(x, rows, own, sight, attention_dropout);
        let mut x = self.norm1.forward(&self.add(y, x, train));
        if let (Some((cross, norm)), Some(looked)) = (&self.cross, looked) {
            let y = cross.forward(&x, rows, looked.seen, looked.sight, attention_dropout);
            x = norm.forward(&self.add(y, &x, train));
        }
        let inner = dropped(self.activation.apply(self.up.plain(&x)), self.inner_dropout, train);
        self.norm2.forward(&self.add(self.down.plain(&inner), &x, train))
    }

    /// The branch's fresh result takes up `x` in place.
    fn add(&self, branch: Tensor, x: &Tensor, train: bool) -> Tensor {
        dropped(branch, self.dropout.residual, train).g_add_(x)
    }

    /// Keys and values of the encoder's states `[B·S, D]`, as this block looks at them; `None` in an encoder.
    pub fn looks_at(&self, memory: &Tensor, rows: i64) -> Option<KeyValues> {
        self.cross.as_ref().map(|(cross, _)| cross.keys(memory, rows))
    }

    /// The weights of the attention to the encoder for the block's input `[B·T, D]`, `[B, H, T, S]`, and the block's output.
    pub fn weights_to(&self, x: &Tensor, rows: i64, sight: Sight<'_>, looked: Looked<'_>) -> (Option<Tensor>, Tensor) {
        let own = self.attention.keys(x, rows);
        let middle = self.norm1.forward(&self.add(self.attention.forward(x, rows, &own, sight, 0.0), x, false));
        let weights = self.cross.as_ref().map(|(cross, _)| cross.weights(&middle, rows, looked.seen, looked.sight));
        (weights, self.rest(x, rows, &own, sight, Some(looked), false))
    }

    /// The weights of the attention among the block's own tokens, `[B, H, T, T]`, and the block's output.
    pub fn weights_within(&self, x: &Tensor, rows: i64, sight: Sight<'_>) -> (Tensor, Tensor) {
        let own = self.attention.keys(x, rows);
        (self.attention.weights(x, rows, &own, sight), self.rest(x, rows, &own, sight, None, false))
    }
}

/// Dropout while training.
pub(crate) fn dropped(x: Tensor, p: f64, train: bool) -> Tensor {
    if train && p > 0.0 { x.dropout(p, true) } else { x }
}

/// Token ids `[B, T]` of rows padded on the right, and which of the places are tokens, `[B, 1, 1, T]`.
#[derive(Debug)]
pub struct PaddedRows {
    /// `[B, T]`, int64.
    pub ids: Tensor,
    /// `[B, 1, 1, T]`, true at tokens.
    pub seen: Tensor,
}

impl PaddedRows {
    /// None of the rows may be empty.
    pub fn new(rows: &[&[u32]], pad: u32, device: Device) -> PaddedRows {
        let (b, t) = (rows.len() as i64, rows.iter().map(|r| r.len()).max().unwrap_or(0));
        let (mut ids, mut seen) = (Vec::with_capacity(rows.len() * t), Vec::with_capacity(rows.len() * t));
        for row in rows {
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.resize(ids.len() + t - row.len(), i64::from(pad));
            seen.extend((0..t).map(|i| i < row.len()));
        }
        let t = t as i64;
        PaddedRows {
            ids: Tensor::from_slice(&ids).view([b, t]).to_device(device),
            seen: Tensor::from_slice(&seen).view([b, 1, 1, t]).to_device(device),
        }
    }

    /// Kind of each token, `[B, T]`: 1 in the second text of [CLS] a [SEP] b [SEP], 0 elsewhere. Each row's last token is a [SEP].
    pub fn second_text(&self) -> Tensor {
        let lengths = self.seen.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Int64); // [B]
        let end = self.ids.gather(1, &(lengths - 1).unsqueeze(1), false); // [B, 1]
        let ends = self.ids.eq_tensor(&end).to_kind(Kind::Int64);
        let before = ends.cumsum(1, Kind::Int64) - &ends; // [SEP]s before each place
        before.clamp_max(1i64) * self.seen.view(self.ids.size().as_slice()).to_kind(Kind::Int64)
    }

    /// B and T.
    pub fn shape(&self) -> (i64, i64) {
        (self.ids.size()[0], self.ids.size()[1])
    }
}
