//! What a model should not do, measured: learn secrets by heart, betray its training texts, answer what it should refuse, reward nonsense.

pub mod canary;
pub mod fool;
pub mod members;
pub mod redteam;
pub mod rows;
