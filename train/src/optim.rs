//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) with clipping by the global norm, moments that can be saved, and libtorch's fused kernel.
//!
//! With gradient g, t counted from 1, all elementwise:
//!   θ ← θ − lr·λ·θ;  m ← β1·m + (1−β1)·g;  v ← β2·v + (1−β2)·g²;  θ ← θ − lr · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ε)
//! TensorFlow's form (`optim.tf_style`, lm-human-preferences) adds ε before the second moment's bias is corrected:
//!   θ ← θ − lr · √(1−β2ᵗ)/(1−β1ᵗ) · m/(√v + ε),  which is the line above with ε/√(1−β2ᵗ) in the place of ε.
//! All of it is elementwise, so with `distributed.shard` each rank steps its own values and the others take them over (`dist::Partition`).
//! λ is `weight_decay` for parameters marked `decay` and 0 for the others. Clipping multiplies every gradient by min(1, clip/(norm + 1e-6)), as
//! `torch.nn.utils.clip_grad_norm_` does.

use crate::Error;
use crate::moments::{Piece, Store};
use data::config::{self, Optim};
use dist::{Partition, Shard, World};
use native::AdamWStep;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// A parameter to train.
#[derive(Debug)]
pub struct Param {
    /// Its name in the model folder; moments are saved under it.
    pub name: String,
    /// The leaf tensor.
    pub tensor: Tensor,
    /// Whether weight decay applies (matrices and embeddings).
    pub decay: bool,
    /// What it computes together with, where weights are shared out: 0 outside the blocks, else the block's number from 1 on.
    pub unit: usize,
}

/// Values of a parameter that this rank steps, and their moments, all of one shape; `step` is a float32 scalar.
#[derive(Debug)]
struct Slot {
    /// Number of the parameter.
    param: usize,
    /// The parameter, or a view of a part of it.
    values: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
}

/// The optimiser.
#[derive(Debug)]
pub struct AdamW {
    params: Vec<Param>,
    partition: Partition,
    slots: Vec<Slot>,
    config: Optim,
    skipped: u64,
    skipped_in_a_row: u64,
}

impl AdamW {
    /// An optimiser with zero moments.
    pub fn new(params: Vec<Param>, config: &Optim) -> Result<AdamW, Error> {
        AdamW::shared(params, config, &World::single(), config::Shard::None)
    }

    /// An optimiser with zero moments of the values that this rank is to step.
    pub fn shared(params: Vec<Param>, config: &Optim, world: &World, shard: config::Shard) -> Result<AdamW, Error> {
        let shard = match shard {
            config::Shard::None => Shard::Nothing,
            config::Shard::Optimizer => Shard::Optimizer,
            config::Shard::Gradients => Shard::Gradients,
            config::Shard::Parameters => Shard::Parameters,
        };
        let tensors: Vec<Tensor> = params.iter().map(|p| p.tensor.shallow_clone()).collect();
        let units: Vec<usize> = params.iter().map(|p| p.unit).collect();
        let partition = Partition::in_units(&tensors, &units, world, shard)?;
        let slot = |i: usize| -> Result<Slot, Error> {
            let values = partition.values(i)?;
            let zeros = || values.f_zeros_like().map_err(Error::torch(format!("moments of {}", params[i].name)));
            let (exp_avg, exp_avg_sq) = (zeros()?, zeros()?);
            let step = Tensor::f_zeros([], (Kind::Float, values.device())).map_err(Error::torch("step counter"))?;
            Ok(Slot { param: i, values, exp_avg, exp_avg_sq, step })
        };
        let owned = (0..params.len()).filter(|&i| partition.shard() == Shard::Nothing || !partition.range(i).is_empty());
        let slots = owned.map(slot).collect::<Result<_, _>>()?;
        Ok(AdamW { params, partition, slots, config: config.clone(), skipped: 0, skipped_in_a_row: 0 })
    }

    /// All parameters and which values of them are this rank's, for [`dist::Gradients`].
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Number of trained values, with and without weight decay.
    pub fn sizes(&self) -> (usize, usize) {
        let count = |decay| self.params.iter().filter(|p| p.decay == decay).map(|p| p.tensor.numel()).sum();
        (count(true), count(false))
    }

    /// The gradients of this rank's values, as far as they exist.
    fn gradients(&self) -> Result<Vec<Tensor>, Error> {
        let all = self.slots.iter().map(|s| self.partition.gradient(s.param)).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter(Tensor::defined).collect())
    }

    /// One step from the accumulated gradients, which are then zero. `clip` ≤ 0 does not clip. Returns the gradients' norm before clipping.
    ///
    /// Where the norm is NaN or infinite the step is left out and counted: parameters and moments stay as they are. So do those of parameters that
    /// no gradient reached.
    pub fn clip_and_step(&mut self, lr: f64, clip: f64) -> Result<f64, Error> {
        self.guarded_step(&World::single(), 0.0, lr, clip)
    }

    /// [`AdamW::clip_and_step`] that leaves the step out where `loss` is NaN or infinite, too: its gradient may still be finite. All ranks of the world call
    /// it with the same numbers.
    pub fn guarded_step(&mut self, world: &World, loss: f64, lr: f64, clip: f64) -> Result<f64, Error> {
        let norm = self.partition.norm(world, native::global_grad_norm(&self.gradients()?)?)?;
        if norm.is_finite() && loss.is_finite() {
            self.skipped_in_a_row = 0;
            let grad_scale = if clip > 0.0 { ((norm + 1e-6) / clip).max(1.0) } else { 1.0 };
            for decay in [true, false] {
                // One fused call for all, but in TensorFlow's form ε follows the step, and parameters may have begun at different ones.
                let mut groups: BTreeMap<u64, Vec<&Slot>> = BTreeMap::new();
                for slot in self.slots.iter().filter(|s| self.params[s.param].decay == decay) {
                    let done =
                        if self.config.tf_style { slot.step.f_double_value(&[]).map_err(Error::torch("step counter"))? as u64 } else { 0 };
                    groups.entry(done).or_default().push(slot);
                }
                for (done, slots) in groups {
                    self.step_group(&slots, decay, done, lr, grad_scale)?;
                }
            }
            self.partition.gather(world)?;
        } else {
            self.skipped += 1;
            self.skipped_in_a_row += 1;
        }
        self.partition.zero_grad()?;
        Ok(norm)
    }

    /// Steps left out because loss or gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The newest of them, without a good step between; [`crate::alarm`] ends the run when they are too many.
    pub fn skipped_in_a_row(&self) -> u64 {
        self.skipped_in_a_row
    }

    /// Steps parameters of which all decay or none; `done` steps lie behind them.
    fn step_group(&self, slots: &[&Slot], decay: bool, done: u64, lr: f64, grad_scale: f64) -> Result<(), Error> {
        let [mut params, mut grads, mut exp_avgs, mut exp_avg_sqs, mut steps] = [const { Vec::new() }; 5];
        for s in slots {
            let grad = self.partition.gradient(s.param)?;
            if grad.defined() {
                params.push(s.values.shallow_clone());
                grads.push(grad);
                exp_avgs.push(s.exp_avg.shallow_clone());
                exp_avg_sqs.push(s.exp_avg_sq.shallow_clone());
                steps.push(s.step.shallow_clone());
            }
        }
        let c = &self.config;
        let weight_decay = if decay { c.weight_decay } else { 0.0 };
        let eps = if c.tf_style { c.eps / (1.0 - c.beta2.powf(done as f64 + 1.0)).sqrt() } else { c.eps };
        let hyper = AdamWStep { lr, beta1: c.beta1, beta2: c.beta2, weight_decay, eps, grad_scale };
        Ok(native::fused_adamw(&params, &grads, &exp_avgs, &exp_avg_sqs, &steps, &hyper)?)
    }

    /// The pieces that this rank has.
    fn pieces(&self) -> Vec<Piece<'_>> {
        let piece = |s: &Slot| Piece {
            name: &self.params[s.param].name,
            shape: self.params[s.param].tensor.size(),
            begin: self.partition.range(s.param).start,
            exp_avg: s.exp_avg.shallow_clone(),
            exp_avg_sq: s.exp_avg_sq.shallow_clone(),
            step: s.step.shallow_clone(),
        };
        self.slots.iter().map(piece).collect()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.params.iter().map(|p| p.name.as_str()).collect()
    }

    /// Writes the moments that this rank has: all of them to the safetensors file `path`, or its share to the file beside it that is this rank's.
    /// Returns the file.
    pub fn save(&self, path: &Path) -> Result<PathBuf, Error> {
        Store::new(path, self.partition.share()).save(&self.pieces(), [self.skipped, self.skipped_in_a_row])
    }

    /// The files that [`AdamW::save`] of all ranks makes for `path`.
    pub fn files(&self, path: &Path) -> Vec<PathBuf> {
        Store::new(path, self.partition.share()).files()
    }

    /// Reads the moments back, whatever number of ranks wrote them. Names and shapes must be those of this optimiser, all of them.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let pieces = self.pieces(); // they share their memory with the optimiser's
        [self.skipped, self.skipped_in_a_row] = Store::new(path, self.partition.share()).load(&pieces, &self.names())?;
        Ok(())
    }
}
