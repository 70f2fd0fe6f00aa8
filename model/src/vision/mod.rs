//! Pictures before text: a vision transformer (arXiv 2010.11929; transformers' `ViTModel`) and a linear map of its patch states to a decoder's width, which
//! stand before the text's embeddings (arXiv 2304.08485). The states are those behind the last norm, without the [CLS] token's.
//!
//! A model folder keeps them in `vision/`: config.json and model.safetensors are a folder of `ViTModel`, projector.safetensors holds the map
//! (`mm_projector`, LLaVA's name).
//!
//! Letters: B pictures, S their side in pixels, P patches of one, T = P + 1 tokens, E width of the encoder, D of the decoder.

mod block;
mod captioner;
mod config;
mod generate;

pub use captioner::Captioner;
pub use config::VisionConfig;

use crate::config::{Dropout, Norm};
use crate::error::ModelError;
use crate::files::{self, WeightFiles};
use crate::init::{Builder, Init, Supply};
use crate::layers::{Linear, LinearShape, NormLayer, cast};
use crate::model::Parameter;
use crate::stack::dropped;
use block::Block;
use data::pictures::Picture;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The map to the decoder's width in the folder.
const PROJECTOR: &str = "projector.safetensors";
/// Its name.
const MAP: &str = "mm_projector";

/// Pictures as the encoder reads them: bytes v become (v/255 − ½) / ½, `[B, 3, S, S]` in float32. All have the same side.
pub fn pixels(pictures: &[&Picture], device: Device) -> Tensor {
    let side = pictures.first().map_or(0, |picture| picture.side()) as i64;
    let bytes: Vec<u8> = pictures.iter().flat_map(|picture| picture.rgb().iter().copied()).collect();
    let rows = Tensor::from_slice(&bytes).view([pictures.len() as i64, side, side, 3]).to_device(device);
    ((rows.to_kind(Kind::Float) / 255.0 - 0.5) / 0.5).permute([0, 3, 1, 2]).contiguous()
}

/// A vision transformer and the map of its patch states to a decoder's width.
#[derive(Debug)]
pub struct Vision {
    config: VisionConfig,
    /// `[1, 1, E]`
    cls: Tensor,
    /// `[1, T, E]`
    places: Tensor,
    /// `[E, 3, p, p]`: a convolution whose stride is its width p.
    patch: Tensor,
    patch_bias: Tensor,
    blocks: Vec<Block>,
    norm: NormLayer,
    projector: Linear,
    parameters: Vec<Parameter>,
    compute: Kind,
}

impl Vision {
    /// A fresh one for a decoder of width `width`: weights N(0, 0.02). The same seed gives the same weights on every device.
    pub fn new(config: VisionConfig, width: usize, device: Device, seed: u64) -> Result<Vision, ModelError> {
        let [mut encoder, mut map] = [(); 2].map(|()| Builder::new(Supply::Fresh { seed, device }));
        Vision::build(config, width, &mut encoder, &mut map)
    }

    /// Loads a folder for a decoder of width `width`. A folder of `ViTModel` without our map gets a fresh one, always the same.
    pub fn load(folder: &Path, width: usize, device: Device) -> Result<Vision, ModelError> {
        let config = VisionConfig::load(folder)?;
        let mut weights = WeightFiles::open(folder)?;
        let mut encoder = Builder::new(Supply::Files { files: &mut weights, fresh: &[], device });
        let vision = if folder.join(PROJECTOR).is_file() {
            let mut own = WeightFiles::open_file(folder, PROJECTOR)?;
            let mut map = Builder::new(Supply::Files { files: &mut own, fresh: &[], device });
            let vision = Vision::build(config, width, &mut encoder, &mut map)?;
            own.finish(|_| false)?;
            vision
        } else {
            Vision::build(config, width, &mut encoder, &mut Builder::new(Supply::Fresh { seed: 0, device }))?
        };
        weights.finish(|name| name.starts_with("pooler."))?;
        Ok(vision)
    }

    fn build(c: VisionConfig, width: usize, b: &mut Builder<'_>, map: &mut Builder<'_>) -> Result<Vision, ModelError> {
        let (e, p, std) = (c.width as i64, c.patch_size as i64, Init::Normal(c.init_std));
        let cls = b.take("embeddings.cls_token", &[1, 1, e], std)?;
        let places = b.take("embeddings.position_embeddings", &[1, c.patches() as i64 + 1, e], std)?;
        let patch = b.take("embeddings.patch_embeddings.projection.weight", &[e, c.channels as i64, p, p], std)?;
        let patch_bias = b.take("embeddings.patch_embeddings.projection.bias", &[e], Init::Zeros)?;
        let blocks = (0..c.layers).map(|i| Block::new(b, &c, i)).collect::<Result<_, _>>()?;
        let norm = NormLayer::new(b, "layernorm", c.width, Norm::Layer { eps: c.eps })?;
        let shape = LinearShape { input: c.width, output: width, bias: true, in_out: false, std: c.init_std };
        let projector = Linear::new(map, MAP, shape)?;
        let parameters = b.parameters.drain(..).chain(map.parameters.drain(..)).collect();
        Ok(Vision { config: c, cls, places, patch, patch_bias, blocks, norm, projector, parameters, compute: Kind::Float })
    }

    /// Writes the folder, which is made if need be.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        files::write_json(&folder.join("config.json"), &self.config.to_hf())?;
        let (map, encoder): (Vec<_>, Vec<_>) = self.parameters().into_iter().partition(|p| p.name.starts_with(MAP));
        files::write_parameters(folder, &encoder)?;
        files::write_tensors(folder, PROJECTOR, &map, "config.json")
    }

    /// The shape.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// All weights, each once.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.parameters.iter().map(Parameter::share).collect()
    }

    /// Changes the dropout of training, in the network and in what `config.json` will say.
    pub fn set_dropout(&mut self, p: f64) {
        self.config.dropout = Dropout::all(p);
        self.blocks.iter_mut().for_each(|block| block.dropout = Dropout::all(p));
    }

    /// Sets the precision of activations and matrix products; weights, softmax and norms' statistics stay in float32.
    pub fn set_compute(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// Takes the weights out of autograd.
    pub fn freeze(&self) {
        for p in &self.parameters {
            let _ = p.tensor.set_requires_grad(false);
        }
    }

    /// States behind the last norm of pictures `[B, 3, S, S]` (float32, see [`pixels`]): `[B, T, E]`, the [CLS] token's first.
    ///
    /// # Panics
    /// Pictures of another size.
    pub fn states(&self, pixels: &Tensor, train: bool) -> Tensor {
        let c = &self.config;
        let (rows, side, p) = (pixels.size()[0], c.image_size as i64, c.patch_size as i64);
        assert_eq!(pixels.size(), [rows, 3, side, side], "pictures of the encoder's size");
        let grid = side / p;
        // A convolution whose stride is its width is a linear map of the patches.
        let patches = pixels.view([rows, 3, grid, p, grid, p]).permute([0, 2, 4, 1, 3, 5]).reshape([rows * grid * grid, 3 * p * p]);
        let x = patches.linear(&self.patch.view([c.width as i64, -1]), Some(&self.patch_bias)).view([rows, grid * grid, -1]);
        let x = Tensor::cat(&[self.cls.expand([rows, 1, c.width as i64], false), x], 1) + &self.places; // [B, T, E]
        let x = dropped(x, c.dropout.embedding, train);
        let x = cast(&x, self.compute).reshape([-1, c.width as i64]);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(&x, rows, train));
        self.norm.forward(&x).view([rows, -1, c.width as i64])
    }

    /// What stands before the text: pictures `[B, 3, S, S]` to `[B·P, D]`.
    pub fn prefix(&self, pixels: &Tensor, train: bool) -> Tensor {
        let patches = self.config.patches() as i64;
        let states = self.states(pixels, train).narrow(1, 1, patches); // [B, P, E]
        self.projector.plain(&states.reshape([-1, self.config.width as i64]))
    }
}
