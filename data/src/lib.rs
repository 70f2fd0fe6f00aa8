//! Configuration, sources, tokens and rows: everything before the first tensor. This crate never links libtorch.

pub mod config;
