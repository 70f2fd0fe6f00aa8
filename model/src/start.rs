//! What a stage starts from: a model folder, an adapter on it, or a checkpoint of its own.

use crate::error::ModelError;
use crate::files::WeightFiles;
use crate::lineage::Parent;
use crate::model::{HeadKind, Model};
use crate::names::Names;
use crate::peft::resolve_adapter;
use data::config::Lora;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// A folder, an adapter for it if there is one, and how it is to be trained.
#[derive(Debug, Clone)]
pub struct Start {
    /// The model folder.
    pub init: PathBuf,
    /// A folder of PEFT's with an adapter for it.
    pub adapter: Option<PathBuf>,
    /// New adapters are trained, or this one further; without, all weights are.
    pub lora: Option<Lora>,
    /// Seed of new adapters.
    pub seed: u64,
    /// Where the tensors live.
    pub device: Device,
}

impl Start {
    /// Of the adapter that `adapter` names, a run folder or a folder of PEFT's; none where it is empty.
    pub fn new(init: &Path, adapter: &str, lora: &Lora, seed: u64, device: Device) -> Result<Start, ModelError> {
        let adapter = if adapter.is_empty() { None } else { Some(resolve_adapter(Path::new(adapter))?) };
        Ok(Start { init: init.to_path_buf(), adapter, lora: lora.on().cloned(), seed, device })
    }

    /// The model to train, with this head. A run that goes on from `checkpoint` has its weights; with adapters these are the first folder's, bit for bit, and the
    /// checkpoint's adapters.
    pub fn open(&self, head: HeadKind, checkpoint: Option<&Path>) -> Result<Model, ModelError> {
        let Some(lora) = &self.lora else {
            return match checkpoint {
                Some(folder) => Model::load_as(folder, head, self.device),
                None => self.merged(head),
            };
        };
        let base = Model::load_as(&self.init, head, self.device)?;
        match checkpoint.map(|c| c.join(ADAPTER)).as_ref().or(self.adapter.as_ref()) {
            Some(folder) => base.load_adapters(folder, Some(lora)),
            None => base.with_adapters(lora, self.seed),
        }
    }

    /// The model as it is before training, with its adapter merged.
    pub fn merged(&self, head: HeadKind) -> Result<Model, ModelError> {
        let base = Model::load_as(&self.init, head, self.device)?;
        match &self.adapter {
            Some(folder) => Ok(base.load_adapters(folder, None)?.merge_adapters()),
            None => Ok(base),
        }
    }

    /// The model as it was before training, frozen; where `model` trains adapters, in its very memory.
    pub fn reference(&self, model: &Model) -> Result<Model, ModelError> {
        let head = model.head();
        let reference = match (&self.lora, &self.adapter) {
            (None, _) => self.merged(head)?.with_compute(model.compute()),
            (Some(_), None) => model.share()?,
            (Some(_), Some(folder)) => model.share()?.load_adapters(folder, None)?,
        };
        reference.freeze();
        Ok(reference)
    }

    /// The output matrix `[V, D]` of the language model that `model`, whatever its head, was opened from: its own embedding where the two are tied, which learns if
    /// that does; else that of the folder, frozen, which `model` and its folders do not have.
    pub fn language_head(&self, model: &Model) -> Result<Tensor, ModelError> {
        let config = model.config();
        if config.tied {
            return Ok(model.trunk().embedding.shallow_clone());
        }
        let shape = [config.vocab_size as i64, config.width as i64];
        WeightFiles::open(&self.init)?.take(Names::of(config.family).head, &shape, self.device)
    }

    /// The parents of a model that is trained from here, for its lineage: `key` of the configuration names the folder, `adapter` the adapter.
    pub fn parents(&self, key: &str, adapter: &str) -> Result<Vec<Parent>, ModelError> {
        let adapters = self.adapter.iter().map(|folder| Parent::new(adapter, folder));
        [Parent::new(key, &self.init)].into_iter().chain(adapters).collect()
    }

    /// Writes a model that was opened here: the whole of it as a model folder and, where there are adapters, these in `adapter/` within it.
    pub fn save(&self, model: &Model, folder: &Path) -> Result<(), ModelError> {
        model.save(folder)?;
        if self.lora.is_some() { model.save_adapters(&folder.join(ADAPTER), &self.init) } else { Ok(()) }
    }
}

impl Model {
    /// Writes the model folder as what the model started from wants it, [`Start::save`]; by itself without that.
    pub fn save_from(&self, start: Option<&Start>, folder: &Path) -> Result<(), ModelError> {
        start.map_or_else(|| self.save(folder), |start| start.save(self, folder))
    }
}

/// Where a model folder keeps the adapters that are merged into it.
pub(crate) const ADAPTER: &str = "adapter";
