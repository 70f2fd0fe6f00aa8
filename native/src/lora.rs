//! Linear maps and MLPs with low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), where [`dense`](crate::dense) has kernels.
//!
//! y = x·W + b + s·(x·Aᵀ)·Bᵀ. W and b are frozen: only A, B and x have gradients, those of A and B float32 that were never rounded.

use crate::dense::{Activation, Map, opt, ptr, take};
use crate::{NativeError, Range};
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null;
use tch::Tensor;

/// A low-rank change s·B·A of a weight; float32, the rank even.
#[derive(Debug, Clone, Copy)]
pub struct Adapter<'a> {
    /// `[r, in]`
    pub a: &'a Tensor,
    /// `[out, r]`
    pub b: &'a Tensor,
    /// s
    pub scale: f64,
}

type Ptr = *const c_void;

unsafe extern "C" {
    fn rlhf_lora_linear(
        x: Ptr,
        dropped: Ptr,
        w: Ptr,
        bias: Ptr,
        a: Ptr,
        b: Ptr,
        scale: f64,
        in_out: c_int,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_lora_mlp(
        x: Ptr,
        first: *const Ptr,
        second: *const Ptr,
        scale: f64,
        in_out: c_int,
        activation: c_int,
        out: *mut *mut c_void,
    ) -> *mut c_char;
}

/// y = x·W + b + s·(z·Aᵀ)·Bᵀ: x `[N, in]` to `[N, out]`. `dropped` is z, x after the adapter's dropout; x itself where there is none.
pub fn linear(x: &Tensor, dropped: Option<&Tensor>, map: Map<'_>, adapter: Adapter<'_>) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::lora_linear");
    let dropped = dropped.map_or(null(), ptr);
    let (w, bias, a, b) = (ptr(map.weight), opt(map.bias), ptr(adapter.a), ptr(adapter.b));
    // SAFETY: the pointers are of live tensors, which the shim checks for shape and type.
    take(|out| unsafe { rlhf_lora_linear(ptr(x), dropped, w, bias, a, b, adapter.scale, c_int::from(map.in_out), out) })
}

/// An MLP both maps of which have an adapter of one scale: x `[N, D]` to `[N, D]`. Like [`dense::mlp`](crate::dense::mlp) it keeps the inner values
/// before the activation only.
pub fn mlp(x: &Tensor, up: (Map<'_>, Adapter<'_>), down: (Map<'_>, Adapter<'_>), activation: Activation) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::lora_mlp");
    debug_assert_eq!((up.0.in_out, up.1.scale), (down.0.in_out, down.1.scale));
    let list = |(map, adapter): (Map<'_>, Adapter<'_>)| [ptr(map.weight), opt(map.bias), ptr(adapter.a), ptr(adapter.b)];
    let (first, second) = (list(up), list(down));
    let in_out = c_int::from(up.0.in_out);
    // SAFETY: the arrays hold four pointers each, of live tensors (the second may be null), which the shim checks for shape and type.
    take(|out| unsafe { rlhf_lora_mlp(ptr(x), first.as_ptr(), second.as_ptr(), up.1.scale, in_out, activation as c_int, out) })
}
