//! AdamW with moments of bytes (Dettmers et al. 2021, arXiv 2110.02861) as bitsandbytes' `AdamW8bit` has it: state `exp_avg_codes`, `exp_avg_scales`, `exp_avg_sq_codes`,
//! `exp_avg_sq_scales`. The formula is AdamW's (`adam`), on moments that are read from bytes before the step and rounded to bytes after it.

use super::{Hyper, Slot};
use crate::Error;
use data::config::Optim;
use native::{AdamWStep, BYTES_BLOCK, Bytes, adamw_in_bytes, byte_zero};
use tch::{Kind, TchError, Tensor};

/// Values of the smallest parameter whose moments are bytes (`min_8bit_size`): norms and biases gain nothing.
pub(super) const SMALLEST: usize = 4096;

/// Names of the state: codes of the parameter's shape, a scale for [`BYTES_BLOCK`] of them.
pub(super) const STATE: [&str; 4] = ["exp_avg_codes", "exp_avg_scales", "exp_avg_sq_codes", "exp_avg_sq_scales"];

/// The state before the first step.
pub(super) fn zeros(values: &Tensor) -> Result<Vec<Tensor>, TchError> {
    let blocks = (values.numel() as i64 + BYTES_BLOCK - 1) / BYTES_BLOCK;
    let scales = || Tensor::f_zeros([blocks], (Kind::Float, values.device()));
    let codes =
        |sign| super::lasting(&Tensor::f_empty(values.size(), (Kind::Uint8, values.device()))?)?.f_fill_(i64::from(byte_zero(sign)));
    Ok(vec![codes(true)?, scales()?, codes(false)?, scales()?])
}

/// Steps one parameter.
pub(super) fn step(slot: &Slot, grad: &Tensor, c: &Optim, h: &Hyper) -> Result<(), Error> {
    let torch = |e| Error::torch("AdamW with moments of bytes")(e);
    let state = slot.moments().map_err(torch)?;
    let (first, second) = (Bytes { codes: &state[0], scales: &state[1] }, Bytes { codes: &state[2], scales: &state[3] });
    let hyper = AdamWStep { lr: h.lr, beta1: c.beta1, beta2: c.beta2, weight_decay: h.weight_decay, eps: c.eps, grad_scale: h.grad_scale };
    let grad = grad.f_contiguous().map_err(torch)?;
    slot.count().map_err(torch)?;
    let done = slot.done().map_err(torch)?;
    Ok(adamw_in_bytes(&mut slot.values.shallow_clone(), &grad, first, second, done, &hyper)?)
}
