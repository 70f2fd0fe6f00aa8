//! Measuring models: language-model loss, reward models as PPO and sampling read them, teachers as students do; with [`figures`], what the numbers say.
//! Nothing here trains.

pub mod attribution;
pub mod fill;
pub mod likelihood;
pub mod lm;
pub mod metrics;
pub mod reward_model;
pub mod reward_tokens;
pub mod runs;
pub mod scaling;
pub mod tasks;
pub mod teacher;

pub use figures::preference::PreferenceReport;
pub use figures::stats::WinRate;
pub use figures::{distinct_n, preference, repetition, report, stats};
pub use lm::{Nll, Sequence};
pub use reward_model::RewardModel;
