//! Watching a run: where its figures go, and which of them raise an alarm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the figures go besides `metrics.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Write TensorBoard event files to `DIR/tensorboard`.
    pub tensorboard: bool,
}

impl Default for Log {
    fn default() -> Self {
        Log { tensorboard: true }
    }
}

/// Alarms of every stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alarm {
    /// Optimiser steps in a row left out because loss or gradient was NaN or infinite, after which the run stops (exit code 1); 0 never stops.
    pub max_skipped: u64,
    /// Stop the run (exit code 1) at every other alarm too, instead of only saying so.
    pub stop: bool,
    /// Lines of metrics (PPO: rounds) behind each mean that an alarm compares; trouble is over after as many quiet lines.
    pub window: usize,
    /// Over-fitting: the held-out figure has lost more than this share of what the training figure gained since the best evaluation; 0 is off.
    pub held_out: f64,
    /// Evaluations in a row for which that must hold.
    pub patience: usize,
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm { max_skipped: 10, stop: false, window: 5, held_out: 0.25, patience: 2 }
    }
}

/// When a policy has drifted too far (PPO). Baselines are means over the first `alarm.window` rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drift {
    /// Largest KL from the SFT model, in nats a response; 0 is off.
    pub max_kl: f64,
    /// Growth of the KL within `alarm.window` rounds, as a factor, from a fifth of `max_kl` on; 0 is off.
    pub kl_growth: f64,
    /// Least entropy of the policy, as a share of its baseline; 0 is off.
    pub min_entropy: f64,
    /// Least length of the responses, as a share of its baseline; 0 is off.
    pub min_length: f64,
    /// Largest fall of the share of responses that end by themselves (0 to 1), from its baseline; 0 is off.
    pub max_eos_drop: f64,
}

impl Default for Drift {
    fn default() -> Self {
        Drift { max_kl: 50.0, kl_growth: 3.0, min_entropy: 0.2, min_length: 0.3, max_eos_drop: 0.3 }
    }
}
