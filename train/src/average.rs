//! The mean of the weights over the last steps of a run (Polyak and Juditsky 1992; "tail averaging"): steps of a constant or slowly falling rate go round the
//! minimum, and their mean lies nearer to it than any of them.

use crate::Error;
use crate::optim::Param;
use std::path::Path;
use tch::{Device, Kind, Tensor, no_grad};

/// A running mean of parameters.
#[derive(Debug)]
pub struct Average {
    slots: Vec<(Param, Tensor)>,
    /// Weights in the mean.
    count: u64,
    /// Steps from which on weights are taken in.
    first: u64,
}

impl Average {
    /// A mean over the last `share` (0 to 1) of `steps`; `None` where that is no step.
    pub fn new(params: Vec<Param>, share: f64, steps: u64) -> Result<Option<Average>, Error> {
        let taken = (share * steps as f64).ceil() as u64;
        if taken == 0 {
            return Ok(None);
        }
        let slot = |param: Param| -> Result<(Param, Tensor), Error> {
            let mean = param.tensor.f_zeros_like().map_err(Error::torch(format!("mean of {}", param.name)))?;
            Ok((param, mean))
        };
        let slots = params.into_iter().map(slot).collect::<Result<_, _>>()?;
        Ok(Some(Average { slots, count: 0, first: steps - taken.min(steps) }))
    }

    /// Takes the weights in as they are after `done` steps, if these are among the last.
    pub fn take(&mut self, done: u64) {
        if done <= self.first {
            return;
        }
        self.count += 1;
        let share = 1.0 / self.count as f64;
        no_grad(|| self.slots.iter_mut().for_each(|(p, mean)| *mean = mean.lerp(&p.tensor, share)));
    }

    /// Exchanges the weights and their mean, where there is one: twice is nothing. Evaluation and the finished model want the mean, training the weights.
    pub fn swap(&mut self) {
        if self.count == 0 {
            return;
        }
        no_grad(|| {
            for (p, mean) in &mut self.slots {
                let weights = p.tensor.copy();
                p.tensor.copy_(mean);
                *mean = weights;
            }
        });
    }

    /// Writes the mean as a safetensors file.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let mut tensors = vec![("count".to_owned(), Tensor::from_slice(&[self.count as i64, self.first as i64]))];
        for (p, mean) in &self.slots {
            let mean = mean.f_to_device(Device::Cpu).and_then(|t| t.f_contiguous()).map_err(Error::torch(p.name.clone()))?;
            tensors.push((p.name.clone(), mean));
        }
        Tensor::write_safetensors(&tensors, path).map_err(Error::torch(format!("writing {}", path.display())))
    }

    /// Reads the mean back. A run that has been made longer begins its mean later: what an earlier end had averaged is left behind.
    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let read = Tensor::read_safetensors(path).map_err(Error::torch(format!("reading {}", path.display())))?;
        let find =
            |name: &str| read.iter().find(|(n, _)| n == name).map(|(_, t)| t).ok_or_else(|| Error::state(path, format!("lacks {name}")));
        let counts = find("count")?.to_kind(Kind::Int64);
        if counts.int64_value(&[1]) as u64 != self.first {
            return Ok(());
        }
        for (p, mean) in &mut self.slots {
            let from = find(&p.name)?;
            if from.size() != mean.size() {
                return Err(Error::state(path, format!("{} has shape {:?}, the parameter {:?}", p.name, from.size(), mean.size())));
            }
            mean.f_copy_(from).map_err(Error::torch(p.name.clone()))?;
        }
        self.count = counts.int64_value(&[0]) as u64;
        Ok(())
    }
}
