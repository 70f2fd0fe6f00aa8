//! Figures and how they are shown: statistics with intervals, preference accuracy, repetition, and the pages of runs, pipelines and judges.
//! Never links libtorch: what only counts and draws starts at once.

pub mod preference;
pub mod repetition;
pub mod report;
pub mod stats;

pub use repetition::{distinct_n, repetition};
