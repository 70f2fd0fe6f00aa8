//! Linear maps, norms, non-linearities.

use crate::config::{Activation, Norm};
use crate::error::ModelError;
use crate::init::{Builder, Init};
use crate::lora::Adapter;
use native::dense::{self, Map, Packed};
use native::quantised::{Bits, Quantised, multiplies_bytes};
use native::{decode, lora};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// A linear map on rows, with the weight in the orientation of its family's folders.
#[derive(Debug)]
pub(crate) struct Linear {
    /// Of the module in its family's folders.
    name: String,
    /// Empty where the weight is quantised.
    weight: Tensor,
    /// The weight in few bits: see [`crate::Model::quantise`].
    quantised: Option<Arc<Quantised>>,
    bias: Option<Tensor>,
    /// `[in, out]` (GPT-2's "Conv1D") instead of `[out, in]`.
    in_out: bool,
    /// A change of the weight that is trained in its place.
    pub adapter: Option<Adapter>,
}

/// Sizes and first values of a [`Linear`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinearShape {
    pub input: usize,
    pub output: usize,
    pub bias: bool,
    pub in_out: bool,
    pub std: f64,
}

impl Linear {
    pub fn new(b: &mut Builder<'_>, name: &str, s: LinearShape) -> Result<Linear, ModelError> {
        let (i, o) = (s.input as i64, s.output as i64);
        let shape = if s.in_out { [i, o] } else { [o, i] };
        let weight = b.take(&format!("{name}.weight"), &shape, Init::Normal(s.std))?;
        let bias = if s.bias { Some(b.take(&format!("{name}.bias"), &[o], Init::Zeros)?) } else { None };
        Ok(Linear { name: name.into(), weight, quantised: None, bias, in_out: s.in_out, adapter: None })
    }

    /// Another handle of the same tensors.
    pub fn share(&self) -> Linear {
        Linear {
            name: self.name.clone(),
            weight: self.weight.shallow_clone(),
            quantised: self.quantised.clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            in_out: self.in_out,
            adapter: self.adapter.as_ref().map(Adapter::share),
        }
    }

    /// Of the module in its family's folders.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Features in and out.
    pub fn sizes(&self) -> (i64, i64) {
        if let Some(quantised) = &self.quantised {
            return quantised.sizes();
        }
        let size = self.weight.size();
        if self.in_out { (size[0], size[1]) } else { (size[1], size[0]) }
    }

    /// All tensors.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.weight].into_iter().chain(&self.bias).chain(self.adapter.iter().flat_map(|p| [&p.a, &p.b]))
    }

    /// `[N, in]` to `[N, out]`, in `x`'s precision; the result is fresh memory that the caller may change in place.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        match &self.adapter {
            None => self.plain(x),
            Some(adapter) if self.has_kernels(x) && adapter.has_kernels(x) => {
                sound(lora::linear(x, adapter.dropped(x, train).as_ref(), self.map(), adapter.native()))
            }
            Some(adapter) => adapter.add(self.plain(x), x, train),
        }
    }

    /// [`Linear::forward`] of `x` under a norm, in one call where there is a kernel for it: then what comes of the norm is not kept for the backward pass.
    pub fn forward_under(&self, norm: &NormLayer, x: &Tensor, train: bool) -> Tensor {
        match norm.kernel() {
            Some(norm) if self.adapter.is_none() && self.has_kernels(x) => sound(dense::linear(x, Some(norm), self.map())),
            _ => self.forward(&norm.forward(x), train),
        }
    }

    /// The map without its adapter.
    pub fn plain(&self, x: &Tensor) -> Tensor {
        if let Some(quantised) = &self.quantised {
            return sound(quantised.linear(x, self.bias.as_ref()));
        }
        if self.has_kernels(x) {
            return sound(dense::linear(x, None, self.map()));
        }
        let (weight, bias) = (cast(&self.weight, x.kind()), self.bias.as_ref().map(|b| cast(b, x.kind())));
        match (self.in_out, bias) {
            (true, Some(bias)) => bias.addmm(x, &weight),
            (true, None) => x.mm(&weight),
            (false, bias) => x.linear(&weight, bias.as_ref()),
        }
    }

    /// The map as `native::decode` reads it for activations of this kind. It no longer follows the weight, which may be trained further.
    pub fn packed(&self, kind: Kind) -> decode::Linear {
        let bias = self.bias.as_ref().map(Tensor::detach);
        if let Some(quantised) = &self.quantised {
            return decode::Linear { weight: decode::Weight::Eights(quantised.clone()), bias };
        }
        let merged = self.merged();
        let weight = merged.as_ref().unwrap_or(&self.weight);
        let weight = if self.in_out { Packed::across(weight, kind) } else { Packed::along(weight, kind) };
        decode::Linear { weight: decode::Weight::Packed(sound(weight)), bias }
    }

    /// The weight with the adapter in it, where there is one.
    pub fn merged(&self) -> Option<Tensor> {
        self.adapter.as_ref().map(|adapter| adapter.merged(&self.weight, self.in_out))
    }

    /// The weight as rows of `[out, in]`, float32, outside its graph, with the adapter in it where there is one.
    pub fn rows(&self) -> Tensor {
        let weight = self.merged().unwrap_or_else(|| self.weight.detach());
        if self.in_out { weight.transpose(0, 1).contiguous() } else { weight.contiguous() }
    }

    /// From here on the map computes with this weight; its own, and the adapter, are given up. The bias stays.
    pub fn set_quantised(&mut self, weight: Quantised) {
        self.weight = Tensor::zeros([0, 0], (self.weight.kind(), self.weight.device()));
        self.quantised = Some(Arc::new(weight));
        self.adapter = None;
    }

    /// The weight in few bits, where it is so.
    pub fn quantised(&self) -> Option<&Quantised> {
        self.quantised.as_deref()
    }

    /// Puts the adapter into the weight.
    pub fn merge(&mut self) {
        if let Some(merged) = self.merged() {
            tch::no_grad(|| self.weight.copy_(&merged));
            self.adapter = None;
        }
    }

    /// Can it be packed, and what comes of it be multiplied on?
    pub fn can_pack(&self) -> bool {
        self.quantised.is_none() && fits(&self.weight)
    }

    /// Does `native::decode` take it?
    pub fn can_decode(&self) -> bool {
        self.quantised.as_deref().map_or_else(|| fits(&self.weight), decodes)
    }

    /// Do our own kernels take these rows and this weight?
    pub fn has_kernels(&self, x: &Tensor) -> bool {
        has_kernels(x.kind(), x.device()) && self.can_pack()
    }

    /// For the kernels.
    pub fn map(&self) -> Map<'_> {
        Map { weight: &self.weight, bias: self.bias.as_ref(), in_out: self.in_out }
    }
}

/// Are there kernels of our own for activations of this kind, here? Elsewhere libtorch's operators do the same.
pub fn has_kernels(kind: Kind, device: Device) -> bool {
    device == Device::Cpu && dense::supported(kind)
}

/// Kernels read pairs: both sizes of a weight must be even.
pub(crate) fn fits(weight: &Tensor) -> bool {
    weight.kind() == Kind::Float && weight.size().iter().all(|n| n % 2 == 0)
}

/// What a kernel made of tensors that were checked when the model was built: an error here is a fault of this program.
pub(crate) fn sound<T>(result: Result<T, native::NativeError>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

/// A weight in the precision of the activations; its gradient comes back in the weight's own.
pub(crate) fn cast(weight: &Tensor, kind: Kind) -> Tensor {
    if weight.kind() == kind { weight.shallow_clone() } else { weight.to_kind(kind) }
}

/// A norm over the last dimension.
#[derive(Debug)]
pub(crate) struct NormLayer {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    eps: f64,
}

impl NormLayer {
    /// Another handle of the same tensors.
    pub fn share(&self) -> NormLayer {
        NormLayer { weight: self.weight.shallow_clone(), bias: self.bias.as_ref().map(Tensor::shallow_clone), eps: self.eps }
    }

    /// All tensors.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.weight].into_iter().chain(&self.bias)
    }

    pub fn new(b: &mut Builder<'_>, name: &str, width: usize, kind: Norm) -> Result<NormLayer, ModelError> {
        let weight = b.take(&format!("{name}.weight"), &[width as i64], Init::Ones)?;
        Ok(match kind {
            Norm::Layer { eps } => {
                let bias = Some(b.take(&format!("{name}.bias"), &[width as i64], Init::Zeros)?);
                NormLayer { weight, bias, eps }
            }
            Norm::Rms { eps } => NormLayer { weight, bias: None, eps },
        })
    }

    /// The norm as `native::decode` reads it for activations of this kind, sharing its weights; without a bias the weight is rounded to it, as in
    /// [`NormLayer::forward`].
    pub fn native(&self, kind: Kind) -> decode::Norm {
        let weight = self.weight.detach();
        let weight = if self.bias.is_some() { weight } else { weight.to_kind(kind).to_kind(Kind::Float) };
        decode::Norm { weight, bias: self.bias.as_ref().map(Tensor::detach), eps: self.eps }
    }

    /// For the kernels: a layer norm.
    pub fn kernel(&self) -> Option<dense::Norm<'_>> {
        self.bias.as_ref().map(|bias| dense::Norm { weight: &self.weight, bias, eps: self.eps })
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        let shape = self.weight.size();
        match &self.bias {
            // Where libtorch would sum the weight's gradient over all rows in bfloat16.
            Some(bias) if x.kind() == Kind::BFloat16 && x.device() == Device::Cpu => {
                sound(dense::layer_norm(x, dense::Norm { weight: &self.weight, bias, eps: self.eps }))
            }
            // It takes rows of bfloat16 with a weight of float32.
            Some(bias) => x.layer_norm(shape, Some(&self.weight), Some(bias), self.eps, true),
            None => x.rms_norm(shape, Some(&cast(&self.weight, x.kind())), self.eps),
        }
    }
}

impl Activation {
    /// Its name among the kernels.
    pub(crate) fn kernel(self) -> dense::Activation {
        match self {
            Activation::GeluTanh => dense::Activation::GeluTanh,
            Activation::Gelu => dense::Activation::Gelu,
            Activation::Relu => dense::Activation::Relu,
            Activation::Silu => dense::Activation::Silu,
        }
    }

    /// Applies the non-linearity; in place where no gradient will ask for the input.
    pub(crate) fn apply(self, mut x: Tensor) -> Tensor {
        let keep = x.requires_grad();
        match self {
            Activation::GeluTanh if keep => x.gelu("tanh"),
            Activation::GeluTanh => x.gelu_("tanh"),
            Activation::Gelu if keep => x.gelu("none"),
            Activation::Gelu => x.gelu_("none"),
            Activation::Relu => x.relu_(), // its gradient needs the output only
            Activation::Silu if keep => x.silu(),
            Activation::Silu => x.silu_(),
        }
    }
}

/// Does `native::decode` take a weight of few bits?
pub(crate) fn decodes(weight: &Quantised) -> bool {
    weight.bits() == Bits::EightByEight && multiplies_bytes()
}
