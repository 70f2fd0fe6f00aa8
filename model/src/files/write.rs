//! Writing weights as safetensors, in one file or, above a size, in shards with an index.

use super::{INDEX, SINGLE, write_json};
use crate::error::ModelError;
use crate::layers::Linear;
use crate::model::Parameter;
use native::{NativeError, Units};
use safetensors::tensor::{Dtype, SafeTensorError, View};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Largest file in bytes: the 5 GB that transformers 4 had.
pub(crate) const SHARD_BYTES: u64 = 5_000_000_000;

/// A weight to be written: a map's has its adapter merged.
pub(crate) struct Weight<'a> {
    pub parameter: &'a Parameter,
    pub map: Option<&'a Linear>,
}

/// A tensor on its way into a file: bytes are copied out when its turn comes, and values that others have are asked for.
struct Outgoing<'a> {
    weight: &'a Weight<'a>,
    shape: Vec<usize>,
    /// Where its values are, and its number there.
    elsewhere: Option<(&'a Units, usize)>,
    failure: &'a RefCell<Option<NativeError>>,
}

impl Outgoing<'_> {
    /// Its values; zeros after a failure.
    fn whole(&self) -> Tensor {
        let Some((units, i)) = self.elsewhere else { return self.weight.parameter.tensor.detach() };
        let mut failure = self.failure.borrow_mut();
        let fetched = if failure.is_some() { None } else { units.fetch(i).map_err(|e| *failure = Some(e)).ok() };
        fetched.unwrap_or_else(|| Tensor::zeros(self.weight.parameter.tensor.size(), (Kind::Float, Device::Cpu)))
    }
}

impl View for Outgoing<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let merged = self.weight.map.and_then(Linear::merged);
        let tensor = merged.map_or_else(|| self.whole(), |merged| merged.detach());
        let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let mut bytes = vec![0u8; self.data_len()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes.into()
    }
    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

/// [`write_weights`] of parameters that have no adapters and are whole here.
pub(crate) fn write_parameters(folder: &Path, parameters: &[Parameter]) -> Result<(), ModelError> {
    let weights: Vec<Weight<'_>> = parameters.iter().map(|parameter| Weight { parameter, map: None }).collect();
    write_weights(folder, &weights, None, SHARD_BYTES)
}

/// Writes `model.safetensors`, or shards of at most `largest` bytes of tensors (one that is larger has a shard to itself) and their index.
/// Weight files of an earlier save that are no longer meant are removed at the end. `units`: who has the values, if not the parameters.
pub(crate) fn write_weights(folder: &Path, parameters: &[Weight<'_>], units: Option<&Units>, largest: u64) -> Result<(), ModelError> {
    let shards = cut(parameters, largest);
    let name = |i: usize| format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
    let mut keep = BTreeSet::new();
    if let [all] = shards[..] {
        write_file(folder, SINGLE, all, units.map(|u| (u, 0)), "config.json")?;
        keep.insert(SINGLE.to_string());
    } else {
        let mut map = Map::new();
        for (i, shard) in shards.iter().enumerate() {
            let before = shards[..i].iter().map(|s| s.len()).sum();
            write_file(folder, &name(i), shard, units.map(|u| (u, before)), "config.json")?;
            map.extend(shard.iter().map(|w| (w.parameter.name.clone(), json!(name(i)))));
            keep.insert(name(i));
        }
        map.sort_keys();
        let total: u64 = parameters.iter().map(bytes).sum();
        write_json(&folder.join(INDEX), &json!({"metadata": {"total_size": total}, "weight_map": Value::Object(map)}))?;
        keep.insert(INDEX.to_string());
    }
    for entry in std::fs::read_dir(folder).map_err(ModelError::io(folder))? {
        let path = entry.map_err(ModelError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours = name == SINGLE || name == INDEX || (name.starts_with("model-") && name.ends_with(".safetensors"));
        if ours && !keep.contains(&name) {
            std::fs::remove_file(&path).map_err(ModelError::io(&path))?;
        }
    }
    Ok(())
}

/// Writes these tensors into one file of a folder that has the file `like`.
pub(crate) fn write_tensors(folder: &Path, name: &str, tensors: &[Parameter], like: &str) -> Result<(), ModelError> {
    let weights: Vec<Weight<'_>> = tensors.iter().map(|parameter| Weight { parameter, map: None }).collect();
    write_file(folder, name, &weights, None, like)
}

fn bytes(w: &Weight<'_>) -> u64 {
    4 * w.parameter.tensor.numel() as u64
}

/// Consecutive parameters that fit together; at least one part.
fn cut<'a, 'b>(parameters: &'a [Weight<'b>], largest: u64) -> Vec<&'a [Weight<'b>]> {
    let (mut shards, mut start, mut size) = (vec![], 0, 0);
    for (i, p) in parameters.iter().enumerate() {
        if i > start && size + bytes(p) > largest {
            shards.push(&parameters[start..i]);
            (start, size) = (i, 0);
        }
        size += bytes(p);
    }
    shards.push(&parameters[start..]);
    shards
}

/// Numbers of the parameters in the order in which [`write_weights`] reads them: file by file, and in a file as safetensors sorts names of one type.
pub(crate) fn order(parameters: &[Parameter], largest: u64) -> Vec<usize> {
    let weights: Vec<Weight<'_>> = parameters.iter().map(|parameter| Weight { parameter, map: None }).collect();
    let mut numbers: Vec<usize> = (0..parameters.len()).collect();
    let mut rest = numbers.as_mut_slice();
    for shard in cut(&weights, largest) {
        let (file, others) = rest.split_at_mut(shard.len());
        file.sort_by_key(|&i| &parameters[i].name);
        rest = others;
    }
    numbers
}

/// Writes one file, whole or not at all. transformers asks for the entry `format = pt`. `units`: who has the values, and the first weight's number there.
fn write_file(folder: &Path, name: &str, weights: &[Weight<'_>], units: Option<(&Units, usize)>, like: &str) -> Result<(), ModelError> {
    let path = folder.join(name);
    let failure = RefCell::new(None);
    let views = weights.iter().enumerate().map(|(i, weight)| {
        let shape = weight.parameter.tensor.size().iter().map(|&n| n as usize).collect();
        let elsewhere = units.map(|(u, first)| (u, first + i));
        (weight.parameter.name.as_str(), Outgoing { weight, shape, elsewhere, failure: &failure })
    });
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(views, Some(metadata), &path).map_err(|e| {
        let source = match e {
            SafeTensorError::IoError(source) => source,
            other => std::io::Error::other(other),
        };
        ModelError::Write { path: path.clone(), source }
    })?;
    if let Some(error) = failure.into_inner() {
        return Err(error.into());
    }
    // The file was made private to its owner; give it the permissions that the folder's other files have.
    let like = std::fs::metadata(folder.join(like)).map_err(ModelError::io(folder))?;
    std::fs::set_permissions(&path, like.permissions()).map_err(ModelError::io(&path))
}
