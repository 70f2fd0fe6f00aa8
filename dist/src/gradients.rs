//! Sums of gradients over ranks, on their way while the backward pass is still at work.

use crate::partition::{BUCKET, FIRST_BUCKET};
use crate::{Error, Partition, Shard, World};
use native::{Place, Reducer, ShardedReducer, Units};
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
        let units: Vec<_> = partitions.iter().filter_map(|p| p.units()).collect();
        if !units.is_empty() {
            return Ok(Gradients { world, way: Way::InUnits(units) }); // rank 0's weights are shared out already
        }
        let params: Vec<Tensor> = partitions.iter().flat_map(|p| p.params()).map(Tensor::shallow_clone).collect();
        world.broadcast(&params, 0)?;
        let failed = |e| world.failed("comparing parameters", e);
        let (Some(group), Some(first)) = (world.group(), partitions.first()) else { return Ok(Gradients { world, way: Way::Alone }) };
        if first.shard() == Shard::Nothing {
            let gradients = Gradients { world, way: Way::ToAll(Reducer::new(group, &params, BUCKET, FIRST_BUCKET).map_err(failed)?) };
            // The reducer lays out its buckets anew after its first pass, and a sum's last bit depends on the place in its bucket. So the first pass is one
            // of zeros, and a run that goes on has the buckets of one that was never stopped.
            let nothing: Tensor = params.iter().map(|p| p.sum(Kind::Float) * 0.0).sum();
            gradients.backward(&nothing, true)?;
            return Ok(gradients);
        }
        let (mut places, mut sums): (Vec<Place>, Vec<Tensor>) = (vec![], vec![]);
        for partition in partitions {
            let before = sums.len();
            places.extend(partition.places().iter().map(|p| Place { bucket: before + p.bucket, ..*p }));
            sums.extend(partition.sums().iter().map(Tensor::shallow_clone));
        }
        let reducer = ShardedReducer::new(group, &params, &places, &sums).map_err(failed)?;
        Ok(Gradients { world, way: Way::ToOwners { reducer, each: first.shard() == Shard::Gradients } })
    }

    /// The backward pass of `loss`; `last` of this rank's passes of the step. After the last one the gradients are the sums over ranks; unless they are
    /// shared out, it must have reached every parameter. Every rank has a last pass in every step.
    pub fn backward(&self, loss: &Tensor, last: bool) -> Result<(), Error> {
        let failed = |e: &dyn std::fmt::Display| self.world.failed(WHAT, e);
        match &self.way {
            Way::ToAll(reducer) if last => {
                reducer.arm().map_err(|e| failed(&e))?;
                loss.f_backward().map_err(|e| failed(&e))
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
                let (begin, finish) = (|| units.iter().try_for_each(|u| u.begin()), || units.iter().try_for_each(|u| u.finish()));
                begin().map_err(|e| failed(&e))?;
                loss.f_backward().map_err(|e| failed(&e))?;
                finish().map_err(|e| failed(&e))?;
                while self.others_go_on(!last)? && last {
                    // As autograd has it: the model that computed last goes back first.
                    units.iter().for_each(|u| u.idle_forward(true));
                    let back = || units.iter().rev().try_for_each(|u| u.idle_backward());
                    begin().and_then(|()| back()).and_then(|()| finish()).map_err(|e| failed(&e))?;
                }
                Ok(())
            }
            _ => Ok(loss.f_backward()?),
        }
    }

    /// Whether any rank has another pass in this step.
    fn others_go_on(&self, this_one: bool) -> Result<bool, Error> {
        let [going_on] = self.world.sum([f64::from(u8::from(this_one))])?;
        Ok(going_on > 0.0)
    }
}
