//! Gradient descent with momentum, as `torch.optim.SGD`: state `momentum_buffer`, none without momentum.
//!
//! With momentum μ, dampening d, L2 λ, elementwise:
//!   g ← g + λ·θ;  b ← g in the first step, else μ·b + (1−d)·g;  θ ← θ − lr·(g + μ·b) with Nesterov's momentum, else θ − lr·b.

use super::{Hyper, Slot, add_l2};
use data::config::Sgd;
use tch::{TchError, Tensor};

/// Steps one parameter.
pub(super) fn step(slot: &Slot, mut grad: Tensor, c: &Sgd, h: &Hyper) -> Result<(), TchError> {
    add_l2(&mut grad, &slot.values, h)?;
    if let Some(buffer) = slot.moments()?.first() {
        let mut buffer = buffer.shallow_clone();
        if slot.done()? == 0 {
            buffer.f_copy_(&grad)?;
        } else {
            _ = buffer.f_mul_scalar_(c.momentum)?.f_add_(&grad.f_mul_scalar(1.0 - c.dampening)?)?;
        }
        grad = if c.nesterov { grad.f_add(&buffer.f_mul_scalar(c.momentum)?)? } else { buffer };
    }
    _ = slot.values.shallow_clone().f_sub_(&grad.f_mul_scalar(h.lr)?)?;
    slot.count()
}
