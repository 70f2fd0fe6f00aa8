//! Maximal-update parametrisation (Yang et al. 2022, arXiv 2203.03466, table 8, Adam): a learning rate found at one width is good at others.
//!
//! With r = base width / width, and heads of one size at all widths (so that attention's 1/√d needs no change):
//! - matrices of the blocks: initial deviation · √r, rate · r;
//! - the tied output map: its logits times r. The factor stands in the gain (and bias) of the final norm, which begins at r instead of 1 and is stepped at rate · r:
//!   for Adam, whose steps do not depend on the gradient's scale, this is the same, and the folder needs no word of it;
//! - embeddings, biases and the norms of the blocks: as they are.
//!
//! Decoupled weight decay follows each weight's rate.

use data::config::ModelShape;
use model::{Model, Parameter};
use tch::no_grad;

/// r, where it is asked for.
pub fn ratio(shape: &ModelShape) -> Option<f64> {
    (shape.mup_base_width > 0).then(|| shape.mup_base_width as f64 / shape.width as f64)
}

/// What the rate of a weight is multiplied by. `unit` is 0 outside the blocks, `dims` the weight's dimensions.
pub fn rate(unit: usize, dims: usize, ratio: f64) -> f64 {
    match (unit, dims) {
        (0, 1) => ratio,     // final norm
        (1.., 2..) => ratio, // matrices
        _ => 1.0,
    }
}

/// Scales the weights of a fresh model.
pub fn scale(model: &Model, ratio: f64) {
    let factor = |p: &Parameter| match (p.unit, p.tensor.dim()) {
        (0, 1) => ratio,
        (1.., 2..) => ratio.sqrt(),
        _ => 1.0,
    };
    no_grad(|| {
        for p in model.parameters() {
            let mut tensor = p.tensor.shallow_clone();
            let _ = tensor.g_mul_scalar_(factor(&p));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::config::Optim;
    use model::config::{Family, Shape};
    use model::{Config, HeadKind};
    use tch::{Device, Kind, Tensor};
    use train::{Optimizer, optim::Param};

    /// Mean absolute change of the logits in three steps of Adam on one batch (the paper's coordinate check, figure 5).
    fn moved(width: usize, mup: bool) -> f64 {
        let shape = Shape { vocab_size: 64, context: 16, layers: 2, heads: width / 16, kv_heads: 0, width, dropout: 0.0 };
        let model = Model::new(Config::fresh(Family::Llama, shape).unwrap(), HeadKind::Lm, Device::Cpu, 1).unwrap();
        let ratio = if mup { 32.0 / width as f64 } else { 1.0 };
        scale(&model, ratio);
        let params: Vec<Param> =
            model.trainable().into_iter().map(|p| Param { name: p.name, tensor: p.tensor, decay: p.decay, unit: p.unit }).collect();
        let mut optim = Optimizer::new(params, &Optim::default()).unwrap().with_rates(|p| rate(p.unit, p.tensor.dim(), ratio));
        tch::manual_seed(1);
        let ids = Tensor::randint(64, [4, 16], (Kind::Int64, Device::Cpu));
        let logits = || model.logits(&model.forward_hidden(&ids, None, false));
        let before = no_grad(logits);
        for _ in 0..3 {
            loss::lm::nll_sum(&logits(), &ids).backward();
            optim.clip_and_step(1e-3, 0.0).unwrap();
        }
        (no_grad(logits) - before).abs().mean(Kind::Double).double_value(&[])
    }

    #[test]
    fn at_the_base_width_nothing_changes() {
        assert_eq!(moved(32, true), moved(32, false));
    }

    /// The same steps move the logits of a model four times as wide alike; with one rate for all they move it about four times as far. (Of narrow models chance
    /// has a part in what the logits do, which falls with the root of the width: hence not from 32 on.)
    #[test]
    fn updates_keep_their_size_at_any_width() {
        let growth = |mup| moved(512, mup) / moved(128, mup);
        let (with, without) = (growth(true), growth(false));
        assert!((0.6..1.5).contains(&with) && without > 2.0 * with, "{with} with, {without} without");
    }
}
