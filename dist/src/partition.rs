//! Which rank keeps what of the training state: ZeRO, Rajbhandari et al. 2019 (arXiv 1910.02054, section 5).
//!
//! Parameters lie end to end in buckets, the last parameter first, as gradients come in the backward pass. A bucket has `size` equal parts, padded with
//! zeros, and rank r keeps part r of each: so all send and receive at all times, and all keep equally much. A part may begin or end amid a parameter. Where
//! weights are shared out too, a bucket is a unit: what is whole together, a block or all that stands outside the blocks.

use crate::{Error, World};
use native::{Place, Units};
use std::ops::Range;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Mebibytes of a bucket (`DIST_BUCKET_MB`, the same on all ranks): large enough for the link, small enough that little is left when the backward pass ends.
const BUCKET_MB: usize = 8;
/// The first bucket to be ready is smaller, so that the link does not wait.
pub(crate) const FIRST_BUCKET: usize = 1 << 20;
/// Of a float32.
const BYTES: usize = 4;

/// What each rank keeps its share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shard {
    /// Of nothing: all is whole on every rank.
    Nothing,
    /// Of the optimiser's state (ZeRO-1). Gradients are summed to their owners in the last backward pass of a step.
    Optimizer,
    /// Of the sums of gradients too (ZeRO-2): each backward pass ends with an exchange, and whole gradients live no longer than their bucket.
    Gradients,
    /// Of the weights too (ZeRO-3): a unit of them is whole only while it computes.
    Parameters,
}

/// Parameters of one optimiser, and this rank's part of them.
#[derive(Debug)]
pub struct Partition {
    params: Vec<Tensor>,
    shard: Shard,
    rank: i64,
    size: i64,
    places: Vec<Place>,
    /// This rank's sums of gradients, a tensor for each bucket; none where nothing is shared out.
    sums: Vec<Tensor>,
    /// This rank's weights, a tensor for each bucket, where weights are shared out.
    parts: Vec<Tensor>,
    units: Option<Arc<Units>>,
}

/// Bytes of a bucket.
pub(crate) fn bucket_bytes() -> usize {
    std::env::var("DIST_BUCKET_MB").ok().and_then(|mb| mb.trim().parse().ok()).filter(|&mb| mb > 0).unwrap_or(BUCKET_MB) << 20
}

/// Places of parameters of these lengths, and the length of each bucket's parts.
fn layout(lengths: &[usize], size: usize) -> (Vec<Place>, Vec<usize>) {
    let mut places = vec![Place { bucket: 0, begin: 0 }; lengths.len()];
    let (mut buckets, mut filled, bytes): (Vec<usize>, usize, usize) = (vec![], 0, bucket_bytes());
    for (i, &length) in lengths.iter().enumerate().rev() {
        places[i] = Place { bucket: buckets.len(), begin: filled as i64 };
        filled += length;
        if filled * BYTES >= if buckets.is_empty() { FIRST_BUCKET } else { bytes } {
            buckets.push(std::mem::take(&mut filled));
        }
    }
    if filled > 0 {
        buckets.push(filled);
    }
    (places, buckets.into_iter().map(|filled| filled.div_ceil(size)).collect())
}

/// Values of float32 after which a parameter may begin in a unit: kernels read whole cache lines.
const LINE: usize = 16;

/// The same where the parameters of a unit lie in one bucket, the last unit first, each at the beginning of a cache line.
fn layout_of_units(lengths: &[usize], unit_of: &[usize], size: usize) -> (Vec<Place>, Vec<usize>) {
    let units = unit_of.iter().max().map_or(0, |last| last + 1);
    let mut filled = vec![0; units];
    let place = |(&length, &unit): (&usize, &usize)| {
        let bucket = units - 1 - unit;
        let begin = filled[bucket];
        filled[bucket] += length.next_multiple_of(LINE);
        Place { bucket, begin: begin as i64 }
    };
    let places = lengths.iter().zip(unit_of).map(place).collect();
    (places, filled.into_iter().map(|n| n.div_ceil(size).next_multiple_of(LINE)).collect())
}

impl Partition {
    /// Shares `params` out, leaf tensors of float32 on one device, given in the same order by all ranks. In a world of one nothing is shared out.
    pub fn new(params: &[Tensor], world: &World, shard: Shard) -> Result<Partition, Error> {
        Partition::in_units(params, &vec![0; params.len()], world, shard)
    }

    /// The same, where parameter i belongs to unit `unit_of[i]`: 0 outside the blocks, else the block's number from 1 on. With [`Shard::Parameters`] they are
    /// rank 0's from here on, and have memory only while [`Units`] gives it to them.
    pub fn in_units(params: &[Tensor], unit_of: &[usize], world: &World, shard: Shard) -> Result<Partition, Error> {
        let shard = if world.size() == 1 || params.is_empty() { Shard::Nothing } else { shard };
        let params: Vec<Tensor> = params.iter().map(Tensor::shallow_clone).collect();
        let (rank, size) = (world.rank() as i64, world.size() as i64);
        let mut partition = Partition { params, shard, rank, size, places: vec![], sums: vec![], parts: vec![], units: None };
        if shard == Shard::Nothing {
            return Ok(partition);
        }
        let lengths: Vec<usize> = partition.params.iter().map(Tensor::numel).collect();
        let (places, parts) = match shard {
            Shard::Parameters => layout_of_units(&lengths, unit_of, world.size()),
            _ => layout(&lengths, world.size()),
        };
        let device = partition.params[0].device();
        let zeros = || parts.iter().map(|&part| Tensor::f_zeros([part as i64], (Kind::Float, device))).collect::<Result<Vec<_>, _>>();
        (partition.sums, partition.places) = (zeros()?, places);
        if let (Shard::Parameters, Some(group)) = (shard, world.group()) {
            partition.parts = zeros()?;
            let units = Units::new(group, &partition.params, &partition.places, &partition.parts, &partition.sums);
            partition.units = Some(Arc::new(units.map_err(|e| world.failed("sharing weights out", e))?));
        }
        Ok(partition)
    }

    /// What makes weights whole where they are shared out, for the model.
    pub fn units(&self) -> Option<Arc<Units>> {
        self.units.clone()
    }

    /// All parameters.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// What is shared out.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// This rank and the number of those among which something is shared out: (0, 1) where nothing is.
    pub fn share(&self) -> (usize, usize) {
        if self.shard == Shard::Nothing { (0, 1) } else { (self.rank as usize, self.size as usize) }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn sums(&self) -> &[Tensor] {
        &self.sums
    }

    /// The values of parameter `i` that this rank steps, as numbers in the flattened parameter; empty where it steps none of them.
    pub fn range(&self, i: usize) -> Range<i64> {
        let length = self.params[i].numel() as i64;
        if self.shard == Shard::Nothing {
            return 0..length;
        }
        let Place { bucket, begin } = self.places[i];
        let part = self.sums[bucket].numel() as i64;
        let within = |value: i64| (value - begin).clamp(0, length);
        within(self.rank * part)..within((self.rank + 1) * part)
    }

    /// These values themselves: the parameter, or a view `[N]` of it.
    pub fn values(&self, i: usize) -> Result<Tensor, Error> {
        let param = &self.params[i];
        if self.shard == Shard::Nothing {
            return Ok(param.shallow_clone());
        }
        let Range { start, end } = self.range(i);
        if self.shard == Shard::Parameters {
            return self.own(&self.parts, i);
        }
        Ok(param.f_detach()?.f_view([-1])?.f_narrow(0, start, end - start)?)
    }

    /// The gradient of these values, undefined where none has come yet. After the last backward pass of a step it is the sum over ranks.
    pub fn gradient(&self, i: usize) -> Result<Tensor, Error> {
        if self.shard == Shard::Nothing {
            return Ok(self.params[i].grad());
        }
        self.own(&self.sums, i)
    }

    /// What this rank has of parameter `i` in its parts of the buckets.
    fn own(&self, parts: &[Tensor], i: usize) -> Result<Tensor, Error> {
        let (Range { start, end }, Place { bucket, begin }) = (self.range(i), self.places[i]);
        let part = &parts[bucket];
        let first = if start == end { 0 } else { begin + start - self.rank * part.numel() as i64 };
        Ok(part.f_narrow(0, first, end - start)?)
    }

    /// Parameter `i` itself, or where weights are shared out a whole copy of it, for which all ranks ask.
    pub fn whole(&self, i: usize) -> Result<Tensor, Error> {
        Ok(self.units.as_ref().map_or_else(|| Ok(self.params[i].shallow_clone()), |units| units.fetch(i))?)
    }

    /// Sets all gradients to zero; of one process to none at all.
    pub fn zero_grad(&mut self) -> Result<(), Error> {
        for sum in &mut self.sums {
            _ = sum.f_zero_()?;
        }
        match self.shard {
            Shard::Nothing if self.size == 1 => native::drop_gradients(&self.params)?,
            Shard::Nothing => self.params.iter_mut().for_each(Tensor::zero_grad), // what several processes send keeps its memory
            _ => {}
        }
        Ok(())
    }

    /// The norm of the whole gradient, given that of this rank's values.
    pub fn norm(&self, world: &World, own: f64) -> Result<f64, Error> {
        if self.shard == Shard::Nothing {
            return Ok(own);
        }
        let [sum] = world.sum([own * own])?;
        Ok(sum.sqrt())
    }

    /// Every rank takes the values that the others have stepped: a bucket at a time, or, where weights are shared out, when it next needs them.
    pub fn gather(&self, world: &World) -> Result<(), Error> {
        if let Some(units) = &self.units {
            units.let_go();
            return Ok(());
        }
        tch::no_grad(|| (0..self.sums.len()).try_for_each(|bucket| self.gather_bucket(world, bucket)))
    }

    fn gather_bucket(&self, world: &World, bucket: usize) -> Result<(), Error> {
        let sum = &self.sums[bucket];
        let part = sum.numel() as i64;
        let own = sum.f_zeros_like()?;
        let here = || (0..self.params.len()).filter(|&i| self.places[i].bucket == bucket);
        for i in here() {
            let Range { start, end } = self.range(i);
            if start < end {
                own.f_narrow(0, self.places[i].begin + start - self.rank * part, end - start)?.f_copy_(&self.values(i)?)?;
            }
        }
        let all = Tensor::f_empty([part * self.size], (Kind::Float, own.device()))?;
        world.all_gather(&all, &own)?;
        for i in here() {
            let length = self.params[i].numel() as i64;
            self.params[i].f_detach()?.f_view([-1])?.f_copy_(&all.f_narrow(0, self.places[i].begin, length)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lengths: &[usize], rank: usize, size: usize) -> Partition {
        let (places, parts) = layout(lengths, size);
        let zeros = |n: usize| Tensor::zeros([n as i64], (Kind::Float, tch::Device::Cpu));
        Partition {
            params: lengths.iter().map(|&n| zeros(n)).collect(),
            shard: Shard::Gradients,
            rank: rank as i64,
            size: size as i64,
            places,
            sums: parts.into_iter().map(zeros).collect(),
            parts: vec![],
            units: None,
        }
    }

    #[test]
    fn every_value_has_one_owner_and_owners_keep_equally_much() {
        // Several buckets, a parameter larger than a bucket, one of a single value, more ranks than some have values.
        let lengths = [7_000_001, 3, 1, 300_000, 8_000_000, 12, 262_144];
        for size in 1..=5 {
            let ranks: Vec<Partition> = (0..size).map(|rank| of(&lengths, rank, size)).collect();
            for (i, &length) in lengths.iter().enumerate() {
                let mut ranges: Vec<Range<i64>> = ranks.iter().map(|p| p.range(i)).filter(|r| !r.is_empty()).collect();
                ranges.sort_by_key(|r| r.start);
                assert_eq!(ranges.first().map(|r| r.start), Some(0));
                assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
                assert_eq!(ranges.last().map(|r| r.end), Some(length as i64));
            }
            for p in &ranks {
                (0..lengths.len()).for_each(|i| {
                    let range = p.range(i);
                    assert_eq!(p.gradient(i).unwrap().size(), [range.end - range.start]);
                    assert_eq!(p.values(i).unwrap().size(), [range.end - range.start]);
                });
                let kept: usize = p.sums.iter().map(Tensor::numel).sum();
                assert!(kept - lengths.iter().sum::<usize>() / size <= p.sums.len(), "{kept} values at rank {} of {size}", p.rank);
            }
            assert!(ranks[0].sums.len() >= 3, "the lengths must fill several buckets");
        }
    }

    #[test]
    fn units_are_buckets_from_the_last_to_the_first() {
        let (lengths, unit_of) = ([20, 5, 7, 33, 40, 3], [0, 1, 1, 2, 2, 0]);
        for size in 1..=5 {
            let (places, parts) = layout_of_units(&lengths, &unit_of, size);
            assert_eq!(places.iter().map(|p| p.bucket).collect::<Vec<_>>(), [2, 1, 1, 0, 0, 2]);
            assert_eq!(places.iter().map(|p| p.begin).collect::<Vec<_>>(), [0, 0, 16, 0, 48, 32]);
            for (bucket, filled) in [(0, 96), (1, 32), (2, 48)] {
                assert!(parts[bucket] * size >= filled && parts[bucket] % LINE == 0);
            }
        }
    }

    #[test]
    fn buckets_follow_the_backward_pass() {
        let (places, parts) = layout(&[10, 300_000, 5], 2);
        assert_eq!(places[2], Place { bucket: 0, begin: 0 });
        assert_eq!(places[1], Place { bucket: 0, begin: 5 });
        assert_eq!(places[0], Place { bucket: 1, begin: 0 });
        assert_eq!(parts, [150_003, 5]);
    }
}
