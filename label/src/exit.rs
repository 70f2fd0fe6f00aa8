//! How the program ends: 0 done, 2 the user's input is wrong, 1 anything else.

use data::error::{DataError, SourceError};
use std::io::ErrorKind;
use std::process::ExitCode;

/// A mistake in what the user gave that no library noticed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Input(pub String);

/// [`Input`] as anyhow's error.
pub fn input(message: impl Into<String>) -> anyhow::Error {
    Input(message.into()).into()
}

/// Prints the error with its causes and gives the exit code.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    code_of(result, |_| None)
}

/// [`code`] where `known` can say of errors that are unknown here whether the user's input is at fault.
pub fn code_of(result: anyhow::Result<()>, known: impl Fn(&(dyn std::error::Error + 'static)) -> Option<bool>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut last = error.to_string();
    eprintln!("label: error: {last}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.contains(&cause) {
            eprintln!("  because: {cause}");
        }
        last = cause;
    }
    ExitCode::from(if error.chain().any(|error| known(error).unwrap_or_else(|| is_input(error))) { 2 } else { 1 })
}

fn is_input(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(e) = error.downcast_ref::<DataError>() {
        return e.is_input();
    }
    if let Some(e) = error.downcast_ref::<std::io::Error>() {
        return matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::AddrInUse);
    }
    error.is::<Input>() || error.is::<SourceError>()
}
