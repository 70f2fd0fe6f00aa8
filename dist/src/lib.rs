//! The processes that train together. A stage asks its [`World`] for its rank, for its share of the work and for sums over ranks, and does not care how
//! many there are.
//!
//! Underneath is libtorch's own engine, c10d (Gloo on CPUs, NCCL on GPUs). One process is the world of size 1: every sum is what it was, every broadcast
//! and barrier returns at once. An exchange that fails says who is gone; after it the world is broken, and the process should end: whoever started it
//! starts it again, and it goes on from the last checkpoint.

mod error;
mod gradients;
mod launch;
mod meet;
mod partition;
pub mod plan;
mod pulse;
mod world;

pub use error::Error;
pub use gradients::Gradients;
pub use launch::Place;
pub use partition::{Partition, Shard};
pub use world::{Patience, World};
