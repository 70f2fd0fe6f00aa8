//! When something is due: every so many steps, at the end, and never twice at the step where a run goes on.

use crate::State;
use data::config::Eval;

/// A rhythm over steps 0 to `last`.
#[derive(Debug, Clone, Copy)]
pub struct Every {
    every: u64,
    last: u64,
    at_start: bool,
    /// The step of the checkpoint we came from: its evaluation and save were done before it was written.
    done: Option<u64>,
}

impl Every {
    /// Evaluation: before the first step (unless the configuration forgoes it), every `every` steps (0: never between) and after the last.
    pub fn eval(eval: &Eval, last: u64, state: &State) -> Every {
        Every { every: eval.every, last, at_start: eval.at_start, done: state.resumed_at() }
    }

    /// Checkpoints: every `every` steps (0: never between) and after the last.
    pub fn save(every: u64, last: u64, state: &State) -> Every {
        Every { every, last, at_start: false, done: state.resumed_at() }
    }

    /// Whether it is due when `step` steps are done.
    pub fn due(&self, step: u64) -> bool {
        let regular = self.every > 0 && step > 0 && step.is_multiple_of(self.every);
        Some(step) != self.done && (regular || step == self.last || (step == 0 && self.at_start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(e: Every) -> Vec<u64> {
        (0..=10).filter(|s| e.due(*s)).collect()
    }

    #[test]
    fn rhythm() {
        let new = State::default();
        let eval = |every, at_start| steps(Every::eval(&Eval { every, at_start, ..Eval::default() }, 10, &new));
        assert_eq!(eval(4, true), [0, 4, 8, 10]);
        assert_eq!(eval(0, true), [0, 10]);
        assert_eq!(eval(4, false), [4, 8, 10]);
        assert_eq!(steps(Every::save(4, 10, &new)), [4, 8, 10]);
        assert_eq!(steps(Every::save(0, 10, &new)), [10]);
    }
}
