//! Sums of gradients over ranks, on their way while the backward pass is still at work.

use crate::{Error, World};
use native::Reducer;
use tch::{Kind, Tensor};

/// Bytes of gradients that travel together: PyTorch's choice, large enough for the link, small enough to begin early.
const BUCKET: usize = 25 << 20;
/// The first bucket to be ready is smaller, so that the link does not wait.
const FIRST_BUCKET: usize = 1 << 20;

/// Sums the gradients of some parameters over ranks in the last backward pass of a step.
///
/// Losses divide by the valid tokens of the whole step, on all ranks; so the sum over ranks is the gradient of one process that does it all.
#[derive(Debug)]
pub struct Gradients<'w> {
    world: &'w World,
    reducer: Option<Reducer>,
}

impl<'w> Gradients<'w> {
    /// Of these parameters, which rank 0 hands to all.
    pub fn new(world: &'w World, params: &[Tensor]) -> Result<Gradients<'w>, Error> {
        world.broadcast(params, 0)?;
        let reducer = match world.group() {
            None => None,
            Some(group) => Some(Reducer::new(group, params, BUCKET, FIRST_BUCKET).map_err(|e| world.failed("comparing parameters", e))?),
        };
        let gradients = Gradients { world, reducer };
        if gradients.reducer.is_some() {
            // The reducer lays out its buckets anew after its first pass, and a sum's last bit depends on the place in its bucket. So the first pass is one
            // of zeros, and a run that goes on has the buckets of one that was never stopped.
            let nothing: Tensor = params.iter().map(|p| p.sum(Kind::Float) * 0.0).sum();
            gradients.backward(&nothing, true)?;
        }
        Ok(gradients)
    }

    /// The backward pass of `loss`; `last` of this rank's passes of the step. After the last one the gradients are the sums over ranks, and it must have
    /// reached every parameter. Every rank has a last pass in every step.
    pub fn backward(&self, loss: &Tensor, last: bool) -> Result<(), Error> {
        match self.reducer.as_ref().filter(|_| last) {
            None => Ok(loss.f_backward()?),
            Some(reducer) => {
                reducer.arm().map_err(|e| self.world.failed("the sum of gradients", e))?;
                loss.f_backward().map_err(|e| self.world.failed("the sum of gradients", e))
            }
        }
    }
}
