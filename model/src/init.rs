//! Where a network's tensors come from: one constructor describes names, shapes and first values, a supplier provides.

use crate::error::ModelError;
use crate::files::WeightFiles;
use crate::model::{Model, Parameter};
use crate::sample::{mix, uniform};
use tch::{Device, Kind, Tensor};

/// First values of a fresh tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Normal, mean 0, with this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this.
    Uniform(f64),
    /// All zero.
    Zeros,
    /// All one.
    Ones,
}

/// Provider of tensors.
pub(crate) enum Supply<'a> {
    /// Fresh values of this seed.
    Fresh { seed: u64, device: Device },
    /// A folder's weights; those named in `fresh` may be missing there and are made fresh then, always the same.
    Files { files: &'a mut WeightFiles, fresh: &'a [&'a str], device: Device },
    /// Copies of another model's, adapters merged, in this precision.
    Copy(&'a Model, Kind),
    /// Copies of another model's, adapters merged, with fresh rows at their ends where more are wanted, always the same.
    Grow(&'a Model),
    /// Another model's own, as frozen or trainable as they are there.
    Share(&'a Model),
}

/// Collects the parameters of a network while it is built.
pub(crate) struct Builder<'a> {
    pub supply: Supply<'a>,
    pub parameters: Vec<Parameter>,
    /// What the next tensors belong to: see [`Parameter::unit`].
    pub unit: usize,
}

impl<'a> Builder<'a> {
    pub fn new(supply: Supply<'a>) -> Builder<'a> {
        Builder { supply, parameters: vec![], unit: 0 }
    }

    /// The tensor of this name, registered as a trainable parameter. Matrices decay, vectors (biases, norms) do not.
    pub fn take(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Tensor, ModelError> {
        let tensor = match &mut self.supply {
            Supply::Fresh { seed, device } => fresh(name, shape, init, *seed, *device)?,
            Supply::Files { files, fresh: list, device } if list.contains(&name) && !files.has(name) => {
                fresh(name, shape, init, 0, *device)?
            }
            Supply::Files { files, device, .. } => files.take(name, shape, *device)?,
            Supply::Copy(from, kind) => from.merged(name)?.to_dtype(*kind, false, true),
            Supply::Grow(from) => grown(name, shape, init, &from.merged(name)?)?,
            Supply::Share(from) => from.tensor(name)?,
        };
        // Detached: autograd would let a view keep its first memory, which weights in parts give up.
        let tensor = if matches!(self.supply, Supply::Share(_)) { tensor } else { tensor.detach().set_requires_grad(true) };
        let (decay, unit) = (shape.len() >= 2, self.unit);
        self.parameters.push(Parameter { name: name.into(), tensor: tensor.shallow_clone(), decay, unit });
        Ok(tensor)
    }
}

/// `own` with fresh rows behind it, up to the first of `shape`.
fn grown(name: &str, shape: &[i64], init: Init, own: &Tensor) -> Result<Tensor, ModelError> {
    let more = shape[0] - own.size()[0];
    if more <= 0 {
        return Ok(own.copy());
    }
    let rows = fresh(name, &[&[more], &shape[1..]].concat(), init, 0, own.device())?;
    Ok(Tensor::cat(&[own, &rows], 0))
}

/// Values depend on the seed and the tensor's name only: not on the device, the other tensors, or libtorch's generator.
pub(crate) fn fresh(name: &str, shape: &[i64], init: Init, seed: u64, device: Device) -> Result<Tensor, ModelError> {
    let n = shape.iter().product::<i64>() as usize;
    let stream = name.bytes().fold(mix(seed), |h, byte| mix(h ^ u64::from(byte)));
    let tensor = match init {
        Init::Normal(std) => Tensor::from_slice(&normal(n, std, stream)).f_view(shape)?,
        Init::Uniform(bound) => {
            let draw = |i: usize| ((2.0 * uniform(stream, i as u64, 0) - 1.0) * bound) as f32;
            Tensor::from_slice(&(0..n).map(draw).collect::<Vec<_>>()).f_view(shape)?
        }
        Init::Zeros => Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?,
        Init::Ones => Tensor::f_ones(shape, (Kind::Float, Device::Cpu))?,
    };
    Ok(tensor.f_to_device(device)?)
}

/// `n` normal numbers by Box and Muller's transform of pairs of uniform ones.
fn normal(n: usize, std: f64, stream: u64) -> Vec<f32> {
    let mut out = Vec::with_capacity(n + 1);
    for i in 0..n.div_ceil(2) as u64 {
        let radius = (-2.0 * (1.0 - uniform(stream, i, 0)).ln()).sqrt() * std; // 1 - u is never 0
        let (sin, cos) = (std::f64::consts::TAU * uniform(stream, i, 1)).sin_cos();
        out.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    out.truncate(n);
    out
}
