//! A decoder that sees: the patch states of a picture stand before each row's text.

use super::{Vision, pixels};
use crate::error::ModelError;
use crate::model::{HeadKind, Model, Parameter};
use crate::segments::Segments;
use data::pictures::Picture;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Where a model folder keeps its eyes.
const VISION: &str = "vision";

/// A decoder with a language head and a vision encoder before it.
#[derive(Debug)]
pub struct Captioner {
    pub(super) decoder: Model,
    pub(super) vision: Vision,
}

impl Captioner {
    /// Of the two, where the encoder's map ends in the decoder's width.
    pub fn new(decoder: Model, vision: Vision) -> Result<Captioner, ModelError> {
        let (width, patches) = (decoder.config().width as i64, vision.config.patches());
        if vision.projector.sizes().1 != width {
            let reason = format!("pictures become vectors of {} features, the decoder has {width}", vision.projector.sizes().1);
            return Err(ModelError::Input(reason));
        }
        if decoder.head() != HeadKind::Lm {
            return Err(ModelError::Input("a reward model writes no captions".into()));
        }
        if patches >= decoder.config().context {
            let reason = format!("a picture takes {patches} places, the decoder's context has {}", decoder.config().context);
            return Err(ModelError::Input(reason));
        }
        Ok(Captioner { decoder, vision })
    }

    /// Loads a model folder that has a vision encoder in it.
    pub fn load(folder: &Path, device: Device) -> Result<Captioner, ModelError> {
        let decoder = Model::load_as(folder, HeadKind::Lm, device)?;
        let vision = Captioner::load_vision(folder, &decoder)?;
        Captioner::new(decoder, vision)
    }

    /// The encoder in a decoder's folder.
    pub fn load_vision(folder: &Path, decoder: &Model) -> Result<Vision, ModelError> {
        Vision::load(&folder.join(VISION), decoder.config().width, decoder.device())
    }

    /// The folder of the vision encoder in a model folder, where it has one.
    pub fn eyes(folder: &Path) -> Option<PathBuf> {
        Some(folder.join(VISION)).filter(|eyes| eyes.join("config.json").is_file())
    }

    /// Writes the encoder into the decoder's folder, which [`Model::save`] or [`crate::Start::save`] writes.
    pub fn save_vision(&self, folder: &Path) -> Result<(), ModelError> {
        self.vision.save(&folder.join(VISION))
    }

    /// The decoder.
    pub fn decoder(&self) -> &Model {
        &self.decoder
    }

    /// The encoder.
    pub fn vision(&self) -> &Vision {
        &self.vision
    }

    /// Width and height of pictures in pixels.
    pub fn side(&self) -> usize {
        self.vision.config.image_size
    }

    /// Places of the context that a picture takes, P.
    pub fn places(&self) -> usize {
        self.vision.config.patches()
    }

    /// Sets precision, dropout and whether the decoder's blocks are worked out again in the backward pass.
    pub fn prepare(&mut self, precision: Kind, dropout: f64, recompute: bool) {
        self.decoder.prepare(precision, dropout, recompute);
        self.vision.set_compute(precision);
        self.vision.set_dropout(dropout);
    }

    /// What the optimiser gets: the decoder's weights or adapters, and the encoder's weights.
    pub fn trainable(&self) -> Vec<Parameter> {
        self.decoder.trainable().into_iter().chain(self.vision.parameters()).collect()
    }

    /// Takes the weights out of autograd.
    pub fn freeze(&self) {
        self.decoder.freeze();
        self.vision.freeze();
    }

    /// Pictures as [`Captioner::embed`] wants them, `[B, 3, S, S]`.
    pub fn pixels(&self, pictures: &[&Picture]) -> Tensor {
        pixels(pictures, self.decoder.device())
    }

    /// Rows end to end, each the patch states of its picture and then the embeddings of its text (which may be empty), `[N, D]` in float32, N = Σ (P + T), and
    /// where each row begins.
    pub fn embed(&self, pixels: &Tensor, texts: &[&[u32]], train: bool) -> (Tensor, Segments) {
        assert_eq!(pixels.size()[0], texts.len() as i64, "a picture for each text");
        let device = self.decoder.device();
        let patches = self.places() as i64;
        let before = self.vision.prefix(pixels, train).to_kind(Kind::Float); // [B·P, D]
        let ids: Vec<i64> = texts.iter().flat_map(|text| text.iter()).map(|&id| i64::from(id)).collect();
        let both = match ids.len() {
            0 => before,
            _ => Tensor::cat(&[before, self.decoder.look_up(&Tensor::from_slice(&ids).to_device(device))], 0),
        };
        let (mut order, mut text) = (Vec::new(), patches * texts.len() as i64);
        for (row, ids) in texts.iter().enumerate() {
            order.extend((0..patches).map(|i| row as i64 * patches + i));
            order.extend((0..ids.len() as i64).map(|i| text + i));
            text += ids.len() as i64;
        }
        let lengths: Vec<Vec<usize>> = texts.iter().map(|ids| vec![patches as usize + ids.len()]).collect();
        let order = Tensor::from_slice(&order).to_device(device);
        (both.index_select(0, &order), Segments::from_groups(&lengths, device))
    }

    /// Hidden states after the final norm of rows end to end, `[N, D]`: see [`Captioner::embed`].
    pub fn forward(&self, pixels: &Tensor, texts: &[&[u32]], train: bool) -> Tensor {
        let (embedded, segments) = self.embed(pixels, texts, train);
        self.decoder.forward_embedded(embedded, &segments, train)
    }
}
