//! The tests of this crate, in one binary: linking one takes longer than most tests.

mod common;

#[path = "behaviour.rs"]
mod behaviour;
#[path = "bert.rs"]
mod bert;
#[path = "bfloat16.rs"]
mod bfloat16;
#[path = "classifier.rs"]
mod classifier;
#[path = "folder.rs"]
mod folder;
#[path = "golden.rs"]
mod golden;
#[path = "lora.rs"]
mod lora;
#[path = "rope.rs"]
mod rope;
#[path = "sample.rs"]
mod sample;
#[path = "seq2seq.rs"]
mod seq2seq;
#[path = "shards.rs"]
mod shards;
#[path = "views.rs"]
mod views;
#[path = "vision.rs"]
mod vision;
