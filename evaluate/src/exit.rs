//! How the program ends: 0 done, 2 the user's input is wrong, 1 anything else.

use evaluate::report::ReportError;
pub use program::input;

/// Prints the error with its causes and ends the process at once: taking down libtorch's tables at exit would cost up to a tenth of a second.
pub fn end(result: anyhow::Result<()>) -> ! {
    native::exit_now(program::number("evaluate", result, |error| {
        error.downcast_ref::<ReportError>().map(ReportError::is_input).or_else(|| model::is_input(error))
    }))
}
