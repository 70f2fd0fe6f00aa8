//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "command.rs"]
mod command;
#[path = "people.rs"]
mod people;
#[path = "world.rs"]
mod world;
