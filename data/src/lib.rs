//! Configuration, sources, tokens and rows: everything before the first tensor. This crate never links libtorch.

pub mod config;
pub mod error;
pub mod tokenizer;
pub mod quarantine;
pub mod split;
pub mod source;
pub mod corpus;
pub mod mapped;
pub mod order;
pub mod prefetch;
pub mod chat;
pub mod demos;
mod fields;
pub mod prompts;
pub mod rankings;
