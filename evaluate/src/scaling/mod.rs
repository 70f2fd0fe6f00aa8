//! Foretelling the loss of a larger model from a ladder of small ones (GPT-4's report, arXiv 2303.08774, section 3): L(N) over weights, L(C) over compute.

mod law;
mod page;

pub use law::{Law, Prediction};
pub use page::page;

use crate::report::{self, ReportError};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Seed of the bootstrap: the same ladder gives the same interval.
const SEED: u64 = 1;

/// A pre-training run as a point of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rung {
    /// The run's folder.
    pub name: String,
    /// N: weights.
    pub parameters: f64,
    /// D: tokens learned from.
    pub tokens: f64,
    /// Held-out loss at the end, nats a token.
    pub loss: f64,
    /// (tokens, held-out loss) along the way, the start left out.
    #[serde(skip)]
    pub curve: Vec<(f64, f64)>,
}

impl Rung {
    /// C: floating-point operations of training, 6·N·D (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
    pub fn compute(&self) -> f64 {
        6.0 * self.parameters * self.tokens
    }
}

/// A finished pre-training run's figures; `None` where the folder holds none.
pub fn rung(folder: &Path) -> Result<Option<Rung>, ReportError> {
    let run = report::read_run(folder)?;
    let figure = |key: &str| run.summary.as_ref().and_then(|s| s.get(key)).and_then(Value::as_f64);
    let (Some(parameters), Some(tokens), Some(loss)) = (figure("parameters"), figure("tokens"), figure("eval_loss")) else {
        return Ok(None);
    };
    let evaluations = run.points("step", "eval/loss")?;
    let steps = evaluations.iter().map(|p| p.0).fold(0.0, f64::max);
    let curve = evaluations.into_iter().filter(|p| p.0 > 0.0).map(|(step, loss)| (tokens * step / steps, loss)).collect();
    Ok(Some(Rung { name: run.name, parameters, tokens, loss, curve }))
}

/// The rungs below a folder, smallest first.
pub fn ladder(folder: &Path) -> Result<Vec<Rung>, ReportError> {
    let listing = std::fs::read_dir(folder).map_err(|source| ReportError::Io { action: "read", path: folder.to_path_buf(), source })?;
    let mut folders: Vec<_> = listing.flatten().map(|e| e.path()).filter(|p| p.join("summary.json").is_file()).collect();
    folders.sort();
    let mut rungs = Vec::new();
    for path in folders {
        rungs.extend(rung(&path)?);
    }
    rungs.sort_by(|a, b| a.parameters.total_cmp(&b.parameters));
    Ok(rungs)
}

/// What a ladder says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scaling {
    /// The ladder.
    pub rungs: Vec<Rung>,
    /// L(N): the loss at the end over weights, all runs having seen the same tokens.
    pub of_parameters: Law,
    /// What it foretells.
    pub by_parameters: Vec<Prediction>,
    /// L(C): the least loss that any run had reached with so much compute.
    pub of_compute: Option<Law>,
    /// What it foretells for the same models on the same tokens.
    pub by_compute: Vec<Prediction>,
    /// (compute, least loss): what L(C) is fitted to.
    pub frontier: Vec<(f64, f64)>,
}

/// Fits both laws and foretells models of so many weights; `None` with fewer than four sizes.
pub fn scaling(rungs: Vec<Rung>, sizes: &[f64]) -> Option<Scaling> {
    let points: Vec<(f64, f64)> = rungs.iter().map(|r| (r.parameters, r.loss)).collect();
    let of_parameters = Law::fit(&points)?;
    let by_parameters = sizes.iter().map(|&n| of_parameters.predict(&points, n, SEED)).collect();
    let frontier = frontier(&rungs);
    let of_compute = Law::fit(&frontier);
    let tokens = rungs.iter().map(|r| r.tokens).sum::<f64>() / rungs.len() as f64;
    let by_compute = of_compute.iter().flat_map(|law| sizes.iter().map(|n| law.predict(&frontier, 6.0 * n * tokens, SEED))).collect();
    Some(Scaling { rungs, of_parameters, by_parameters, of_compute, by_compute, frontier })
}

/// Of all evaluations of all runs those whose loss no run had reached with less compute.
fn frontier(rungs: &[Rung]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> =
        rungs.iter().flat_map(|r| r.curve.iter().map(|&(tokens, loss)| (6.0 * r.parameters * tokens, loss))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut least = f64::INFINITY;
    points.retain(|p| {
        p.1 < least && {
            least = p.1;
            true
        }
    });
    points
}
