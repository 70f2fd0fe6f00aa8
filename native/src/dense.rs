//! Products and attention of activations in bfloat16 on processors with AVX512-BF16, by AMX where they have it too, and in float32 on processors with AVX2 or AVX-512: at a transformer's shapes up to
//! several times as fast as libtorch's (docs/performance.md).
//!
//! Products are of the activations' type, their sums float32. [`linear`], [`mlp`] and [`attend`] take float32 weights, work with autograd, and give weights and
//! biases float32 gradients that were never rounded. [`Packed`] is the bare product, for weights that are used again and again.

#[cfg(target_arch = "x86_64")]
use crate::cpu;
use crate::{NativeError, Range, check};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null;
use tch::{Device, Kind, Tensor};

/// Does this processor have what the functions here need for activations of this type? Elsewhere they must not be called.
pub fn supported(kind: Kind) -> bool {
    #[cfg(target_arch = "x86_64")]
    match kind {
        Kind::BFloat16 => multiplies_pairs() || cfg!(emulated),
        Kind::Float => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        _ => false,
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        cfg!(emulated) && kind == Kind::BFloat16
    }
}

/// The instructions that the kernels for this type are made of: AMX or AVX512-BF16, AVX-512 or AVX2; none without kernels.
pub fn instructions(kind: Kind) -> Option<&'static str> {
    // SAFETY: where there are kernels their name is a string of the static library.
    kernels_of(kind).ok().map(|kernels| unsafe { CStr::from_ptr(kernels.name) }.to_str().expect("a name in ASCII"))
}

/// Does this processor multiply bfloat16 faster than float32? With AMX it does, many times; AMD's AVX512-BF16 does twice the work of float32 in a cycle, and Intel's half of
/// it (measured on one of each: docs/performance.md).
pub fn prefers_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it asks the processor and the system.
    return multiplies_pairs() && (cpu::has("AuthenticAMD") || unsafe { rlhf_has_tiles() } != 0);
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// AVX512-BF16, and what of AVX-512 the kernels use besides.
#[cfg(target_arch = "x86_64")]
fn multiplies_pairs() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// A non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU in its tanh form.
    GeluTanh = 1,
    /// GELU with the error function.
    Gelu = 2,
    /// max(x, 0)
    Relu = 3,
    /// x · sigmoid(x)
    Silu = 4,
}

/// A linear map: `weight` `[out, in]`, or `[in, out]` if `in_out`; float32, both sizes even.
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// Float32, contiguous.
    pub weight: &'a Tensor,
    /// `[out]`, float32.
    pub bias: Option<&'a Tensor>,
    /// Orientation of the weight.
    pub in_out: bool,
}

/// A layer norm, (x − mean) / √(variance + eps) · weight + bias over the last dimension.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// `[D]`, float32.
    pub weight: &'a Tensor,
    /// `[D]`, float32.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
}

/// Heads within rows: how [`attend`] finds queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub heads: i64,
    /// Key-value heads, each shared by heads / kv_heads query heads.
    pub kv_heads: i64,
    /// Features of a head, even, at most 512.
    pub width: i64,
    /// Tokens that a token sees, itself among them; 0 for all.
    pub window: i64,
    /// Factor on the scores.
    pub scale: f64,
    /// Of one tensor: query, key and value of the first head, then of the second; otherwise all queries, all keys, all values.
    pub by_head: bool,
}

type Ptr = *const c_void;

unsafe extern "C" {
    fn rlhf_layer_norm(x: Ptr, norm: *const Ptr, eps: f64, out: *mut *mut c_void) -> *mut c_char;
    fn rlhf_linear(x: Ptr, norm: *const Ptr, eps: f64, w: Ptr, b: Ptr, in_out: c_int, out: *mut *mut c_void) -> *mut c_char;
    fn rlhf_mlp(
        x: Ptr,
        norm: *const Ptr,
        eps: f64,
        w1: Ptr,
        b1: Ptr,
        w2: Ptr,
        b2: Ptr,
        in_out: c_int,
        activation: c_int,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_attend(
        qkv: *const Ptr,
        parts: usize,
        tables: *const Ptr,
        bounds: Ptr,
        segments: Ptr,
        heads: i64,
        kv_heads: i64,
        width: i64,
        turning: i64,
        window: i64,
        scale: f64,
        by_head: c_int,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_bf16_kernels() -> *const Kernels;
    fn rlhf_f32_kernels() -> *const Kernels;
    #[cfg(target_arch = "x86_64")]
    fn rlhf_has_tiles() -> c_int;
}

/// `rows.h`: the kernels for activations of one type. All null where they were built for another kind of processor.
#[repr(C)]
pub(crate) struct Kernels {
    /// Numbers of a word.
    pub per: i64,
    /// Columns of a tile.
    _tile: i64,
    /// Of the instructions.
    name: *const c_char,
    room: Option<unsafe extern "C" fn(*const Matrix) -> i64>,
    pack: Option<unsafe extern "C" fn(*const Matrix, *mut u32, *mut f32, c_int)>,
    product: Option<unsafe extern "C" fn(*const Product, *const Out, c_int)>,
    attention: *const c_void,
    attention_backward: *const c_void,
    pub decode: Option<unsafe extern "C" fn(*const c_void, c_int) -> c_int>,
}

// SAFETY: a constant table of functions.
unsafe impl Sync for Kernels {}

/// Those of a type, where this processor can run them.
pub(crate) fn kernels_of(kind: Kind) -> Result<&'static Kernels, NativeError> {
    if !supported(kind) {
        return Err(wrong("activations", format!("{kind:?}, for which there are no kernels here")));
    }
    // SAFETY: immutable tables of the static library.
    Ok(unsafe { &*(if kind == Kind::Float { rlhf_f32_kernels() } else { rlhf_bf16_kernels() }) })
}

/// x `[.., D]` under the norm, on the CPU. Of bfloat16 the gradients of weight and bias are summed in float32; libtorch's operator sums them in bfloat16.
pub fn layer_norm(x: &Tensor, norm: Norm<'_>) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::layer_norm");
    let pair = [ptr(norm.weight), ptr(norm.bias)];
    // SAFETY: the pointers are of live tensors, which the shim checks for shape and type.
    take(|out| unsafe { rlhf_layer_norm(ptr(x), pair.as_ptr(), norm.eps, out) })
}

/// y = x·W + b: x `[N, in]` to `[N, out]`. `norm`: x is read under it; what comes of that is not kept for the backward pass but worked out again.
pub fn linear(x: &Tensor, norm: Option<Norm<'_>>, map: Map<'_>) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::linear");
    let (norm, eps) = parts(norm);
    let norm = norm.as_ref().map_or(null(), |pair| pair.as_ptr());
    // SAFETY: the pointers are of live tensors, which the shim checks for shape and type.
    take(|out| unsafe { rlhf_linear(ptr(x), norm, eps, ptr(map.weight), opt(map.bias), c_int::from(map.in_out), out) })
}

/// y = activation(x·W1 + b1)·W2 + b2: x `[N, D]` to `[N, D]`, under a norm as in [`linear`]. Keeps x and the inner values before the activation for the backward
/// pass, nothing else.
pub fn mlp(x: &Tensor, norm: Option<Norm<'_>>, up: Map<'_>, down: Map<'_>, activation: Activation) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::mlp");
    debug_assert_eq!(up.in_out, down.in_out);
    let (norm, eps) = parts(norm);
    let norm = norm.as_ref().map_or(null(), |pair| pair.as_ptr());
    let (w1, b1, w2, b2) = (ptr(up.weight), opt(up.bias), ptr(down.weight), opt(down.bias));
    // SAFETY: as above.
    take(|out| unsafe { rlhf_mlp(ptr(x), norm, eps, w1, b1, w2, b2, c_int::from(up.in_out), activation as c_int, out) })
}

/// Weight and bias, and eps.
fn parts(norm: Option<Norm<'_>>) -> (Option<[Ptr; 2]>, f64) {
    (norm.map(|n| [ptr(n.weight), ptr(n.bias)]), norm.map_or(0.0, |n| n.eps))
}

/// Causal attention over packed sequences (FlashAttention, arXiv 2205.14135). `qkv`: one tensor `[N, (heads + 2·kv_heads)·width]` or three.
///
/// `segments` (int64): the first token of each run of tokens, and N. `bounds` (int64): the first segment of each group, and the number of segments. A group's
/// first segment stands alone; each further one continues it and does not see the others. `tables`: cosine and sine `[N, R/2]` (float32) that turn the first R
/// features of queries and keys (feature i with i + R/2). Result `[N, heads·width]`.
pub fn attend(
    qkv: &[&Tensor],
    heads: Heads,
    tables: Option<(&Tensor, &Tensor)>,
    bounds: &Tensor,
    segments: &Tensor,
) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::attend");
    let list: Vec<Ptr> = qkv.iter().map(|t| ptr(t)).collect();
    let pair = tables.map(|(cos, sin)| [ptr(cos), ptr(sin)]);
    let turning = tables.map_or(0, |(cos, _)| 2 * cos.size().last().copied().unwrap_or(0));
    let h = heads;
    // SAFETY: the arrays hold pointers of live tensors, which the shim checks for shape, type and that the segments make up the tokens.
    take(|out| unsafe {
        rlhf_attend(
            list.as_ptr(),
            list.len(),
            pair.as_ref().map_or(null(), |p| p.as_ptr()),
            ptr(bounds),
            ptr(segments),
            h.heads,
            h.kv_heads,
            h.width,
            turning,
            h.window,
            h.scale,
            c_int::from(h.by_head),
            out,
        )
    })
}

pub(crate) fn ptr(t: &Tensor) -> Ptr {
    t.as_ptr() as Ptr
}

pub(crate) fn opt(t: Option<&Tensor>) -> Ptr {
    t.map_or(null(), ptr)
}

/// Calls a function of the shim that makes a tensor.
pub(crate) fn take(call: impl FnOnce(*mut *mut c_void) -> *mut c_char) -> Result<Tensor, NativeError> {
    let mut out = std::ptr::null_mut();
    check(call(&mut out))?;
    // SAFETY: without an error the shim has stored a tensor of its own, which tch now owns.
    Ok(unsafe { Tensor::from_ptr(out.cast()) })
}

/// `matmul.h`: what is packed.
#[repr(C)]
struct Matrix {
    w: *const c_void,
    is_bf16: c_int,
    along: c_int,
    activation: c_int,
    left: c_int,
    k: i64,
    n: i64,
    stride: i64,
}

/// `matmul.h`: what is multiplied.
#[repr(C)]
struct Product {
    m: i64,
    n: i64,
    k: i64,
    a: *const u32,
    stride: i64,
    tiled: c_int,
    b: *const u32,
}

/// `matmul.h`: where the sums go.
#[repr(C)]
struct Out {
    kind: c_int,
    activation: c_int,
    add: c_int,
    c: *mut c_void,
    stride: i64,
    bias: *const f32,
    inner: *mut c_void,
}

const PLAIN: c_int = 0;
const EXACT: c_int = 1;

/// A matrix `[k, n]` in the layout that products with rows of one type read: k is summed over.
#[derive(Debug)]
pub struct Packed {
    words: Tensor,
    kind: Kind,
    layout: Layout,
    k: i64,
    n: i64,
}

/// How a matrix lies in memory before it is packed, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Along,
    Across,
    Left,
}

impl Packed {
    /// Of `w` `[n, k]` with contiguous rows, float32 or of `kind`, for rows of `kind`.
    pub fn along(w: &Tensor, kind: Kind) -> Result<Packed, NativeError> {
        Packed::new(w, kind, Layout::Along)
    }

    /// Of `w` `[k, n]` with contiguous rows, float32 or of `kind`, for rows of `kind`.
    pub fn across(w: &Tensor, kind: Kind) -> Result<Packed, NativeError> {
        Packed::new(w, kind, Layout::Across)
    }

    /// Of `w` `[k, n]` likewise, for [`Packed::add_transposed`] to turn.
    pub fn left(w: &Tensor, kind: Kind) -> Result<Packed, NativeError> {
        Packed::new(w, kind, Layout::Left)
    }

    fn new(w: &Tensor, kind: Kind, layout: Layout) -> Result<Packed, NativeError> {
        let kernels = kernels_of(kind)?;
        let (shape, strides) = (w.size(), w.stride());
        let (&[rows, columns], &[stride, 1]) = (shape.as_slice(), strides.as_slice()) else {
            return Err(wrong("matrix", format!("shape {shape:?} with strides {strides:?}, instead of rows")));
        };
        if (w.kind() != Kind::Float && w.kind() != kind) || w.device() != Device::Cpu {
            return Err(wrong("matrix", format!("{:?} on {:?}, instead of float32 or {kind:?} on the CPU", w.kind(), w.device())));
        }
        let (k, n) = if layout == Layout::Along { (columns, rows) } else { (rows, columns) };
        let (along, left) = (c_int::from(layout == Layout::Along), c_int::from(layout == Layout::Left));
        let is_bf16 = c_int::from(w.kind() == Kind::BFloat16);
        let matrix = Matrix { w: w.data_ptr(), is_bf16, along, activation: 0, left, k, n, stride };
        let (room, pack) = (kernels.room.ok_or_else(|| absent(kind))?, kernels.pack.ok_or_else(|| absent(kind))?);
        // SAFETY: it reads the matrix's shape.
        let words = Tensor::empty([unsafe { room(&matrix) }], (Kind::Int, Device::Cpu));
        // SAFETY: the matrix's shape, strides and type were read from the tensor; `words` has the room that it takes.
        unsafe { pack(&matrix, words.data_ptr().cast(), std::ptr::null_mut(), tch::get_num_threads()) };
        Ok(Packed { words, kind, layout, k, n })
    }

    /// The type of the rows that it is multiplied with.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The size that products give their rows.
    pub fn columns(&self) -> i64 {
        self.n
    }

    /// The size that is summed over.
    pub(crate) fn rows(&self) -> i64 {
        self.k
    }

    /// The tiles.
    pub(crate) fn words(&self) -> *const u32 {
        self.words.data_ptr().cast_const().cast()
    }

    /// x·W + b: x `[m, k]` (an odd k rounded up by a column of 0) to `[m, n]` in `kind`, the rows' own or float32.
    pub fn multiply(&self, x: &Tensor, bias: Option<&Tensor>, kind: Kind) -> Result<Tensor, NativeError> {
        let out_kind = match kind {
            Kind::Float => EXACT,
            kind if kind == self.kind => PLAIN,
            _ => return Err(wrong("result", format!("{kind:?}"))),
        };
        let out = Tensor::empty([x.size()[0], self.n], (kind, Device::Cpu));
        self.product_into(x, bias, out_kind, &out)?;
        Ok(out)
    }

    /// x·W in the rows' type as rows of an even number of columns, which can be multiplied on: behind an odd n stands a column of 0. Each row begins at the start of a
    /// line of the cache.
    pub fn multiply_even(&self, x: &Tensor) -> Result<Tensor, NativeError> {
        let even = self.n + self.n % 2;
        let out = Tensor::empty([x.size()[0], (even + 31) / 32 * 32], (self.kind, Device::Cpu)).narrow(1, 0, even);
        if self.n % 2 == 1 {
            let _ = out.narrow(1, self.n, 1).zero_();
        }
        self.product_into(x, None, PLAIN, &out)?;
        Ok(out)
    }

    /// Into the first n columns of `out` `[m, n or more]`, of the type that `kind` says.
    fn product_into(&self, x: &Tensor, bias: Option<&Tensor>, kind: c_int, out: &Tensor) -> Result<(), NativeError> {
        let _call = Range::operator(c"rlhf::product");
        let kernels = kernels_of(self.kind)?;
        if self.layout == Layout::Left {
            return Err(wrong("matrix", "one that was packed to be turned".to_owned()));
        }
        let shape = x.size();
        let &[m, k] = shape.as_slice() else { return Err(wrong("rows", format!("{shape:?} instead of [m, k]"))) };
        let x = if x.stride()[1] == 1 && x.stride()[0] % kernels.per == 0 { x.shallow_clone() } else { x.contiguous() };
        if k < self.k || k > self.k + self.k % 2 || k % kernels.per != 0 || x.kind() != self.kind || x.device() != Device::Cpu {
            return Err(wrong("rows", format!("{shape:?} of {:?}, instead of rows of {} {:?}", x.kind(), self.k, self.kind)));
        }
        if let Some(b) = bias
            && (b.kind() != Kind::Float || b.size() != [self.n] || !b.is_contiguous())
        {
            return Err(wrong("bias", format!("{:?} of {:?}, instead of {} float32", b.size(), b.kind(), self.n)));
        }
        let bias = bias.map_or(null(), |b| b.data_ptr().cast_const().cast());
        let to = Out { kind, activation: 0, add: 0, c: out.data_ptr(), stride: out.stride()[0], bias, inner: std::ptr::null_mut() };
        let a = x.data_ptr().cast_const().cast();
        let inner = (self.k + kernels.per - 1) / kernels.per * kernels.per;
        let product = Product {
            m,
            n: self.n,
            k: inner,
            a,
            stride: x.stride()[0] / kernels.per,
            tiled: 0,
            b: self.words.data_ptr().cast_const().cast(),
        };
        let multiply = kernels.product.ok_or_else(|| absent(self.kind))?;
        // SAFETY: shapes and types were checked; `out` was made for the result.
        unsafe { multiply(&product, &to, tch::get_num_threads()) };
        Ok(())
    }

    /// sum += thisᵀ·other for two matrices of the same rows, packed [`Packed::left`] and [`Packed::across`]: `[k, m]` and `[k, n]` add to `[m, n]` float32.
    pub fn add_transposed(&self, other: &Packed, sum: &mut Tensor) -> Result<(), NativeError> {
        let _call = Range::operator(c"rlhf::product");
        let kernels = kernels_of(self.kind)?;
        if self.k != other.k
            || (self.layout == Layout::Left, other.layout) != (true, Layout::Across)
            || self.kind != other.kind
            || sum.size() != [self.n, other.n]
            || sum.kind() != Kind::Float
            || !sum.is_contiguous()
        {
            return Err(wrong("sum", format!("{:?} of {:?}, instead of {:?} float32", sum.size(), sum.kind(), [self.n, other.n])));
        }
        if self.k == 0 {
            return Ok(());
        }
        let out = Out { kind: EXACT, activation: 0, add: 1, c: sum.data_ptr(), stride: other.n, bias: null(), inner: std::ptr::null_mut() };
        let words = |p: &Packed| p.words.data_ptr().cast_const().cast();
        let product = Product { m: self.n, n: other.n, k: self.k, a: words(self), stride: 0, tiled: 1, b: words(other) };
        let multiply = kernels.product.ok_or_else(|| absent(self.kind))?;
        // SAFETY: shapes and types were checked; `sum` is borrowed mutably.
        unsafe { multiply(&product, &out, tch::get_num_threads()) };
        Ok(())
    }
}

pub(crate) fn absent(kind: Kind) -> NativeError {
    wrong("activations", format!("no kernels for {kind:?} in this build"))
}

fn wrong(what: &'static str, detail: String) -> NativeError {
    NativeError::Argument { what, detail }
}
