//! What is trained, and how it is spread.

use std::fmt;

/// A step of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Tokens of a sequence, s.
    pub context: u64,
    /// Sequences of an optimiser step, over all devices.
    pub batch: u64,
    /// Bytes that model states take for each weight, and how ZeRO may cut them.
    pub states: States,
}

/// Bytes a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct States {
    /// Weights that products read.
    pub weights: f64,
    /// Gradients.
    pub gradients: f64,
    /// Moments, and master weights where products read others.
    pub optimizer: f64,
}

impl States {
    /// Mixed-precision Adam of the ZeRO paper: bfloat16 weights and gradients, float32 master weights and two moments.
    pub const MIXED: States = States { weights: 2.0, gradients: 2.0, optimizer: 12.0 };
    /// Ours: float32 weights (products cast what they read), gradients and two moments.
    pub const OURS: States = States { weights: 4.0, gradients: 4.0, optimizer: 8.0 };
}

/// What data-parallel ranks do not all keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zero {
    /// Every rank keeps everything.
    Off,
    /// Moments are cut (ZeRO-1).
    Optimizer,
    /// Gradients too (ZeRO-2).
    Gradients,
    /// Weights too (ZeRO-3, FSDP).
    Weights,
}

/// What the backward pass computes again instead of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recompute {
    /// Nothing.
    Nothing,
    /// Scores of attention: most of the memory, little of the work. Flash attention does so by its nature.
    Attention,
    /// Whole blocks: only their inputs stay.
    Blocks,
}

/// One way to spread a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// Devices that share every matrix (with sequence parallelism).
    pub tensor: u64,
    /// Devices that hold the blocks one after the other.
    pub pipeline: u64,
    /// Copies that share the batch.
    pub data: u64,
    /// What those copies cut.
    pub zero: Zero,
    /// Sequences of a micro-batch.
    pub micro: u64,
    /// What is computed twice.
    pub recompute: Recompute,
}

impl Layout {
    /// Micro-batches of a step on each device.
    pub fn micro_batches(&self, job: &Job) -> u64 {
        job.batch / (self.data * self.micro)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = match self.zero {
            Zero::Off => "",
            Zero::Optimizer => " zero-1",
            Zero::Gradients => " zero-2",
            Zero::Weights => " zero-3",
        };
        let again = match self.recompute {
            Recompute::Nothing => "",
            Recompute::Attention => ", attention again",
            Recompute::Blocks => ", blocks again",
        };
        write!(f, "tensor {} · pipeline {} · data {}{zero}, micro-batch {}{again}", self.tensor, self.pipeline, self.data, self.micro)
    }
}
