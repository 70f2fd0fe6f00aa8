//! From people to rankings: exports of labelling tools to one table, how far the judges can be believed, and a page to label on. Drawing answers from models is
//! a program of its own (`sample/`, the binary `label-sample`), so that nothing here links libtorch.

pub mod choose;
pub mod exit;
pub mod export;
pub mod ingest;
pub mod serve;
pub mod stats;
pub mod studio;
