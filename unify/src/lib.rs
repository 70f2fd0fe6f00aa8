//! No code: one feature set for dependencies that several crates share.
//!
//! Cargo works out features for the packages of each command. Without this, `cargo test -p data`, `cargo build` and `cargo test` would
//! each ask for other features of a small crate such as `crc32fast`, and everything above it, polars and tch included, would be compiled anew
//! each time: ten minutes. Every crate that builds on polars or libtorch depends on this one, so each command sees the same set.
