//! The tests of this crate, in one binary: linking one takes longer than most tests.

mod common;

#[path = "classify.rs"]
mod classify;
#[path = "cli.rs"]
mod cli;
#[path = "convert.rs"]
mod convert;
#[path = "families.rs"]
mod families;
#[path = "lineage.rs"]
mod lineage;
#[path = "metrics.rs"]
mod metrics;
#[path = "people.rs"]
mod people;
#[path = "report.rs"]
mod report;
#[path = "runs.rs"]
mod runs;
#[path = "scaling.rs"]
mod scaling;
#[path = "tasks.rs"]
mod tasks;
#[path = "translate.rs"]
mod translate;
#[path = "views.rs"]
mod views;
