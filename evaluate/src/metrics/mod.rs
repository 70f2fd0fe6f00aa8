//! Comparing what was predicted with what is right: translations ([`bleu`]), summaries ([`rouge`]), classes ([`classes`]), numbers ([`correlation`], [`numbers`](mod@numbers)), captions ([`mod@named`]).
//!
//! Each is computed as the program that the field quotes computes it, and checked against its figures (scripts/reference/metrics.py).

pub mod bleu;
pub mod classes;
pub mod correlation;
pub mod named;
pub mod numbers;
pub mod rouge;
mod words;

pub use bleu::{Bleu, bleu};
pub use classes::{Classes, classes};
pub use correlation::{pearson, spearman};
pub use named::{Kind, Named, named};
pub use numbers::{Numbers, numbers};
pub use rouge::{Rouge, rouge};
pub use words::Tokenize;
