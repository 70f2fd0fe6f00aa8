//! One decoder-only transformer, an encoder-decoder and an encoder beside it, their heads, its key-value cache and sampling, and the Hugging Face model folders it lives in.
//!
//! - [`Config`]: the shape, read from and written to `config.json`; the GPT-2, Llama and GPT-NeoX families are settings of one network.
//! - [`Model`]: weights with a head ([`HeadKind`]); [`Model::load`], [`Model::save`], [`Model::forward_hidden`].
//! - [`Seq2Seq`]: the Transformer of 2017 in Marian's folders, with [`seq2seq::beam`]; [`Bert`]: the encoder of 2018, masked words and classes.
//! - [`Captioner`]: a decoder before whose text a picture stands, as the patch states of a ViT ([`vision`]).
//! - [`Classifier`]: a decoder that classifies texts, pairs and choices, as GPT-1 does.
//! - [`generate`](mod@generate): continues a list of prompts; [`batcher`]: the same for prompts that come and go. Token ids in, token ids out; text is the
//!   binaries' business.
//! - [`Model::share_out`]: weights in parts, each process its own.
//! - [`Start`]: what a training starts from, with or without low-rank adapters ([`Model::with_adapters`]), which are read and written as PEFT does.
//! - [`Model::quantise`]: weights in eight or four bits ([`blocks`]) for generation.
//! - [`lineage`]: where a folder came from.
//!
//! Sequences are padded on the right, so a causal network needs no padding mask: what stands after a token cannot change it.
//!
//! Letters of the shapes: B rows, T tokens, N = B·T, D width, H heads, K key-value heads, C features of a head, V vocabulary.

mod attention;
pub mod batcher;
pub mod bert;
pub mod blocks;
mod cache;
pub mod classifier;
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
mod quantise;
mod rotary;
pub mod sample;
mod segments;
pub mod seq2seq;
mod shared;
mod stack;
mod start;
mod student;
mod transformer;
mod views;
pub mod vision;

pub use bert::Bert;
pub use classifier::Classifier;
pub use config::{Config, Kind, kind_of};
pub use error::{ModelError, is_input};
pub use files::resolve;
pub use generate::{Generation, Sampling, generate, generate_rows};
pub use layers::has_kernels;
pub use model::{HeadKind, Model, Parameter};
pub use peft::resolve_adapter;
pub use quantise::{Activations, Fit};
pub use segments::Segments;
pub use seq2seq::Seq2Seq;
pub use shared::Held;
pub use stack::PaddedRows;
pub use start::Start;
pub use student::Student;
pub use vision::Captioner;
