//! GGUF, the file format of llama.cpp (version 3): what it knows of a model, its tokenizer and its weights, in one file.
//!
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Names, keys and the order of turned heads are those of llama.cpp's
//! `convert_hf_to_gguf.py`.

mod names;
mod shape;
mod vocabulary;
mod write;

use crate::blocks::Format;
use crate::prune::Done;
use anyhow::Result;
use model::{HeadKind, Model};
use program::{input, refuse};
use std::path::Path;
use tch::{Device, Kind, Tensor};
use write::{Entry, Writer};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Matrices in the wanted format.
    pub in_format: usize,
    /// Tensors in float32: vectors, positions, and matrices whose rows are no multiple of 32.
    pub in_float: usize,
    /// What llama.cpp is not told, or told only nearly.
    pub notes: &'static [&'static str],
}

/// Writes the language model in `folder` to `file`, matrices in `format`. `tokenizer`: whether the file holds it, too.
pub fn export(folder: &Path, file: &Path, format: Format, tokenizer: bool) -> Result<Written> {
    let model = Model::load(folder, Device::Cpu)?;
    if model.head() != HeadKind::Lm {
        refuse!("{}: a reward model: llama.cpp has no form for it; name a language model", folder.display());
    }
    let (architecture, mut entries) = shape::entries(model.config(), folder)?;
    entries.push(Entry::number("general.file_type", format.file_type()));
    entries.push(Entry::number("general.quantization_version", 2));
    let mut notes: &[&str] = &[];
    if tokenizer {
        let (more, told) = vocabulary::entries(folder, model.config().vocab_size)?;
        entries.extend(more);
        notes = told;
    }
    let (mut in_format, mut in_float) = (0, 0);
    let mut writer = Writer::new(architecture, entries);
    let parameters = model.parameters();
    let mut tensors = Vec::new();
    for p in &parameters {
        let (name, form) = names::of(model.config(), &p.name)
            .ok_or_else(|| input(format!("{}: llama.cpp has no name for {}", folder.display(), p.name)))?;
        let values = form.apply(&p.tensor.detach());
        let stored = stored_as(&name, &values, format);
        if stored == format {
            in_format += 1
        } else {
            in_float += 1
        }
        writer.tensor(&name, &values.size(), stored);
        tensors.push((values, stored));
    }
    let bytes = writer.finish(file, tensors.iter().map(|(values, stored)| stored.encode(&floats(values))))?;
    Ok(Written { bytes, in_format, in_float, notes })
}

/// Writes `folder` again as `out`, every matrix that [`export`] would store in `format` rounded to what it would be read as.
pub fn round_folder(folder: &Path, out: &Path, format: Format) -> Result<()> {
    let model = Model::load(folder, Device::Cpu)?;
    round(&model, format);
    let how = format!("type = \"{}\"\n", format.name());
    crate::prune::write_folder(&model, folder, out, Done { stage: "round", how: &how })
}

/// Rounds the matrices of a model in memory to what [`export`] would store. Rows are those of `[out, in]`, whatever the family's own orientation.
pub fn round(model: &Model, format: Format) {
    for p in model.parameters() {
        let Some((name, form)) = names::of(model.config(), &p.name) else { continue };
        let values = form.apply(&p.tensor.detach());
        if stored_as(&name, &values, format) == format && format != Format::F32 {
            let rounded = Tensor::from_slice(&format.round(&floats(&values))).view(values.size().as_slice());
            tch::no_grad(|| p.tensor.shallow_clone().copy_(&form.undo(&rounded)));
        }
    }
}

/// Bytes of the model's weights in `format`, as [`export`] stores them.
pub fn stored(model: &Model, format: Format) -> u64 {
    let bytes = |p: &model::Parameter| {
        let (name, form) = names::of(model.config(), &p.name)?;
        Some(stored_as(&name, &form.apply(&p.tensor.detach()), format).bytes(p.tensor.numel()) as u64)
    };
    model.parameters().iter().filter_map(bytes).sum()
}

/// Matrices are stored in the wanted format where their rows fit; all else is float32.
fn stored_as(name: &str, values: &Tensor, format: Format) -> Format {
    let row = values.size().last().copied().unwrap_or(1) as usize;
    if values.dim() == 2 && name != names::POSITIONS && format.fits(row) { format } else { Format::F32 }
}

/// All numbers of a tensor, row after row.
fn floats(x: &Tensor) -> Vec<f32> {
    let flat = x.to_kind(Kind::Float).to_device(Device::Cpu).contiguous().flatten(0, -1);
    Vec::try_from(&flat).expect("a vector of float32")
}
