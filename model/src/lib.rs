//! One decoder-only transformer, its heads, its key-value cache and sampling, and the Hugging Face model folders it lives in.
//!
//! - [`Config`]: the shape, read from and written to `config.json`; the GPT-2, Llama and GPT-NeoX families are settings of one network.
//! - [`Model`]: weights with a head ([`HeadKind`]); [`Model::load`], [`Model::save`], [`Model::forward_hidden`].
//! - [`generate`](mod@generate): continues a list of prompts; [`batcher`]: the same for prompts that come and go. Token ids in, token ids out; text is the
//!   binaries' business.
//! - [`Model::share_out`]: weights in parts, each process its own.
//! - [`Start`]: what a training starts from, with or without low-rank adapters ([`Model::with_adapters`]), which are read and written as PEFT does.
//! - [`lineage`]: where a folder came from.
//!
//! Sequences are padded on the right, so a causal network needs no padding mask: what stands after a token cannot change it.
//!
//! Letters of the shapes: B rows, T tokens, N = B·T, D width, H heads, K key-value heads, C features of a head, V vocabulary.

mod attention;
pub mod batcher;
mod cache;
pub mod config;
mod engine;
mod error;
mod files;
pub mod generate;
mod init;
mod layers;
pub mod lineage;
pub mod llama2c;
mod lora;
mod model;
mod names;
mod peft;
mod rotary;
pub mod sample;
mod segments;
mod shared;
mod start;
mod transformer;

pub use config::Config;
pub use error::ModelError;
pub use files::resolve;
pub use generate::{Generation, Sampling, generate, generate_rows};
pub use model::{HeadKind, Model, Parameter};
pub use peft::resolve_adapter;
pub use segments::Segments;
pub use shared::Held;
pub use start::Start;
