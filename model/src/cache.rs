//! Keys and values of the tokens seen so far, in memory allocated once.
//!
//! Rows end at a common column: a short prompt stands at the right, its first columns are blank and masked. So every step writes
//! one column for all rows. A finished row's place is taken by the last row, so the live rows are always the first ones.

use crate::config::Config;
use tch::{Device, Kind, Tensor};

/// Keys and values of all blocks.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Blocks' keys and values in turn, `[2·L, B, K, T, C]`.
    all: Tensor,
    /// Views of `all`: key and value of each block, `[B, K, T, C]`.
    blocks: Vec<(Tensor, Tensor)>,
    /// 0 where a row may look and minus infinity in its blank columns, `[B, 1, 1, T]`; `None` where no row has blanks.
    blank: Option<Tensor>,
    /// Live rows.
    rows: i64,
    /// Columns filled.
    columns: i64,
}

impl Cache {
    /// Room for prompts of the given lengths and `more` tokens after the longest, in the precision of the model's activations.
    pub fn new(config: &Config, lengths: &[i64], more: i64, (kind, device): (Kind, Device)) -> Cache {
        let (rows, longest) = (lengths.len() as i64, lengths.iter().copied().max().unwrap_or(0));
        let time = longest + more;
        let size = [2 * config.layers as i64, rows, config.kv_heads as i64, time, config.head_dim as i64];
        let all = Tensor::empty(size, (kind, device));
        let blocks = (0..config.layers as i64).map(|l| (all.select(0, 2 * l), all.select(0, 2 * l + 1))).collect();
        let blank = lengths.iter().any(|&n| n < longest).then(|| {
            let blanks = Tensor::from_slice(&lengths.iter().map(|n| longest - n).collect::<Vec<_>>()).to_device(device);
            let column = Tensor::arange(time, (Kind::Int64, device));
            let hidden = column.unsqueeze(0).lt_tensor(&blanks.unsqueeze(1)); // [B, T]
            let mask = Tensor::zeros([rows, time], (kind, device)).masked_fill(&hidden, f64::NEG_INFINITY);
            mask.view([rows, 1, 1, time])
        });
        Cache { all, blocks, blank, rows, columns: longest }
    }

    /// Stores a block's keys and values of all prompts, `[B, K, T, C]` padded on the right: each row moves to the right end.
    pub fn fill(&self, block: usize, keys: &Tensor, values: &Tensor, lengths: &[i64]) {
        let (slot_k, slot_v) = &self.blocks[block];
        for (slot, new) in [(slot_k, keys), (slot_v, values)] {
            if self.blank.is_none() {
                slot.narrow(2, 0, self.columns).copy_(new);
                continue;
            }
            for (row, &n) in (0..).zip(lengths) {
                let slot = slot.select(0, row);
                slot.narrow(1, self.columns - n, n).copy_(&new.select(0, row).narrow(1, 0, n));
                // Blank columns get weight 0, and 0 times whatever the memory held could be NaN.
                let _ = slot.narrow(1, 0, self.columns - n).zero_();
            }
        }
    }

    /// Opens the next column.
    pub fn advance(&mut self) {
        self.columns += 1;
    }

    /// The first column that the newest token sees: rows end at a common column, so columns apart are places apart.
    pub fn first_seen(&self, window: Option<i64>) -> i64 {
        window.map_or(0, |w| (self.columns - w).max(0))
    }

    /// Writes a block's key and value `[B, K, 1, C]` of the newest column and returns all columns from `first` on, `[B, K, t, C]`.
    pub fn push(&self, block: usize, key: &Tensor, value: &Tensor, first: i64) -> (Tensor, Tensor) {
        let (keys, values) = &self.blocks[block];
        let put = |slot: &Tensor, new: &Tensor| {
            let seen = slot.narrow(0, 0, self.rows).narrow(2, first, self.columns - first);
            seen.narrow(2, self.columns - first - 1, 1).copy_(new);
            seen
        };
        (put(keys, key), put(values, value))
    }

    /// The mask over the columns so far, `[B, 1, 1, t]`, if any row has blanks.
    pub fn mask(&self) -> Option<Tensor> {
        self.blank.as_ref().map(|m| m.narrow(0, 0, self.rows).narrow(3, 0, self.columns))
    }

    /// Takes a row out: the last live row moves into its place.
    pub fn remove(&mut self, row: i64) {
        self.rows -= 1;
        if row < self.rows {
            let seen = self.all.narrow(3, 0, self.columns);
            seen.select(1, row).copy_(&seen.select(1, self.rows));
            if let Some(blank) = &self.blank {
                blank.select(0, row).copy_(&blank.select(0, self.rows));
            }
        }
    }
}
