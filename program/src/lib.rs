//! How the programs speak to a shell: results on standard output ([`say!`](crate::say), [`text`]), what a server mentions ([`mention!`](crate::mention)), and
//! exit codes ([`code`]). Links nothing heavy, so that every program can use it.

mod exit;
mod output;

pub use exit::{Input, code, input, number};
pub use output::{CLOSED, line, mention_line, text};
