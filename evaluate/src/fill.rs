//! Filling the masked places of a text.

use data::error::DataError;
use data::tokenizer::Tokenizer;
use model::{Bert, ModelError, PaddedRows};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

/// Why a text cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Nothing to fill.
    #[error("the text has no {0}: write it where a word is wanted")]
    NoMask(String),
    /// The tokenizer knows no mask.
    #[error("{0}: the tokenizer has no mask token: is this a BERT?")]
    NoMaskToken(String),
    /// The model cannot take the text.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer cannot.
    #[error(transparent)]
    Data(#[from] DataError),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
}

/// A token that may stand at a masked place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guess {
    /// The token as the vocabulary spells it.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// Its probability there.
    pub probability: f64,
}

/// The `top` likeliest tokens for each mask token of the text, likeliest first. Several masks are filled independently of one another.
pub fn fill_mask(model: &Bert, tokenizer: &Tokenizer, text: &str, top: usize) -> Result<Vec<Vec<Guess>>, FillError> {
    let mask = tokenizer.mask().ok_or_else(|| FillError::NoMaskToken(tokenizer.origin().to_string()))?;
    let mut ids: Vec<u32> = tokenizer.bos().into_iter().collect();
    ids.extend(tokenizer.encode_with_special(text)?);
    ids.push(tokenizer.eos());
    model.check_ids(&[&ids])?;
    let places: Vec<i64> = (0..).zip(&ids).filter(|(_, id)| **id == mask).map(|(i, _)| i).collect();
    if places.is_empty() {
        return Err(FillError::NoMask(tokenizer.id_to_token(mask).unwrap_or_default()));
    }
    let rows = PaddedRows::new(&[&ids], model.config().pad, model.device());
    let top = top.clamp(1, model.config().vocab_size);
    let (probabilities, found) = tch::no_grad(|| {
        let places = Tensor::from_slice(&places).to_device(model.device());
        let read = model.read(&model.forward(&rows, None, false), &rows, Some(&places), false); // [N, D]
        model.logits(&read).softmax(-1, Kind::Double).topk(top as i64, -1, true, true) // [N, top]
    });
    let probabilities: Vec<f64> = Vec::try_from(probabilities.flatten(0, 1).to_device(Device::Cpu))?;
    let found: Vec<i64> = Vec::try_from(found.flatten(0, 1).to_device(Device::Cpu))?;
    let guess = |(&id, &probability): (&i64, &f64)| {
        let id = id as u32;
        Guess { token: tokenizer.id_to_token(id).unwrap_or_default(), id, probability }
    };
    let all: Vec<Guess> = found.iter().zip(&probabilities).map(guess).collect();
    Ok(all.chunks(top).map(<[Guess]>::to_vec).collect())
}
