//! Reading weights: safetensors of float32, bfloat16, float16 or float64, in one file or in shards.

use super::{INDEX, SINGLE, pickle};
use crate::error::ModelError;
use crate::names;
use native::MappedFile;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

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
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        let mut files = WeightFiles { folder: folder.to_path_buf(), maps: vec![], entries: BTreeMap::new(), used: BTreeSet::new() };
        if single.is_file() {
            files.add(&single)?;
        } else if index.is_file() {
            files.add_shards(&index)?;
        } else if let Some(path) = pickle(folder) {
            return Err(ModelError::Pickle { path });
        } else {
            return Err(ModelError::Weights { path: folder.to_path_buf(), reason: format!("{SINGLE} is missing, and so is {INDEX}") });
        }
        Ok(files)
    }

    /// Opens one file of this name.
    pub fn open_file(folder: &Path, name: &str) -> Result<WeightFiles, ModelError> {
        let path = folder.join(name);
        let mut files = WeightFiles { folder: folder.to_path_buf(), maps: vec![], entries: BTreeMap::new(), used: BTreeSet::new() };
        match (path.is_file(), pickle(folder)) {
            (true, _) => files.add(&path)?,
            (false, Some(path)) => return Err(ModelError::Pickle { path }),
            (false, None) => return Err(ModelError::Weights { path: folder.to_path_buf(), reason: format!("{name} is missing") }),
        }
        Ok(files)
    }

    /// Opens every shard and checks that each tensor lies where the index says.
    fn add_shards(&mut self, index: &Path) -> Result<(), ModelError> {
        let wrong = |reason: String| ModelError::Index { path: index.to_path_buf(), reason };
        let text = std::fs::read_to_string(index).map_err(ModelError::io(index))?;
        let parsed: Map<String, Value> = serde_json::from_str(&text).map_err(ModelError::json(index))?;
        let Some(map) = parsed.get("weight_map").and_then(Value::as_object).filter(|m| !m.is_empty()) else {
            return Err(wrong("weight_map is missing or empty".into()));
        };
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in map {
            // A shard's name is a file of this folder, not a way out of it.
            match file.as_str().filter(|f| Path::new(f).file_name().is_some_and(|name| name == *f)) {
                Some(file) => shards.entry(file).or_default().push(tensor),
                None => return Err(wrong(format!("{tensor} is said to be in {file}, which is no file name"))),
            }
        }
        let missing: Vec<&str> = shards.keys().copied().filter(|f| !self.folder.join(f).is_file()).collect();
        if !missing.is_empty() {
            let (n, all) = (missing.len(), shards.len());
            return Err(wrong(format!("{n} of {all} shards are missing: {}; was the folder copied in full?", missing.join(", "))));
        }
        for (file, tensors) in &shards {
            self.add(&self.folder.join(file))?;
            let here = self.maps.len() - 1;
            if let Some(tensor) = tensors.iter().find(|t| self.entries.get(**t).is_none_or(|e| e.file != here)) {
                return Err(wrong(format!("{tensor} should be in {file} and is not: index and shards are not of one model")));
            }
        }
        Ok(())
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
            // BERT's first release has norms' names of TensorFlow.
            let name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
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
        let tensor = self.maps[entry.file].float32(entry.bytes.clone(), shape, kind)?.f_to_device(device)?;
        self.used.insert(key.to_string());
        Ok(tensor)
    }

    /// Takes the tensor too, if there is one, and tells whether it is another than `tied`.
    pub fn differs(&mut self, name: &str, tied: &Tensor) -> Result<bool, ModelError> {
        Ok(self.has(name) && !self.take(name, &tied.size(), tied.device())?.equal(tied))
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
