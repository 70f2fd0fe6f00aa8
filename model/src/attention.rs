//! Causal self-attention, of whole sequences and of one more token a row.

use crate::cache::Cache;
use crate::config::Config;
use crate::layers::{Linear, NormLayer};
use crate::rotary::Rotary;
use tch::{Device, Kind, Tensor};

/// What a forward pass does with keys and values.
pub(crate) enum Memory<'a> {
    /// Nothing: whole sequences.
    None,
    /// Stores those of the prompts, whose lengths are given.
    Fill(&'a Cache, &'a [i64]),
    /// Adds one token a row and looks at all before it.
    Step(&'a Cache),
}

/// One forward pass over `[B, T]` tokens.
pub(crate) struct Pass<'a> {
    pub rows: i64,
    pub time: i64,
    /// Dropout is on.
    pub train: bool,
    /// Added to attention scores, `[B, 1, T or 1, T]`; `None` means causal, or in a step everything so far.
    pub mask: Option<&'a Tensor>,
    /// The same for blocks with a window, where the pass is longer than the window; else `mask` holds for them too.
    pub window_mask: Option<Tensor>,
    /// What turns queries and keys, and its tables at the tokens' places.
    pub rotary: Option<(&'a Rotary, (Tensor, Tensor))>,
    pub memory: Memory<'a>,
}

/// Query, key and value as the family stores them.
#[derive(Debug)]
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

impl Attention {
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

    /// `[N, D]` to `[N, D]`.
    pub fn forward(&self, x: &Tensor, pass: &Pass<'_>, block: usize) -> Tensor {
        let (b, t, c) = (pass.rows, pass.time, self.head_dim);
        let by_head = |part: &Tensor, heads: i64| part.view([b, t, heads, c]);
        // [B, T, H, C], and twice [B, T, K, C]. Fused parts are views of one matrix: nothing is copied, and the gradients are laid side
        // by side once.
        let (mut q, mut k, v) = match &self.qkv {
            Qkv::Fused(all) => {
                let parts = all.forward(x).split(self.heads * c, 1);
                (by_head(&parts[0], self.heads), by_head(&parts[1], self.heads), by_head(&parts[2], self.heads))
            }
            Qkv::ByHead(all) => {
                let parts = all.forward(x).view([b, t, self.heads, 3 * c]).split(c, 3);
                (parts[0].shallow_clone(), parts[1].shallow_clone(), parts[2].shallow_clone())
            }
            Qkv::Split(q, k, v) => {
                (by_head(&q.forward(x), self.heads), by_head(&k.forward(x), self.kv_heads), by_head(&v.forward(x), self.kv_heads))
            }
        };
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            (q, k) = (q_norm.forward(&q), k_norm.forward(&k));
        }
        let v = v.transpose(1, 2); // [B, K, T, C]
        (q, k) = (q.transpose(1, 2), k.transpose(1, 2)); // [B, H, T, C], [B, K, T, C]
        if let Some((rotary, tables)) = &pass.rotary {
            (q, k) = (rotary.turn(&q, tables), rotary.turn(&k, tables));
        }
        let y = match pass.memory {
            Memory::Step(cache) => {
                let first = cache.first_seen(self.window);
                let (keys, values) = cache.push(block, &k, &v, first); // [B, K, t, C]
                let cut = pass.mask.filter(|_| first > 0).map(|m| m.slice(3, first, None, 1));
                let mask = cut.as_ref().or(pass.mask);
                // Heads that share a key-value head stand as its queries, so keys need not be repeated.
                let q = q.reshape([b, self.kv_heads, self.heads / self.kv_heads, c]);
                let y = attend(&q, &keys, &values, mask, 0.0, false, self.scale);
                y.reshape([b, self.heads, 1, c])
            }
            Memory::None | Memory::Fill(..) => {
                if let Memory::Fill(cache, lengths) = pass.memory {
                    cache.fill(block, &k, &v, lengths);
                }
                let (k, v) = (self.repeat(k), self.repeat(v));
                let dropout = if pass.train { self.dropout } else { 0.0 };
                let mask = self.window.and(pass.window_mask.as_ref()).or(pass.mask);
                attend(&q, &k, &v, mask, dropout, mask.is_none(), self.scale)
            }
        };
        // libtorch's kernel leaves the result as [B, T, H, C] in memory: this reshape copies nothing there.
        self.out.forward(&y.transpose(1, 2).reshape([b * t, self.heads * c]))
    }

    /// Each key-value head once for every query head that shares it.
    fn repeat(&self, x: Tensor) -> Tensor {
        if self.heads == self.kv_heads { x } else { x.repeat_interleave_self_int(self.heads / self.kv_heads, 1, None) }
    }
}

fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, dropout: f64, causal: bool, scale: f64) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale, false)
}

/// 0 where a token may look and minus infinity elsewhere, `[1, 1, T, T]`: at itself and the `window - 1` tokens before it.
pub(crate) fn band(time: i64, window: i64, device: Device) -> Tensor {
    let seen = Tensor::ones([time, time], (Kind::Bool, device)).tril(0).triu(1 - window);
    let mask = Tensor::zeros([time, time], (Kind::Float, device)).masked_fill(&seen.logical_not(), f64::NEG_INFINITY);
    mask.view([1, 1, time, time])
}
