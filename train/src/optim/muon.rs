//! Muon (Keller Jordan 2024; Liu et al. 2025, arXiv 2502.16982) on matrices: state `momentum_buffer`.
//!
//! With gradient G `[A, B]` and momentum μ:
//!   M ← μ·M + (1−μ)·G;  U = μ·M + (1−μ)·G with Nesterov's momentum, else M
//!   θ ← θ − lr·λ·θ − lr · 0.2·√max(A, B) · NS(U)
//! NS gives about W·Vᵀ of the singular value decomposition U = W·S·Vᵀ. The factor gives updates the root mean square that Optimizer's have (2502.16982, section
//! 2.2; `adjust_lr_fn="match_rms_adamw"` of `torch.optim.Muon`), so that one rate and one decay serve both. The iteration is in float32, PyTorch's is in bfloat16.

use super::{Hyper, Slot};
use data::config::Muon;
use tch::{TchError, Tensor};

/// Coefficients of the quintic iteration, chosen for their slope at zero.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// The least norm that is divided by.
const EPS: f64 = 1e-7;

/// Steps one matrix.
pub(super) fn step(slot: &Slot, mut grad: Tensor, c: &Muon, h: &Hyper) -> Result<(), TchError> {
    h.clip(&mut grad)?;
    let (mut values, mut buffer) = (slot.values.shallow_clone(), slot.moments()?[0].shallow_clone());
    _ = buffer.f_lerp_(&grad, 1.0 - c.momentum)?;
    let update = if c.nesterov { grad.f_lerp(&buffer, c.momentum)? } else { buffer };
    let (rows, columns) = update.size2()?;
    let rate = h.lr * 0.2 * (rows.max(columns) as f64).sqrt();
    h.decay(&mut values)?;
    _ = values.f_sub_(&orthogonal(&update, c.ns_steps)?.f_mul_scalar(rate)?)?;
    slot.count()
}

/// X ← a·X + (b·X·Xᵀ + c·(X·Xᵀ)²)·X, `steps` times from U/‖U‖, on the side where X·Xᵀ is smaller. `[A, B]` to `[A, B]`.
fn orthogonal(update: &Tensor, steps: u32) -> Result<Tensor, TchError> {
    let [a, b, c] = COEFFICIENTS;
    let (rows, columns) = update.size2()?;
    let tall = rows > columns;
    let mut x = if tall { update.f_tr()? } else { update.shallow_clone() };
    x = x.f_div(&x.f_norm()?.f_clamp_min(EPS)?)?;
    for _ in 0..steps {
        let gram = x.f_mm(&x.f_tr()?)?;
        let inner = gram.f_mul_scalar(b)?.f_add_(&gram.f_mm(&gram)?.f_mul_scalar_(c)?)?;
        x = inner.f_mm(&x)?.f_add_(&x.f_mul_scalar(a)?)?;
    }
    if tall { x.f_tr() } else { Ok(x) }
}
