//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "curve.rs"]
mod curve;
#[path = "run.rs"]
mod run;
