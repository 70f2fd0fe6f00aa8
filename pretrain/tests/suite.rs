//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "craft.rs"]
mod craft;
#[path = "curve.rs"]
mod curve;
#[path = "masked.rs"]
mod masked;
#[path = "run.rs"]
mod run;
