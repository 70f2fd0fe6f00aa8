//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "captions.rs"]
mod captions;
#[path = "craft.rs"]
mod craft;
#[path = "decides.rs"]
mod decides;
#[path = "networks.rs"]
mod networks;
#[path = "run.rs"]
mod run;
