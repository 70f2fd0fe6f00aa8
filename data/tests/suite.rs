//! The tests of this crate, in one binary: linking one takes longer than most tests.

#[path = "bpe_training.rs"]
mod bpe_training;
#[path = "chat.rs"]
mod chat;
#[path = "configs.rs"]
mod configs;
#[path = "corpus.rs"]
mod corpus;
#[path = "csv_fuzz.rs"]
mod csv_fuzz;
#[path = "labels.rs"]
mod labels;
#[path = "layouts.rs"]
mod layouts;
#[path = "pictures.rs"]
mod pictures;
#[path = "rows.rs"]
mod rows;
#[path = "same_ids.rs"]
mod same_ids;
#[path = "sources.rs"]
mod sources;
#[path = "tokenizer.rs"]
mod tokenizer;
