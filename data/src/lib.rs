//! Configuration, sources, tokens and rows: everything before the first tensor. This crate never links libtorch.

pub mod augment;
pub mod chat;
pub mod config;
pub mod corpus;
pub mod demos;
pub mod error;
mod fields;
pub mod frames;
pub mod inputs;
pub mod labels;
pub mod lock;
pub mod mapped;
pub mod order;
pub mod pictures;
pub mod prefetch;
pub mod prompts;
pub mod quarantine;
pub mod rankings;
pub mod source;
pub mod split;
pub mod tasks;
pub mod tokenizer;
