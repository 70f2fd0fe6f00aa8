//! A model whose weights are shared out among processes (`native::Units`): what all of them do together, so that each has whole weights when it needs them.

use crate::error::ModelError;
use crate::model::{HeadKind, Model};
use native::Units;
use std::sync::Arc;
use tch::Tensor;

/// All weights are whole while this lives: for generation, which reads them token by token.
#[derive(Debug)]
pub struct Held<'a>(Option<&'a Units>);

impl Held<'_> {
    /// What has been changed of the weights, alike on all processes, is kept.
    pub fn store(&self) -> Result<(), ModelError> {
        Ok(self.0.map_or(Ok(()), Units::store)?)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(units) = self.0 {
            units.let_go();
        }
    }
}

impl Model {
    /// From here on the weights are whole only while a pass needs them, if `units`, of [`Model::parameters`] in their order, says so.
    pub fn share_out(&mut self, units: Option<Arc<Units>>) {
        self.trunk_mut().units = units;
    }

    pub(crate) fn units(&self) -> Option<&Units> {
        self.trunk().units.as_deref()
    }

    /// Makes all weights whole, on the processes that ask for them with `keep`; all processes call it. Nothing where weights are not shared out.
    pub fn hold(&self, keep: bool) -> Held<'_> {
        let units = self.units();
        if let Some(units) = units {
            units.hold(keep);
        }
        Held(units)
    }

    /// Where the head is tied: from here on tokens are looked up in a leaf of its own that shares the embedding's memory. Its gradient, sparse, is what the
    /// lookup would have added to the embedding's, which is then the head's alone and ready when the backward pass begins. Gives the embedding and that leaf.
    pub fn split_lookup(&mut self) -> Option<(Tensor, Tensor)> {
        let embedding = self.trunk().embedding.shallow_clone();
        if self.head() != HeadKind::Lm || !self.config().tied || !embedding.requires_grad() {
            return None;
        }
        let lookup = embedding.detach().set_requires_grad(true);
        self.trunk_mut().lookup = Some(lookup.shallow_clone());
        Some((embedding, lookup))
    }

    /// Takes part in an evaluating forward pass of the others, where this process has no rows left. Nothing where weights are not shared out.
    pub fn attend(&self) {
        if let Some(units) = self.units() {
            units.idle_forward(false);
        }
    }

    /// Takes part in process 0's [`Model::save`]: all others call it meanwhile. Nothing where weights are not shared out.
    pub fn lend(&self) -> Result<(), ModelError> {
        let Some(units) = self.units() else { return Ok(()) };
        self.save_order().into_iter().try_for_each(|i| Ok(units.fetch(i).map(drop)?))
    }
}
