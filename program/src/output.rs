//! Standard output, where it is a pipe that its reader may close before everything was said.

use std::fmt::{Arguments, Display};
use std::io::{ErrorKind, Result, Write, stdout};

/// Exit code of a program whose reader has gone: 128 + SIGPIPE, as shells say it of programs that the signal ends. Rust's runtime ignores the signal, which a
/// server needs.
pub const CLOSED: i32 = 141;

/// Prints a line of results as `println!` does, but a closed pipe ends the program in silence with [`CLOSED`], and output that cannot be written with 1.
#[macro_export]
macro_rules! say {
    () => { $crate::line(::std::format_args!("")) };
    ($($arg:tt)*) => { $crate::line(::std::format_args!($($arg)*)) };
}

/// Prints a line that may go unread: what a server says beside its work, which a closed standard output does not end.
#[macro_export]
macro_rules! mention {
    ($($arg:tt)*) => { $crate::mention_line(::std::format_args!($($arg)*)) };
}

/// What [`say!`](crate::say) calls.
pub fn line(line: Arguments<'_>) {
    written(writeln!(stdout().lock(), "{line}"));
}

/// Prints results that bring their own line ends, or want none, at once. Ends as [`say!`](crate::say) does.
pub fn text(text: impl Display) {
    let mut out = stdout().lock();
    written(write!(out, "{text}").and_then(|()| out.flush()));
}

/// What [`mention!`](crate::mention) calls.
pub fn mention_line(line: Arguments<'_>) {
    let _ = writeln!(stdout().lock(), "{line}"); // nobody reads it: see the macro
}

fn written(result: Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(CLOSED),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: cannot write to standard output: {error}"); // where else could it be said?
            std::process::exit(1);
        }
    }
}
