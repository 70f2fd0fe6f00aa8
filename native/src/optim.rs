//! Multi-tensor kernels for the optimiser.

use crate::dense::{ptr, take};
use crate::{NativeError, check};
use std::ffi::{c_char, c_int, c_void};
use tch::{Device, Kind, Tensor};

type TensorPtr = *const c_void;

unsafe extern "C" {
    fn rlhf_fused_adamw(
        params: *const TensorPtr,
        grads: *const TensorPtr,
        exp_avgs: *const TensorPtr,
        exp_avg_sqs: *const TensorPtr,
        steps: *const TensorPtr,
        n: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        grad_scale: f64,
    ) -> *mut c_char;
    fn rlhf_adamw8_numbers(sign: c_int, to: *mut f32);
    fn rlhf_adamw8_zero(sign: c_int) -> c_int;
    fn rlhf_adamw8(
        n: i64,
        params: *mut f32,
        grads: *const f32,
        codes1: *mut u8,
        scales1: *mut f32,
        codes2: *mut u8,
        scales2: *mut f32,
        step: f64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        grad_scale: f64,
        threads: c_int,
    );
    fn rlhf_global_norm(tensors: *const TensorPtr, n: usize, out: *mut f64) -> *mut c_char;
    fn rlhf_scale(tensors: *const TensorPtr, n: usize, factor: f64) -> *mut c_char;
    fn rlhf_lasting_zeros(like: TensorPtr, out: *mut *mut c_void) -> *mut c_char;
    fn rlhf_drop_gradients(tensors: *const TensorPtr, n: usize) -> *mut c_char;
}

/// The numbers of one AdamW step (Loshchilov and Hutter, arXiv 1711.05101), as PyTorch names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay: parameters shrink by `lr * weight_decay`.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Gradients are divided by this before use, in the same pass; 1 leaves them alone. Clipping to `c` costs nothing more
    /// with `grad_scale = max(1, norm / c)`.
    pub grad_scale: f64,
}

impl Default for AdamWStep {
    fn default() -> Self {
        AdamWStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, weight_decay: 0.0, eps: 1e-8, grad_scale: 1.0 }
    }
}

/// One fused AdamW update in place. All lists have one tensor per parameter; `steps` holds float scalars (shape `[]`) that are raised
/// by one before the update, so they start at 0. Parameters with other weight decay or rate go into a second call.
///
/// The moments and `steps` must live on the device of the parameters and be float32 for float32 parameters.
pub fn fused_adamw(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    steps: &[Tensor],
    hyper: &AdamWStep,
) -> Result<(), NativeError> {
    for (what, list) in [("params", params), ("grads", grads), ("exp_avgs", exp_avgs), ("exp_avg_sqs", exp_avg_sqs), ("steps", steps)] {
        if list.len() != params.len() {
            return Err(NativeError::Length { what, got: list.len(), want: params.len() });
        }
        defined(what, list)?;
    }
    let (p, g, m, v, s) = (ptrs(params), ptrs(grads), ptrs(exp_avgs), ptrs(exp_avg_sqs), ptrs(steps));
    // SAFETY: the five arrays hold `params.len()` pointers to live, defined tensors each; the shim only reads the arrays.
    check(unsafe {
        rlhf_fused_adamw(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            s.as_ptr(),
            params.len(),
            hyper.lr,
            hyper.beta1,
            hyper.beta2,
            hyper.weight_decay,
            hyper.eps,
            hyper.grad_scale,
        )
    })
}

/// Values of a moment that share a scale where moments are bytes.
pub const BYTES_BLOCK: i64 = 256;

/// A moment as bytes, on the CPU: value i is `numbers[codes[i]] * scales[i / 256]` with the [`byte_numbers`] of its kind.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    /// `u8`, of the parameter's shape.
    pub codes: &'a Tensor,
    /// Float32, one for each [`BYTES_BLOCK`] values.
    pub scales: &'a Tensor,
}

impl Bytes<'_> {
    fn check(&self, what: &'static str, n: i64) -> Result<(), NativeError> {
        let fine = |t: &Tensor, kind, n| t.kind() == kind && t.numel() as i64 == n && t.device() == Device::Cpu && t.is_contiguous();
        if fine(self.codes, Kind::Uint8, n) && fine(self.scales, Kind::Float, (n + BYTES_BLOCK - 1) / BYTES_BLOCK) {
            return Ok(());
        }
        Err(NativeError::Argument { what, detail: format!("not {n} contiguous bytes with a float32 scale for {BYTES_BLOCK}, on the CPU") })
    }
}

/// The 256 numbers that codes stand for, in ascending order: of the first moment, which has signs, or of the second.
pub fn byte_numbers(sign: bool) -> [f32; 256] {
    let mut numbers = [0.0; 256];
    // SAFETY: `numbers` has room for 256.
    unsafe { rlhf_adamw8_numbers(c_int::from(sign), numbers.as_mut_ptr()) };
    numbers
}

/// The code of 0.
pub fn byte_zero(sign: bool) -> u8 {
    // SAFETY: works out a number.
    unsafe { rlhf_adamw8_zero(c_int::from(sign)) as u8 }
}

/// One AdamW update in place with moments of bytes (arXiv 2110.02861), as bitsandbytes' `AdamW8bit` does it: see `cpp/adamw8.cpp`. `step` counts from 1. Float32 on the
/// CPU; the same numbers whatever the number of threads.
pub fn adamw_in_bytes(
    param: &mut Tensor,
    grad: &Tensor,
    first: Bytes<'_>,
    second: Bytes<'_>,
    step: u64,
    hyper: &AdamWStep,
) -> Result<(), NativeError> {
    let n = param.numel() as i64;
    let fine = |t: &Tensor| t.kind() == Kind::Float && t.device() == Device::Cpu && t.is_contiguous() && t.numel() as i64 == n;
    if !fine(param) || !fine(grad) || step == 0 {
        return Err(NativeError::Argument {
            what: "param",
            detail: "it and its gradient: contiguous float32 on the CPU, and steps from 1 on".into(),
        });
    }
    first.check("first moment", n)?;
    second.check("second moment", n)?;
    // SAFETY: all tensors are contiguous, of the checked types and sizes, and live.
    unsafe {
        rlhf_adamw8(
            n,
            param.data_ptr().cast(),
            grad.data_ptr().cast_const().cast(),
            first.codes.data_ptr().cast(),
            first.scales.data_ptr().cast(),
            second.codes.data_ptr().cast(),
            second.scales.data_ptr().cast(),
            step as f64,
            hyper.lr,
            hyper.beta1,
            hyper.beta2,
            hyper.weight_decay,
            hyper.eps,
            hyper.grad_scale,
            tch::get_num_threads(),
        );
    }
    Ok(())
}

/// L2 norm over all elements of all gradients; NaN or infinite when one of them is. Zero for an empty list.
pub fn global_grad_norm(grads: &[Tensor]) -> Result<f64, NativeError> {
    defined("grads", grads)?;
    let list = ptrs(grads);
    let mut out = 0.0;
    // SAFETY: `list` holds `grads.len()` pointers to live, defined tensors and `out` outlives the call.
    check(unsafe { rlhf_global_norm(list.as_ptr(), grads.len(), &mut out) })?;
    Ok(out)
}

/// Scales the gradients in place so that their global norm is at most `max_norm`, and returns the norm before.
/// `max_norm <= 0` only measures. A norm that is not finite leaves the gradients as they are: the caller skips the step.
pub fn clip(grads: &[Tensor], max_norm: f64) -> Result<f64, NativeError> {
    let norm = global_grad_norm(grads)?;
    if max_norm > 0.0 && norm.is_finite() && norm > max_norm {
        scale(grads, max_norm / norm)?;
    }
    Ok(norm)
}

/// Zeros of a tensor's shape, layout, type and device that live as long as it does, as moments do. Large ones on the CPU have memory of their own: among tensors that come and go
/// they would cut the room of those into pieces. It is taken page by page when it is written.
pub fn lasting_zeros(like: &Tensor) -> Result<Tensor, NativeError> {
    // SAFETY: `like` is live, and only looked at.
    take(|out| unsafe { rlhf_lasting_zeros(ptr(like), out) })
}

/// Multiplies every tensor by `factor`, in place.
pub fn scale(tensors: &[Tensor], factor: f64) -> Result<(), NativeError> {
    defined("tensors", tensors)?;
    let list = ptrs(tensors);
    // SAFETY: `list` holds `tensors.len()` pointers to live, defined tensors.
    check(unsafe { rlhf_scale(list.as_ptr(), tensors.len(), factor) })
}

/// Forgets the gradients of these leaves: undefined afterwards, not zero. The next backward pass then keeps what it computes instead of adding it to zeros, and until it
/// comes there no gradients take memory.
pub fn drop_gradients(tensors: &[Tensor]) -> Result<(), NativeError> {
    let list = ptrs(tensors);
    // SAFETY: `list` holds `tensors.len()` pointers to live tensors.
    check(unsafe { rlhf_drop_gradients(list.as_ptr(), tensors.len()) })
}

fn ptrs(tensors: &[Tensor]) -> Vec<TensorPtr> {
    tensors.iter().map(|t| t.as_ptr() as TensorPtr).collect()
}

fn defined(what: &'static str, tensors: &[Tensor]) -> Result<(), NativeError> {
    match tensors.iter().position(|t| !t.defined()) {
        Some(index) => Err(NativeError::Undefined { what, index }),
        None => Ok(()),
    }
}
