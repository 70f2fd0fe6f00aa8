//! How a program ends: an error is either the user's input or something else, and a stop by signal is neither.

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

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Requeue => 75,
            Outcome::Interrupted => 130,
        }
    }
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

/// The causes of an error, outermost first, each once.
pub(crate) fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string).filter(|c| !c.is_empty() && c != "the input is wrong") {
        if causes.last().is_none_or(|last| !last.contains(&cause)) {
            causes.push(cause);
        }
    }
    causes
}

/// Whether this process has failed only because another one has.
pub(crate) fn follows(error: &anyhow::Error) -> bool {
    error.chain().any(|c| c.downcast_ref::<dist::Error>().is_some_and(dist::Error::is_elsewhere))
}

/// Prints the error with its causes, one a line, and gives the exit code: 0 done, 2 wrong input, 75 requeue, 130 interrupted, 1 else.
pub fn code(program: &str, result: anyhow::Result<Outcome>) -> u8 {
    match result {
        Ok(outcome) => outcome.code(),
        Err(error) if follows(&error) => 1, // the other one tells
        Err(error) => {
            let ours = |c: &(dyn std::error::Error + 'static)| c.downcast_ref::<crate::Error>().is_some_and(crate::Error::is_input);
            let is_input = error.downcast_ref::<Input>().is_some() || error.chain().any(ours);
            let causes = causes(&error);
            eprintln!("{program}: error: {}", causes.first().map_or("", String::as_str));
            causes.iter().skip(1).for_each(|cause| eprintln!("  because: {cause}"));
            if is_input { 2 } else { 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_input_is_2_and_the_rest_is_1() {
        let plain = || anyhow::anyhow!("disk full").context("writing");
        assert_eq!(code("t", Err(plain())), 1);
        assert_eq!(code("t", Err(input(plain()))), 2);
        assert_eq!(code("t", Err(input(plain()).context("loading"))), 2);
    }
}
