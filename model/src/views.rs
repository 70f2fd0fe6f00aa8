//! Looking into a decoder: its forward pass from embeddings, for gradients with respect to them, and what its heads look at.

use crate::attention::{Pass, Tokens};
use crate::error::ModelError;
use crate::model::Model;
use crate::segments::Segments;
use tch::{Tensor, no_grad};

impl Model {
    /// Embeddings of tokens without their positions, outside the graph: ids `[T]` to `[T, D]`, in float32.
    pub fn token_embeddings(&self, ids: &[u32]) -> Result<Tensor, ModelError> {
        self.check_ids(&[ids])?;
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        Ok(no_grad(|| self.trunk().embedding.index_select(0, &Tensor::from_slice(&ids).to_device(self.device()))))
    }

    /// Hidden states after the final norm of rows that are given as embeddings without positions: `[B, T, D]` to `[B, T, D]`, as [`Model::forward_hidden`]
    /// gives them of the tokens.
    pub fn forward_embedded_rows(&self, embedded: &Tensor) -> Tensor {
        let (rows, time, width) = embedded.size3().expect("embeddings must be [B, T, D]");
        let segments = Segments::from_rows(rows, time, self.device());
        let trunk = self.trunk();
        let placed = trunk.positions.as_ref().map_or_else(|| embedded.shallow_clone(), |table| embedded + table.narrow(0, 0, time));
        let pass = Pass { train: false, rotary: trunk.tables_of(&segments), tokens: Tokens::Whole(&segments), wanted: None };
        let x = placed.to_kind(self.compute()).reshape([rows * time, width]);
        trunk.norm.forward(&trunk.blocks(x, &pass)).view([rows, time, width])
    }

    /// What each token of a sequence looks at, `[H, T, T]` of each block: entry (h, i, j) is the share of head h's attention that goes from token i to token j.
    pub fn attention(&self, ids: &[u32]) -> Result<Vec<Tensor>, ModelError> {
        self.check_ids(&[ids])?;
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let (ids, time) = (Tensor::from_slice(&ids).to_device(self.device()), ids.len() as i64);
        let segments = Segments::from_rows(1, time, self.device());
        let trunk = self.trunk();
        let pass = Pass { train: false, rotary: trunk.tables_of(&segments), tokens: Tokens::Whole(&segments), wanted: None };
        let maps = no_grad(|| trunk.attention(trunk.embed(&ids, Some(segments.positions()), false), &pass, time));
        Ok(maps.into_iter().map(|map| map.squeeze_dim(0)).collect())
    }
}
