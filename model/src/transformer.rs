//! The decoder: embeddings, blocks of attention and MLP with pre-normalisation, final norm.
//!
//! Between the blocks a batch is one matrix `[N, D]`, N = B·T: linear maps need no other shape.

use crate::cache::Cache;
use crate::config::{Activation, Config, Dropout, Family, Position};
use crate::error::ModelError;
use crate::init::{Builder, Init};
use crate::layers::{Linear, LinearShape, NormLayer, Rotary};
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
    /// Rotary tables of the tokens' positions.
    pub rotary: Option<(Tensor, Tensor)>,
    pub memory: Memory<'a>,
}

/// Query, key and value as the family stores them.
#[derive(Debug)]
enum Qkv {
    Fused(Linear),
    Split(Linear, Linear, Linear),
}

/// Causal self-attention.
#[derive(Debug)]
struct Attention {
    qkv: Qkv,
    out: Linear,
    /// Norms of each head's query and key.
    qk_norm: Option<(NormLayer, NormLayer)>,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scale: f64,
    dropout: f64,
}

impl Attention {
    /// `[N, D]` to `[N, D]`.
    fn forward(&self, x: &Tensor, pass: &Pass<'_>, block: usize) -> Tensor {
        let (b, t, c) = (pass.rows, pass.time, self.head_dim);
        let parts = match &self.qkv {
            // Three views of one matrix: nothing is copied, and the gradients are laid side by side once.
            Qkv::Fused(all) => all.forward(x).split(self.heads * c, 1),
            Qkv::Split(q, k, v) => vec![q.forward(x), k.forward(x), v.forward(x)],
        };
        let by_head = |part: usize, heads: i64| parts[part].view([b, t, heads, c]);
        let (mut q, mut k) = (by_head(0, self.heads), by_head(1, self.kv_heads)); // [B, T, H, C], [B, T, K, C]
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            (q, k) = (q_norm.forward(&q), k_norm.forward(&k));
        }
        let v = by_head(2, self.kv_heads).transpose(1, 2); // [B, K, T, C]
        (q, k) = (q.transpose(1, 2), k.transpose(1, 2)); // [B, H, T, C], [B, K, T, C]
        if let Some(tables) = &pass.rotary {
            (q, k) = (Rotary::turn(&q, tables), Rotary::turn(&k, tables));
        }
        let y = match pass.memory {
            Memory::Step(cache) => {
                let (keys, values) = cache.push(block, &k, &v); // [B, K, t, C]
                // Heads that share a key-value head stand as its queries, so keys need not be repeated.
                let q = q.reshape([b, self.kv_heads, self.heads / self.kv_heads, c]);
                let y = attend(&q, &keys, &values, pass.mask, 0.0, false, self.scale);
                y.reshape([b, self.heads, 1, c])
            }
            Memory::None | Memory::Fill(..) => {
                if let Memory::Fill(cache, lengths) = pass.memory {
                    cache.fill(block, &k, &v, lengths);
                }
                let (k, v) = (self.repeat(k), self.repeat(v));
                let dropout = if pass.train { self.dropout } else { 0.0 };
                attend(&q, &k, &v, pass.mask, dropout, pass.mask.is_none(), self.scale)
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

/// Two linear maps with a non-linearity between them, gated or not.
#[derive(Debug)]
struct Mlp {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        let inner = match &self.gate {
            Some(gate) => self.activation.apply(gate.forward(x)) * self.up.forward(x),
            None => self.activation.apply(self.up.forward(x)),
        };
        self.down.forward(&inner)
    }
}

/// One block: x + attention(norm(x)), then x + mlp(norm(x)).
#[derive(Debug)]
struct Block {
    norm1: NormLayer,
    attention: Attention,
    norm2: NormLayer,
    mlp: Mlp,
    dropout: f64,
}

impl Block {
    fn forward(&self, x: Tensor, pass: &Pass<'_>, index: usize) -> Tensor {
        let y = self.attention.forward(&self.norm1.forward(&x), pass, index);
        let x = self.add(y, &x, pass.train);
        let y = self.mlp.forward(&self.norm2.forward(&x));
        self.add(y, &x, pass.train)
    }

    /// The branch's fresh result takes up the residual stream in place: one large allocation less.
    fn add(&self, branch: Tensor, x: &Tensor, train: bool) -> Tensor {
        dropout(branch, self.dropout, train).g_add_(x)
    }
}

fn dropout(x: Tensor, p: f64, train: bool) -> Tensor {
    if train && p > 0.0 { x.dropout(p, true) } else { x }
}

/// The network without a head.
#[derive(Debug)]
pub(crate) struct Transformer {
    /// `[V, D]`
    pub embedding: Tensor,
    /// Learned positions, `[context, D]`.
    positions: Option<Tensor>,
    rotary: Option<Rotary>,
    blocks: Vec<Block>,
    pub norm: NormLayer,
    dropout: f64,
}

impl Transformer {
    /// Builds the network under the family's tensor names.
    pub fn new(b: &mut Builder<'_>, c: &Config, device: Device) -> Result<Transformer, ModelError> {
        let gpt2 = c.family == Family::Gpt2;
        let (width, std) = (c.width as i64, Init::Normal(c.init_std));
        let embedding = if gpt2 { "transformer.wte.weight" } else { "model.embed_tokens.weight" };
        let embedding = b.take(embedding, &[c.vocab_size as i64, width], std)?;
        let positions = match c.position {
            Position::Learned => Some(b.take("transformer.wpe.weight", &[c.context as i64, width], std)?),
            Position::Rotary { .. } => None,
        };
        let blocks = (0..c.layers).map(|i| block(b, c, i)).collect::<Result<_, _>>()?;
        let norm = NormLayer::new(b, if gpt2 { "transformer.ln_f" } else { "model.norm" }, c.width, c.norm)?;
        let rotary = Rotary::new(c.position, c.head_dim, device);
        Ok(Transformer { embedding, positions, rotary, blocks, norm, dropout: c.dropout.embedding })
    }

    /// Changes the dropout probabilities.
    pub fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout.embedding;
        for block in &mut self.blocks {
            block.dropout = dropout.residual;
            block.attention.dropout = dropout.attention;
        }
    }

    /// Rotary tables at `positions` `[.., T]`, if the family turns.
    pub fn tables(&self, positions: &Tensor) -> Option<(Tensor, Tensor)> {
        self.rotary.as_ref().map(|r| r.tables(positions))
    }

    /// Tables of the places 0 to `time`.
    pub fn tables_from_zero(&self, time: i64) -> Option<(Tensor, Tensor)> {
        self.rotary.as_ref().map(|r| r.tables(&Tensor::arange(time, (Kind::Int64, self.embedding.device()))))
    }

    /// Token ids `[B, T]` to `[N, D]`, with learned positions added: places 0 to T, or the given ones, `[B, T]`.
    pub fn embed(&self, ids: &Tensor, places: Option<&Tensor>, train: bool) -> Tensor {
        let mut x = Tensor::embedding(&self.embedding, ids, -1, false, false); // [B, T, D]
        if let Some(table) = &self.positions {
            x = match places {
                Some(places) => x.g_add_(&Tensor::embedding(table, places, -1, false, false)),
                None => x.g_add_(&table.narrow(0, 0, ids.size()[1])),
            };
        }
        dropout(x, self.dropout, train).flatten(0, 1)
    }

    /// All blocks, without the final norm: `[N, D]` to `[N, D]`.
    pub fn blocks(&self, mut x: Tensor, pass: &Pass<'_>) -> Tensor {
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, pass, i);
        }
        x
    }
}

/// One block under its family's names. Branches end in weights that are smaller by the root of their number, as in GPT-2.
fn block(b: &mut Builder<'_>, c: &Config, i: usize) -> Result<Block, ModelError> {
    let gpt2 = c.family == Family::Gpt2;
    let root = if gpt2 { format!("transformer.h.{i}") } else { format!("model.layers.{i}") };
    let last_std = if gpt2 { c.init_std / (2.0 * c.layers as f64).sqrt() } else { c.init_std };
    let (q_width, kv_width) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let linear = |b: &mut Builder<'_>, name: &str, input: usize, output: usize, bias: bool, std: f64| {
        Linear::new(b, &format!("{root}.{name}"), LinearShape { input, output, bias, in_out: gpt2, std })
    };
    let norm = |b: &mut Builder<'_>, name: &str, width: usize| NormLayer::new(b, &format!("{root}.{name}"), width, c.norm);
    let (std, d, f) = (c.init_std, c.width, c.ffn_width);

    let norm1 = norm(b, if gpt2 { "ln_1" } else { "input_layernorm" }, d)?;
    let qkv = if gpt2 {
        Qkv::Fused(linear(b, "attn.c_attn", d, q_width + 2 * kv_width, c.qkv_bias, std)?)
    } else {
        let mut part = |name: &str, width| linear(b, &format!("self_attn.{name}"), d, width, c.qkv_bias, std);
        Qkv::Split(part("q_proj", q_width)?, part("k_proj", kv_width)?, part("v_proj", kv_width)?)
    };
    let out = linear(b, if gpt2 { "attn.c_proj" } else { "self_attn.o_proj" }, q_width, d, c.out_bias, last_std)?;
    let qk_norm = match c.qk_norm {
        true => Some((norm(b, "self_attn.q_norm", c.head_dim)?, norm(b, "self_attn.k_norm", c.head_dim)?)),
        false => None,
    };
    let norm2 = norm(b, if gpt2 { "ln_2" } else { "post_attention_layernorm" }, d)?;
    let gate = if c.gated { Some(linear(b, "mlp.gate_proj", d, f, c.mlp_bias, std)?) } else { None };
    let up = linear(b, if gpt2 { "mlp.c_fc" } else { "mlp.up_proj" }, d, f, c.mlp_bias, std)?;
    let down = linear(b, if gpt2 { "mlp.c_proj" } else { "mlp.down_proj" }, f, d, c.mlp_bias, last_std)?;

    let (heads, kv_heads, head_dim) = (c.heads as i64, c.kv_heads as i64, c.head_dim as i64);
    let (scale, dropout) = (c.attention_scale(i), c.dropout.attention);
    let attention = Attention { qkv, out, qk_norm, heads, kv_heads, head_dim, scale, dropout };
    Ok(Block { norm1, attention, norm2, mlp: Mlp { gate, up, down, activation: c.activation }, dropout: c.dropout.residual })
}
