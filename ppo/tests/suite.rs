//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "judge.rs"]
mod judge;
#[path = "run.rs"]
mod run;
#[path = "update.rs"]
mod update;
