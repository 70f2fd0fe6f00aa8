//! L1 as a proximal step after the optimiser's own.
//!
//!   θ ← sign(θ)·max(|θ| − lr·λ₁, 0)
//! is what minimises ½‖θ' − θ‖² + lr·λ₁·‖θ'‖₁ (iterative shrinkage; Parikh and Boyd 2014, section 6.5.2). A subgradient λ₁·sign(θ) in the gradient would not
//! do: Adam divides it by the root of its second moment, so that it means something else for every weight, and weights would swing about 0 by lr·λ₁ and
//! never be 0. This is decoupled, as Optimizer's L2 is, and its zeros are exact.

use super::{Hyper, Slot};
use tch::TchError;

/// Moves a parameter's values towards 0 by `lr·l1`.
pub(super) fn shrink(slot: &Slot, l1: f64, h: &Hyper) -> Result<(), TchError> {
    let rest = slot.values.f_abs()?.f_sub_scalar_(h.lr * l1)?.f_clamp_min_(0.0)?;
    let mut values = slot.values.shallow_clone();
    _ = values.f_sign_()?.f_mul_(&rest)?;
    Ok(())
}
