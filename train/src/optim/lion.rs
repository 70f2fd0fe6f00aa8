//! Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2): state `exp_avg`.
//!
//! Elementwise: u = sign(β1·m + (1−β1)·g);  θ ← θ − lr·(u + λ·θ);  m ← β2·m + (1−β2)·g.

use super::{Hyper, Slot};
use data::config::Optim;
use tch::{TchError, Tensor};

/// Steps one parameter.
pub(super) fn step(slot: &Slot, mut grad: Tensor, c: &Optim, h: &Hyper) -> Result<(), TchError> {
    h.clip(&mut grad)?;
    let (mut values, mut mean) = (slot.values.shallow_clone(), slot.moments()?[0].shallow_clone());
    let update = mean.f_lerp(&grad, 1.0 - c.beta1)?.f_sign_()?.f_mul_scalar_(h.lr)?;
    h.decay(&mut values)?;
    _ = values.f_sub_(&update)?;
    _ = mean.f_lerp_(&grad, 1.0 - c.beta2)?;
    slot.count()
}
