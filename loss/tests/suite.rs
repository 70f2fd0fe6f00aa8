//! The tests of this crate, in one binary: linking one takes longer than most tests.

mod common;

#[path = "behaviour.rs"]
mod behaviour;
#[path = "distill.rs"]
mod distill;
#[path = "golden.rs"]
mod golden;
#[path = "variants.rs"]
mod variants;
