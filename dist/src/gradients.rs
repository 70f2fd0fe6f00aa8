//! Sums of gradients over ranks, on their way while the backward pass is still at work.

use crate::partition::{FIRST_BUCKET, bucket_bytes};
use crate::{Error, Partition, Shard, World};
use native::{NativeError, Place, Reducer, ShardedReducer, Units};
use std::sync::Arc;
use tch::{Kind, Tensor};

const WHAT: &str = "the sum of gradients";

/// Sums the gradients of some parameters over ranks: to all of them in the last backward pass of a step, or each value to the rank that owns it ([`Shard`]).
///
/// Losses divide by the valid tokens of the whole step, on all ranks; so the sum over ranks is the gradient of one process that does it all.
#[derive(Debug)]
pub struct Gradients<'w> {
    world: &'w World,
    way: Way,
    /// An embedding, and the leaf of the same memory whose sparse gradient belongs to it.
    lookup: Option<(Tensor, Tensor)>,
}

#[derive(Debug)]
enum Way {
    Alone,
    ToAll(Reducer),
    /// `each`: every backward pass sends, not only the last of a step.
    ToOwners {
        reducer: ShardedReducer,
        each: bool,
    },
    /// Weights and gradients alike; every backward pass sends.
    InUnits(Vec<Arc<Units>>),
}

impl<'w> Gradients<'w> {
    /// Of all parameters of these partitions, which rank 0 hands to all.
    pub fn new(world: &'w World, partitions: &[&Partition]) -> Result<Gradients<'w>, Error> {
        Gradients::with_lookup(world, partitions, || None)
    }

    /// The same. Where whole gradients are summed to all, the embedding's, ready last and the largest, is split into the head's part, which is ready first, and the
    /// rows that were looked up, which travel alone: `split` gives the embedding and the leaf with the rows, where a model has both in one.
    pub fn with_lookup(
        world: &'w World,
        partitions: &[&Partition],
        split: impl FnOnce() -> Option<(Tensor, Tensor)>,
    ) -> Result<Gradients<'w>, Error> {
        let units: Vec<_> = partitions.iter().filter_map(|p| p.units()).collect();
        if !units.is_empty() {
            return Ok(Gradients { world, way: Way::InUnits(units), lookup: None }); // rank 0's weights are shared out already
        }
        let params: Vec<Tensor> = partitions.iter().flat_map(|p| p.params()).map(Tensor::shallow_clone).collect();
        world.broadcast(&params, 0)?;
        let failed = |e| world.failed("comparing parameters", e);
        let (Some(group), Some(first)) = (world.group(), partitions.first()) else {
            return Ok(Gradients { world, way: Way::Alone, lookup: None });
        };
        if first.shard() == Shard::Nothing {
            let way = Way::ToAll(Reducer::new(group, &params, bucket_bytes(), FIRST_BUCKET).map_err(failed)?);
            let mut gradients = Gradients { world, way, lookup: None };
            // The reducer lays out its buckets anew after its first pass, in the order in which gradients came, and a sum's last bit depends on the place in its
            // bucket. So the first pass is one of zeros, last parameters first, and a run that goes on has the buckets of one that was never stopped.
            let lookup = split();
            let early = |p: &Tensor| lookup.as_ref().is_some_and(|(embedding, _)| embedding.data_ptr() == p.data_ptr());
            let (first, rest): (Vec<&Tensor>, Vec<&Tensor>) = params.iter().partition(|p| early(p));
            let nothing: Tensor = rest.into_iter().chain(first).map(|p| p.sum(Kind::Float) * 0.0).sum();
            gradients.backward(&nothing, true)?;
            gradients.lookup = lookup;
            return Ok(gradients);
        }
        let (mut places, mut sums): (Vec<Place>, Vec<Tensor>) = (vec![], vec![]);
        for partition in partitions {
            let before = sums.len();
            places.extend(partition.places().iter().map(|p| Place { bucket: before + p.bucket, ..*p }));
            sums.extend(partition.sums().iter().map(Tensor::shallow_clone));
        }
        let reducer = ShardedReducer::new(group, &params, &places, &sums).map_err(failed)?;
        Ok(Gradients { world, way: Way::ToOwners { reducer, each: first.shard() == Shard::Gradients }, lookup: None })
    }

    /// Adds the rows of all ranks to the embedding's gradient, in the order of ranks.
    fn add_rows(&self) -> Result<(), Error> {
        let Some((embedding, lookup)) = &self.lookup else { return Ok(()) };
        let mut mine = lookup.grad();
        if !mine.defined() {
            return Err(Error::NoRows);
        }
        let sorted = mine.f_coalesce()?;
        let (ids, rows) = (sorted.f_indices()?.f_squeeze_dim(0)?, sorted.f_values()?); // [n], [n, D]
        let size = self.world.size() as i64;
        let counts = Tensor::f_zeros([size], (Kind::Int64, ids.device()))?;
        self.world.all_gather(&counts, &Tensor::from_slice(&[ids.size()[0]]).f_to_device(ids.device())?)?;
        let counts = Vec::<i64>::try_from(counts)?;
        let most = counts.iter().copied().max().unwrap_or(0);
        let missing = most - ids.size()[0];
        let all_ids = Tensor::f_empty([size * most], (Kind::Int64, ids.device()))?;
        let all_rows = Tensor::f_empty([size * most, rows.size()[1]], (rows.kind(), rows.device()))?;
        self.world.all_gather(&all_ids, &ids.f_constant_pad_nd([0, missing])?)?;
        self.world.all_gather(&all_rows, &rows.f_constant_pad_nd([0, 0, 0, missing])?)?;
        let mut sum = embedding.grad();
        for (rank, &count) in (0..).zip(&counts) {
            let (ids, rows) = (all_ids.f_narrow(0, rank * most, count)?, all_rows.f_narrow(0, rank * most, count)?);
            _ = sum.f_index_add_(0, &ids, &rows)?;
        }
        _ = mine.f_detach_()?.f_zero_()?;
        Ok(())
    }

    /// The backward pass of `loss`; `last` of this rank's passes of the step. After the last one the gradients are the sums over ranks; unless they are
    /// shared out, it must have reached every parameter. Every rank has a last pass in every step.
    pub fn backward(&self, loss: &Tensor, last: bool) -> Result<(), Error> {
        let failed = |e: &dyn std::fmt::Display| self.world.failed(WHAT, e);
        match &self.way {
            Way::ToAll(reducer) if last => {
                reducer.arm().map_err(|e| failed(&e))?;
                loss.f_backward().map_err(|e| failed(&e))?;
                tch::no_grad(|| self.add_rows())
            }
            Way::ToOwners { reducer, each } if last || *each => {
                reducer.begin().map_err(|e| failed(&e))?;
                loss.f_backward().map_err(|e| failed(&e))?;
                reducer.finish().map_err(|e| failed(&e))?;
                // Ranks may have unequal numbers of passes, and each exchange needs all of them.
                while *each && self.others_go_on(!last)? && last {
                    reducer.begin().and_then(|()| reducer.finish()).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            Way::InUnits(units) => {
                units.iter().try_for_each(|u| u.begin()).map_err(|e| failed(&e))?;
                loss.f_backward().map_err(|e| failed(&e))?;
                units.iter().try_for_each(|u| u.finish()).map_err(|e| failed(&e))?;
                while self.others_go_on(!last)? && last {
                    idle(units, units.len()).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            _ => Ok(loss.f_backward()?),
        }
    }

    /// Takes part in a pass of the others, not the last of a step, through the first `models` of the models, where this rank has no rows. Only whole weights need it.
    pub fn attend(&self, models: usize) -> Result<(), Error> {
        let Way::InUnits(units) = &self.way else { return Ok(()) };
        idle(units, models).map_err(|e| self.world.failed(WHAT, e))?;
        self.others_go_on(true).map(drop)
    }

    /// Whether any rank has another pass in this step.
    fn others_go_on(&self, this_one: bool) -> Result<bool, Error> {
        let [going_on] = self.world.sum([f64::from(u8::from(this_one))])?;
        Ok(going_on > 0.0)
    }
}

/// A pass without rows through the first `models` of these, as autograd has it: the model that computed last goes back first.
fn idle(units: &[Arc<Units>], models: usize) -> Result<(), NativeError> {
    let computing = &units[..models.min(units.len())];
    computing.iter().for_each(|u| u.idle_forward(true));
    units.iter().try_for_each(|u| u.begin())?;
    computing.iter().rev().try_for_each(|u| u.idle_backward())?;
    units.iter().try_for_each(|u| u.finish())
}
