//! Work on rows in memory that libtorch does in several passes, in one: CPU only.

use crate::{NativeError, Range, check};
use std::ffi::{c_char, c_int, c_void};
use tch::{Device, Kind, Tensor};

unsafe extern "C" {
    fn rlhf_cross_entropy(
        logits: *mut c_void,
        is_bf16: c_int,
        targets: *const i64,
        rows: i64,
        vocab: i64,
        stride: i64,
        ignore: i64,
        scale: f32,
        threads: c_int,
    ) -> f64;
    fn rlhf_token_log_probs(
        logits: *const c_void,
        targets: *const c_void,
        factor: f64,
        log_probs: *mut *mut c_void,
        entropy: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_exponentials(x: *mut f32, rows: i64, n: i64, factor: f32, runs: *mut f32, threads: c_int);
}

/// Softmax cross-entropy, forward and backward at once and in place. `logits` `[N, V]` (float32 or bfloat16) become
/// `scale · (softmax(logits) − onehot(target))`, the gradient of `scale · Σ nll`; rows whose target is `ignore` become 0. Returns Σ nll in nats.
///
/// Exponentials, sums and the loss are float32 or better in both precisions. Where the loss is not finite the gradient has no meaning.
pub fn cross_entropy_in_place(logits: &mut Tensor, targets: &Tensor, ignore: i64, scale: f64) -> Result<f64, NativeError> {
    let shape = logits.size();
    let &[rows, vocab] = shape.as_slice() else { return Err(wrong("logits", format!("{shape:?} instead of [N, V]"))) };
    if !matches!(logits.kind(), Kind::Float | Kind::BFloat16) || logits.device() != Device::Cpu || logits.stride()[1] != 1 {
        return Err(wrong("logits", "not rows of float32 or bfloat16 on the CPU".into()));
    }
    if targets.size() != [rows] || targets.kind() != Kind::Int64 || targets.device() != Device::Cpu || !targets.is_contiguous() {
        return Err(wrong("targets", format!("not {rows} contiguous int64 on the CPU")));
    }
    if rows == 0 {
        return Ok(0.0);
    }
    let at = targets.data_ptr().cast::<i64>().cast_const();
    // SAFETY: `targets` is contiguous int64 of `rows` elements and lives through the call.
    let ids = unsafe { std::slice::from_raw_parts(at, rows as usize) };
    if let Some(id) = ids.iter().find(|&&id| id != ignore && !(0..vocab).contains(&id)) {
        return Err(wrong("targets", format!("hold {id}, the vocabulary has {vocab}")));
    }
    let _call = Range::operator(c"rlhf::cross_entropy");
    // SAFETY: shapes, types and layouts were checked above; `logits` is borrowed mutably and nobody else writes through it meanwhile.
    Ok(unsafe {
        rlhf_cross_entropy(
            logits.data_ptr(),
            c_int::from(logits.kind() == Kind::BFloat16),
            at,
            rows,
            vocab,
            logits.stride()[0],
            ignore,
            scale as f32,
            tch::get_num_threads(),
        )
    })
}

/// log softmax(factor · logits)\[target\] and the entropy of that softmax in nats, both `[N]` float32, with autograd. `logits` `[N, V]` float32 or bfloat16 on
/// the CPU, `targets` `[N]` int64. Exponentials and sums are float32 or better; for the backward pass nothing but the logits and two numbers a row are kept.
///
/// d log p / d logit = factor · (onehot − p);  dH / d logit = −factor · p · (log p + H)
pub fn token_log_probs(logits: &Tensor, targets: &Tensor, factor: f64) -> Result<(Tensor, Tensor), NativeError> {
    let _call = Range::operator(c"rlhf::token_log_probs");
    let (mut log_probs, mut entropy) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: pointers of live tensors, which the shim checks for shape, type and range.
    check(unsafe { rlhf_token_log_probs(logits.as_ptr() as _, targets.as_ptr() as _, factor, &mut log_probs, &mut entropy) })?;
    // SAFETY: without an error the shim has stored two tensors of its own, which tch now owns.
    Ok(unsafe { (Tensor::from_ptr(log_probs.cast()), Tensor::from_ptr(entropy.cast())) })
}

/// Numbers that [`exponentials`] sums at a time.
pub const RUN: usize = 256;

/// Rows of `n` numbers become e^(factor · (x − the row's largest)), the weights of a softmax at temperature 1 / factor, to 2 ulp; weights below e^-87 are
/// e^-87. `runs` is extended, row by row, by the sums of [`RUN`] of them at a time, ⌈n / RUN⌉ a row.
///
/// Panics where the numbers are no whole rows.
pub fn exponentials(x: &mut [f32], n: usize, factor: f64, runs: &mut Vec<f32>) {
    assert!(n > 0 && x.len().is_multiple_of(n), "{} numbers are no rows of {n}", x.len());
    let rows = x.len() / n;
    let start = runs.len();
    runs.resize(start + rows * n.div_ceil(RUN), 0.0);
    let _call = Range::operator(c"rlhf::exponentials");
    // SAFETY: `x` holds `rows` rows of `n`, and `runs` from `start` on a number for each of their runs.
    unsafe {
        let runs = runs.as_mut_ptr().add(start);
        rlhf_exponentials(x.as_mut_ptr(), rows as i64, n as i64, factor as f32, runs, tch::get_num_threads());
    }
}

fn wrong(what: &'static str, detail: String) -> NativeError {
    NativeError::Argument { what, detail }
}
