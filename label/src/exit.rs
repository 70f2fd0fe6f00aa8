//! How the program ends: 0 done, 2 the user's input is wrong, 1 anything else.

use data::error::DataError;
use std::process::ExitCode;

pub use program::{Input, input};

/// Prints the error with its causes and gives the exit code.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    code_of(result, |error| error.downcast_ref::<DataError>().map(DataError::is_input))
}

/// [`code`] where `known` says of libraries' errors whether the user's input is at fault.
pub fn code_of(result: anyhow::Result<()>, known: impl Fn(&(dyn std::error::Error + 'static)) -> Option<bool>) -> ExitCode {
    program::code("label", result, known)
}
