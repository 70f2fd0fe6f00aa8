//! `label ingest` and `label export` as their users drive them: real exports, made ones, bad ones, and back again.

#[path = "ingest/argilla.rs"]
mod argilla;
#[path = "ingest/common.rs"]
mod common;
#[path = "ingest/export.rs"]
mod export;
#[path = "ingest/frame.rs"]
mod frame;
#[path = "ingest/label_studio.rs"]
mod label_studio;
#[path = "ingest/prodigy.rs"]
mod prodigy;
#[path = "ingest/threads.rs"]
mod threads;
