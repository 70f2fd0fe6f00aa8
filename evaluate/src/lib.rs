//! Measuring: language-model loss, preference accuracy, win rates, repetition, and the report of a whole pipeline.
//! Nothing here trains.

pub mod lm;
pub mod preference;
pub mod repetition;
pub mod report;
pub mod reward_model;
pub mod runs;
pub mod stats;

pub use lm::{Nll, Sequence};
pub use preference::PreferenceReport;
pub use repetition::{distinct_n, repetition};
pub use reward_model::RewardModel;
pub use stats::WinRate;
