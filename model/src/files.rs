//! The files of a model folder: weights as safetensors (one file or shards), small JSON files, and where a name leads.

use crate::error::ModelError;
use crate::model::Parameter;
use crate::names;
use native::MappedFile;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The model folder that a name means: the folder itself if it holds a config.json, or a run folder's `model/`.
pub fn resolve(path: &Path) -> Result<PathBuf, ModelError> {
    [path.to_path_buf(), path.join("model")]
        .into_iter()
        .find(|p| p.join("config.json").is_file())
        .ok_or_else(|| ModelError::NoModel { path: path.to_path_buf() })
}

/// Where a tensor's bytes lie.
struct Entry {
    file: usize,
    bytes: std::ops::Range<usize>,
    dtype: Dtype,
    shape: Vec<i64>,
}

/// All weight files of a folder, mapped; tensors are copied out one by one, so that memory holds the weights once.
pub(crate) struct WeightFiles {
    folder: PathBuf,
    maps: Vec<MappedFile>,
    entries: BTreeMap<String, Entry>,
    used: BTreeSet<String>,
}

impl WeightFiles {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub fn open(folder: &Path) -> Result<WeightFiles, ModelError> {
        let (single, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
        let names: BTreeSet<PathBuf> = if single.is_file() {
            BTreeSet::from([single])
        } else if index.is_file() {
            let text = std::fs::read_to_string(&index).map_err(ModelError::io(&index))?;
            let parsed: Map<String, Value> = serde_json::from_str(&text).map_err(ModelError::json(&index))?;
            let map = parsed.get("weight_map").and_then(Value::as_object);
            let shards = map.into_iter().flatten().filter_map(|(_, file)| file.as_str());
            // A shard's name is a file of this folder, not a way out of it.
            shards.filter_map(|name| Path::new(name).file_name()).map(|name| folder.join(name)).collect()
        } else {
            let reason = "model.safetensors is missing (pytorch_model.bin is not read: save the model with safe_serialization)";
            return Err(ModelError::Weights { path: folder.to_path_buf(), reason: reason.into() });
        };
        let mut files = WeightFiles { folder: folder.to_path_buf(), maps: vec![], entries: BTreeMap::new(), used: BTreeSet::new() };
        for path in names {
            files.add(&path)?;
        }
        Ok(files)
    }

    fn add(&mut self, path: &Path) -> Result<(), ModelError> {
        let broken = |e: safetensors::SafeTensorError| ModelError::Weights { path: path.to_path_buf(), reason: e.to_string() };
        let map = MappedFile::open(path)?;
        SafeTensors::deserialize(map.as_ref()).map_err(broken)?; // checks that header, offsets and length agree
        let (header, metadata) = SafeTensors::read_metadata(map.as_ref()).map_err(broken)?;
        let start = 8 + header; // eight bytes of length, then the header, then data
        for (name, info) in metadata.tensors() {
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let shape = info.shape.iter().map(|&n| n as i64).collect();
            self.entries.insert(name, Entry { file: self.maps.len(), bytes, dtype: info.dtype, shape });
        }
        self.maps.push(map);
        Ok(())
    }

    /// Is there a tensor of this name, with or without the family's prefix?
    pub fn has(&self, name: &str) -> bool {
        self.key(name).is_some()
    }

    fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        names::aliases(name).find(|n| self.entries.contains_key(*n))
    }

    /// One tensor, as float32 on `device`.
    pub fn take(&mut self, name: &str, shape: &[i64], device: Device) -> Result<Tensor, ModelError> {
        let path = || self.folder.clone();
        let Some(key) = self.key(name) else {
            let example = self.entries.keys().next().cloned().unwrap_or_else(|| "none".into());
            return Err(ModelError::MissingTensor { path: path(), name: name.into(), found: self.entries.len(), example });
        };
        let entry = &self.entries[key];
        if entry.shape != shape {
            return Err(ModelError::Shape { path: path(), name: key.into(), got: entry.shape.clone(), want: shape.to_vec() });
        }
        let kind = match entry.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            other => return Err(ModelError::Dtype { path: path(), name: key.into(), dtype: format!("{other:?}") }),
        };
        let bytes = &self.maps[entry.file].as_ref()[entry.bytes.clone()];
        let tensor = Tensor::f_from_data_size(bytes, shape, kind)?.f_to_kind(Kind::Float)?.f_to_device(device)?;
        self.used.insert(key.to_string());
        Ok(tensor)
    }

    /// Complains of tensors that nobody took, but for buffers and heads that `spare` allows.
    pub fn finish(self, spare: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        let known = |name: &str| spare(name) || names::is_buffer(name);
        let left: Vec<&String> = self.entries.keys().filter(|name| !self.used.contains(*name) && !known(name)).collect();
        match left.first() {
            None => Ok(()),
            Some(name) => Err(ModelError::UnknownTensors { path: self.folder, count: left.len(), example: (*name).clone() }),
        }
    }
}

/// A tensor on its way into a file: bytes are copied out when its turn comes.
struct Outgoing<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
}

impl View for Outgoing<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let mut bytes = vec![0u8; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes.into()
    }
    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

/// Writes `model.safetensors`, whole or not at all. transformers asks for the entry `format = pt`.
pub(crate) fn write_weights(folder: &Path, parameters: &[Parameter]) -> Result<(), ModelError> {
    let path = folder.join("model.safetensors");
    let views = parameters.iter().map(|p| {
        let shape = p.tensor.size().iter().map(|&n| n as usize).collect();
        (p.name.as_str(), Outgoing { tensor: &p.tensor, shape })
    });
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .map_err(|e| ModelError::Weights { path: path.clone(), reason: format!("writing failed: {e}") })?;
    // The file was made private to its owner; give it the permissions that the folder's other files have.
    let like = std::fs::metadata(folder.join("config.json")).map_err(ModelError::io(folder))?;
    std::fs::set_permissions(&path, like.permissions()).map_err(ModelError::io(&path))
}

/// Writes a JSON file by renaming, so that a reader sees the old one or the new one.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ModelError> {
    let mut text = serde_json::to_string_pretty(value).map_err(ModelError::json(path))?;
    text.push('\n');
    let part = path.with_extension("json.part");
    std::fs::write(&part, text).map_err(ModelError::io(&part))?;
    std::fs::rename(&part, path).map_err(ModelError::io(path))
}
