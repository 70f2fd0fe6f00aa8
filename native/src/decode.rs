//! A transformer's forward pass for generation, all blocks in one call: see `cpp/decode.cpp`. Asks for [`crate::dense::supported`].

use crate::dense::{Activation, Packed, absent, kernels_of};
use crate::quantised::{EightsMatrix, Quantised, multiplies_bytes};
use crate::{NativeError, Range};
use std::mem::discriminant;
use std::os::raw::c_int;
use std::ptr::null;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// A norm over the last dimension: by mean and variance with a bias, by the root of the mean square without.
#[derive(Debug)]
pub struct Norm {
    /// Float32.
    pub weight: Tensor,
    /// Float32.
    pub bias: Option<Tensor>,
    /// Added to the variance or the mean square.
    pub eps: f64,
}

/// A matrix `[in, out]` in a layout that products read.
#[derive(Debug)]
pub enum Weight {
    /// Of the activations' type.
    Packed(Packed),
    /// Of eight bits, with activations rounded to as many: [`crate::quantised::Bits::EightByEight`], where the processor [`multiplies_bytes`].
    Eights(Arc<Quantised>),
}

impl Weight {
    /// Features in and out.
    fn sizes(&self) -> (i64, i64) {
        match self {
            Weight::Packed(packed) => (packed.rows(), packed.columns()),
            Weight::Eights(eights) => eights.sizes(),
        }
    }
}

/// A linear map.
#[derive(Debug)]
pub struct Linear {
    /// Its matrix.
    pub weight: Weight,
    /// `[out]`, float32.
    pub bias: Option<Tensor>,
}

/// One block.
#[derive(Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: Norm,
    /// Before the MLP.
    pub norm2: Norm,
    /// Of each head's query and key.
    pub qk_norm: Option<(Norm, Norm)>,
    /// Query, key and value: one map or three.
    pub qkv: Vec<Linear>,
    /// After attention.
    pub out: Linear,
    /// The MLP's gate.
    pub gate: Option<Linear>,
    /// Into the MLP.
    pub up: Linear,
    /// Out of it.
    pub down: Linear,
    /// Factor on the scores.
    pub scale: f64,
    /// Tokens that a token sees, itself among them; 0 for all.
    pub window: i64,
}

/// A transformer with a language head. The packed weights no longer follow those they were made of.
#[derive(Debug)]
pub struct Network {
    /// From the first to the last.
    pub blocks: Vec<Block>,
    /// Query heads.
    pub heads: i64,
    /// Key-value heads, each shared by heads / kv_heads query heads.
    pub kv_heads: i64,
    /// Features of a head, even, at most 512.
    pub head_width: i64,
    /// Features of a head that rotary positions turn; 0 for none.
    pub turning: i64,
    /// Of one map `qkv`: query, key and value of the first head, then of the second; otherwise all queries, all keys, all values.
    pub by_head: bool,
    /// Both branches of a block read its input.
    pub parallel: bool,
    /// Of the MLP.
    pub activation: Activation,
    /// `[V, D]`, float32.
    pub embedding: Tensor,
    /// Learned positions `[context, D]`, float32.
    pub positions: Option<Tensor>,
    /// After the last block.
    pub norm: Norm,
    /// Logits.
    pub head: Linear,
    /// Type of the activations, keys and values: bfloat16 or float32.
    pub kind: Kind,
}

/// Keys and values of sequences, of one [`Network`]'s shape.
#[derive(Debug)]
pub struct Cache {
    /// `[2·L, slots, K · words of a head]`
    words: Tensor,
    kind: Kind,
    slots: i64,
    columns: i64,
    kv_heads: i64,
}

/// Tokens of any sequences; those of one stand in the order of their places, and what precedes the first is in the cache.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// Token ids.
    pub ids: &'a [i64],
    /// Which sequence of the cache.
    pub slots: &'a [i64],
    /// Place in the sequence, from 0.
    pub places: &'a [i64],
    /// Cosine and sine of each token, `[N, turning / 2]` float32, where positions are rotary.
    pub tables: Option<(&'a Tensor, &'a Tensor)>,
}

impl Cache {
    /// Room for `slots` sequences of `places` tokens. The memory is not touched before it is written.
    pub fn new(network: &Network, slots: i64, places: i64) -> Result<Cache, NativeError> {
        let columns = (places + 15) / 16 * 16;
        let head = network.head_words(columns)?;
        let size = [2 * network.blocks.len() as i64, slots, network.kv_heads * head];
        let words = Tensor::f_empty(size, (Kind::Int, Device::Cpu)).map_err(|e| NativeError::Torch(e.to_string()))?;
        Ok(Cache { words, kind: network.kind(), slots, columns, kv_heads: network.kv_heads })
    }

    /// Makes the first `places` tokens of sequence `to` those of sequence `from`.
    pub fn copy(&mut self, from: i64, to: i64, places: i64) {
        let head = self.words.size()[2] / self.kv_heads;
        // Keys stand by sixteen places and values by one or two: a beginning of a head's words holds a beginning of its places.
        let words = head / self.columns * ((places + 15) / 16 * 16);
        let of = |slot: i64| self.words.select(1, slot).view([-1, self.kv_heads, head]).narrow(2, 0, words);
        of(to).copy_(&of(from));
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawNorm {
    weight: *const f32,
    bias: *const f32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawLinear {
    words: *const u32,
    bias: *const f32,
    k: i64,
    n: i64,
    eights: EightsMatrix,
}

#[repr(C)]
struct RawBlock {
    norm1: RawNorm,
    norm2: RawNorm,
    q_norm: RawNorm,
    k_norm: RawNorm,
    qkv: [RawLinear; 3],
    out: RawLinear,
    gate: RawLinear,
    up: RawLinear,
    down: RawLinear,
    scale: f32,
    window: i64,
}

#[repr(C)]
struct RawDecode {
    blocks: *const RawBlock,
    layers: i64,
    width: i64,
    heads: i64,
    kv_heads: i64,
    head: i64,
    turning: i64,
    by_head: c_int,
    parallel: c_int,
    activation: c_int,
    embedding: *const f32,
    positions: *const f32,
    norm: RawNorm,
    logits: RawLinear,
    cache: *mut u32,
    slots: i64,
    columns: i64,
    tokens: i64,
    ids: *const i64,
    slot: *const i64,
    place: *const i64,
    cos: *const f32,
    sin: *const f32,
    wanted: i64,
    rows: *const i64,
    out: *mut f32,
}

const NO_NORM: RawNorm = RawNorm { weight: null(), bias: null(), eps: 0.0 };
const NO_LINEAR: RawLinear = RawLinear { words: null(), bias: null(), k: 0, n: 0, eights: EightsMatrix::NONE };

impl Network {
    /// The type of its activations.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `decode_words` of decode.h.
    fn head_words(&self, columns: i64) -> Result<i64, NativeError> {
        Ok(columns / kernels_of(self.kind())?.per * ((self.head_width + 15) / 16 * 16))
    }

    /// Passes the tokens through the network, writes their keys and values to the cache, and puts the logits of those in `wanted` (each once) into `logits`,
    /// `[wanted, V]` row by row.
    pub fn feed(&self, cache: &mut Cache, tokens: Tokens<'_>, wanted: &[i64], logits: &mut Vec<f32>) -> Result<(), NativeError> {
        let n = tokens.ids.len();
        let (width, vocabulary) = (self.embedding.size()[1], self.head.weight.sizes().1);
        let below = |list: &[i64], end: i64| list.iter().all(|i| (0..end).contains(i));
        let lengths_agree = tokens.slots.len() == n && tokens.places.len() == n;
        if !lengths_agree || !below(tokens.slots, cache.slots) || !below(tokens.places, cache.columns) || !below(wanted, n as i64) {
            return Err(wrong("tokens", format!("places or slots outside a cache of {} × {}", cache.slots, cache.columns)));
        }
        if self.head_width % 2 != 0
            || !(1..=512).contains(&self.head_width)
            || self.heads % self.kv_heads != 0
            || self.turning > self.head_width
        {
            return Err(wrong("heads", format!("{}/{} of {}: even features up to 512", self.heads, self.kv_heads, self.head_width)));
        }
        let known = self.positions.as_ref().map_or(i64::MAX, |p| p.size()[0]);
        if !below(tokens.ids, self.embedding.size()[0]) || !below(tokens.places, known) {
            return Err(wrong("tokens", "an id outside the vocabulary or a place outside the context".into()));
        }
        if self.turning > 0 {
            let wanted = [n as i64, self.turning / 2];
            let fine = |t: &Tensor| t.size() == wanted && t.kind() == Kind::Float && t.is_contiguous() && t.device() == Device::Cpu;
            if !tokens.tables.is_some_and(|(cos, sin)| fine(cos) && fine(sin)) {
                return Err(wrong("tables", format!("not {wanted:?} contiguous float32")));
            }
        }
        if wanted.len() > n {
            return Err(wrong("wanted", format!("{} of {n} tokens", wanted.len())));
        }
        self.check_blocks()?;
        let blocks = self.blocks.iter().map(|b| self.block(b)).collect::<Result<Vec<_>, _>>()?;
        let size = 2 * blocks.len() as i64 * cache.slots * self.kv_heads * self.head_words(cache.columns)?;
        if cache.words.numel() as i64 != size || cache.kv_heads != self.kv_heads || cache.kind != self.kind() {
            return Err(wrong("cache", "of another network".into()));
        }
        logits.resize(wanted.len() * vocabulary as usize, 0.0);
        if n == 0 {
            return Ok(());
        }
        let _call = Range::operator(c"rlhf::decode");
        let decode = RawDecode {
            blocks: blocks.as_ptr(),
            layers: blocks.len() as i64,
            width,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head: self.head_width,
            turning: self.turning,
            by_head: c_int::from(self.by_head),
            parallel: c_int::from(self.parallel),
            activation: self.activation as c_int,
            embedding: floats(&self.embedding, &[self.embedding.size()[0], width])?,
            positions: self.positions.as_ref().map_or(Ok(null()), |p| floats(p, &[p.size()[0], width]))?,
            norm: norm(&self.norm, width)?,
            logits: self.linear(&self.head, width, vocabulary)?,
            cache: cache.words.data_ptr().cast(),
            slots: cache.slots,
            columns: cache.columns,
            tokens: n as i64,
            ids: tokens.ids.as_ptr(),
            slot: tokens.slots.as_ptr(),
            place: tokens.places.as_ptr(),
            cos: tokens.tables.map_or(null(), |(cos, _)| cos.data_ptr().cast_const().cast()),
            sin: tokens.tables.map_or(null(), |(_, sin)| sin.data_ptr().cast_const().cast()),
            wanted: wanted.len() as i64,
            rows: wanted.as_ptr(),
            out: logits.as_mut_ptr(),
        };
        let pass = kernels_of(self.kind())?.decode.ok_or_else(|| absent(self.kind()))?;
        // SAFETY: shapes, types, ids, places and slots were checked; all that the pointers name outlives the call; the cache is borrowed mutably.
        match unsafe { pass((&raw const decode).cast(), tch::get_num_threads()) } {
            0 => Ok(()),
            _ => Err(wrong("tokens", format!("no memory for {n} of them"))),
        }
    }

    /// Buffers are made for the first block's MLP, and rows rounded once for all maps that read them.
    fn check_blocks(&self) -> Result<(), NativeError> {
        let inner = |b: &Block| b.up.weight.sizes().1;
        let of_one_layout = |maps: &[Linear]| maps.windows(2).all(|pair| discriminant(&pair[0].weight) == discriminant(&pair[1].weight));
        match self.blocks.first() {
            None => Err(wrong("blocks", "none".into())),
            Some(first) if self.blocks.iter().any(|b| inner(b) != inner(first)) => Err(wrong("up", "MLPs of different widths".into())),
            Some(_) if !self.blocks.iter().all(|b| of_one_layout(&b.qkv)) => Err(wrong("qkv", "maps of different layouts".into())),
            Some(_) => Ok(()),
        }
    }

    fn block(&self, b: &Block) -> Result<RawBlock, NativeError> {
        let (width, q, kv) = (self.embedding.size()[1], self.heads * self.head_width, self.kv_heads * self.head_width);
        let mut qkv = [NO_LINEAR; 3];
        let outputs: &[i64] = if b.qkv.len() == 1 { &[q + 2 * kv] } else { &[q, kv, kv] };
        if b.qkv.len() != outputs.len() {
            return Err(wrong("qkv", format!("{} maps instead of one or three", b.qkv.len())));
        }
        for (raw, (map, &n)) in qkv.iter_mut().zip(b.qkv.iter().zip(outputs)) {
            *raw = self.linear(map, width, n)?;
        }
        let inner = b.up.weight.sizes().1;
        if b.gate.as_ref().is_some_and(|g| discriminant(&g.weight) != discriminant(&b.up.weight)) {
            return Err(wrong("gate", "of another layout than the map beside it".into()));
        }
        let head_norm = |pick: fn(&(Norm, Norm)) -> &Norm| b.qk_norm.as_ref().map_or(Ok(NO_NORM), |n| norm(pick(n), self.head_width));
        Ok(RawBlock {
            norm1: norm(&b.norm1, width)?,
            norm2: norm(&b.norm2, width)?,
            q_norm: head_norm(|n| &n.0)?,
            k_norm: head_norm(|n| &n.1)?,
            qkv,
            out: self.linear(&b.out, q, width)?,
            gate: b.gate.as_ref().map_or(Ok(NO_LINEAR), |g| self.linear(g, width, inner))?,
            up: self.linear(&b.up, width, inner)?,
            down: self.linear(&b.down, inner, width)?,
            scale: b.scale as f32,
            window: b.window,
        })
    }

    fn linear(&self, l: &Linear, k: i64, n: i64) -> Result<RawLinear, NativeError> {
        let (rows, columns) = l.weight.sizes();
        if (rows, columns) != (k, n) || k % 2 != 0 {
            return Err(wrong("weight", format!("[{rows}, {columns}] instead of [{k}, {n}] with an even {k}")));
        }
        let (words, eights) = match &l.weight {
            Weight::Packed(packed) if packed.kind() == self.kind => (packed.words(), EightsMatrix::NONE),
            Weight::Packed(packed) => return Err(wrong("weight", format!("of {:?} instead of {:?}", packed.kind(), self.kind))),
            Weight::Eights(quantised) => {
                let eights = quantised.eights().filter(|_| multiplies_bytes());
                (
                    null(),
                    eights
                        .ok_or_else(|| wrong("weight", format!("{:?}: not for this pass, or not on this processor", quantised.bits())))?,
                )
            }
        };
        let bias = l.bias.as_ref().map_or(Ok(null()), |b| floats(b, &[n]))?;
        Ok(RawLinear { words, bias, k, n, eights })
    }
}

fn norm(n: &Norm, width: i64) -> Result<RawNorm, NativeError> {
    let bias = n.bias.as_ref().map_or(Ok(null()), |b| floats(b, &[width]))?;
    Ok(RawNorm { weight: floats(&n.weight, &[width])?, bias, eps: n.eps as f32 })
}

fn floats(t: &Tensor, shape: &[i64]) -> Result<*const f32, NativeError> {
    if t.size() != shape || t.kind() != Kind::Float || !t.is_contiguous() || t.device() != Device::Cpu {
        return Err(wrong("weight", format!("{:?} of {:?}, instead of contiguous {shape:?} float32", t.size(), t.kind())));
    }
    Ok(t.data_ptr().cast_const().cast())
}

fn wrong(what: &'static str, detail: String) -> NativeError {
    NativeError::Argument { what, detail }
}
