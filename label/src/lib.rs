//! From people to rankings: exports of labelling tools to one table, how far the judges can be believed, and a page to label on.

pub mod exit;
pub mod export;
pub mod ingest;
pub mod sample;
pub mod serve;
pub mod stats;
pub mod studio;
