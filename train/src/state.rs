//! What a run needs to go on as if it had never stopped, beside the model's weights: `state/` of a checkpoint.
//!
//! `state/state.json` holds step, tokens, best evaluation, counters and the length of each log; `state/<name>.safetensors` the moments of an
//! optimiser, or files beside it the ranks' shares of them. Random draws need no state: each is seeded by its place (see [`crate::seed`]).

use crate::{BoxError, Error, Metrics, Optimizer, RunDir, checkpoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// An f64 written as text: JSON readers may lose the last bit of a number, and a resumed run must be the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Exact(f64);

impl From<Exact> for String {
    fn from(x: Exact) -> String {
        x.0.to_string()
    }
}

impl TryFrom<String> for Exact {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Exact, Self::Error> {
        text.parse().map(Exact)
    }
}

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Best {
    step: u64,
    value: Exact,
}

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Optimiser steps (PPO: rounds) done.
    pub step: u64,
    /// Tokens (or whatever the stage counts) trained on.
    pub tokens: u64,
    best: Option<Best>,
    counters: BTreeMap<String, Exact>,
    /// Seconds of work before this process.
    wall_s: Exact,
    /// Bytes of each log that belong to the steps done.
    logs: BTreeMap<String, u64>,
    /// The checkpoint folder that this state was read from.
    #[serde(skip)]
    from: Option<PathBuf>,
}

impl State {
    /// The newest checkpoint's state, or a new one at step 0.
    pub fn open(run: &RunDir) -> Result<State, Error> {
        let Some(newest) = checkpoint::latest(run)? else {
            return Ok(State::default());
        };
        let path = newest.path.join("state/state.json");
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let mut state: State = serde_json::from_slice(&text).map_err(|e| Error::state(&path, e.to_string()))?;
        if state.step != newest.step {
            return Err(Error::state(&path, format!("is of step {}, in the folder of step {}", state.step, newest.step)));
        }
        state.from = Some(newest.path);
        Ok(state)
    }

    /// The checkpoint folder to load the model from, where the run goes on.
    pub fn folder(&self) -> Option<&Path> {
        self.from.as_deref()
    }

    /// The step at which the run goes on; `None` for a new run.
    pub fn resumed_at(&self) -> Option<u64> {
        self.from.as_ref().map(|_| self.step)
    }

    /// Refuses a run of `total` steps that has done more.
    pub fn within(&self, total: u64) -> Result<(), Error> {
        if self.step > total { Err(Error::Shortened { done: self.step, total }) } else { Ok(()) }
    }

    /// Restores the optimiser that was saved under `name`; does nothing in a new run.
    pub fn restore(&self, name: &str, optim: &mut Optimizer) -> Result<(), Error> {
        match &self.from {
            Some(folder) => optim.load(&folder.join("state").join(format!("{name}.safetensors"))),
            None => Ok(()),
        }
    }

    /// Whether `value` (lower is better) is the best evaluation so far; remembers it. The step's checkpoint must then be saved too, or there is
    /// nothing for [`checkpoint::prune`] to keep. NaN is never the best.
    pub fn consider(&mut self, step: u64, value: f64) -> bool {
        let better = self.best.map_or(!value.is_nan(), |b| value < b.value.0);
        if better {
            self.best = Some(Best { step, value: Exact(value) });
        }
        better
    }

    /// Step of the best evaluation.
    pub fn best_step(&self) -> Option<u64> {
        self.best.map(|b| b.step)
    }

    /// The best evaluation.
    pub fn best_value(&self) -> Option<f64> {
        self.best.map(|b| b.value.0)
    }

    /// A number that must survive, such as the adaptive KL coefficient.
    pub fn counter(&self, name: &str) -> Option<f64> {
        self.counters.get(name).map(|x| x.0)
    }

    /// Keeps a number for the next checkpoint.
    pub fn set_counter(&mut self, name: &str, value: f64) {
        self.counters.insert(name.to_owned(), Exact(value));
    }

    /// Bytes of the log `name` that belong to the steps done.
    pub(crate) fn log_bytes(&self, name: &str) -> u64 {
        self.logs.get(name).copied().unwrap_or(0)
    }

    /// Seconds of work before this process.
    pub(crate) fn wall_s(&self) -> f64 {
        self.wall_s.0
    }

    /// Writes `state/` into the folder of a checkpoint being made. The logs are flushed to the disk first: what the state counts is there.
    pub fn save(&mut self, folder: &Path, step: u64, optims: &[(&str, &Optimizer)], logs: &mut [&mut Metrics]) -> Result<(), BoxError> {
        self.step = step;
        for log in logs {
            let bytes = log.sync()?;
            self.logs.insert(log.name().to_owned(), bytes);
            self.wall_s = Exact(log.wall_s());
        }
        let dir = folder.join("state");
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        for (name, optim) in optims {
            checkpoint::add_moments(folder, &dir, name, optim)?;
        }
        let path = dir.join("state.json");
        fs::write(&path, serde_json::to_vec_pretty(self)?).map_err(Error::io(&path))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_counter_survives() {
        let mut state = State { step: 3, tokens: u64::MAX, ..State::default() };
        for (i, x) in [0.1 + 0.2, 1e-310, f64::MAX, 1.0 / 3.0, -0.0, f64::INFINITY].into_iter().enumerate() {
            state.set_counter(&i.to_string(), x);
        }
        let back: State = serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(back, state);
        assert!(back.counter("4").unwrap().is_sign_negative());
    }

    #[test]
    fn best_is_the_lowest_and_never_nan() {
        let mut state = State::default();
        assert!(!state.consider(0, f64::NAN));
        assert!(state.consider(1, 2.0));
        assert!(!state.consider(2, 2.0) && !state.consider(2, f64::NAN));
        assert!(state.consider(3, 1.5));
        assert_eq!((state.best_step(), state.best_value()), (Some(3), Some(1.5)));
    }
}
