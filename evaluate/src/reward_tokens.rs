//! The reward after each token of an answer: what a reward model would give if the text ended there.

use crate::reward_model::{RewardError, RewardModel};
use data::chat::Message;
use data::error::DataError;
use data::tokenizer::Tokenizer;
use model::{Model, ModelError};
use tch::{Device, Kind, Tensor, no_grad};

pub use figures::report::token_rewards::{FILE, TokenRewards, draw};

/// The reward after each token of `ids`, `[T]`.
pub fn rewards(model: &Model, ids: &[u32]) -> Result<Vec<f64>, ModelError> {
    model.check_ids(&[ids])?;
    let row: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    let row = Tensor::from_slice(&row).to_device(model.device()).unsqueeze(0);
    let scores = no_grad(|| model.scalar(&model.forward_hidden(&row, None, false))); // [1, T]
    Ok(Vec::try_from(scores.squeeze_dim(0).to_kind(Kind::Double).to_device(Device::Cpu))?)
}

/// Texts of single tokens, which together are the text; a token that is a part of a character goes by its name.
pub fn names(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Vec<String>, DataError> {
    let name = |id: &u32| -> Result<String, DataError> {
        let text = tokenizer.decode(std::slice::from_ref(id), false)?;
        Ok(if text.contains('\u{FFFD}') { tokenizer.id_to_token(*id).unwrap_or_default() } else { text })
    };
    ids.iter().map(name).collect()
}

impl RewardModel {
    /// The reward after each token of an answer, in this model's own template; an end token is a token too.
    pub fn token_rewards(&self, who: &str, prompt: &str, answer: &str, finished: bool) -> Result<TokenRewards, RewardError> {
        let turns = [Message::new("user", prompt)];
        let (ids, empty) = (self.row(&turns, answer, finished)?, self.row(&turns, "", false)?);
        let begin = ids.iter().zip(&empty).take_while(|(a, b)| a == b).count().min(ids.len().saturating_sub(1));
        let rewards = rewards(self.model(), &ids).map_err(|source| RewardError::Model { path: self.path().to_path_buf(), source })?;
        Ok(TokenRewards { who: who.into(), prompt: prompt.into(), tokens: self.names(&ids)?, rewards, answer: begin })
    }
}
