//! Many runs at a glance: which are done, which go on and where, which stand still, how far and how fast, and what they were made from.

mod scan;
mod show;

use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use scan::scan;

/// A run folder as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its path below the folder that was asked about.
    pub name: String,
    /// `pretrain`, `sft`, `reward` or `ppo`.
    pub stage: &'static str,
    /// What it is doing.
    pub state: State,
    /// Optimiser steps (PPO: rounds) in the log.
    pub step: Option<u64>,
    /// Steps in all, where the configuration says so.
    pub steps: Option<u64>,
    /// Work a second in the last logged step, with its unit.
    pub rate: Option<(f64, &'static str)>,
    /// The last evaluation (of a finished run, the final one), with the figures' names.
    pub evaluation: Vec<(&'static str, f64)>,
    /// When the run last wrote its log.
    #[serde(skip)]
    pub written: Option<SystemTime>,
    /// The folders it started from: runs by their name, others by their path.
    pub from: Vec<String>,
    /// Alarms in the last part of the log.
    pub alarms: usize,
    /// What could not be read.
    pub damage: Option<String>,
}

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It reached its end.
    Done,
    /// A process writes it: which, and where.
    Running(String),
    /// Nobody writes it; `--resume` goes on from a checkpoint of this step.
    Stopped(u64),
    /// Nobody writes it and there is no checkpoint: `--resume` begins anew.
    Begun,
}

/// The table for a terminal.
pub fn table(runs: &[Run], now: SystemTime) -> String {
    show::table(runs, now)
}

/// Writes a page that needs nothing but itself.
pub fn write_page(root: &Path, runs: &[Run], path: &Path, now: SystemTime) -> Result<PathBuf, crate::report::ReportError> {
    crate::report::replace(path, &show::page(&root.display().to_string(), runs, now))?;
    Ok(path.to_owned())
}
