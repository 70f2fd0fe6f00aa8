//! Optimisers: which one, its rates and decays, and what some kinds have of their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kind of optimiser; bytes are those of its state for each float32 weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptimKind {
    /// Adam with decoupled weight decay (arXiv 1711.05101): 8 bytes.
    #[default]
    Adamw,
    /// AdamW whose moments are bytes, with a scale for 256 of them (arXiv 2110.02861, as in bitsandbytes): 2 bytes; parameters of fewer than 4,096 values keep
    /// float32. On the CPU; not with `distributed.shard`.
    #[serde(rename = "adamw-8bit")]
    Adamw8bit,
    /// Adam with `weight_decay` as L2 in the gradient (arXiv 1412.6980): 8 bytes.
    Adam,
    /// Gradient descent with momentum (`optim.sgd`), `weight_decay` as L2 in the gradient: 4 bytes, 0 without momentum.
    Sgd,
    /// The sign of a mean of gradients (arXiv 2302.06675), decoupled weight decay: 4 bytes. Wants `beta2 = 0.99`, a third to a tenth of AdamW's rate and
    /// as much more decay.
    Lion,
    /// Momentum made orthogonal by Newton-Schulz on the matrices of the blocks (`optim.muon`, arXiv 2502.16982), AdamW on all else: 4 bytes, 8 elsewhere.
    /// Not with `distributed.shard` or adapters.
    Muon,
}

/// Optimiser, decays and gradient clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Optim {
    /// Kind.
    pub kind: OptimKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the first moment (Adam), or share of the old mean in Lion's sign.
    pub beta1: f64,
    /// Decay of the second moment (Adam), or of Lion's mean.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// TensorFlow's Adam: `eps` is added before the second moment's bias is corrected, which makes the first steps smaller.
    pub tf_style: bool,
    /// Weight decay (L2), on matrices and embeddings only (never on biases, norms): decoupled, or in the gradient for `adam` and `sgd`.
    pub weight_decay: f64,
    /// L1 on the same weights, decoupled: after each step they move towards 0 by the rate times this, and stop there (soft threshold).
    pub l1: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip_norm: f64,
    /// For kind `sgd`.
    pub sgd: Sgd,
    /// For kind `muon`.
    pub muon: Muon,
}

impl Default for Optim {
    fn default() -> Self {
        Optim {
            kind: OptimKind::Adamw,
            lr: 3e-4,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            tf_style: false,
            weight_decay: 0.1,
            l1: 0.0,
            clip_norm: 1.0,
            sgd: Sgd::DEFAULT,
            muon: Muon::DEFAULT,
        }
    }
}

/// What gradient descent has of its own, as `torch.optim.SGD` names it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Share of the last steps' direction that is kept; 0 keeps no state.
    pub momentum: f64,
    /// Share of each gradient that the momentum leaves out, from the second step on.
    pub dampening: f64,
    /// Nesterov's momentum; wants momentum and no dampening.
    pub nesterov: bool,
}

impl Sgd {
    /// Momentum 0.9.
    pub const DEFAULT: Sgd = Sgd { momentum: 0.9, dampening: 0.0, nesterov: false };
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd::DEFAULT
    }
}

/// What Muon has of its own, as `torch.optim.Muon` names it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Muon {
    /// Decay of the mean of gradients.
    pub momentum: f64,
    /// Look a step ahead.
    pub nesterov: bool,
    /// Newton-Schulz iterations (1 to 99).
    pub ns_steps: u32,
}

impl Muon {
    /// Keller Jordan's.
    pub const DEFAULT: Muon = Muon { momentum: 0.95, nesterov: true, ns_steps: 5 };
}

impl Default for Muon {
    fn default() -> Self {
        Muon::DEFAULT
    }
}
