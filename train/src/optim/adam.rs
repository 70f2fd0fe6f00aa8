//! Adam and AdamW by libtorch's fused kernel: state `exp_avg`, `exp_avg_sq`.
//!
//! With gradient g, t counted from 1, all elementwise:
//!   AdamW (arXiv 1711.05101): θ ← θ − lr·λ·θ;   Adam (arXiv 1412.6980, `torch.optim.Adam`): g ← g + λ·θ
//!   m ← β1·m + (1−β1)·g;  v ← β2·v + (1−β2)·g²;  θ ← θ − lr · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ε)
//! TensorFlow's form (`optim.tf_style`, lm-human-preferences) adds ε before the second moment's bias is corrected:
//!   θ ← θ − lr · √(1−β2ᵗ)/(1−β1ᵗ) · m/(√v + ε),  which is the line above with ε/√(1−β2ᵗ) in the place of ε.

use super::{Hyper, Slot, add_l2};
use crate::Error;
use data::config::{Optim, OptimKind};
use native::AdamWStep;
use std::collections::BTreeMap;
use tch::Tensor;

/// Steps `reached`, slots with their gradients. One fused call for all, but in TensorFlow's form ε follows the step, and parameters may have begun at
/// different ones.
pub(super) fn step(reached: &[(&Slot, Tensor)], c: &Optim, h: &Hyper) -> Result<(), Error> {
    let mut groups: BTreeMap<u64, Vec<&(&Slot, Tensor)>> = BTreeMap::new();
    for pair in reached {
        let done = if c.tf_style { pair.0.done().map_err(Error::torch("step counter"))? } else { 0 };
        groups.entry(done).or_default().push(pair);
    }
    groups.into_iter().try_for_each(|(done, group)| step_group(&group, done, c, h))
}

/// `done` steps lie behind all of them.
fn step_group(group: &[&(&Slot, Tensor)], done: u64, c: &Optim, h: &Hyper) -> Result<(), Error> {
    let coupled = c.kind == OptimKind::Adam && h.weight_decay > 0.0;
    let [mut params, mut grads, mut exp_avgs, mut exp_avg_sqs, mut steps] = [const { Vec::new() }; 5];
    for (slot, grad) in group {
        let mut grad = grad.shallow_clone();
        if coupled {
            add_l2(&mut grad, &slot.values, h).map_err(Error::torch("L2 of a gradient"))?;
        }
        params.push(slot.values.shallow_clone());
        grads.push(grad);
        let moments = slot.moments().map_err(Error::torch("moments"))?;
        exp_avgs.push(moments[0].shallow_clone());
        exp_avg_sqs.push(moments[1].shallow_clone());
        steps.push(slot.step.shallow_clone());
    }
    let (weight_decay, grad_scale) = if coupled { (0.0, 1.0) } else { (h.weight_decay, h.grad_scale) };
    let eps = if c.tf_style { c.eps / (1.0 - c.beta2.powf(done as f64 + 1.0)).sqrt() } else { c.eps };
    let hyper = AdamWStep { lr: h.lr, beta1: c.beta1, beta2: c.beta2, weight_decay, eps, grad_scale };
    Ok(native::fused_adamw(&params, &grads, &exp_avgs, &exp_avg_sqs, &steps, &hyper)?)
}
