//! The decoder: embeddings, blocks of attention and MLP with pre-normalisation, final norm.
//!
//! Between the blocks a batch is one matrix `[N, D]`, N = B·T: linear maps need no other shape.

use crate::attention::{Attention, Pass, Qkv, Tokens};
use crate::config::{Activation, Config, Dropout, Family, Position};
use crate::error::ModelError;
use crate::init::{Builder, Init};
use crate::layers::{Linear, LinearShape, NormLayer, cast, has_kernels, sound};
use crate::names::Names;
use crate::rotary::{Reach, Rotary};
use crate::segments::Segments;
use native::dense;
use native::{Units, decode, lora};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Two linear maps with a non-linearity between them, gated or not.
#[derive(Debug)]
struct Mlp {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    /// Of `x` under a norm.
    fn forward(&self, norm: &NormLayer, x: &Tensor, train: bool) -> Tensor {
        if let Some(y) = self.by_kernel(norm, x, train) {
            return y;
        }
        let x = &norm.forward(x);
        let inner = match &self.gate {
            Some(gate) => self.activation.apply(gate.forward(x, train)) * self.up.forward(x, train),
            None => self.activation.apply(self.up.forward(x, train)),
        };
        self.down.forward(&inner, train)
    }

    /// In one call, where there is a kernel for it: without a gate, and with adapters on neither map or both.
    fn by_kernel(&self, norm: &NormLayer, x: &Tensor, train: bool) -> Option<Tensor> {
        if self.gate.is_some() || !self.up.has_kernels(x) || !self.down.has_kernels(x) {
            return None;
        }
        let (up, down, activation) = (self.up.map(), self.down.map(), self.activation.kernel());
        match (&self.up.adapter, &self.down.adapter) {
            (None, None) => Some(match norm.kernel() {
                Some(norm) => sound(dense::mlp(x, Some(norm), up, down, activation)),
                None => sound(dense::mlp(&norm.forward(x), None, up, down, activation)),
            }),
            (Some(p), Some(q)) if p.has_kernels(x) && q.has_kernels(x) && !(train && p.dropout > 0.0) => {
                Some(sound(lora::mlp(&norm.forward(x), (up, p.native()), (down, q.native()), activation)))
            }
            _ => None,
        }
    }

    fn share(&self) -> Mlp {
        Mlp { gate: self.gate.as_ref().map(Linear::share), up: self.up.share(), down: self.down.share(), activation: self.activation }
    }

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.gate.iter().chain([&self.up, &self.down])
    }

    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.gate.iter_mut().chain([&mut self.up, &mut self.down])
    }
}

/// One block: x + attention(norm(x)), then x + mlp(norm(x)); or both of the same x, x + attention(norm(x)) + mlp(norm'(x)).
#[derive(Debug)]
struct Block {
    parallel: bool,
    norm1: NormLayer,
    attention: Attention,
    norm2: NormLayer,
    mlp: Mlp,
    dropout: f64,
}

impl Block {
    /// `[N, D]` to `[N, D]`, or to `[M, D]` where M tokens are wanted.
    fn forward(&self, x: Tensor, pass: &Pass<'_>, index: usize, wanted: Option<&Tensor>) -> Tensor {
        let looked = self.attention.look(&self.norm1, &x, pass, index);
        let pick = |x: Tensor| wanted.map(|places| x.index_select(0, places)).unwrap_or(x);
        let (y, x) = (self.attention.out(&pick(looked), pass.train), pick(x));
        if self.parallel {
            let z = self.mlp.forward(&self.norm2, &x, pass.train);
            let mut both = self.add(z, &dropout(y, self.dropout, pass.train), pass.train);
            return both.g_add_(&x);
        }
        let x = self.add(y, &x, pass.train);
        let y = self.mlp.forward(&self.norm2, &x, pass.train);
        self.add(y, &x, pass.train)
    }

    /// Another handle of the same tensors.
    fn share(&self) -> Block {
        let (norm1, attention, norm2, mlp) = (self.norm1.share(), self.attention.share(), self.norm2.share(), self.mlp.share());
        Block { norm1, attention, norm2, mlp, ..*self }
    }

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.attention.linears().chain(self.mlp.linears())
    }

    /// What learns.
    fn leaves(&self) -> Vec<Tensor> {
        let norms = [&self.norm1, &self.norm2].into_iter().chain(self.attention.norms());
        let all = norms.flat_map(NormLayer::tensors).chain(self.linears().flat_map(Linear::tensors));
        all.filter(|t| t.requires_grad()).map(Tensor::shallow_clone).collect()
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
    /// What tokens are looked up in, where it is not the embedding itself: see [`crate::Model::split_lookup`].
    pub lookup: Option<Tensor>,
    /// Learned positions, `[context, D]`.
    pub positions: Option<Tensor>,
    rotary: Option<Rotary>,
    /// Reach of the blocks that have a window.
    window: Option<i64>,
    blocks: Vec<Block>,
    pub norm: NormLayer,
    dropout: f64,
    /// Precision of the activations; the weights keep their own.
    pub compute: Kind,
    /// Where weights are shared out among processes: what makes them whole. Block i is unit i + 1.
    pub units: Option<Arc<Units>>,
    /// Blocks keep their input alone for the backward pass.
    pub recompute: bool,
}

impl Transformer {
    /// Builds the network under the family's tensor names.
    pub fn new(b: &mut Builder<'_>, c: &Config, device: Device) -> Result<Transformer, ModelError> {
        let names = Names::of(c.family);
        let (width, std) = (c.width as i64, Init::Normal(c.init_std));
        let embedding = b.take(names.embedding, &[c.vocab_size as i64, width], std)?;
        let positions = match c.position {
            Position::Learned => Some(b.take(names.positions, &[c.context as i64, width], std)?),
            Position::Rotary { .. } => None,
        };
        let blocks = (0..c.layers).map(|i| block(b, c, i)).collect::<Result<_, _>>()?;
        b.unit = 0;
        let norm = NormLayer::new(b, names.norm, c.width, c.norm)?;
        let rotary = Rotary::new(&c.position, device);
        let window = c.window.as_ref().map(|w| w.size as i64);
        Ok(Transformer {
            embedding,
            lookup: None,
            positions,
            rotary,
            window,
            blocks,
            norm,
            dropout: c.dropout.embedding,
            compute: Kind::Float,
            recompute: false,
            units: None,
        })
    }

    /// All linear maps of the blocks.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(Block::linears)
    }

    /// All linear maps of the blocks.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.blocks.iter_mut().flat_map(|b| b.attention.linears_mut().chain(b.mlp.linears_mut()))
    }

    /// Changes the dropout probabilities.
    pub fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout.embedding;
        for block in &mut self.blocks {
            block.dropout = dropout.residual;
            block.attention.dropout = dropout.attention;
        }
    }

    /// What turns, and its tables at `positions` `[.., T]`; `None` where the family learns its positions.
    pub fn tables(&self, positions: &Tensor, reach: Reach<'_>) -> Option<(&Rotary, (Tensor, Tensor))> {
        self.rotary.as_ref().map(|r| (r, r.tables(positions, reach)))
    }

    /// Tables for whole sequences: of the places 0 to T where all rows are alike, else of each token's.
    pub fn tables_of(&self, segments: &Segments) -> Option<(&Rotary, (Tensor, Tensor))> {
        match segments.rows() {
            Some((_, time)) => self.tables_from_zero(time, Reach::Pass),
            None => self.tables(segments.positions(), Reach::Pass),
        }
    }

    /// Tables of the places 0 to `time`.
    pub fn tables_from_zero(&self, time: i64, reach: Reach<'_>) -> Option<(&Rotary, (Tensor, Tensor))> {
        self.rotary.as_ref().map(|r| (r, r.tables(&Tensor::arange(time, (Kind::Int64, self.embedding.device())), reach)))
    }

    /// Does `native::decode` take this network, with activations of this kind?
    pub fn can_decode(&self, kind: Kind) -> bool {
        let width = self.embedding.size()[1];
        let block = |b: &Block| b.attention.can_decode() && b.mlp.linears().all(Linear::can_decode);
        has_kernels(kind, self.embedding.device())
            && self.embedding.kind() == Kind::Float
            && width % 2 == 0
            && self.blocks.iter().all(block)
    }

    /// The network as `native::decode` reads it for activations of this kind, with this head: linear maps packed, the rest shared.
    pub fn decoder(&self, head: decode::Weight, kind: Kind) -> decode::Network {
        let packed = self.blocks.iter().map(|b| {
            let part = b.attention.decoder(kind);
            decode::Block {
                norm1: b.norm1.native(kind),
                norm2: b.norm2.native(kind),
                qk_norm: part.qk_norm,
                qkv: part.qkv,
                out: part.out,
                gate: b.mlp.gate.as_ref().map(|gate| gate.packed(kind)),
                up: b.mlp.up.packed(kind),
                down: b.mlp.down.packed(kind),
                scale: part.scale,
                window: part.window,
            }
        });
        let first = &self.blocks[0];
        let (heads, kv_heads, head_width, by_head) = first.attention.shape();
        decode::Network {
            blocks: packed.collect(),
            heads,
            kv_heads,
            head_width,
            turning: self.rotary.as_ref().map_or(0, Rotary::width),
            by_head,
            parallel: first.parallel,
            activation: first.mlp.activation.kernel(),
            embedding: self.embedding.detach(),
            positions: self.positions.as_ref().map(Tensor::detach),
            norm: self.norm.native(kind),
            head: decode::Linear { weight: head, bias: None },
            kind,
        }
    }

    /// Reach of the blocks that have a window.
    pub fn window(&self) -> Option<i64> {
        self.window
    }

    /// Token ids `[B, T]` or `[N]` to `[N, D]`, with learned positions added: places 0 to T, or the given ones, of the ids' shape.
    pub fn embed(&self, ids: &Tensor, places: Option<&Tensor>, train: bool) -> Tensor {
        self.put(self.look_up(ids), places, train)
    }

    /// Embeddings of tokens without positions, in float32: ids `[B, T]` or `[N]` to `[B, T, D]` or `[N, D]`, fresh memory.
    pub fn look_up(&self, ids: &Tensor) -> Tensor {
        let (table, sparse) = self.lookup.as_ref().map_or((&self.embedding, false), |table| (table, true));
        Tensor::embedding(table, ids, -1, false, sparse)
    }

    /// What [`Transformer::look_up`] gave, or what stands in its place, with learned positions added in place: `[N, D]` in the precision of the activations.
    pub fn put(&self, mut x: Tensor, places: Option<&Tensor>, train: bool) -> Tensor {
        if let Some(table) = &self.positions {
            x = match places {
                Some(places) => x.g_add_(&Tensor::embedding(table, places, -1, false, false)),
                None => x.g_add_(&table.narrow(0, 0, x.size()[1])),
            };
        }
        cast(&dropout(x, self.dropout, train), self.compute).reshape([-1, self.embedding.size()[1]])
    }

    /// What each block's heads look at, `[B, H, T, T]`, of equally long rows: `x` `[N, D]` is what the first block reads.
    pub fn attention(&self, mut x: Tensor, pass: &Pass<'_>, time: i64) -> Vec<Tensor> {
        let mut maps = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate() {
            maps.push(block.attention.map(&block.norm1.forward(&x), time, pass));
            x = block.forward(x, pass, i, None);
        }
        maps
    }

    /// All blocks, without the final norm: `[N, D]` to `[N, D]`, or `[M, D]` where M tokens are wanted.
    pub fn blocks(&self, mut x: Tensor, pass: &Pass<'_>) -> Tensor {
        for (i, block) in self.blocks.iter().enumerate() {
            let wanted = pass.wanted.filter(|_| i + 1 == self.blocks.len());
            x = match (&self.units, &pass.tokens) {
                (Some(units), _) => {
                    let y = block.forward(sound(units.enter(i + 1, &x)), pass, i, wanted);
                    sound(units.leave(i + 1, &y))
                }
                (None, Tokens::Whole(segments)) if self.recompute => again(block, &x, pass, segments, i, wanted),
                _ => block.forward(x, pass, i, wanted),
            };
        }
        x
    }
}

/// A block that keeps its input alone and is worked out again in the backward pass, from handles of its own of all that it uses.
fn again(block: &Block, x: &Tensor, pass: &Pass<'_>, segments: &Segments, index: usize, wanted: Option<&Tensor>) -> Tensor {
    if !has_kernels(x.kind(), x.device()) && segments.rows().is_none() {
        segments.padded(); // made once and shared, not by every block
    }
    let (own, segments, train, wanted) = (block.share(), segments.share(), pass.train, wanted.map(Tensor::shallow_clone));
    let rotary = pass.rotary.as_ref().map(|(r, (cos, sin))| (r.share(), cos.shallow_clone(), sin.shallow_clone()));
    let forward = move |x: &Tensor| {
        let rotary = rotary.as_ref().map(|(r, cos, sin)| (r, (cos.shallow_clone(), sin.shallow_clone())));
        own.forward(x.shallow_clone(), &Pass { train, rotary, tokens: Tokens::Whole(&segments), wanted: None }, index, wanted.as_ref())
    };
    sound(native::recompute(x, &block.leaves(), train, forward))
}

/// One block under its family's names. Branches end in weights that are smaller by the root of their number, as in GPT-2.
fn block(b: &mut Builder<'_>, c: &Config, i: usize) -> Result<Block, ModelError> {
    b.unit = i + 1;
    let (gpt2, names) = (c.family == Family::Gpt2, Names::of(c.family));
    let root = format!("{}.{i}", names.layers);
    let last_std = if gpt2 { c.init_std / (2.0 * c.layers as f64).sqrt() } else { c.init_std };
    let (q_width, kv_width) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let linear = |b: &mut Builder<'_>, name: &str, input: usize, output: usize, bias: bool, std: f64| {
        Linear::new(b, &format!("{root}.{name}"), LinearShape { input, output, bias, in_out: gpt2, std })
    };
    let norm = |b: &mut Builder<'_>, name: &str, width: usize| NormLayer::new(b, &format!("{root}.{name}"), width, c.norm);
    let (std, d, f) = (c.init_std, c.width, c.ffn_width);

    let norm1 = norm(b, names.norm1, d)?;
    let qkv = match *names.qkv {
        [fused] => {
            let all = linear(b, fused, d, q_width + 2 * kv_width, c.qkv_bias, std)?;
            if c.family == Family::GptNeoX { Qkv::ByHead(all) } else { Qkv::Fused(all) }
        }
        [q, k, v] => {
            let mut part = |name: &str, width| linear(b, name, d, width, c.qkv_bias, std);
            Qkv::Split(part(q, q_width)?, part(k, kv_width)?, part(v, kv_width)?)
        }
        _ => unreachable!("one matrix or three"),
    };
    let out = linear(b, names.out, q_width, d, c.out_bias, last_std)?;
    let qk_norm = match c.qk_norm {
        true => Some((norm(b, "self_attn.q_norm", c.head_dim)?, norm(b, "self_attn.k_norm", c.head_dim)?)),
        false => None,
    };
    let norm2 = norm(b, names.norm2, d)?;
    let gate = if c.gated { Some(linear(b, names.gate, d, f, c.mlp_bias, std)?) } else { None };
    let up = linear(b, names.up, d, f, c.mlp_bias, std)?;
    let down = linear(b, names.down, f, d, c.mlp_bias, last_std)?;

    let attention = Attention::new(qkv, out, qk_norm, c, i);
    let mlp = Mlp { gate, up, down, activation: c.activation };
    Ok(Block { parallel: c.parallel, norm1, attention, norm2, mlp, dropout: c.dropout.residual })
}
