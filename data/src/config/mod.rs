//! Configuration: one TOML file a stage, the structs below are the reference.

mod common;
mod ppo;
mod pretrain;
mod reward;
mod sft;

pub use common::*;
pub use ppo::*;
pub use pretrain::*;
pub use reward::*;
pub use sft::*;
