//! How a program ends: 0 done, 2 the user's input is wrong, 1 anything else.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

/// A mistake in what the user gave that no library noticed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Input(pub String);

/// [`Input`] as anyhow's error.
pub fn input(message: impl Into<String>) -> anyhow::Error {
    Input(message.into()).into()
}

/// `anyhow::bail!` for what the user can mend: returns [`Input`].
#[macro_export]
macro_rules! refuse {
    ($($arg:tt)*) => { return ::std::result::Result::Err($crate::input(::std::format!($($arg)*))) };
}

/// Prints the error with its causes, one a line, and gives the exit code. `known` says of errors of the libraries in use whether the user's input is at fault;
/// of [`Input`], of files that cannot be had or are no text, and of addresses that cannot be had it is known here.
pub fn code(program: &str, result: anyhow::Result<()>, known: impl Fn(&(dyn Error + 'static)) -> Option<bool>) -> ExitCode {
    ExitCode::from(number(program, result, known))
}

/// The same as a number.
pub fn number(program: &str, result: anyhow::Result<()>, known: impl Fn(&(dyn Error + 'static)) -> Option<bool>) -> u8 {
    let Err(error) = result else { return 0 };
    let mut last = error.to_string();
    eprintln!("{program}: error: {last}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.contains(&cause) {
            eprintln!("  because: {cause}");
        }
        last = cause;
    }
    if error.chain().any(|error| known(error).unwrap_or_else(|| is_input(error))) { 2 } else { 1 }
}

fn is_input(error: &(dyn Error + 'static)) -> bool {
    use ErrorKind::{AddrInUse, AddrNotAvailable, InvalidData, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let given = [NotFound, PermissionDenied, IsADirectory, NotADirectory, InvalidData, AddrInUse, AddrNotAvailable];
    error.downcast_ref::<io::Error>().map_or_else(|| error.is::<Input>(), |error| given.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    fn ends(result: anyhow::Result<()>, known: impl Fn(&(dyn Error + 'static)) -> Option<bool>) -> String {
        format!("{:?}", code("test", result, known))
    }

    #[test]
    fn what_the_user_can_mend_is_2_and_the_rest_is_1() {
        let number = |code: u8| format!("{:?}", ExitCode::from(code));
        let refused = || -> anyhow::Result<()> { refuse!("{} is no share", 7) };
        let file = |kind: ErrorKind| Err(io::Error::from(kind)).context("the text");
        assert_eq!(ends(Ok(()), |_| None), number(0));
        assert_eq!(ends(refused(), |_| None), number(2));
        assert_eq!(ends(refused().context("--sparsity"), |_| None), number(2));
        assert_eq!(ends(file(ErrorKind::NotFound), |_| None), number(2));
        assert_eq!(ends(file(ErrorKind::StorageFull), |_| None), number(1));
        assert_eq!(ends(Err(anyhow::anyhow!("the machine broke")), |_| None), number(1));
        // Libraries have the first word.
        assert_eq!(ends(Err(anyhow::anyhow!("7 rows")), |e| (e.to_string() == "7 rows").then_some(true)), number(2));
        assert_eq!(ends(file(ErrorKind::NotFound), |_| Some(false)), number(1));
    }
}
