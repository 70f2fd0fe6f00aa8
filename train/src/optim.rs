//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) with clipping by the global norm, moments that can be saved, and libtorch's fused kernel.
//!
//! With gradient g, t counted from 1, all elementwise:
//!   θ ← θ − lr·λ·θ;  m ← β1·m + (1−β1)·g;  v ← β2·v + (1−β2)·g²;  θ ← θ − lr · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ε)
//! TensorFlow's form (`optim.tf_style`, lm-human-preferences) adds ε before the second moment's bias is corrected:
//!   θ ← θ − lr · √(1−β2ᵗ)/(1−β1ᵗ) · m/(√v + ε),  which is the line above with ε/√(1−β2ᵗ) in the place of ε.
//! λ is `weight_decay` for parameters marked `decay` and 0 for the others. Clipping multiplies every gradient by min(1, clip/(norm + 1e-6)), as
//! `torch.nn.utils.clip_grad_norm_` does.

use crate::Error;
use data::config::Optim;
use native::AdamWStep;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A parameter to train.
#[derive(Debug)]
pub struct Param {
    /// Its name in the model folder; moments are saved under it.
    pub name: String,
    /// The leaf tensor.
    pub tensor: Tensor,
    /// Whether weight decay applies (matrices and embeddings).
    pub decay: bool,
}

/// A parameter and its moments, all of the parameter's shape; `step` is a float32 scalar.
#[derive(Debug)]
struct Slot {
    param: Param,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
}

/// The optimiser.
#[derive(Debug)]
pub struct AdamW {
    slots: Vec<Slot>,
    config: Optim,
    skipped: u64,
    skipped_in_a_row: u64,
}

impl AdamW {
    /// An optimiser with zero moments.
    pub fn new(params: Vec<Param>, config: &Optim) -> Result<AdamW, Error> {
        let slot = |param: Param| -> Result<Slot, Error> {
            let zeros = || param.tensor.f_zeros_like().map_err(Error::torch(format!("moments of {}", param.name)));
            let (exp_avg, exp_avg_sq) = (zeros()?, zeros()?);
            let step = Tensor::f_zeros([], (Kind::Float, param.tensor.device())).map_err(Error::torch("step counter"))?;
            Ok(Slot { exp_avg, exp_avg_sq, step, param })
        };
        let slots = params.into_iter().map(slot).collect::<Result<_, _>>()?;
        Ok(AdamW { slots, config: config.clone(), skipped: 0, skipped_in_a_row: 0 })
    }

    /// Number of trained values, with and without weight decay.
    pub fn sizes(&self) -> (usize, usize) {
        let count = |decay| self.slots.iter().filter(|s| s.param.decay == decay).map(|s| s.param.tensor.numel()).sum();
        (count(true), count(false))
    }

    /// The tensors that learn.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.slots.iter().map(|s| s.param.tensor.shallow_clone()).collect()
    }

    /// The gradients that exist.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.slots.iter().map(|s| s.param.tensor.grad()).filter(Tensor::defined).collect()
    }

    /// Sets all gradients to zero. [`AdamW::clip_and_step`] does so at its end.
    pub fn zero_grad(&mut self) {
        self.slots.iter_mut().for_each(|s| s.param.tensor.zero_grad());
    }

    /// One step from the accumulated gradients, which are then zero. `clip` ≤ 0 does not clip. Returns the gradients' norm before clipping.
    ///
    /// Where the norm is NaN or infinite the step is left out and counted: parameters and moments stay as they are. So do those of parameters that
    /// no gradient reached.
    pub fn clip_and_step(&mut self, lr: f64, clip: f64) -> Result<f64, Error> {
        self.guarded_step(0.0, lr, clip)
    }

    /// [`AdamW::clip_and_step`] that leaves the step out where `loss` is NaN or infinite, too: its gradient may still be finite.
    pub fn guarded_step(&mut self, loss: f64, lr: f64, clip: f64) -> Result<f64, Error> {
        let norm = native::global_grad_norm(&self.gradients())?;
        if norm.is_finite() && loss.is_finite() {
            self.skipped_in_a_row = 0;
            let grad_scale = if clip > 0.0 { ((norm + 1e-6) / clip).max(1.0) } else { 1.0 };
            for decay in [true, false] {
                // One fused call for all, but in TensorFlow's form ε follows the step, and parameters may have begun at different ones.
                let mut groups: BTreeMap<u64, Vec<&Slot>> = BTreeMap::new();
                for slot in self.slots.iter().filter(|s| s.param.decay == decay) {
                    let done =
                        if self.config.tf_style { slot.step.f_double_value(&[]).map_err(Error::torch("step counter"))? as u64 } else { 0 };
                    groups.entry(done).or_default().push(slot);
                }
                for (done, slots) in groups {
                    self.step_group(&slots, decay, done, lr, grad_scale)?;
                }
            }
        } else {
            self.skipped += 1;
            self.skipped_in_a_row += 1;
        }
        self.zero_grad();
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
            let grad = s.param.tensor.grad();
            if grad.defined() {
                params.push(s.param.tensor.shallow_clone());
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

    /// The moments by name: `NAME.exp_avg`, `NAME.exp_avg_sq`, `NAME.step`, and the count of skipped steps.
    fn named(&self) -> Vec<(String, Tensor)> {
        let mut all = vec![("skipped".to_owned(), Tensor::from_slice(&[self.skipped as i64, self.skipped_in_a_row as i64]))];
        for s in &self.slots {
            for (kind, tensor) in [("exp_avg", &s.exp_avg), ("exp_avg_sq", &s.exp_avg_sq), ("step", &s.step)] {
                all.push((format!("{}.{kind}", s.param.name), tensor.shallow_clone()));
            }
        }
        all
    }

    /// Writes the moments as a safetensors file.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let on_cpu = |(name, tensor): (String, Tensor)| {
            let tensor = tensor.f_to_device(Device::Cpu).and_then(|t| t.f_contiguous()).map_err(Error::torch(name.clone()))?;
            Ok((name, tensor))
        };
        let tensors: Vec<(String, Tensor)> = self.named().into_iter().map(on_cpu).collect::<Result<_, Error>>()?;
        Tensor::write_safetensors(&tensors, path).map_err(Error::torch(format!("writing {}", path.display())))
    }

    /// Reads the moments back. Names and shapes must be those of this optimiser, all of them.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let read = Tensor::read_safetensors(path).map_err(Error::torch(format!("reading {}", path.display())))?;
        let mut read: HashMap<String, Tensor> = read.into_iter().collect();
        for (name, mut into) in self.named() {
            let from = read.remove(&name).ok_or_else(|| Error::state(path, format!("lacks {name}")))?;
            if from.size() != into.size() {
                return Err(Error::state(path, format!("{name} has shape {:?}, the parameter {:?}", from.size(), into.size())));
            }
            if name == "skipped" {
                (self.skipped, self.skipped_in_a_row) = (from.int64_value(&[0]) as u64, from.int64_value(&[1]) as u64);
            } else {
                into.f_copy_(&from).map_err(Error::torch(name))?;
            }
        }
        match read.keys().min() {
            None => Ok(()),
            Some(name) => Err(Error::state(path, format!("holds {name}, which this model does not have"))),
        }
    }
}
