//! Keys and values of the tokens seen so far, in memory allocated once: for libtorch's operators. `native::decode` has its own.
//!
//! A sequence lives in a slot, token by token from column 0 on. A step reads the slots from 0 to the number of its rows.

use crate::config::Config;
use crate::error::ModelError;
use tch::{Device, Kind, Tensor};

/// Keys and values of all blocks.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Blocks' keys and values in turn, `[2·L, slots, T, K, C]`.
    all: Tensor,
}

/// The memory for so many sequences of so many tokens cannot be had.
pub(crate) fn no_room(config: &Config, slots: i64, columns: i64, kind: Kind) -> ModelError {
    let numbers = 2.0 * (config.layers * config.kv_heads * config.head_dim) as f64 * slots as f64 * columns as f64;
    ModelError::NoRoom { slots, columns, gib: numbers * kind.elt_size_in_bytes() as f64 / f64::from(1 << 30) }
}

/// Where the tokens of a pass are written.
#[derive(Debug)]
pub(crate) struct Places {
    /// Slot of each token, `[N]`.
    slots: Tensor,
    /// Column of each token, `[N]`.
    columns: Tensor,
}

impl Places {
    pub fn new(slots: &[i64], columns: &[i64], device: Device) -> Places {
        let to = |list: &[i64]| Tensor::from_slice(list).to_device(device);
        Places { slots: to(slots), columns: to(columns) }
    }

    /// Column of each token, `[N]`.
    pub fn columns(&self) -> &Tensor {
        &self.columns
    }
}

impl Cache {
    /// Room for `slots` sequences of `columns` tokens, in the precision of the model's activations.
    pub fn new(config: &Config, slots: i64, columns: i64, (kind, device): (Kind, Device)) -> Result<Cache, ModelError> {
        let size = [2 * config.layers as i64, slots, columns, config.kv_heads as i64, config.head_dim as i64];
        // Zeros: columns that a row does not see have weight 0, and 0 times whatever the memory held could be NaN.
        let zeros = || -> Result<Tensor, ModelError> {
            match device {
                // Pages come to be when they are written: sequences seldom fill all their columns.
                Device::Cpu => Ok(native::lasting_zeros(&Tensor::f_empty(size, (kind, device))?)?),
                _ => Ok(Tensor::f_zeros(size, (kind, device))?),
            }
        };
        zeros().map(|all| Cache { all }).map_err(|_| no_room(config, slots, columns, kind))
    }

    /// Stores a block's keys and values `[N, K, C]`.
    pub fn put(&self, block: usize, keys: &Tensor, values: &Tensor, places: &Places) {
        for (i, new) in [keys, values].into_iter().enumerate() {
            let mut slot = self.all.select(0, (2 * block + i) as i64);
            let _ = slot.index_put_(&[Some(&places.slots), Some(&places.columns)], new, false);
        }
    }

    /// A block's keys and values of the first `rows` slots, columns `first` to `end`: `[B, K, t, C]`, views.
    pub fn get(&self, block: usize, rows: i64, first: i64, end: i64) -> (Tensor, Tensor) {
        let seen = |i: usize| self.all.select(0, (2 * block + i) as i64).narrow(0, 0, rows).narrow(1, first, end - first).transpose(1, 2);
        (seen(0), seen(1))
    }

    /// Makes the first `columns` columns of slot `to` those of slot `from`.
    pub fn copy(&self, from: i64, to: i64, columns: i64) {
        let seen = self.all.narrow(2, 0, columns);
        seen.select(1, to).copy_(&seen.select(1, from));
    }
}
