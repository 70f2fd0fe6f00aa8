//! How the program ends: 0 done, 2 the user's input is wrong, 1 anything else.

use evaluate::report::ReportError;
pub use program::input;
use std::process::ExitCode;

/// Prints the error with its causes and gives the exit code.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    program::code("evaluate", result, |error| {
        error.downcast_ref::<ReportError>().map(ReportError::is_input).or_else(|| model::is_input(error))
    })
}
