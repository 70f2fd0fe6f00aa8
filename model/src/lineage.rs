//! Where a model folder came from: `lineage.json`.

use crate::error::ModelError;
use crate::files::write_json;
use native::MappedFile;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The record beside a model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// Stage that wrote the folder: `pretrain`, `sft`, `reward`, `ppo`.
    pub stage: String,
    /// Version of the program.
    pub version: String,
    /// The folders it started from.
    pub parents: Vec<Parent>,
    /// BLAKE3 of the resolved configuration, in hex.
    pub config_hash: String,
    /// Tokens trained on.
    pub tokens: u64,
    /// Episodes trained on (PPO).
    pub episodes: u64,
    /// Put before every prompt when this model was trained, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_prefix: Option<String>,
}

/// A folder that a model was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The folder as it was named.
    pub path: String,
    /// BLAKE3 of its weights, in hex.
    pub hash: String,
}

impl Lineage {
    /// A record for `stage`, started from `parents`, under the resolved configuration `config` (its text is hashed).
    pub fn new<P: AsRef<Path>>(stage: &str, parents: &[P], config: &str) -> Result<Lineage, ModelError> {
        let parent = |p: &P| Ok(Parent { path: p.as_ref().display().to_string(), hash: weights_hash(p.as_ref())? });
        Ok(Lineage {
            stage: stage.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            parents: parents.iter().map(parent).collect::<Result<_, ModelError>>()?,
            config_hash: blake3::hash(config.as_bytes()).to_hex().to_string(),
            ..Lineage::default()
        })
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
        write_json(&folder.join("lineage.json"), self)
    }
}

/// Reads `lineage.json` of `folder`.
pub fn read(folder: &Path) -> Result<Lineage, ModelError> {
    let path = folder.join("lineage.json");
    let text = std::fs::read_to_string(&path).map_err(ModelError::io(&path))?;
    serde_json::from_str(&text).map_err(ModelError::json(&path))
}

/// BLAKE3 over a folder's weight files in the order of their names, in hex.
pub fn weights_hash(folder: &Path) -> Result<String, ModelError> {
    let listing = std::fs::read_dir(folder).map_err(ModelError::io(folder))?;
    let mut files = listing.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(ModelError::io(folder))?;
    files.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(MappedFile::open(&file)?.as_ref());
    }
    Ok(hasher.finalize().to_hex().to_string())
}
