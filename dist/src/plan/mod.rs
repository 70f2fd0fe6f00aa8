//! Will it fit, and where will the time go? Arithmetic for a training run that is larger than what stands here, before anybody pays for it.
//!
//! Memory: model states after ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 3) and activations after Korthikanti et al. (2023, arXiv 2205.05198,
//! sections 4 and 5). Time: products by their floating-point operations (Narayanan et al. 2021, arXiv 2104.04473, and Korthikanti's appendix A), exchanges
//! by ring algorithms' volumes, the pipeline's bubble by its fill. docs/parallelism.md derives them, and says how far they were from what was measured.

mod cluster;
mod layout;
mod memory;
mod search;
mod shape;
mod time;

pub use cluster::Cluster;
pub use layout::{Job, Layout, Recompute, States, Zero};
pub use memory::Memory;
pub use search::{Plan, best, evaluate};
pub use shape::Shape;
pub use time::Time;
