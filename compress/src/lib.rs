//! Smaller models: weights in eight and four bits, GGUF files, pruning, and what each costs.

pub mod gguf;
pub mod prune;
pub mod sweep;

pub use model::blocks;
