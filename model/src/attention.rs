//! Causal self-attention, of whole sequences and of one more token a row.

use crate::cache::{Cache, Places};
use crate::config::Config;
use crate::layers::{Linear, NormLayer, has_kernels, sound};
use crate::rotary::Rotary;
use crate::segments::Segments;
use native::decode;
use native::dense::{self, Heads};
use tch::{Device, Kind, Tensor};

/// One forward pass.
pub(crate) struct Pass<'a> {
    /// Dropout is on.
    pub train: bool,
    /// What turns queries and keys, and its tables at the tokens' places.
    pub rotary: Option<(&'a Rotary, (Tensor, Tensor))>,
    pub tokens: Tokens<'a>,
    /// The tokens whose hidden states are asked for, `[M]`; `None` for all. The last block goes on with these alone once they have looked at the others.
    pub wanted: Option<&'a Tensor>,
}

/// How the tokens `[N]` of a pass fall into sequences, and what becomes of keys and values.
pub(crate) enum Tokens<'a> {
    /// Whole sequences; nothing is kept.
    Whole(&'a Segments),
    /// Whole sequences, whose keys and values go into the cache.
    Prompts { segments: &'a Segments, cache: &'a Cache, places: &'a Places },
    /// One more token a row, row i in slot i, which looks at all before it in the cache, columns `first` to `end` at most. `masks`: 0 where it may look and
    /// minus infinity elsewhere, `[B, 1, 1, end]`, for blocks without and with a window; `None` where all of them is seen.
    Step { cache: &'a Cache, places: &'a Places, end: i64, first: i64, masks: [Option<Tensor>; 2] },
}

/// Query, key and value as the family stores them.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one of each block: a box would gain nothing
pub(crate) enum Qkv {
    /// One matrix: all queries, all keys, all values (GPT-2).
    Fused(Linear),
    /// One matrix: query, key and value of the first head, then of the second (GPT-NeoX).
    ByHead(Linear),
    Split(Linear, Linear, Linear),
}

/// Causal self-attention.
#[derive(Debug)]
pub(crate) struct Attention {
    qkv: Qkv,
    out: Linear,
    /// Norms of each head's query and key.
    qk_norm: Option<(NormLayer, NormLayer)>,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scale: f64,
    /// Tokens that a token sees, itself among them; `None` for all.
    window: Option<i64>,
    pub dropout: f64,
}

/// A block's attention for `native::decode`.
pub(crate) struct Decoder {
    pub qkv: Vec<decode::Linear>,
    pub qk_norm: Option<(decode::Norm, decode::Norm)>,
    pub out: decode::Linear,
    pub scale: f64,
    pub window: i64,
}

impl Attention {
    /// Another handle of the same tensors.
    pub fn share(&self) -> Attention {
        let qkv = match &self.qkv {
            Qkv::Fused(all) => Qkv::Fused(all.share()),
            Qkv::ByHead(all) => Qkv::ByHead(all.share()),
            Qkv::Split(q, k, v) => Qkv::Split(q.share(), k.share(), v.share()),
        };
        let qk_norm = self.qk_norm.as_ref().map(|(q, k)| (q.share(), k.share()));
        Attention { qkv, out: self.out.share(), qk_norm, ..*self }
    }

    /// The linear maps.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        let qkv = match &self.qkv {
            Qkv::Fused(all) | Qkv::ByHead(all) => vec![all],
            Qkv::Split(q, k, v) => vec![q, k, v],
        };
        qkv.into_iter().chain([&self.out])
    }

    /// The linear maps.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let qkv = match &mut self.qkv {
            Qkv::Fused(all) | Qkv::ByHead(all) => vec![all],
            Qkv::Split(q, k, v) => vec![q, k, v],
        };
        qkv.into_iter().chain([&mut self.out])
    }

    /// The norms.
    pub fn norms(&self) -> impl Iterator<Item = &NormLayer> {
        self.qk_norm.iter().flat_map(|(q, k)| [q, k])
    }

    /// Block `layer`'s attention of these parts.
    pub fn new(qkv: Qkv, out: Linear, qk_norm: Option<(NormLayer, NormLayer)>, c: &Config, layer: usize) -> Attention {
        Attention {
            qkv,
            out,
            qk_norm,
            heads: c.heads as i64,
            kv_heads: c.kv_heads as i64,
            head_dim: c.head_dim as i64,
            scale: c.attention_scale(layer),
            window: c.window_of(layer),
            dropout: c.dropout.attention,
        }
    }

    /// Does `native::decode` take this block's attention?
    pub fn can_decode(&self) -> bool {
        self.linears().all(Linear::can_decode) && self.head_dim % 2 == 0 && self.head_dim <= 512
    }

    /// As `native::decode` reads it for activations of this kind.
    pub fn decoder(&self, kind: Kind) -> Decoder {
        let qkv = match &self.qkv {
            Qkv::Fused(all) | Qkv::ByHead(all) => vec![all.packed(kind)],
            Qkv::Split(q, k, v) => [q, k, v].map(|part| part.packed(kind)).into(),
        };
        let qk_norm = self.qk_norm.as_ref().map(|(q, k)| (q.native(kind), k.native(kind)));
        Decoder { qkv, qk_norm, out: self.out.packed(kind), scale: self.scale, window: self.window.unwrap_or(0) }
    }

    /// Query heads, key-value heads, features of one, and whether they lie head by head.
    pub fn shape(&self) -> (i64, i64, i64, bool) {
        (self.heads, self.kv_heads, self.head_dim, matches!(self.qkv, Qkv::ByHead(_)))
    }

    /// What each token's heads took from those it sees, `[N, D]` under a norm to `[N, H·C]`.
    pub fn look(&self, norm: &NormLayer, x: &Tensor, pass: &Pass<'_>, block: usize) -> Tensor {
        let y = match &pass.tokens {
            Tokens::Whole(segments) if self.has_kernels(x, pass.train) => self.by_kernel(norm, x, segments, pass),
            Tokens::Whole(segments) => self.whole(&norm.forward(x), segments, pass, None),
            Tokens::Prompts { segments, cache, places } => self.whole(&norm.forward(x), segments, pass, Some((cache, block, places))),
            Tokens::Step { cache, places, end, first, masks } => {
                let (q, k, v) = self.by_row(&norm.forward(x), 1, pass); // [B, H, 1, C]
                cache.put(block, &k.squeeze_dim(2), &v.squeeze_dim(2), places);
                let rows = x.size()[0];
                let (first, mask) = if self.window.is_some() { (*first, &masks[1]) } else { (0, &masks[0]) };
                let (keys, values) = cache.get(block, rows, first, *end); // [B, K, t, C]
                let mask = mask.as_ref().map(|m| m.slice(3, first, None, 1));
                // Heads that share a key-value head stand as its queries, so keys need not be repeated.
                let q = q.reshape([-1, self.kv_heads, self.heads / self.kv_heads, self.head_dim]);
                let y = attend(&q, &keys, &values, mask.as_ref(), 0.0, false, self.scale);
                y.reshape([-1, self.heads, 1, self.head_dim])
            }
        };
        // From [B, H, T, C]; libtorch's kernel leaves the result as [B, T, H, C] in memory: this reshape copies nothing there.
        if y.dim() == 4 { y.transpose(1, 2).reshape([-1, self.heads * self.head_dim]) } else { y }
    }

    /// What comes of it, `[N, H·C]` to `[N, D]`.
    pub fn out(&self, looked: &Tensor, train: bool) -> Tensor {
        self.out.forward(looked, train)
    }

    /// Queries `[N, H, C]`, keys and values `[N, K, C]`, normed where the family does and not yet turned. Fused parts are views of one matrix: nothing is
    /// copied, and the gradients are laid side by side once.
    fn heads_of(&self, x: &Tensor, train: bool) -> (Tensor, Tensor, Tensor) {
        let (n, c) = (x.size()[0], self.head_dim);
        let by_head = |part: &Tensor, heads: i64| part.view([n, heads, c]);
        let (q, k, v) = match &self.qkv {
            Qkv::Fused(all) => {
                let parts = all.forward(x, train).split_with_sizes([self.heads * c, self.kv_heads * c, self.kv_heads * c], 1);
                (by_head(&parts[0], self.heads), by_head(&parts[1], self.kv_heads), by_head(&parts[2], self.kv_heads))
            }
            Qkv::ByHead(all) => {
                let parts = all.forward(x, train).view([n, self.heads, 3 * c]).split(c, 2);
                (parts[0].shallow_clone(), parts[1].shallow_clone(), parts[2].shallow_clone())
            }
            Qkv::Split(q, k, v) => {
                let [q, k, v] = [q, k, v].map(|map| map.forward(x, train));
                (by_head(&q, self.heads), by_head(&k, self.kv_heads), by_head(&v, self.kv_heads))
            }
        };
        match &self.qk_norm {
            Some((q_norm, k_norm)) => (q_norm.forward(&q), k_norm.forward(&k), v),
            None => (q, k, v),
        }
    }

    /// The same as `[B, H, T, C]` and `[B, K, T, C]`, turned.
    fn by_row(&self, x: &Tensor, time: i64, pass: &Pass<'_>) -> (Tensor, Tensor, Tensor) {
        let (q, k, v) = self.heads_of(x, pass.train);
        let by_row = |x: Tensor| x.view([-1, time, x.size()[1], self.head_dim]).transpose(1, 2);
        let (q, k, v) = (by_row(q), by_row(k), by_row(v));
        match &pass.rotary {
            Some((rotary, tables)) => (rotary.turn(&q, tables), rotary.turn(&k, tables), v),
            None => (q, k, v),
        }
    }

    /// `[B, H, T, C]` of rows that see themselves alone.
    fn causal(&self, q: &Tensor, k: &Tensor, v: &Tensor, window_mask: Option<&Tensor>, train: bool) -> Tensor {
        let mask = self.window.and(window_mask);
        attend(q, &self.repeat(k), &self.repeat(v), mask, if train { self.dropout } else { 0.0 }, mask.is_none(), self.scale)
    }

    /// Whole sequences by libtorch's operators, `[B, H, T, C]` or `[1, H, N, C]`; keys and values are kept where asked for.
    fn whole(&self, x: &Tensor, segments: &Segments, pass: &Pass<'_>, keep: Option<(&Cache, usize, &Places)>) -> Tensor {
        let device = x.device();
        let put = |k: &Tensor, v: &Tensor| {
            let flat = |x: &Tensor| x.transpose(1, 2).flatten(0, 1); // [N, K, C]
            if let Some((cache, block, places)) = keep {
                cache.put(block, &flat(k), &flat(v), places);
            }
        };
        let band = |time: i64| self.window.filter(|&w| w < time).map(|w| band(time, w, device));
        if let Some((_, time)) = segments.rows() {
            let (q, k, v) = self.by_row(x, time, pass);
            put(&k, &v);
            return self.causal(&q, &k, &v, band(time).as_ref(), pass.train);
        }
        let (q, k, v) = self.by_row(x, segments.tokens(), pass); // [1, H, N, C]
        put(&k, &v);
        let padded = segments.padded();
        let rows = |x: &Tensor| {
            let (heads, c) = (x.size()[1], x.size()[3]);
            x.squeeze_dim(0).index_select(1, &padded.tokens).view([heads, padded.rows, padded.time, c]).transpose(0, 1) // [B, H, T, C]
        };
        let y = self.causal(&rows(&q), &rows(&k), &rows(&v), band(padded.time).as_ref(), pass.train);
        let y = y.transpose(0, 1).reshape([self.heads, padded.rows * padded.time, self.head_dim]);
        y.index_select(1, &padded.places).unsqueeze(0)
    }

    /// What each token looks at, `[B, H, T, T]`: rows are shares that sum to 1. `x` `[N, D]` are rows of `time` tokens.
    pub fn map(&self, x: &Tensor, time: i64, pass: &Pass<'_>) -> Tensor {
        let (q, k, _) = self.by_row(x, time, pass);
        let scores = q.matmul(&self.repeat(&k).transpose(-2, -1)).to_kind(Kind::Float) * self.scale; // [B, H, T, T]
        let reach = self.window.map_or(time, |w| w.min(time));
        (scores + band(time, reach, x.device())).softmax(-1, Kind::Float)
    }

    fn has_kernels(&self, x: &Tensor, train: bool) -> bool {
        has_kernels(x.kind(), x.device()) && self.head_dim % 2 == 0 && self.head_dim <= 512 && !(train && self.dropout > 0.0)
    }

    /// Whole sequences by our own kernel, `[N, H·C]`.
    fn by_kernel(&self, norm: &NormLayer, x: &Tensor, segments: &Segments, pass: &Pass<'_>) -> Tensor {
        let n = x.size()[0];
        let parts = match &self.qkv {
            Qkv::Fused(all) | Qkv::ByHead(all) if self.qk_norm.is_none() => vec![all.forward_under(norm, x, pass.train)],
            _ => {
                let (q, k, v) = self.heads_of(&norm.forward(x), pass.train);
                vec![q.reshape([n, -1]), k.reshape([n, -1]), v.reshape([n, -1])]
            }
        };
        let heads = Heads {
            heads: self.heads,
            kv_heads: self.kv_heads,
            width: self.head_dim,
            window: self.window.unwrap_or(0),
            scale: self.scale,
            by_head: matches!(self.qkv, Qkv::ByHead(_)),
        };
        // Both halves of a table are the same; rows that are alike share one.
        let half = |table: &Tensor| {
            let r = table.size().last().copied().unwrap_or(0) / 2;
            table.narrow(-1, 0, r).reshape([-1, r]).repeat([n / (table.numel() as i64 / (2 * r)), 1])
        };
        let tables = pass.rotary.as_ref().map(|(_, (cos, sin))| (half(cos), half(sin)));
        let (bounds, starts) = segments.tensors();
        let parts: Vec<&Tensor> = parts.iter().collect();
        sound(dense::attend(&parts, heads, tables.as_ref().map(|(cos, sin)| (cos, sin)), &bounds, &starts))
    }

    /// Each key-value head once for every query head that shares it.
    fn repeat(&self, x: &Tensor) -> Tensor {
        if self.heads == self.kv_heads { x.shallow_clone() } else { x.repeat_interleave_self_int(self.heads / self.kv_heads, 1, None) }
    }
}

fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, dropout: f64, causal: bool, scale: f64) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale, false)
}

/// 0 where a token may look and minus infinity elsewhere, `[1, 1, T, T]`: at itself and the `window - 1` tokens before it.
fn band(time: i64, window: i64, device: Device) -> Tensor {
    let seen = Tensor::ones([time, time], (Kind::Bool, device)).tril(0).triu(1 - window);
    let mask = Tensor::zeros([time, time], (Kind::Float, device)).masked_fill(&seen.logical_not(), f64::NEG_INFINITY);
    mask.view([1, 1, time, time])
}
