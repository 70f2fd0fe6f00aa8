//! What the stages' networks have in common: each may be a decoder, and a decoder can do what others cannot.

use crate::error::ModelError;
use crate::model::{Model, Parameter};
use native::Units;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A network that a stage trains. What is given here is a decoder's; others are whole on every process and have no adapters.
pub trait Student {
    /// The decoder, if it is one.
    fn decoder(&self) -> Option<&Model>;

    /// The same, to be changed.
    fn decoder_mut(&mut self) -> Option<&mut Model>;

    /// All weights, each once.
    fn parameters(&self) -> Vec<Parameter>;

    /// Longest row in tokens, or longest side of one.
    fn context(&self) -> usize;

    /// Sets precision, dropout and, of a decoder, whether blocks are worked out again in the backward pass.
    fn prepare(&mut self, precision: Kind, dropout: f64, recompute: bool);

    /// What the optimiser gets: all weights, or adapters.
    fn trainable(&self) -> Vec<Parameter> {
        self.decoder().map_or_else(|| self.parameters(), Model::trainable)
    }

    /// See [`Model::share_out`].
    fn share_out(&mut self, units: Option<Arc<Units>>) {
        if let Some(decoder) = self.decoder_mut() {
            decoder.share_out(units);
        }
    }

    /// See [`Model::split_lookup`].
    fn split_lookup(&mut self) -> Option<(Tensor, Tensor)> {
        self.decoder_mut().and_then(Model::split_lookup)
    }

    /// See [`Model::lend`].
    fn lend(&self) -> Result<(), ModelError> {
        self.decoder().map_or(Ok(()), Model::lend)
    }
}
