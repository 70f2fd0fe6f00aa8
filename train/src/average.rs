//! The mean of the weights over the last steps of a run (Polyak and Juditsky 1992; "tail averaging"): steps of a constant or slowly falling rate go round the
//! minimum, and their mean lies nearer to it than any of them.

use crate::progress::note;
use crate::{Error, Optimizer};
use dist::Shard;
use native::Units;
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Tensor, no_grad};

/// Name of the tensor that holds how many weights are in the mean.
const COUNT: &str = "count";

/// A parameter, or what this rank has of one, and its mean.
#[derive(Debug)]
struct Slot {
    name: String,
    /// Of the whole parameter.
    shape: Vec<i64>,
    /// Number of the first value in the flattened parameter.
    begin: i64,
    weights: Tensor,
    mean: Tensor,
}

/// A running mean of parameters.
#[derive(Debug)]
pub struct Average {
    slots: Vec<Slot>,
    /// Weights in the mean.
    count: u64,
    /// Steps from which on weights are taken in.
    first: u64,
    /// Where weights are shared out, each rank has the mean of its own.
    units: Option<Arc<Units>>,
}

impl Average {
    /// A mean over the last `share` (0 to 1) of `steps`, of what `optim` steps; `None` where that is no step.
    pub fn new(optim: &Optimizer, share: f64, steps: u64) -> Result<Option<Average>, Error> {
        let taken = (share * steps as f64).ceil() as u64;
        if taken == 0 {
            return Ok(None);
        }
        let partition = optim.partition();
        let slot = |(i, name): (usize, &str)| -> Result<Slot, Error> {
            let param = &partition.params()[i];
            let in_parts = partition.shard() == Shard::Parameters;
            let (weights, begin) = if in_parts { (partition.values(i)?, partition.range(i).start) } else { (param.shallow_clone(), 0) };
            let mean = weights.f_zeros_like().map_err(Error::torch(format!("mean of {name}")))?;
            Ok(Slot { name: name.into(), shape: param.size(), begin, weights, mean })
        };
        let slots = optim.names().into_iter().enumerate().map(slot).collect::<Result<_, _>>()?;
        Ok(Some(Average { slots, count: 0, first: steps - taken.min(steps), units: partition.units() }))
    }

    /// Takes the weights in as they are after `done` steps, if these are among the last.
    pub fn take(&mut self, done: u64) {
        if done <= self.first {
            return;
        }
        self.count += 1;
        let share = 1.0 / self.count as f64;
        no_grad(|| self.slots.iter_mut().for_each(|s| s.mean = s.mean.lerp(&s.weights, share)));
    }

    /// Weights in the mean.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Exchanges the weights and their mean, where there is one: twice is nothing. Evaluation and the finished model want the mean, training the weights.
    /// All ranks do it.
    pub fn swap(&mut self) {
        if self.count == 0 {
            return;
        }
        no_grad(|| {
            for s in &mut self.slots {
                let weights = s.weights.copy();
                s.weights.copy_(&s.mean);
                s.mean = weights;
            }
        });
        if let Some(units) = &self.units {
            units.let_go(); // what is whole is no longer true
        }
    }

    /// Writes the mean as a safetensors file. Where weights are shared out, the others [`Average::lend`] theirs.
    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        let mut tensors = vec![(COUNT.to_owned(), Tensor::from_slice(&[self.count as i64]))];
        if self.units.is_some() {
            let means = self.lend()?;
            tensors.extend(self.slots.iter().map(|s| s.name.clone()).zip(means));
        } else {
            for s in &self.slots {
                let mean = s.mean.f_to_device(Device::Cpu).and_then(|t| t.f_contiguous()).map_err(Error::torch(s.name.clone()))?;
                tensors.push((s.name.clone(), mean));
            }
        }
        Tensor::write_safetensors(&tensors, path).map_err(Error::torch(format!("writing {}", path.display())))
    }

    /// The whole means where weights are shared out, on all ranks; nothing elsewhere. All others call it while rank 0 saves.
    pub fn lend(&mut self) -> Result<Vec<Tensor>, Error> {
        let Some(units) = self.units.clone() else { return Ok(vec![]) };
        self.swap();
        let keep = |t: Tensor| t.f_to_device(Device::Cpu);
        let found = (0..self.slots.len()).map(|i| keep(units.fetch(i)?).map_err(Error::torch("a mean".to_owned()))).collect();
        self.swap();
        found
    }

    /// Reads the mean back as it was after `done` steps. A run that has been given another length has another share of steps to average: while none of these
    /// is done, what an earlier end had averaged is left behind; from then on the mean goes on with what is in it, and the difference is said.
    pub fn load(&mut self, path: &Path, done: u64) -> Result<(), Error> {
        if done <= self.first {
            return Ok(());
        }
        let read = read(path)?;
        let find = |name: &str| find(&read, name, path);
        self.count = find(COUNT)?.int64_value(&[0]) as u64;
        let (count, asked) = (self.count, done - self.first);
        if count != asked {
            let said =
                format!("after step {done} the mean is of {count} steps' weights, not of the {asked} from step {} on", self.first + 1);
            note(&format!("average: the run was begun with another length: {said}"));
        }
        for s in &mut self.slots {
            let from = find(&s.name)?;
            if from.size() != s.shape {
                return Err(Error::state(path, format!("{} has shape {:?}, the parameter {:?}", s.name, from.size(), s.shape)));
            }
            let (from, into) = (from.f_view([-1]), s.mean.f_view([-1]));
            let copied = from.and_then(|from| into?.f_copy_(&from.f_narrow(0, s.begin, s.mean.numel() as i64)?));
            copied.map_err(Error::torch(s.name.clone()))?;
        }
        Ok(())
    }
}

/// Weights in the mean in this file.
pub fn count(path: &Path) -> Result<u64, Error> {
    Ok(find(&read(path)?, COUNT, path)?.int64_value(&[0]) as u64)
}

fn read(path: &Path) -> Result<Vec<(String, Tensor)>, Error> {
    Tensor::read_safetensors(path).map_err(Error::torch(format!("reading {}", path.display())))
}

fn find<'a>(tensors: &'a [(String, Tensor)], name: &str, path: &Path) -> Result<&'a Tensor, Error> {
    tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t).ok_or_else(|| Error::state(path, format!("lacks {name}")))
}
