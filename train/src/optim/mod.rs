//! Optimisers with clipping by the global norm and state that can be saved.
//!
//! [`OptimKind`] names the rule; each has a file here with its formula. All but Muon are elementwise, so with `distributed.shard` each rank steps its own values
//! and the others take them over (`dist::Partition`). λ is `weight_decay` for parameters marked `decay` and 0 for the others, and so is `l1`. Clipping
//! multiplies every gradient by min(1, clip/(norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_` does.

mod adam;
mod bytes;
mod l1;
mod lion;
mod muon;
mod sgd;

use crate::Error;
use crate::moments::{Piece, Store};
use data::config::{self, Optim, OptimKind};
use dist::{Partition, Shard, World};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, TchError, Tensor, no_grad};

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

/// How a parameter is stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Adam,
    AdamInBytes,
    Sgd { momentum: bool },
    Lion,
    Muon,
}

impl Rule {
    /// Muon is for the matrices that the blocks multiply with, not for tables of embeddings and heads.
    fn of(param: &Param, c: &Optim) -> Rule {
        match c.kind {
            OptimKind::Adamw8bit if param.tensor.numel() >= bytes::SMALLEST => Rule::AdamInBytes,
            OptimKind::Adamw | OptimKind::Adam | OptimKind::Adamw8bit => Rule::Adam,
            OptimKind::Sgd => Rule::Sgd { momentum: c.sgd.momentum > 0.0 },
            OptimKind::Lion => Rule::Lion,
            OptimKind::Muon if param.unit > 0 && param.tensor.dim() == 2 => Rule::Muon,
            OptimKind::Muon => Rule::Adam,
        }
    }

    /// Names of its state, tensors of the values' shape but for scales.
    fn moments(self) -> &'static [&'static str] {
        match self {
            Rule::Adam => &["exp_avg", "exp_avg_sq"],
            Rule::AdamInBytes => &bytes::STATE,
            Rule::Sgd { momentum: false } => &[],
            Rule::Sgd { momentum: true } | Rule::Muon => &["momentum_buffer"],
            Rule::Lion => &["exp_avg"],
        }
    }
}

/// Values of a parameter that this rank steps, and their state.
#[derive(Debug)]
struct Slot {
    /// Number of the parameter.
    param: usize,
    rule: Rule,
    /// The parameter, or a view of a part of it.
    values: Tensor,
    /// See [`Slot::moments`].
    moments: OnceCell<Vec<Tensor>>,
    /// Steps done, a float32 scalar.
    step: Tensor,
}

impl Slot {
    /// The state as [`Rule::moments`] names it: zeros that are made when they are first asked for, so that a run starts without waiting for them.
    fn moments(&self) -> Result<&[Tensor], TchError> {
        if self.moments.get().is_none() {
            let zeros = match self.rule {
                Rule::AdamInBytes => bytes::zeros(&self.values)?,
                _ => self.rule.moments().iter().map(|_| lasting(&self.values)).collect::<Result<_, _>>()?,
            };
            _ = self.moments.set(zeros);
        }
        Ok(self.moments.get().map_or(&[], Vec::as_slice))
    }

    fn done(&self) -> Result<u64, TchError> {
        Ok(self.step.f_double_value(&[])? as u64)
    }

    /// One step more.
    fn count(&self) -> Result<(), TchError> {
        _ = self.step.shallow_clone().f_add_scalar_(1.0)?;
        Ok(())
    }
}

/// Zeros as [`native::lasting_zeros`] makes them.
fn lasting(values: &Tensor) -> Result<Tensor, TchError> {
    native::lasting_zeros(values).map_err(|e| TchError::Torch(e.to_string()))
}

/// The numbers of one step.
struct Hyper {
    lr: f64,
    weight_decay: f64,
    /// Gradients are divided by it.
    grad_scale: f64,
}

impl Hyper {
    /// The gradient as it is used; it is set to zero after the step anyhow.
    fn clip(&self, grad: &mut Tensor) -> Result<(), TchError> {
        if self.grad_scale != 1.0 {
            _ = grad.f_div_scalar_(self.grad_scale)?;
        }
        Ok(())
    }

    /// Decoupled weight decay.
    fn decay(&self, values: &mut Tensor) -> Result<(), TchError> {
        if self.weight_decay > 0.0 {
            _ = values.f_mul_scalar_(1.0 - self.lr * self.weight_decay)?;
        }
        Ok(())
    }
}

/// Clips the gradient and adds λ·θ.
fn add_l2(grad: &mut Tensor, values: &Tensor, h: &Hyper) -> Result<(), TchError> {
    h.clip(grad)?;
    if h.weight_decay > 0.0 {
        _ = grad.f_add_(&values.f_mul_scalar(h.weight_decay)?)?;
    }
    Ok(())
}

/// The optimiser.
#[derive(Debug)]
pub struct Optimizer {
    params: Vec<Param>,
    /// What each parameter's rate is of the rate of a step.
    rates: Vec<f64>,
    partition: Partition,
    slots: Vec<Slot>,
    config: Optim,
    skipped: u64,
    skipped_in_a_row: u64,
}

impl Optimizer {
    /// An optimiser without history.
    pub fn new(params: Vec<Param>, config: &Optim) -> Result<Optimizer, Error> {
        Optimizer::shared(params, config, &World::single(), config::Shard::None)
    }

    /// An optimiser without history of the values that this rank is to step.
    pub fn shared(params: Vec<Param>, config: &Optim, world: &World, shard: config::Shard) -> Result<Optimizer, Error> {
        let shard = match shard {
            config::Shard::None => Shard::Nothing,
            config::Shard::Optimizer => Shard::Optimizer,
            config::Shard::Gradients => Shard::Gradients,
            config::Shard::Parameters => Shard::Parameters,
        };
        let tensors: Vec<Tensor> = params.iter().map(|p| p.tensor.shallow_clone()).collect();
        let units: Vec<usize> = params.iter().map(|p| p.unit).collect();
        let partition = Partition::in_units(&tensors, &units, world, shard)?;
        native::release_freed_pages(); // of whole weights that are shared out now, and of all set-up before
        if partition.shard() != Shard::Nothing && params.iter().any(|p| Rule::of(p, config) == Rule::Muon) {
            return Err(Error::MuonInParts);
        }
        if let Some(p) = params.iter().find(|p| Rule::of(p, config) == Rule::AdamInBytes)
            && (partition.shard() != Shard::Nothing || p.tensor.device() != Device::Cpu)
        {
            return Err(Error::BytesElsewhere);
        }
        let slot = |i: usize| -> Result<Slot, Error> {
            let (values, rule) = (partition.values(i)?, Rule::of(&params[i], config));
            let step = Tensor::f_zeros([], (Kind::Float, values.device())).map_err(Error::torch("step counter"))?;
            Ok(Slot { param: i, rule, values, moments: OnceCell::new(), step })
        };
        let owned = (0..params.len()).filter(|&i| partition.shard() == Shard::Nothing || !partition.range(i).is_empty());
        let slots = owned.map(slot).collect::<Result<_, _>>()?;
        let rates = vec![1.0; params.len()];
        Ok(Optimizer { params, rates, partition, slots, config: config.clone(), skipped: 0, skipped_in_a_row: 0 })
    }

    /// Steps each parameter at this multiple of the rate.
    pub fn with_rates(mut self, rate: impl Fn(&Param) -> f64) -> Optimizer {
        self.rates = self.params.iter().map(rate).collect();
        self
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

    /// [`Optimizer::clip_and_step`] that leaves the step out where `loss` is NaN or infinite, too: its gradient may still be finite. All ranks of the world call
    /// it with the same numbers.
    pub fn guarded_step(&mut self, world: &World, loss: f64, lr: f64, clip: f64) -> Result<f64, Error> {
        let norm = self.partition.norm(world, native::global_grad_norm(&self.gradients()?)?)?;
        if norm.is_finite() && loss.is_finite() {
            self.skipped_in_a_row = 0;
            let grad_scale = if clip > 0.0 { ((norm + 1e-6) / clip).max(1.0) } else { 1.0 };
            let mut rates = self.rates.clone();
            rates.sort_by(f64::total_cmp);
            rates.dedup();
            for (rate, decay) in rates.into_iter().flat_map(|rate| [(rate, true), (rate, false)]) {
                no_grad(|| self.step_group(rate, decay, lr, grad_scale))?;
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

    /// Steps the parameters of this multiple of the rate that decay, or those that do not; none that no gradient has reached.
    fn step_group(&self, rate: f64, decay: bool, lr: f64, grad_scale: f64) -> Result<(), Error> {
        let c = &self.config;
        let h = Hyper { lr: lr * rate, weight_decay: if decay { c.weight_decay } else { 0.0 }, grad_scale };
        let mut reached = Vec::new();
        for slot in self.slots.iter().filter(|s| self.rates[s.param] == rate && self.params[s.param].decay == decay) {
            let grad = self.partition.gradient(slot.param)?;
            if grad.defined() {
                reached.push((slot, grad));
            }
        }
        let (adam, others): (Vec<_>, Vec<_>) = reached.into_iter().partition(|(slot, _)| slot.rule == Rule::Adam);
        adam::step(&adam, c, &h)?;
        let stepped: Vec<&Slot> = adam.iter().chain(&others).map(|(slot, _)| *slot).collect();
        let named = |slot: &Slot| Error::torch(format!("step of {}", self.params[slot.param].name));
        for (slot, grad) in others {
            let done = match slot.rule {
                Rule::Sgd { .. } => sgd::step(slot, grad, &c.sgd, &h),
                Rule::Lion => lion::step(slot, grad, c, &h),
                Rule::Muon => muon::step(slot, grad, &c.muon, &h),
                Rule::AdamInBytes => {
                    bytes::step(slot, &grad, c, &h)?;
                    Ok(())
                }
                Rule::Adam => Ok(()),
            };
            done.map_err(named(slot))?;
        }
        if decay && c.l1 > 0.0 {
            stepped.into_iter().try_for_each(|slot| l1::shrink(slot, c.l1, &h).map_err(named(slot)))?;
        }
        Ok(())
    }

    /// Share of the values marked `decay` that are exactly 0, as L1 makes them; of all ranks together.
    pub fn zeros(&self, world: &World) -> Result<f64, Error> {
        let mut counts = [0.0, 0.0];
        for slot in self.slots.iter().filter(|s| self.params[s.param].decay) {
            let nonzero = no_grad(|| slot.values.f_count_nonzero(None::<i64>)).map_err(Error::torch("zeros"))?;
            counts[0] += slot.values.numel() as f64;
            counts[1] += nonzero.f_double_value(&[]).map_err(Error::torch("zeros"))?;
        }
        let [all, nonzero] = if self.partition.shard() == Shard::Nothing { counts } else { world.sum(counts)? };
        Ok(1.0 - nonzero / all.max(1.0))
    }

    /// The pieces that this rank has.
    fn pieces(&self) -> Result<Vec<Piece<'_>>, Error> {
        let piece = |s: &Slot| -> Result<Piece<'_>, Error> {
            let name = &self.params[s.param].name;
            let moments = s.moments().map_err(Error::torch(format!("moments of {name}")))?;
            Ok(Piece {
                name,
                shape: self.params[s.param].tensor.size(),
                begin: self.partition.range(s.param).start,
                len: if moments.is_empty() { 0 } else { s.values.numel() as i64 },
                moments: s.rule.moments().iter().copied().zip(moments.iter().map(Tensor::shallow_clone)).collect(),
                step: s.step.shallow_clone(),
            })
        };
        self.slots.iter().map(piece).collect()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.params.iter().map(|p| p.name.as_str()).collect()
    }

    /// Writes the moments that this rank has: all of them to the safetensors file `path`, or its share to the file beside it that is this rank's.
    /// Returns the file.
    pub fn save(&self, path: &Path) -> Result<PathBuf, Error> {
        Store::new(path, self.partition.share()).save(&self.pieces()?, [self.skipped, self.skipped_in_a_row])
    }

    /// The files that [`Optimizer::save`] of all ranks makes for `path`.
    pub fn files(&self, path: &Path) -> Vec<PathBuf> {
        Store::new(path, self.partition.share()).files()
    }

    /// Reads the moments back, whatever number of ranks wrote them. Names and shapes must be those of this optimiser, all of them.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let pieces = self.pieces()?; // they share their memory with the optimiser's
        let names: Vec<(&str, &[&str])> = self.params.iter().map(|p| (p.name.as_str(), Rule::of(p, &self.config).moments())).collect();
        [self.skipped, self.skipped_in_a_row] = Store::new(path, self.partition.share()).load(&pieces, &names)?;
        Ok(())
    }
}
