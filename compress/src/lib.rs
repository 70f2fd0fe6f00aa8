//! Smaller models: weights in eight and four bits, GGUF files, pruning, and what each costs.

pub mod blocks;
pub mod gguf;
pub mod prune;
pub mod sweep;
