//! Work on rows in memory that libtorch does in several passes, in one: CPU only.

use crate::{NativeError, Range};
use std::os::raw::{c_int, c_void};
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

fn wrong(what: &'static str, detail: String) -> NativeError {
    NativeError::Argument { what, detail }
}
