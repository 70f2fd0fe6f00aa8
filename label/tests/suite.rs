//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "ingest.rs"]
mod ingest;
#[path = "readers.rs"]
mod readers;
#[path = "sample.rs"]
mod sample;
#[path = "serve.rs"]
mod serve;
#[path = "stats.rs"]
mod stats;
#[path = "studio.rs"]
mod studio;
