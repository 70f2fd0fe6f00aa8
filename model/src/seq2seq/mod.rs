//! The Transformer of 2017: an encoder, and a decoder that looks at its states (arXiv 1706.03762), in Marian's folders.
//!
//! Sinusoidal positions, post-normalisation, one embedding for source, target and output. Rows are padded on the right; masks keep padding out.
//!
//! Letters: B rows, S source tokens, T target tokens, D width, H heads, V vocabulary, P places.

pub mod beam;
mod config;

pub use config::{Seq2SeqConfig, Stack};

use crate::config::Dropout;
use crate::error::ModelError;
use crate::files::{self, WeightFiles};
use crate::init::{Builder, Init, Supply};
use crate::layers::cast;
use crate::model::Parameter;
use crate::stack::{Block, BlockNames, BlockShape, KeyValues, Looked, PaddedRows, Sight, dropped};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Marian's norms have PyTorch's default.
const EPS: f64 = 1e-5;
const EMBEDDING: &str = "model.shared.weight";
/// Added to the logits; trained by Marian itself, not by transformers, nor here.
const LOGITS_BIAS: &str = "final_logits_bias";

const ENCODER: BlockNames = BlockNames {
    attention: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "self_attn_layer_norm"],
    cross: [""; 5],
    mlp: ["fc1", "fc2", "final_layer_norm"],
};
const DECODER: BlockNames = BlockNames {
    cross: ["encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.out_proj", "encoder_attn_layer_norm"],
    ..ENCODER
};

/// An encoder-decoder with its language head.
#[derive(Debug)]
pub struct Seq2Seq {
    config: Seq2SeqConfig,
    /// `[V, D]`
    embedding: Tensor,
    /// Sines and cosines, `[P, D]`.
    positions: Tensor,
    encoder: Vec<Block>,
    decoder: Vec<Block>,
    /// `[V]`, no parameter.
    logits_bias: Tensor,
    parameters: Vec<Parameter>,
    device: Device,
    compute: Kind,
}

/// The encoder's states of some sources.
#[derive(Debug)]
pub struct Memory {
    /// `[B·S, D]`
    pub states: Tensor,
    /// Which are tokens, `[B, 1, 1, S]`.
    pub seen: Tensor,
    /// B.
    pub rows: i64,
}

/// What has been written so far, as the decoder's blocks keep it.
#[derive(Debug)]
pub(crate) struct Past {
    own: Vec<Option<KeyValues>>,
    looked: Vec<KeyValues>,
    seen: Tensor,
}

impl Past {
    /// Goes on with the rows of these numbers `[B']`.
    pub fn select(&mut self, numbers: &Tensor) {
        for own in self.own.iter_mut().flatten() {
            *own = own.rows(numbers);
        }
        for looked in &mut self.looked {
            *looked = looked.rows(numbers);
        }
        self.seen = self.seen.index_select(0, numbers);
    }

    /// Goes on with these rows, whose sources are the same: only what was written moves.
    pub fn reorder(&mut self, numbers: &Tensor) {
        for own in self.own.iter_mut().flatten() {
            *own = own.rows(numbers);
        }
    }
}

impl Seq2Seq {
    /// A fresh model: embeddings N(0, 1/√D), matrices as Glorot and Bengio (2010) have them. The same seed gives the same weights on every device.
    pub fn new(config: Seq2SeqConfig, device: Device, seed: u64) -> Result<Seq2Seq, ModelError> {
        let bias = Tensor::f_zeros([config.vocab_size as i64], (Kind::Float, device))?;
        Seq2Seq::build(config, bias, device, Builder::new(Supply::Fresh { seed, device }))
    }

    /// Loads a folder of transformers' `MarianMTModel`, or one that [`Seq2Seq::save`] wrote.
    pub fn load(folder: &Path, device: Device) -> Result<Seq2Seq, ModelError> {
        let config = Seq2SeqConfig::load(folder)?;
        let mut files = WeightFiles::open(folder)?;
        let vocabulary = config.vocab_size as i64;
        let bias = match files.has(LOGITS_BIAS) {
            true => files.take(LOGITS_BIAS, &[1, vocabulary], device)?.view([vocabulary]),
            false => Tensor::f_zeros([vocabulary], (Kind::Float, device))?,
        };
        let model = Seq2Seq::build(config, bias, device, Builder::new(Supply::Files { files: &mut files, fresh: &[], device }))?;
        // Second names of the embedding, and tables that are computed.
        files
            .finish(|name| name == "lm_head.weight" || name.ends_with("embed_tokens.weight") || name.ends_with("embed_positions.weight"))?;
        Ok(model)
    }

    fn build(c: Seq2SeqConfig, logits_bias: Tensor, device: Device, mut b: Builder<'_>) -> Result<Seq2Seq, ModelError> {
        let (vocabulary, width) = (c.vocab_size as i64, c.width as i64);
        let embedding = b.take(EMBEDDING, &[vocabulary, width], Init::Normal(1.0 / (width as f64).sqrt()))?;
        let mut side = |root: &str, names: &BlockNames, s: Stack| -> Result<Vec<Block>, ModelError> {
            let shape =
                BlockShape { width: c.width, heads: s.heads, ffn_width: s.ffn_width, activation: c.activation, eps: EPS, std: None };
            let block = |i: usize| {
                b.unit += 1;
                Block::new(&mut b, &format!("{root}.{i}"), names, shape)
            };
            (0..s.layers).map(block).collect()
        };
        let encoder = side("model.encoder.layers", &ENCODER, c.encoder)?;
        let decoder = side("model.decoder.layers", &DECODER, c.decoder)?;
        let positions = sinusoids(c.context, c.width).to_device(device);
        let parameters = b.parameters;
        let (dropout, inner) = (c.dropout, c.inner_dropout);
        let mut model =
            Seq2Seq { config: c, embedding, positions, encoder, decoder, logits_bias, parameters, device, compute: Kind::Float };
        model.spread(dropout, inner);
        Ok(model)
    }

    fn spread(&mut self, dropout: Dropout, inner: f64) {
        for block in self.encoder.iter_mut().chain(&mut self.decoder) {
            block.dropout = dropout;
            block.inner_dropout = inner;
        }
    }

    /// Writes config.json, generation_config.json and model.safetensors into `folder`, which is made if need be.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        files::write_json(&folder.join("config.json"), &self.config.to_hf())?;
        files::write_json(&folder.join("generation_config.json"), &self.config.generation())?;
        let mut all = self.parameters();
        all.push(Parameter { name: LOGITS_BIAS.into(), tensor: self.logits_bias.unsqueeze(0), decay: false, unit: 0 });
        files::write_parameters(folder, &all)
    }

    /// Changes the dropout of embeddings and branches (arXiv 1706.03762, section 5.4), here and in what `config.json` will say; that of attention
    /// weights stays.
    pub fn set_dropout(&mut self, p: f64) {
        self.config.dropout = Dropout { embedding: p, residual: p, ..self.config.dropout };
        self.spread(self.config.dropout, self.config.inner_dropout);
    }

    /// Sets the precision of activations and matrix products; weights, softmax, logits and norms' statistics stay in float32.
    pub fn set_compute(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// Takes the weights out of autograd.
    pub fn freeze(&self) {
        for p in &self.parameters {
            let _ = p.tensor.set_requires_grad(false);
        }
    }

    /// The shape and special tokens.
    pub fn config(&self) -> &Seq2SeqConfig {
        &self.config
    }

    /// Where the weights live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// All weights, each once.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.parameters.iter().map(Parameter::share).collect()
    }

    /// Weight `[V, D]` and bias `[V]` of the language head; the bias is not trained.
    pub fn head(&self) -> (&Tensor, &Tensor) {
        (&self.embedding, &self.logits_bias)
    }

    /// Refuses empty rows, rows longer than the context, and ids outside the vocabulary.
    pub fn check_ids(&self, rows: &[&[u32]]) -> Result<(), ModelError> {
        check_rows(rows, self.config.context, self.config.vocab_size)
    }

    /// Ids `[B, T]` at the places from `first` on, to `[B·T, D]`.
    fn embed(&self, ids: &Tensor, first: i64, train: bool) -> Tensor {
        let (b, t) = (ids.size()[0], ids.size()[1]);
        // As in transformers, the padding token's vector, which begins targets, is learnt through the output alone.
        let mut x = Tensor::embedding(&self.embedding, ids, i64::from(self.config.pad), false, false);
        if self.config.scale_embedding {
            x *= (self.config.width as f64).sqrt();
        }
        let x = x.g_add_(&self.positions.narrow(0, first, t));
        cast(&dropped(x, self.config.dropout.embedding, train), self.compute).reshape([b * t, -1])
    }

    /// The encoder's states of sources, each of which ends with the end token.
    pub fn encode(&self, sources: &PaddedRows, train: bool) -> Memory {
        let rows = sources.shape().0;
        let start = self.embed(&sources.ids, 0, train);
        let states = self.encoder.iter().fold(start, |x, block| block.forward(&x, rows, Sight::Where(&sources.seen), None, train));
        Memory { states, seen: sources.seen.shallow_clone(), rows }
    }

    /// The decoder's states `[B·T, D]` over its inputs `[B, T]`: the start token, then the target without its last. What stands after a target's end
    /// changes nothing before it.
    pub fn decode(&self, inputs: &Tensor, memory: &Memory, train: bool) -> Tensor {
        let rows = memory.rows;
        self.decoder.iter().fold(self.embed(inputs, 0, train), |x, block| {
            let seen = block.looks_at(&memory.states, rows).expect("a decoder's block");
            block.forward(&x, rows, Sight::Before, Some(Looked { seen: &seen, sight: Sight::Where(&memory.seen) }), train)
        })
    }

    /// The weights with which each target place looks at the source in each of the decoder's blocks, `[B, H, T, S]`.
    pub fn attention(&self, inputs: &Tensor, memory: &Memory) -> Vec<Tensor> {
        let rows = memory.rows;
        let mut x = self.embed(inputs, 0, false);
        let mut out = Vec::new();
        for block in &self.decoder {
            let seen = block.looks_at(&memory.states, rows).expect("a decoder's block");
            let (weights, y) = block.weights_to(&x, rows, Sight::Before, Looked { seen: &seen, sight: Sight::Where(&memory.seen) });
            out.extend(weights);
            x = y;
        }
        out
    }

    /// Logits `[.., V]` of decoder states `[.., D]`, in float32.
    pub fn logits(&self, states: &Tensor) -> Tensor {
        states.linear::<Tensor>(&cast(&self.embedding, states.kind()), None).to_kind(Kind::Float) + &self.logits_bias
    }

    /// Begins to write for these sources.
    pub(crate) fn begin(&self, memory: &Memory) -> Past {
        let looked = self.decoder.iter().map(|block| block.looks_at(&memory.states, memory.rows).expect("a decoder's block"));
        Past { own: self.decoder.iter().map(|_| None).collect(), looked: looked.collect(), seen: memory.seen.shallow_clone() }
    }

    /// The decoder's states `[B, D]` of the tokens `[B]` at this place.
    pub(crate) fn step(&self, ids: &Tensor, place: i64, past: &mut Past) -> Tensor {
        let mut x = self.embed(&ids.unsqueeze(1), place, false);
        for (block, (own, seen)) in self.decoder.iter().zip(past.own.iter_mut().zip(&past.looked)) {
            x = block.step(&x, own, Looked { seen, sight: Sight::Where(&past.seen) });
        }
        x
    }
}

/// Refuses empty rows, rows longer than the context, and ids outside the vocabulary.
pub(crate) fn check_rows(rows: &[&[u32]], context: usize, vocabulary: usize) -> Result<(), ModelError> {
    for (i, row) in rows.iter().enumerate() {
        if row.is_empty() || row.len() > context {
            return Err(ModelError::Input(format!("row {i} has {} tokens, from 1 to {context} are possible", row.len())));
        }
        if let Some(id) = row.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(ModelError::Input(format!("row {i} holds token {id}, the model knows {vocabulary}: is this its own tokenizer?")));
        }
    }
    Ok(())
}

/// Angle of feature pair i at place p: p / 10000^(2i/D) (arXiv 1706.03762, section 3.5); sines in the first half of the features, cosines in the
/// second, as Marian lays them out. `[places, width]`
fn sinusoids(places: usize, width: usize) -> Tensor {
    let sines = width.div_ceil(2);
    let value = |place: usize, j: usize| {
        let (pair, turn): (usize, fn(f64) -> f64) = if j < sines { (j, f64::sin) } else { (j - sines, f64::cos) };
        turn(place as f64 / 10000f64.powf(2.0 * pair as f64 / width as f64)) as f32
    };
    let all: Vec<f32> = (0..places).flat_map(|place| (0..width).map(move |j| value(place, j))).collect();
    Tensor::from_slice(&all).view([places as i64, width as i64])
}
