//! The files of a model folder: weights as safetensors (one file or shards), small JSON files, and where a name leads.

mod read;
mod write;

pub(crate) use read::WeightFiles;
pub(crate) use write::{SHARD_BYTES, Weight, order, write_parameters, write_tensors, write_weights};

use crate::error::ModelError;
use std::path::{Path, PathBuf};

/// The weights in one file.
const SINGLE: &str = "model.safetensors";
/// Which shard holds which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// The model folder that a name means: the folder itself if it holds a config.json, or a run folder's `model/`.
pub fn resolve(path: &Path) -> Result<PathBuf, ModelError> {
    [path.to_path_buf(), path.join("model")].into_iter().find(|p| p.join("config.json").is_file()).ok_or_else(|| match pickle(path) {
        Some(path) => ModelError::Pickle { path },
        None => ModelError::NoModel { path: path.to_path_buf() },
    })
}

/// The file itself if it is a pickle by its name, or the first such file of a folder.
fn pickle(path: &Path) -> Option<PathBuf> {
    let is_pickle = |p: &PathBuf| p.is_file() && p.extension().is_some_and(|e| ["bin", "pt", "pth", "ckpt", "pkl"].iter().any(|x| e == *x));
    let mut files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(listing) => listing.flatten().map(|e| e.path()).collect(),
        Err(_) => vec![path.to_path_buf()],
    };
    files.sort();
    // Optimiser states and arguments of a Trainer are pickles too, and no weights.
    files.into_iter().filter(is_pickle).max_by_key(|p| std::fs::metadata(p).map_or(0, |m| m.len()))
}

/// Writes a JSON file by renaming, so that a reader sees the old one or the new one.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ModelError> {
    let mut text = serde_json::to_string_pretty(value).map_err(ModelError::json(path))?;
    text.push('\n');
    let part = path.with_extension("json.part");
    std::fs::write(&part, text).map_err(ModelError::io(&part))?;
    std::fs::rename(&part, path).map_err(ModelError::io(path))
}
