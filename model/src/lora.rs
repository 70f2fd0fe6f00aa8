//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): a frozen map W gets a change s·B·A that is trained, s = alpha / rank.
//!
//! y = x·Wᵀ + s·(dropout(x)·Aᵀ)·Bᵀ. A starts uniform in ±1/√in (PEFT's Kaiming-uniform with a = √5), B at zero, so that the first change is none.

use crate::error::ModelError;
use crate::init::{Init, fresh};
use crate::layers::{Linear, cast, fits, has_kernels};
use crate::model::{HeadKind, Model, Parameter};
use crate::peft;
use data::config::Lora;
use native::lora;
use std::path::Path;
use tch::{Tensor, no_grad};

/// One map's adapter.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
    pub scale: f64,
    pub dropout: f64,
}

impl Adapter {
    /// Another handle of the same tensors.
    pub fn share(&self) -> Adapter {
        Adapter { a: self.a.shallow_clone(), b: self.b.shallow_clone(), ..*self }
    }

    /// Do our own kernels take it, beside a map that they take?
    pub fn has_kernels(&self, x: &Tensor) -> bool {
        has_kernels(x.kind(), x.device()) && fits(&self.a) && fits(&self.b)
    }

    /// What the adapter reads of `x`, where that is not `x` itself.
    pub fn dropped(&self, x: &Tensor, train: bool) -> Option<Tensor> {
        (train && self.dropout > 0.0).then(|| x.dropout(self.dropout, true))
    }

    /// Adds the change to `y` `[N, out]`, the map's result for `x` `[N, in]`, in place; by libtorch's operators.
    pub fn add(&self, mut y: Tensor, x: &Tensor, train: bool) -> Tensor {
        let dropped = self.dropped(x, train);
        let inner = dropped.as_ref().unwrap_or(x).linear::<Tensor>(&cast(&self.a, x.kind()), None) * self.scale; // [N, r]
        y.addmm_(&inner, &cast(&self.b, x.kind()).tr())
    }

    /// For the kernels.
    pub fn native(&self) -> lora::Adapter<'_> {
        lora::Adapter { a: &self.a, b: &self.b, scale: self.scale }
    }

    /// The weight with the change in it, outside autograd; `[in, out]` if `in_out`.
    pub fn merged(&self, weight: &Tensor, in_out: bool) -> Tensor {
        no_grad(|| {
            let change = self.b.mm(&self.a) * self.scale; // [out, in]
            let merged = if in_out { weight + change.tr() } else { weight + change };
            merged.contiguous()
        })
    }
}

/// What the adapters of a model have in common.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adapters {
    pub rank: usize,
    pub alpha: f64,
    pub dropout: f64,
    /// Last parts of the names of the maps that have one.
    pub targets: Vec<String>,
    /// s = alpha / √rank (rsLoRA, arXiv 2312.03732) instead of alpha / rank.
    pub by_root: bool,
    /// Modules outside the adapters whose weights go with them: PEFT's `modules_to_save`.
    pub saved: Vec<String>,
}

impl Adapters {
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.by_root { rank.sqrt() } else { rank }
    }

    pub fn is_target(&self, module: &str) -> bool {
        self.targets.iter().any(|target| ends_with(module, target))
    }
}

/// Is `module` named by `target`, the whole of its name or its last parts?
fn ends_with(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The last part of a dotted name.
fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

impl Model {
    /// The same model with fresh adapters. Only they are trained from now on, and a scalar head; the other weights are frozen and shared with whatever else
    /// has them (see [`Model::share`]). The same seed gives the same adapters.
    pub fn with_adapters(mut self, wanted: &Lora, seed: u64) -> Result<Model, ModelError> {
        let adapters = self.adapters_of(wanted)?;
        let device = self.device();
        self.attach(adapters, |name, shape, init| fresh(name, shape, init, seed, device))?;
        Ok(self)
    }

    /// The same model with the adapters of a folder that PEFT or [`Model::save_adapters`] wrote, to be trained further. With `wanted` they must have its rank
    /// and alpha, and drop out as it says.
    pub fn load_adapters(mut self, folder: &Path, wanted: Option<&Lora>) -> Result<Model, ModelError> {
        let mut files = peft::open(folder)?;
        let mut adapters = files.adapters(&self.linears().map(|l| l.name().to_owned()).collect::<Vec<_>>())?;
        if let Some(wanted) = wanted {
            if (wanted.rank, wanted.alpha) != (adapters.rank, adapters.alpha) {
                let (r, alpha) = (adapters.rank, adapters.alpha);
                return Err(files.wrong(format!(
                    "this adapter has rank {r} and alpha {alpha}, not {} and {}: set lora.rank = {r} and lora.alpha = {alpha} to train it further, or \
                     lora.rank = 0 to merge it",
                    wanted.rank, wanted.alpha
                )));
            }
            adapters.dropout = wanted.dropout;
        }
        if self.head() == HeadKind::Lm && self.config().tied {
            adapters.saved.extend(files.tied_head(self.config().family, self.head_weight())?);
        }
        for p in self.parameters() {
            if let Some(value) = files.saved(&p, self.device())? {
                no_grad(|| p.tensor.shallow_clone().copy_(&value));
                adapters.saved.push(module_of(&p.name).to_owned());
            }
        }
        adapters.saved.dedup();
        let device = self.device();
        self.attach(adapters, |name, shape, _| files.take(name, shape, device))?;
        files.finish()?;
        Ok(self)
    }

    /// Writes the adapters, and a scalar head with them, as PEFT does: `adapter_config.json` and `adapter_model.safetensors`. `base` is the folder that they
    /// stand on.
    pub fn save_adapters(&self, folder: &Path, base: &Path) -> Result<(), ModelError> {
        let adapters = self.adapters().ok_or_else(|| ModelError::Input("this model has no adapters to write".into()))?;
        peft::write(self, &adapters, folder, base)
    }

    /// The same model with its adapters merged into the weights, all of which can be trained.
    pub fn merge_adapters(mut self) -> Model {
        for linear in self.linears_mut() {
            linear.merge();
        }
        self.set_adapters(None);
        self.parameters().iter().for_each(|p| drop(p.tensor.set_requires_grad(true)));
        self
    }

    /// What can be trained: all weights that are not frozen, or the adapters and a scalar head.
    pub fn trainable(&self) -> Vec<Parameter> {
        let mut all = self.parameters();
        all.retain(|p| p.tensor.requires_grad());
        all.extend(self.adapter_tensors().into_iter().filter(|p| p.tensor.requires_grad()));
        all
    }

    /// `MODULE.lora_A.weight` and `MODULE.lora_B.weight` of every adapter.
    pub(crate) fn adapter_tensors(&self) -> Vec<Parameter> {
        let pair = |l: &Linear| {
            let adapter = l.adapter.as_ref()?;
            let part =
                |kind: &str, t: &Tensor| Parameter { name: tensor_name(l.name(), kind), tensor: t.shallow_clone(), decay: true, unit: 0 };
            Some([part("A", &adapter.a), part("B", &adapter.b)])
        };
        self.linears().filter_map(pair).flatten().collect()
    }

    /// The adapters that a configuration asks for; every target must name some map.
    fn adapters_of(&self, wanted: &Lora) -> Result<Adapters, ModelError> {
        let mut known: Vec<&str> = self.linears().map(|l| last_part(l.name())).collect();
        known.sort_unstable();
        known.dedup();
        if let Some(target) = wanted.targets.iter().find(|t| !self.linears().any(|l| ends_with(l.name(), t))) {
            let known = known.join(", ");
            return Err(ModelError::Input(format!("lora.targets: no linear map of this model is named {target}; there are {known}")));
        }
        let targets = if wanted.targets.is_empty() { known.iter().map(ToString::to_string).collect() } else { wanted.targets.clone() };
        let Lora { rank, alpha, dropout, .. } = *wanted;
        Ok(Adapters { rank, alpha, dropout, targets, by_root: false, saved: vec![] })
    }

    /// Freezes the weights and puts adapters beside them, whose tensors `supply` gives.
    fn attach(
        &mut self,
        mut adapters: Adapters,
        mut supply: impl FnMut(&str, &[i64], Init) -> Result<Tensor, ModelError>,
    ) -> Result<(), ModelError> {
        self.freeze();
        let (scale, dropout, r) = (adapters.scale(), adapters.dropout, adapters.rank as i64);
        for linear in self.linears_mut().filter(|l| adapters.is_target(l.name())) {
            let (input, output) = linear.sizes();
            let mut take = |kind: &str, shape: [i64; 2], init| -> Result<Tensor, ModelError> {
                Ok(supply(&tensor_name(linear.name(), kind), &shape, init)?.set_requires_grad(true))
            };
            let (a, b) = (take("A", [r, input], Init::Uniform(1.0 / (input as f64).sqrt()))?, take("B", [output, r], Init::Zeros)?);
            linear.adapter = Some(Adapter { a, b, scale, dropout });
        }
        if self.head() == HeadKind::Scalar {
            let _ = self.head_weight().set_requires_grad(true);
            adapters.saved.retain(|module| module != "score");
            adapters.saved.push("score".into());
        }
        self.set_adapters(Some(adapters));
        Ok(())
    }
}

fn tensor_name(module: &str, kind: &str) -> String {
    format!("{module}.lora_{kind}.weight")
}

/// The module that a parameter belongs to.
pub(crate) fn module_of(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_whole_parts_of_a_name() {
        assert!(ends_with("transformer.h.0.attn.c_proj", "c_proj") && ends_with("transformer.h.0.attn.c_proj", "attn.c_proj"));
        assert!(!ends_with("transformer.h.0.attn.c_proj", "proj") && ends_with("c_proj", "c_proj"));
    }
}
