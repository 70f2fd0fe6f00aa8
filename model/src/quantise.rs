//! Weights in eight or four bits for generation: what the blocks and the head multiply by. Embeddings that are looked up, norms and biases stay in float32.

use crate::blocks::Format;
use crate::error::ModelError;
use crate::model::{HeadKind, Model};
use crate::names::Names;
use native::quantised::{Bits, Quantised};
use std::collections::HashSet;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// What rows are rounded to before they meet weights of few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// Whole numbers of sixteen bits.
    #[default]
    Sixteen,
    /// Of eight, as llama.cpp does it: for [`Format::Q8_0`] alone. Fast where the processor multiplies bytes (AVX512-VNNI) or pairs of sixteen bits (AVX2):
    /// there [`crate::generate`] goes through `native::decode` by them, with keys and values in bfloat16 where that has kernels. Slow elsewhere.
    Eight,
}

/// What became of a model's matrices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Matrices in the wanted format.
    pub in_format: usize,
    /// Names of those that stay in float32, because their rows are no multiple of 32.
    pub in_float: Vec<String>,
}

/// The head of a quantised model.
#[derive(Debug)]
pub(crate) struct Head {
    /// `None` where its rows are no multiple of 32.
    weight: Option<Arc<Quantised>>,
    format: Format,
}

impl Head {
    /// In few bits, where it is so.
    pub fn weight(&self) -> Option<&Arc<Quantised>> {
        self.weight.as_ref()
    }
}

impl Model {
    /// Makes the linear maps of all blocks and the head matrices in `format`, [`Format::Q8_0`] or [`Format::Q4_0`], rounded as GGUF files are, and rows to `activations`; their float
    /// weights are given up, adapters merged before. The model then computes in float32 on the CPU, without gradients: it writes and measures, and is neither
    /// trained, copied nor saved. A head that is tied to the embedding gets a matrix of its own, since the lookup stays in float32. Matrices whose rows are no
    /// multiple of 32 stay as they are, as in a file; an error where all are such. [`Model::parameters`] are then what stays in float32.
    pub fn quantise(&mut self, format: Format, activations: Activations) -> Result<Fit, ModelError> {
        let wrong = |reason: String| Err(ModelError::Input(reason));
        let bits = match (format, activations) {
            (Format::Q8_0, Activations::Sixteen) => Bits::Eight,
            (Format::Q8_0, Activations::Eight) => Bits::EightByEight,
            (Format::Q4_0, Activations::Sixteen) => Bits::Four,
            (Format::Q4_0, Activations::Eight) => return wrong("q4_0: its rows are rounded to sixteen bits, not to eight".into()),
            (Format::F32 | Format::F16, _) => return wrong(format!("{}: a model in memory is float32, q8_0 or q4_0", format.name())),
        };
        self.need_float("quantised again")?;
        if self.head() != HeadKind::Lm {
            return wrong("this model scores and does not write: only language models are quantised".into());
        }
        if self.device() != Device::Cpu {
            return wrong(format!("{}: its products are the CPU's: use --device cpu", format.name()));
        }
        if self.units().is_some() {
            return wrong("weights that are shared out among processes are not quantised".into());
        }
        self.freeze();
        let head_name = if self.config().tied { "the tied head" } else { Names::of(self.config().family).head };
        let too_narrow = |input: i64| !format.fits(input as usize);
        let names = self.linears().filter(|l| too_narrow(l.sizes().0)).map(|l| format!("{}.weight", l.name()));
        let mut in_float: Vec<String> = names.collect();
        let head_fits = !too_narrow(self.config().width as i64);
        if !head_fits {
            in_float.push(head_name.into());
        }
        let in_format = self.linears().count() + 1 - in_float.len();
        if in_format == 0 {
            let (name, count) = (&in_float[0], in_float.len());
            return wrong(format!("{}: the rows of {name}, and of all {count} matrices, are no multiple of 32 numbers", format.name()));
        }
        let mut gone = HashSet::new();
        for map in self.linears_mut() {
            if too_narrow(map.sizes().0) {
                map.merge();
                continue;
            }
            let weight = encode(&map.rows(), format, bits)?;
            map.set_quantised(weight);
            gone.insert(format!("{}.weight", map.name()));
        }
        let weight = if head_fits { Some(Arc::new(encode(&self.head_weight().detach(), format, bits)?)) } else { None };
        if weight.is_some() && !self.config().tied {
            gone.insert(head_name.into());
        }
        self.set_quantised_head(Head { weight, format }, |name| !gone.contains(name));
        Ok(Fit { in_format, in_float })
    }

    /// How the matrices stand in memory.
    pub fn format(&self) -> Format {
        self.quantised_head().map_or(Format::F32, |head| head.format)
    }

    /// Bytes of the weights in memory, adapters apart.
    pub fn weight_bytes(&self) -> usize {
        let float: usize = self.parameters().iter().map(|p| p.tensor.numel() * p.tensor.kind().elt_size_in_bytes()).sum();
        let maps = self.linears().filter_map(|l| l.quantised());
        let head = self.quantised_head().and_then(Head::weight).map(Arc::as_ref);
        float + maps.chain(head).map(Quantised::bytes).sum::<usize>()
    }

    /// Refuses what a model without float weights cannot do.
    pub(crate) fn need_float(&self, what: &str) -> Result<(), ModelError> {
        match self.quantised_head() {
            None => Ok(()),
            Some(head) => Err(ModelError::Input(format!("a model in {} has no float weights: it cannot be {what}", head.format.name()))),
        }
    }
}

/// `[out, in]` in few bits.
fn encode(weight: &Tensor, format: Format, bits: Bits) -> Result<Quantised, ModelError> {
    let (output, input) = weight.size2()?;
    let weight = weight.to_kind(Kind::Float).contiguous();
    let mut numbers = vec![0f32; weight.numel()];
    weight.f_copy_data(&mut numbers, weight.numel())?;
    Ok(Quantised::new(bits, &format.encode(&numbers), output, input)?)
}
