//! Configuration: one TOML file a stage. The structs below are the reference; `docs/config.md` is generated from them.
//!
//! Raw configuration first ([`load()`]), then a validated plan with the derived sizes ([`plan`]).

mod change;
mod classify;
mod common;
mod distill;
pub mod docs;
pub mod keys;
mod load;
mod optim;
pub mod plan;
mod ppo;
mod preset;
mod pretrain;
mod reward;
mod sft;
mod task;
mod watch;

pub use change::{Change, HARMLESS, changes};
pub use classify::*;
pub use common::*;
pub use load::{ConfigError, completed, load, parse, to_toml};
pub use ppo::*;
pub use preset::{Preset, StageConfig};
pub use pretrain::*;
pub use reward::*;
pub use sft::*;
pub use task::*;
pub use watch::*;
