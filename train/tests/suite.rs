//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "adamw8.rs"]
mod adamw8;
#[path = "alarms.rs"]
mod alarms;
#[path = "kill.rs"]
mod kill;
#[path = "optim.rs"]
mod optim;
#[path = "optimisers.rs"]
mod optimisers;
#[path = "run.rs"]
mod run;
#[path = "tensorboard.rs"]
mod tensorboard;
