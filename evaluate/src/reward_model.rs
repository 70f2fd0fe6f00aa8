//! A reward model that reads what it was trained on: the prompt with its own prefix, in its own template and tokens, and the answer's text.

use data::chat::{ChatTemplate, Message};
use data::config::Template;
use data::error::DataError;
use data::tokenizer::Tokenizer;
use model::{HeadKind, Model, ModelError};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor, no_grad};

/// A model with a scalar head, its tokenizer, template and prefix.
#[derive(Debug)]
pub struct RewardModel {
    /// The folder as it was named.
    path: PathBuf,
    model: Model,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// Put before the prompt, as when this model was trained.
    prefix: String,
}

/// Why a reward model cannot be had, or cannot read something.
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// The folder's weights or configuration.
    #[error("reward model {path}")]
    Model {
        /// The folder as named.
        path: PathBuf,
        /// Why.
        source: ModelError,
    },
    /// The folder's tokenizer or template, or a text that they refuse.
    #[error("reward model {path}")]
    Data {
        /// The folder as named.
        path: PathBuf,
        /// Why.
        source: DataError,
    },
}

impl RewardModel {
    /// Loads a model folder, or a run folder's `model/`, whose tensors live on `device` and whose activations are of kind `compute`.
    /// A folder without a scalar head is refused.
    pub fn load(path: &Path, device: Device, compute: Kind) -> Result<RewardModel, RewardError> {
        let of_model = |source| RewardError::Model { path: path.to_path_buf(), source };
        let of_data = |source| RewardError::Data { path: path.to_path_buf(), source };
        let folder = model::resolve(path).map_err(of_model)?;
        let model = Model::load(&folder, device).map_err(of_model)?.with_compute(compute);
        if model.head() != HeadKind::Scalar {
            let reason = format!("{}: not a reward model (its config.json names no sequence classification)", path.display());
            return Err(of_model(ModelError::Input(reason)));
        }
        model.freeze();
        let tokenizer = Tokenizer::load(&folder).map_err(of_data)?;
        let prefix = model::lineage::read(&folder).ok().and_then(|l| l.prompt_prefix).unwrap_or_default();
        let own = if tokenizer.chat_template().is_some() { Template::Model } else { Template::Plain };
        let template = ChatTemplate::new(own, &folder).map_err(of_data)?;
        template.check(&tokenizer).map_err(of_data)?;
        Ok(RewardModel { path: path.to_path_buf(), model, tokenizer, template, prefix })
    }

    /// The folder as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model, frozen.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A hash of how it reads a text: tokenizer, template, prefix.
    pub fn reading(&self) -> String {
        let parts = [self.tokenizer.hash(), &self.template.hash(), &self.prefix];
        blake3::hash(parts.join("\0").as_bytes()).to_hex().to_string()
    }

    /// The longest row in tokens.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// All tokens that stand for text: none of the special ones.
    pub fn ordinary_tokens(&self) -> Vec<u32> {
        let stands = |&id: &u32| self.tokenizer.decode(&[id], true).is_ok_and(|text| !text.is_empty());
        (0..self.tokenizer.vocab_size().min(self.model.config().vocab_size) as u32).filter(stands).collect()
    }

    /// The text of tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, RewardError> {
        self.tokenizer.decode(ids, true).map_err(|source| RewardError::Data { path: self.path.clone(), source })
    }

    /// The texts of single tokens, special ones among them.
    pub fn names(&self, ids: &[u32]) -> Result<Vec<String>, RewardError> {
        crate::reward_tokens::names(&self.tokenizer, ids).map_err(|source| RewardError::Data { path: self.path.clone(), source })
    }

    /// True if token ids that another model reads and writes in `template` are just what this one reads: tokenizer and template are the same
    /// and nothing stands before the prompt.
    pub fn shares_ids(&self, tokenizer: &Tokenizer, template: &ChatTemplate) -> bool {
        self.tokenizer.hash() == tokenizer.hash() && template.source() == self.template.source() && self.prefix.is_empty()
    }

    /// The tokens of a conversation and an answer to it, as in this model's training. An answer that did not end (`finished` is false) has no end
    /// token here either. The row may be longer than [`RewardModel::context`].
    pub fn row(&self, prompt: &[Message], answer: &str, finished: bool) -> Result<Vec<u32>, RewardError> {
        let encoded = self.template.encode_answer(&self.tokenizer, &self.prefixed(prompt), answer);
        let mut ids = encoded.map_err(|source| RewardError::Data { path: self.path.clone(), source })?;
        if !finished {
            let stops = self.template.stop_ids(&self.tokenizer);
            ids.truncate(ids.iter().rposition(|id| stops.contains(id)).unwrap_or(ids.len()));
        }
        Ok(ids)
    }

    /// The tokens with which every [`RewardModel::row`] of this conversation begins.
    pub fn asked(&self, prompt: &[Message]) -> Result<Vec<u32>, RewardError> {
        let encoded = self.template.encode_turns(&self.tokenizer, &self.prefixed(prompt));
        encoded.map_err(|source| RewardError::Data { path: self.path.clone(), source })
    }

    fn prefixed(&self, prompt: &[Message]) -> Vec<Message> {
        let mut turns = prompt.to_vec();
        if let Some(first) = turns.first_mut() {
            first.content.insert_str(0, &self.prefix);
        }
        turns
    }

    /// Scores at the last token of each row, `batch` rows at a time (0: all), rows of like length together; `scored` hears how many each time.
    pub fn score(&self, rows: &[Vec<u32>], batch: usize, scored: &dyn Fn(usize)) -> Result<Vec<f32>, RewardError> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&i| rows[i].len());
        let mut scores = vec![0f32; rows.len()];
        let size = if batch == 0 { rows.len().max(1) } else { batch };
        for chunk in order.chunks(size) {
            let picked: Vec<&[u32]> = chunk.iter().map(|&i| rows[i].as_slice()).collect();
            let found = self.score_batch(&picked).map_err(|source| RewardError::Model { path: self.path.clone(), source })?;
            chunk.iter().zip(found).for_each(|(&i, s)| scores[i] = s);
            scored(chunk.len());
        }
        Ok(scores)
    }

    fn score_batch(&self, rows: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let found = no_grad(|| self.model.score_last(rows))?; // [b]
        Ok(Vec::<f32>::try_from(Tensor::to_kind(&found.to_device(Device::Cpu), Kind::Float))?)
    }
}
