//! BERT (arXiv 1810.04805): an encoder that sees both sides, with a head that fills masked places or one that names classes.
//!
//! Letters: B rows, T tokens, N chosen places, D width, V vocabulary, L classes.

mod config;

pub use config::BertConfig;

use crate::config::{Dropout, Norm};
use crate::error::ModelError;
use crate::files::{self, WeightFiles};
use crate::init::{Builder, Init, Supply};
use crate::layers::{Linear, LinearShape, NormLayer, cast};
use crate::model::Parameter;
use crate::seq2seq::check_rows;
use crate::stack::{Block, BlockNames, BlockShape, PaddedRows, Sight, dropped};
use std::path::Path;
use tch::{Device, Kind, Tensor};

const NAMES: BlockNames = BlockNames {
    attention: [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
    ],
    cross: [""; 5],
    mlp: ["intermediate.dense", "output.dense", "output.LayerNorm"],
};
/// Tensors of the heads: a folder may hold others than the head in memory, or lack some of them.
const HEADS: [&str; 9] = [
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.bias",
    "bert.pooler.dense.weight",
    "bert.pooler.dense.bias",
    "classifier.weight",
    "classifier.bias",
];

/// Output matrix and bias of the masked head, where a folder has them beside the embedding and the bias that they are.
const DECODER: [&str; 2] = ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"];

/// What stands on top of the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BertHead {
    /// Logits over the vocabulary at masked places (`BertForMaskedLM`).
    Masked,
    /// Logits over these classes for the whole row (`BertForSequenceClassification`).
    Classes(Vec<String>),
}

/// The tensors of a head.
#[derive(Debug)]
enum Top {
    Masked { dense: Linear, norm: NormLayer, bias: Tensor },
    Classes { names: Vec<String>, pooler: Linear, weight: Tensor, bias: Tensor },
}

/// An encoder with a head.
#[derive(Debug)]
pub struct Bert {
    config: BertConfig,
    /// `[V, D]`
    words: Tensor,
    /// `[P, D]`
    places: Tensor,
    /// `[2, D]`
    types: Tensor,
    norm: NormLayer,
    blocks: Vec<Block>,
    top: Top,
    parameters: Vec<Parameter>,
    device: Device,
    compute: Kind,
}

impl Bert {
    /// A fresh model: weights N(0, 0.02). The same seed gives the same weights on every device.
    pub fn new(config: BertConfig, head: &BertHead, device: Device, seed: u64) -> Result<Bert, ModelError> {
        Bert::build(config, head, device, Builder::new(Supply::Fresh { seed, device }))
    }

    /// The head that a folder's `config.json` names: a classifier, or else the one that fills masked places.
    pub fn declared_head(folder: &Path) -> Result<BertHead, ModelError> {
        let classes = BertConfig::load(folder)?.declared_classes(&folder.join("config.json"))?;
        Ok(classes.map_or(BertHead::Masked, BertHead::Classes))
    }

    /// Loads a folder with the head that its `config.json` names, which must be there.
    pub fn load(folder: &Path, device: Device) -> Result<Bert, ModelError> {
        let head = Bert::declared_head(folder)?;
        if head != BertHead::Masked {
            BertConfig::load(folder)?.check_single_label(&folder.join("config.json"))?;
        }
        Bert::open(folder, &head, &[], device)
    }

    /// Loads a folder with the wanted head; of it, what the folder does not hold is made fresh, always the same.
    pub fn load_as(folder: &Path, head: &BertHead, device: Device) -> Result<Bert, ModelError> {
        Bert::open(folder, head, &HEADS, device)
    }

    /// Tensors in `fresh` may be missing.
    fn open(folder: &Path, head: &BertHead, fresh: &[&str], device: Device) -> Result<Bert, ModelError> {
        let config = BertConfig::load(folder)?;
        let mut files = WeightFiles::open(folder)?;
        let path = folder.join("config.json");
        if *head == BertHead::Masked && files.has(DECODER[0]) {
            config.check_tied(&path)?;
        }
        let model = Bert::build(config, head, device, Builder::new(Supply::Files { files: &mut files, fresh, device }))?;
        if *head == BertHead::Masked {
            let (weight, bias) = model.head();
            for (name, tied) in DECODER.into_iter().zip([weight, bias]) {
                if files.differs(name, tied)? {
                    let reason = format!("{name} differs from what it is tied to: an output matrix or bias of its own is not built in");
                    return Err(ModelError::Config { path, key: "tie_word_embeddings".into(), reason });
                }
            }
        }
        let spare = |name: &str| {
            let heads = ["cls.", "classifier.", "bert.pooler.", "pooler."];
            heads.iter().any(|root| name.starts_with(root)) || name.ends_with("embeddings.position_ids")
        };
        files.finish(spare)?;
        Ok(model)
    }

    fn build(c: BertConfig, head: &BertHead, device: Device, mut b: Builder<'_>) -> Result<Bert, ModelError> {
        let (width, std) = (c.width as i64, Init::Normal(c.init_std));
        let b = &mut b;
        let words = b.take("bert.embeddings.word_embeddings.weight", &[c.vocab_size as i64, width], std)?;
        let places = b.take("bert.embeddings.position_embeddings.weight", &[c.context as i64, width], std)?;
        let types = b.take("bert.embeddings.token_type_embeddings.weight", &[c.types as i64, width], std)?;
        let kind = Norm::Layer { eps: c.eps };
        let norm = NormLayer::new(b, "bert.embeddings.LayerNorm", c.width, kind)?;
        let shape = BlockShape {
            width: c.width,
            heads: c.heads,
            ffn_width: c.ffn_width,
            activation: c.activation,
            eps: c.eps,
            std: Some(c.init_std),
        };
        let block = |i: usize| {
            b.unit = i + 1;
            Block::new(b, &format!("bert.encoder.layer.{i}"), &NAMES, shape)
        };
        let blocks = (0..c.layers).map(block).collect::<Result<_, _>>()?;
        b.unit = 0;
        let square = LinearShape { input: c.width, output: c.width, bias: true, in_out: false, std: c.init_std };
        let top = match head {
            BertHead::Masked => Top::Masked {
                dense: Linear::new(b, "cls.predictions.transform.dense", square)?,
                norm: NormLayer::new(b, "cls.predictions.transform.LayerNorm", c.width, kind)?,
                bias: b.take("cls.predictions.bias", &[c.vocab_size as i64], Init::Zeros)?,
            },
            BertHead::Classes(names) if names.len() < 2 => {
                return Err(ModelError::Input(format!("{} classes: a classifier has at least two", names.len())));
            }
            BertHead::Classes(names) => Top::Classes {
                names: names.clone(),
                pooler: Linear::new(b, "bert.pooler.dense", square)?,
                weight: b.take("classifier.weight", &[names.len() as i64, width], std)?,
                bias: b.take("classifier.bias", &[names.len() as i64], Init::Zeros)?,
            },
        };
        let parameters = std::mem::take(&mut b.parameters);
        let dropout = c.dropout;
        let mut model = Bert { config: c, words, places, types, norm, blocks, top, parameters, device, compute: Kind::Float };
        model.blocks.iter_mut().for_each(|block| block.dropout = dropout);
        Ok(model)
    }

    /// Writes config.json and model.safetensors into `folder`, which is made if need be.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        files::write_json(&folder.join("config.json"), &self.config.to_hf(self.classes()))?;
        files::write_parameters(folder, &self.parameters)
    }

    /// Changes the dropout of training, in the network and in what `config.json` will say.
    pub fn set_dropout(&mut self, p: f64) {
        self.config.dropout = Dropout::all(p);
        self.config.classifier_dropout = None;
        self.blocks.iter_mut().for_each(|block| block.dropout = Dropout::all(p));
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

    /// The shape.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Where the weights live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// All weights, each once: the masked head's matrix is the embedding.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.parameters.iter().map(Parameter::share).collect()
    }

    /// The classes in the order of their numbers, where the head names classes.
    pub fn classes(&self) -> Option<&[String]> {
        match &self.top {
            Top::Masked { .. } => None,
            Top::Classes { names, .. } => Some(names),
        }
    }

    /// Refuses empty rows, rows longer than the context, and ids outside the vocabulary.
    pub fn check_ids(&self, rows: &[&[u32]]) -> Result<(), ModelError> {
        check_rows(rows, self.config.context, self.config.vocab_size)
    }

    /// States `[B·T, D]` of padded rows; `types` `[B, T]` (int64) tells the second text's tokens (1) from the first's (0), absent all are 0.
    pub fn forward(&self, rows: &PaddedRows, types: Option<&Tensor>, train: bool) -> Tensor {
        let b = rows.shape().0;
        self.blocks.iter().fold(self.embed(rows, types, train), |x, block| block.forward(&x, b, Sight::Where(&rows.seen), None, train))
    }

    fn embed(&self, rows: &PaddedRows, types: Option<&Tensor>, train: bool) -> Tensor {
        let (b, t) = rows.shape();
        let types = match types {
            Some(types) => Tensor::embedding(&self.types, types, -1, false, false),
            None => self.types.narrow(0, 0, 1).shallow_clone(),
        };
        let x = Tensor::embedding(&self.words, &rows.ids, -1, false, false) + types + self.places.narrow(0, 0, t);
        let x = dropped(self.norm.forward(&x), self.config.dropout.embedding, train);
        cast(&x, self.compute).reshape([b * t, -1])
    }

    /// The weights with which tokens look at one another in each block, `[B, H, T, T]`.
    pub fn attention(&self, rows: &PaddedRows, types: Option<&Tensor>) -> Vec<Tensor> {
        let mut x = self.embed(rows, types, false);
        let mut out = Vec::new();
        for block in &self.blocks {
            let (weights, y) = block.weights_within(&x, rows.shape().0, Sight::Where(&rows.seen));
            out.push(weights);
            x = y;
        }
        out
    }

    /// What the head's last map reads: of the masked head one row for each of `places` (int64, `[N]`, among the B·T), of a classifier one for each row of the
    /// batch, from its first token. `[N, D]` or `[B, D]`
    ///
    /// # Panics
    /// A masked head without places.
    pub fn read(&self, states: &Tensor, rows: &PaddedRows, places: Option<&Tensor>, train: bool) -> Tensor {
        match &self.top {
            Top::Masked { dense, norm, .. } => {
                let chosen = states.index_select(0, places.expect("a masked head reads places"));
                norm.forward(&self.config.activation.apply(dense.plain(&chosen)))
            }
            Top::Classes { pooler, .. } => {
                let (b, t) = rows.shape();
                let first = states.view([b, t, -1]).select(1, 0);
                let p = self.config.classifier_dropout.unwrap_or(self.config.dropout.residual);
                dropped(pooler.plain(&first.contiguous()).tanh(), p, train)
            }
        }
    }

    /// Weight and bias of the head's last map: `[V, D]` and `[V]`, or `[L, D]` and `[L]`.
    pub fn head(&self) -> (&Tensor, &Tensor) {
        match &self.top {
            Top::Masked { bias, .. } => (&self.words, bias),
            Top::Classes { weight, bias, .. } => (weight, bias),
        }
    }

    /// Logits of what [`Bert::read`] gave, `[.., V]` or `[.., L]`, in float32.
    pub fn logits(&self, read: &Tensor) -> Tensor {
        let (weight, bias) = self.head();
        read.linear::<Tensor>(&cast(weight, read.kind()), None).to_kind(Kind::Float) + bias
    }
}
