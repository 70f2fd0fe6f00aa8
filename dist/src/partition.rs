//! Which rank keeps what of the training state: ZeRO, Rajbhandari et al. 2019 (arXiv 1910.02054, section 5).
//!
//! Parameters lie end to end in buckets, the last parameter first, as gradients come in the backward pass. A bucket has `size` equal parts, padded with
//! zeros, and rank r keeps part r of each: so all send and receive at all times, and all keep equally much. A part may begin or end amid a parameter.

use crate::{Error, World};
use native::Place;
use std::ops::Range;
use tch::{Kind, Tensor};

/// Bytes of a bucket: PyTorch's choice, large enough for the link, small enough to begin early.
pub(crate) const BUCKET: usize = 25 << 20;
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
}

/// Places of parameters of these lengths, and the length of each bucket's parts.
fn layout(lengths: &[usize], size: usize) -> (Vec<Place>, Vec<usize>) {
    let mut places = vec![Place { bucket: 0, begin: 0 }; lengths.len()];
    let (mut buckets, mut filled): (Vec<usize>, usize) = (vec![], 0);
    for (i, &length) in lengths.iter().enumerate().rev() {
        places[i] = Place { bucket: buckets.len(), begin: filled as i64 };
        filled += length;
        if filled * BYTES >= if buckets.is_empty() { FIRST_BUCKET } else { BUCKET } {
            buckets.push(std::mem::take(&mut filled));
        }
    }
    if filled > 0 {
        buckets.push(filled);
    }
    (places, buckets.into_iter().map(|filled| filled.div_ceil(size)).collect())
}

impl Partition {
    /// Shares `params` out, leaf tensors of float32 on one device, given in the same order by all ranks. In a world of one nothing is shared out.
    pub fn new(params: &[Tensor], world: &World, shard: Shard) -> Result<Partition, Error> {
        let shard = if world.size() == 1 { Shard::Nothing } else { shard };
        let params: Vec<Tensor> = params.iter().map(Tensor::shallow_clone).collect();
        let mut partition = Partition { params, shard, rank: world.rank() as i64, size: world.size() as i64, places: vec![], sums: vec![] };
        if shard != Shard::Nothing && !partition.params.is_empty() {
            let lengths: Vec<usize> = partition.params.iter().map(Tensor::numel).collect();
            let (places, parts) = layout(&lengths, world.size());
            let device = partition.params[0].device();
            let sum = |part: usize| Tensor::f_zeros([part as i64], (Kind::Float, device));
            partition.sums = parts.into_iter().map(sum).collect::<Result<_, _>>()?;
            partition.places = places;
        }
        Ok(partition)
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
        Ok(param.f_detach()?.f_view([-1])?.f_narrow(0, start, end - start)?)
    }

    /// The gradient of these values, undefined where none has come yet. After the last backward pass of a step it is the sum over ranks.
    pub fn gradient(&self, i: usize) -> Result<Tensor, Error> {
        if self.shard == Shard::Nothing {
            return Ok(self.params[i].grad());
        }
        let (Range { start, end }, Place { bucket, begin }) = (self.range(i), self.places[i]);
        let sum = &self.sums[bucket];
        let first = if start == end { 0 } else { begin + start - self.rank * sum.numel() as i64 };
        Ok(sum.f_narrow(0, first, end - start)?)
    }

    /// Sets all gradients to zero.
    pub fn zero_grad(&mut self) -> Result<(), Error> {
        for sum in &mut self.sums {
            _ = sum.f_zero_()?;
        }
        if self.shard == Shard::Nothing {
            self.params.iter_mut().for_each(Tensor::zero_grad);
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

    /// Every rank takes the values that the others have stepped; a bucket at a time.
    pub fn gather(&self, world: &World) -> Result<(), Error> {
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
    fn buckets_follow_the_backward_pass() {
        let (places, parts) = layout(&[10, 300_000, 5], 2);
        assert_eq!(places[2], Place { bucket: 0, begin: 0 });
        assert_eq!(places[1], Place { bucket: 0, begin: 5 });
        assert_eq!(places[0], Place { bucket: 1, begin: 0 });
        assert_eq!(parts, [150_003, 5]);
    }
}
