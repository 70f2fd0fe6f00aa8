//! Where a model folder came from: `lineage.json`.

use crate::error::ModelError;
use crate::files::write_json;
use data::config::Change;
use data::inputs::Inputs;
use native::MappedFile;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "lineage.json";

/// The record beside a model's weights: enough to tell, long after the folders it came from are gone, which texts and rankings made it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// What wrote the folder: a stage (`pretrain`, `sft`, `reward`, `ppo`), or `compress` (`prune`, `round`).
    pub stage: String,
    /// Version of the program.
    pub version: String,
    /// Tokens trained on.
    pub tokens: u64,
    /// Episodes trained on (PPO).
    pub episodes: u64,
    /// Put before every prompt when this model was trained, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_prefix: Option<String>,
    /// What was read, by content.
    pub inputs: Inputs,
    /// The resolved configuration, as TOML.
    pub config: String,
    /// Its BLAKE3, in hex.
    pub config_hash: String,
    /// What changed in it while the run went on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The folders it started from.
    pub parents: Vec<Parent>,
}

/// A folder that a model was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parent {
    /// The key of the configuration that names it, such as `model.init`.
    pub key: String,
    /// The folder as it was named.
    pub path: String,
    /// BLAKE3 of its weights, in hex.
    pub hash: String,
    /// Its own record, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
}

impl Parent {
    /// The model folder that the configuration names under `key`.
    pub fn new(key: &str, folder: &Path) -> Result<Parent, ModelError> {
        let has_record = folder.join(FILE).is_file();
        let lineage = if has_record { Some(Box::new(read(folder)?)) } else { None };
        Ok(Parent { key: key.into(), path: folder.display().to_string(), hash: weights_hash(folder)?, lineage })
    }
}

impl Lineage {
    /// A record for `stage` under the resolved configuration `config`, which reads `inputs` and starts from `parents`; the parents' weights
    /// are inputs too.
    pub fn new(stage: &str, parents: Vec<Parent>, inputs: Inputs, config: &str) -> Lineage {
        let inputs = parents.iter().fold(inputs, |all, p| all.folder(&p.key, Path::new(&p.path), p.hash.clone()));
        Lineage {
            stage: stage.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            inputs,
            config: config.into(),
            config_hash: blake3::hash(config.as_bytes()).to_hex().to_string(),
            parents,
            ..Lineage::default()
        }
    }

    /// The same record with what changed in the configuration as the run went on.
    pub fn with_changes(self, changes: &[Change]) -> Lineage {
        Lineage { changes: changes.to_vec(), ..self }
    }

    /// The same record with this number of tokens.
    pub fn with_tokens(&self, tokens: u64) -> Lineage {
        Lineage { tokens, ..self.clone() }
    }

    /// The same record with this number of episodes.
    pub fn with_episodes(&self, episodes: u64) -> Lineage {
        Lineage { episodes, ..self.clone() }
    }

    /// The same record with a prefix of prompts.
    pub fn with_prompt_prefix(&self, prefix: &str) -> Lineage {
        Lineage { prompt_prefix: Some(prefix.into()), ..self.clone() }
    }

    /// Writes `lineage.json` into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), ModelError> {
        write_json(&folder.join(FILE), self)
    }
}

/// Reads `lineage.json` of `folder`.
pub fn read(folder: &Path) -> Result<Lineage, ModelError> {
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
    serde_json::from_str(&text).map_err(ModelError::json(&path))
}

/// BLAKE3 over a folder's weight files in the order of their names, in hex; all cores work on it.
pub fn weights_hash(folder: &Path) -> Result<String, ModelError> {
    let listing = std::fs::read_dir(folder).map_err(ModelError::io(folder))?;
    let mut files = listing.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(ModelError::io(folder))?;
    files.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update_rayon(MappedFile::open(&file)?.as_ref());
    }
    Ok(hasher.finalize().to_hex().to_string())
}
