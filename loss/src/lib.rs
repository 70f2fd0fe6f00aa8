//! The mathematics of training, as pure functions of tensors: no files, no configuration, no model.
//!
//! Letters of shapes: B rows, T positions, V vocabulary, D features, K answers of a ranking, P pairs, N anything flat.
//!
//! Losses come as SUMS over valid items. The caller divides by the count of valid items in the whole batch (all micro-batches, all ranks), which is
//! known before the first forward pass, so accumulating eight micro-batches of one row gives the gradient of one batch of eight.

pub mod distill;
pub mod lm;
pub mod mask;
pub mod ppo;
pub mod preference;
pub mod soft;
