//! Measuring: language-model loss, preference accuracy, win rates, repetition, and the report of a whole pipeline.
//! Nothing here trains.

pub mod likelihood;
pub mod lm;
pub mod metrics;
pub mod preference;
pub mod repetition;
pub mod report;
pub mod reward_model;
pub mod scaling;
pub mod stats;
pub mod tasks;

pub use lm::{Nll, Sequence};
pub use preference::PreferenceReport;
pub use repetition::{distinct_n, repetition};
pub use reward_model::RewardModel;
pub use stats::WinRate;
