//! How a program ends: an error is either the user's input or something else, and a stop by signal is neither.

use std::process::ExitCode;

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Done,
    /// Stopped by SIGTERM or SIGUSR1 after a checkpoint: exit code 75, to be queued again.
    Requeue,
    /// Stopped by SIGINT after a checkpoint: exit code 130.
    Interrupted,
}

/// Marks an error as the user's input (configuration, data, arguments): exit code 2.
#[derive(Debug)]
struct Input;

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the input is wrong")
    }
}

/// Marks `error` as the user's input.
pub fn input(error: impl Into<anyhow::Error>) -> anyhow::Error {
    error.into().context(Input)
}

/// Prints the error with its causes, one a line, and gives the exit code: 0 done, 2 wrong input, 75 requeue, 130 interrupted, 1 else.
pub fn code(program: &str, result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Requeue) => ExitCode::from(75),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            let ours = |c: &(dyn std::error::Error + 'static)| c.downcast_ref::<crate::Error>().is_some_and(crate::Error::is_input);
            let is_input = error.downcast_ref::<Input>().is_some() || error.chain().any(ours);
            let causes: Vec<String> = error.chain().map(|c| c.to_string()).collect();
            let mut causes = causes.into_iter().filter(|c| c != "the input is wrong");
            eprintln!("{program}: error: {}", causes.next().unwrap_or_default());
            let mut last = String::new();
            for cause in causes.filter(|c| !c.is_empty()) {
                if !last.contains(&cause) {
                    eprintln!("  because: {cause}");
                }
                last = cause;
            }
            ExitCode::from(if is_input { 2 } else { 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_input_is_2_and_the_rest_is_1() {
        let plain = || anyhow::anyhow!("disk full").context("writing");
        assert_eq!(format!("{:?}", code("t", Err(plain()))), format!("{:?}", ExitCode::from(1)));
        assert_eq!(format!("{:?}", code("t", Err(input(plain())))), format!("{:?}", ExitCode::from(2)));
        assert_eq!(format!("{:?}", code("t", Err(input(plain()).context("loading")))), format!("{:?}", ExitCode::from(2)));
    }
}
