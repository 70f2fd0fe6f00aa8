//! How the programs speak to a shell: results on standard output ([`say!`](crate::say), [`text`]), what a server mentions ([`mention!`](crate::mention)),
//! exit codes ([`code`]), and results that must not replace what they are made from ([`keep_input`]). Links nothing heavy, so that every program can use it.

mod exit;
mod files;
mod output;

pub use exit::{Input, code, input, number};
pub use files::{is_same_file, keep_input};
pub use output::{CLOSED, line, mention_line, text};
