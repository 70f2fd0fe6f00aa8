//! The reward after each token of an answer: what a reward model would give if the text ended there.

use crate::reward_model::{RewardError, RewardModel};
use data::chat::Message;
use data::error::DataError;
use data::labels::text_of;
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

/// What each token adds to the text, blanks as they stand there; a token that ends amid a character goes by its name.
pub fn names(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Vec<String>, DataError> {
    let mut before = String::new();
    let mut name = |i: usize| -> Result<String, DataError> {
        let text = tokenizer.decode(&ids[..=i], false)?;
        let more = text.strip_prefix(&before).filter(|_| !text.ends_with('\u{FFFD}')).map(str::to_string);
        match more {
            Some(more) => {
                before = text;
                Ok(more)
            }
            None => Ok(tokenizer.id_to_token(ids[i]).unwrap_or_default()),
        }
    };
    (0..ids.len()).map(&mut name).collect()
}

impl RewardModel {
    /// The reward after each token of an answer to a conversation, in this model's own template; an end token is a token too.
    pub fn token_rewards(&self, who: &str, turns: &[Message], answer: &str, finished: bool) -> Result<TokenRewards, RewardError> {
        let ids = self.row(turns, answer, finished)?;
        self.token_rewards_of(who, turns, &ids, self.asked(turns)?.len())
    }

    /// The same of a row that is tokens already, `asked` of them before the answer.
    pub fn token_rewards_of(&self, who: &str, turns: &[Message], ids: &[u32], asked: usize) -> Result<TokenRewards, RewardError> {
        let answer = asked.min(ids.len().saturating_sub(1));
        let rewards = rewards(self.model(), ids).map_err(|source| RewardError::Model { path: self.path().to_path_buf(), source })?;
        Ok(TokenRewards { who: who.into(), prompt: text_of(turns), tokens: self.names(ids)?, rewards, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_tokens_add_to_the_text() {
        let tokenizer = Tokenizer::byte().unwrap();
        let ids = tokenizer.encode("a \u{e9}!").unwrap();
        let names = names(&tokenizer, &ids).unwrap();
        assert_eq!((names.len(), names[3].as_str()), (5, "\u{e9}"));
        assert_eq!([&names[0], &names[1], &names[4]], ["a", " ", "!"]);
        assert!(!names[2].is_empty());
    }
}
