//! A transformer with a head, and its life in a folder.

use crate::attention::{Pass, Tokens};
use crate::config::{Config, Dropout, GENERATION};
use crate::error::ModelError;
use crate::files::{self, Weight, WeightFiles};
use crate::init::{Builder, Init, Supply};
use crate::layers::{Linear, cast, decodes, fits, has_kernels, sound};
use crate::lora::{Adapters, module_of};
use crate::names::{self, Names, SCALAR_HEAD};
use crate::quantise::Head;
use crate::segments::Segments;
use crate::transformer::Transformer;
use native::decode;
use native::dense::{self, Packed};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// What stands on top of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKind {
    /// Logits over the vocabulary: policies (`AutoModelForCausalLM`).
    Lm,
    /// One number a token: reward and value models (`AutoModelForSequenceClassification`, `num_labels = 1`).
    Scalar,
}

/// A named weight. The tensor shares memory with the model's.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the model folder.
    pub name: String,
    /// The weight.
    pub tensor: Tensor,
    /// Weight decay applies: matrices and embeddings, not biases and norms.
    pub decay: bool,
    /// What it computes together with: i + 1 for block i, 0 for embeddings, final norm and head.
    pub unit: usize,
}

impl Parameter {
    /// The same weight again, sharing its memory.
    pub(crate) fn share(&self) -> Parameter {
        Parameter { name: self.name.clone(), tensor: self.tensor.shallow_clone(), decay: self.decay, unit: self.unit }
    }
}

/// A transformer with a head.
#[derive(Debug)]
pub struct Model {
    config: Config,
    head: HeadKind,
    trunk: Transformer,
    /// `[V, D]` or `[1, D]`; the embedding itself where the head is tied.
    head_weight: Tensor,
    /// Present where the weights are in few bits: see [`Model::quantise`].
    quantised: Option<Head>,
    parameters: Vec<Parameter>,
    /// What the adapters have in common, where there are some.
    adapters: RefCell<Option<Adapters>>,
    device: Device,
}

impl Model {
    /// A fresh model: weights N(0, 0.02), those that end a branch smaller by √(2L) (GPT-2), a scalar head N(0, 1/√(D+1)) (arXiv
    /// 2009.01325). The same seed gives the same weights on every device.
    pub fn new(config: Config, head: HeadKind, device: Device, seed: u64) -> Result<Model, ModelError> {
        config.check(Path::new("model"))?;
        Model::build(config, head, device, Builder::new(Supply::Fresh { seed, device }))
    }

    /// Loads a folder with the head that its `config.json` names.
    pub fn load(folder: &Path, device: Device) -> Result<Model, ModelError> {
        Model::open(folder, None, false, device)
    }

    /// Loads the language model of a folder; a reward model is refused.
    pub fn load_writer(folder: &Path, device: Device) -> Result<Model, ModelError> {
        let model = Model::load(folder, device)?;
        if model.head == HeadKind::Lm { Ok(model) } else { Err(no_writer(folder)) }
    }

    /// Loads a folder with the wanted head. A scalar head that the folder does not have is made fresh, always the same (N(0, 1/√(D+1))). A language head is
    /// never made up: a reward model is refused, and of a classifier's folder the decoder must have its output matrix, which is the embedding where the two are tied.
    pub fn load_as(folder: &Path, head: HeadKind, device: Device) -> Result<Model, ModelError> {
        Model::open(folder, Some(head), head == HeadKind::Scalar, device)
    }

    /// The decoder in a classifier's folder. An output matrix of its own, which transformers' folders lack, is made fresh: the classes do not depend on it.
    pub(crate) fn load_under_classes(folder: &Path, device: Device) -> Result<Model, ModelError> {
        Model::open(folder, Some(HeadKind::Lm), true, device)
    }

    /// `fresh`: a wanted head that is not the folder's own may be missing.
    fn open(folder: &Path, wanted: Option<HeadKind>, fresh: bool, device: Device) -> Result<Model, ModelError> {
        let config = Config::load(folder)?;
        let mut files = WeightFiles::open(folder)?;
        let by_weights = if files.has(SCALAR_HEAD) { HeadKind::Scalar } else { HeadKind::Lm };
        let path = folder.join("config.json");
        // Who wants another head may take the trunk of a classifier.
        let classifies = wanted.is_some() && config.declares_classes(&path)?;
        let declared = if classifies { None } else { config.declared_head(&path)? };
        let declared = declared.unwrap_or(by_weights);
        let head = wanted.unwrap_or(declared);
        if head == HeadKind::Lm && declared == HeadKind::Scalar && !classifies {
            return Err(no_writer(folder));
        }
        let heads = [Names::of(config.family).head, SCALAR_HEAD];
        let fresh: &[&str] = if fresh && head != declared { &heads } else { &[] };
        let model = Model::build(config, head, device, Builder::new(Supply::Files { files: &mut files, fresh, device }))?;
        let name = Names::of(model.config.family).head;
        // transformers keeps the two apart where they differ.
        if head == HeadKind::Lm && model.config.tied && files.differs(name, &model.head_weight)? {
            let reason = format!("the output matrix is tied, but {name} differs from the embedding: set tie_word_embeddings to false");
            return Err(ModelError::Config { path, key: "tie_word_embeddings".into(), reason });
        }
        files.finish(names::is_head)?;
        Ok(model)
    }

    fn build(config: Config, head: HeadKind, device: Device, mut b: Builder<'_>) -> Result<Model, ModelError> {
        let trunk = Transformer::new(&mut b, &config, device)?;
        let width = config.width as i64;
        let head_weight = match head {
            HeadKind::Lm if config.tied => trunk.embedding.shallow_clone(),
            HeadKind::Lm => b.take(Names::of(config.family).head, &[config.vocab_size as i64, width], Init::Normal(config.init_std))?,
            HeadKind::Scalar => b.take(SCALAR_HEAD, &[1, width], Init::Normal(1.0 / (width as f64 + 1.0).sqrt()))?,
        };
        Ok(Model { config, head, trunk, head_weight, quantised: None, parameters: b.parameters, adapters: RefCell::new(None), device })
    }

    /// Writes config.json, generation_config.json and model.safetensors (in shards above 5 GB) into `folder`, which is made if need be. The
    /// tokenizer's files and lineage.json are other people's.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        self.save_in_shards(folder, files::SHARD_BYTES)
    }

    /// The same with weight files of at most `largest` bytes of tensors each; one file if they all fit.
    pub fn save_in_shards(&self, folder: &Path, largest: u64) -> Result<(), ModelError> {
        self.need_float("saved")?;
        std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        files::write_json(&folder.join("config.json"), &self.config.to_hf(self.head))?;
        files::write_json(&folder.join(GENERATION), &self.config.to_generation())?;
        let maps = self.adapted();
        let weights: Vec<Weight<'_>> = self
            .parameters
            .iter()
            .map(|parameter| Weight { parameter, map: maps.get(module_of(&parameter.name)).copied().filter(|_| is_weight(parameter)) })
            .collect();
        files::write_weights(folder, &weights, self.units(), largest)
    }

    /// An independent copy of the weights with adapters merged, trainable.
    pub fn clone_weights(&self) -> Result<Model, ModelError> {
        self.need_float("copied")?;
        let mut copy = Model::build(self.config.clone(), self.head, self.device, Builder::new(Supply::Copy(self, Kind::Float)))?;
        copy.set_compute(self.compute());
        Ok(copy)
    }

    /// A copy with adapters merged and a vocabulary of `size` tokens, which is not smaller: the rows of new tokens are N(0, `init_std`), always the same.
    pub(crate) fn with_vocabulary(&self, size: usize) -> Result<Model, ModelError> {
        let config = Config { vocab_size: size, ..self.config.clone() };
        let mut copy = Model::build(config, self.head, self.device, Builder::new(Supply::Grow(self)))?;
        copy.set_compute(self.compute());
        Ok(copy)
    }

    /// The same weights without adapters, in the same memory: frozen where they are frozen here. A scalar head is copied.
    pub fn share(&self) -> Result<Model, ModelError> {
        self.need_float("shared")?;
        let mut shared = Model::build(self.config.clone(), self.head, self.device, Builder::new(Supply::Share(self)))?;
        shared.set_compute(self.compute());
        Ok(shared)
    }

    /// The maps that have an adapter, by their names.
    fn adapted(&self) -> HashMap<&str, &Linear> {
        self.linears().filter(|l| l.adapter.is_some()).map(|l| (l.name(), l)).collect()
    }

    /// A weight's own tensor; a scalar head's copy.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let p = self.parameters.iter().find(|p| p.name == name).ok_or_else(|| ModelError::Input(format!("no tensor {name} to share")))?;
        if name == SCALAR_HEAD {
            return Ok(p.tensor.detach().copy().set_requires_grad(p.tensor.requires_grad()));
        }
        Ok(p.tensor.shallow_clone())
    }

    /// A weight outside its graph, with the adapter in it if it has one.
    pub(crate) fn merged(&self, name: &str) -> Result<Tensor, ModelError> {
        let p = self.parameters.iter().find(|p| p.name == name).ok_or_else(|| ModelError::Input(format!("no tensor {name} to copy")))?;
        let map = self.linears().find(|l| l.name() == module_of(name)).filter(|_| is_weight(p));
        Ok(map.and_then(Linear::merged).unwrap_or_else(|| p.tensor.detach()))
    }

    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.trunk.linears()
    }

    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.trunk.linears_mut()
    }

    /// What the adapters have in common.
    pub(crate) fn adapters(&self) -> Option<Adapters> {
        self.adapters.borrow().clone()
    }

    pub(crate) fn set_adapters(&mut self, adapters: Option<Adapters>) {
        self.adapters = RefCell::new(adapters);
    }

    /// Activation checkpointing (arXiv 1604.06174): each block keeps its input alone, and the backward pass works the block out again. The gradients are the
    /// same bit for bit.
    pub fn set_activation_checkpointing(&mut self, on: bool) {
        self.trunk.recompute = on;
    }

    /// The weights as generation reads them again and again, in `native::decode`'s layout; `None` where that does not take this model.
    pub(crate) fn decoder(&self) -> Option<decode::Network> {
        // Weights of eight bits are in neither type, and the rows that meet them are rounded to eight bits: of all else bfloat16 is enough.
        let kind = if self.quantised.is_some() && has_kernels(Kind::BFloat16, self.device) { Kind::BFloat16 } else { self.compute() };
        if !self.trunk.can_decode(kind) {
            return None;
        }
        let head = match self.quantised.as_ref().and_then(Head::weight) {
            Some(weight) if decodes(weight) => decode::Weight::Eights(weight.clone()),
            None if self.head_weight.kind() == Kind::Float => {
                decode::Weight::Packed(sound(Packed::along(&self.head_weight.detach(), kind)))
            }
            _ => return None,
        };
        Some(self.trunk.decoder(head, kind))
    }

    /// A frozen copy in the precision of the activations and with adapters merged, which spares each step both; `None` where the weights are so already.
    pub(crate) fn rounded(&self) -> Result<Option<Model>, ModelError> {
        let compute = self.compute();
        if self.head_weight.kind() == compute && self.adapters.borrow().is_none() {
            return Ok(None);
        }
        let supply = Supply::Copy(self, compute);
        let mut copy = Model::build(self.config.clone(), self.head, self.device, Builder::new(supply))?;
        copy.set_compute(compute);
        copy.freeze();
        Ok(Some(copy))
    }

    /// Sets the precision of activations and matrix products. The weights stay in float32, and so do norms' statistics, softmax, logits and scores. A
    /// quantised model stays in float32.
    pub fn set_compute(&mut self, kind: Kind) {
        self.trunk.compute = if self.quantised.is_some() { Kind::Float } else { kind };
    }

    /// The model with this precision: see [`Model::set_compute`].
    pub fn with_compute(mut self, kind: Kind) -> Model {
        self.set_compute(kind);
        self
    }

    /// The precision of activations and matrix products.
    pub fn compute(&self) -> Kind {
        self.trunk.compute
    }

    /// Takes the weights, and adapters with them, out of autograd: a reference or reward model.
    pub fn freeze(&self) {
        for p in self.parameters.iter().chain(&self.adapter_tensors()) {
            let _ = p.tensor.set_requires_grad(false);
        }
    }

    /// Takes the embeddings and the first `blocks` blocks out of autograd: they get no gradients and are not among [`Model::trainable`].
    pub fn freeze_first(&self, blocks: usize) {
        let names = Names::of(self.config.family);
        let embedding = |p: &Parameter| p.name == names.embedding || p.name == names.positions;
        for p in self.parameters.iter().filter(|p| embedding(p) || (1..=blocks).contains(&p.unit)) {
            let _ = p.tensor.set_requires_grad(false);
        }
    }

    /// The shape and special tokens.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the dropout of training, in the network and in what `config.json` will say.
    pub fn set_dropout(&mut self, dropout: Dropout) {
        self.config.dropout = dropout;
        self.trunk.set_dropout(dropout);
    }

    /// Sets precision, dropout and whether blocks are worked out again in the backward pass.
    pub fn prepare(&mut self, precision: Kind, dropout: f64, recompute: bool) {
        self.set_activation_checkpointing(recompute);
        self.set_compute(precision);
        self.set_dropout(Dropout::all(dropout));
    }

    /// Names a padding token where there is none yet.
    pub(crate) fn name_pad(&mut self, pad: u32) {
        self.config.pad.get_or_insert(pad);
    }

    /// What stands on top.
    pub fn head(&self) -> HeadKind {
        self.head
    }

    /// Where the weights live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// All weights of the model folder but for adapters, each once: a tied head is the embedding and not listed again.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.parameters.iter().map(Parameter::share).collect()
    }

    /// Number of weights, each counted once.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.tensor.numel()).sum()
    }

    /// The head's weight: `[V, D]` for a language model, `[1, D]` for a scalar one.
    pub fn head_weight(&self) -> &Tensor {
        &self.head_weight
    }

    /// Hidden states after the final norm: ids `[B, T]` (i64, on the model's device) to `[B, T, D]`. `segments` tells which of the B·T tokens are documents of
    /// their own; without, each row is one. `train` switches dropout on.
    ///
    /// Panics where a sequence exceeds the context or an id the vocabulary: [`Model::check_ids`] tells beforehand.
    pub fn forward_hidden(&self, ids: &Tensor, segments: Option<&Segments>, train: bool) -> Tensor {
        let (rows, time) = ids.size2().expect("token ids must be [B, T]");
        assert!(time as usize <= self.config.context, "{time} tokens do not fit into a context of {}", self.config.context);
        let whole = if segments.is_none() { Some(Segments::from_rows(rows, time, self.device)) } else { None };
        let segments = segments.or(whole.as_ref()).expect("one of the two");
        self.forward_packed(&ids.flatten(0, 1), segments, train).view([rows, time, self.config.width as i64])
    }

    /// Hidden states after the final norm of sequences that stand end to end: ids `[N]` to `[N, D]`.
    pub fn forward_packed(&self, ids: &Tensor, segments: &Segments, train: bool) -> Tensor {
        self.forward(ids, segments, None, train)
    }

    /// The same of the tokens at `places` `[M]` alone, `[M, D]`: in the last block all others are looked at and go no further.
    pub fn forward_at(&self, ids: &Tensor, segments: &Segments, places: &Tensor, train: bool) -> Tensor {
        self.forward(ids, segments, Some(places), train)
    }

    fn forward(&self, ids: &Tensor, segments: &Segments, wanted: Option<&Tensor>, train: bool) -> Tensor {
        assert_eq!(ids.size(), [segments.tokens()], "segments that make up the ids");
        if let Some(units) = self.units() {
            units.root();
        }
        let pass = Pass { train, rotary: self.trunk.tables_of(segments), tokens: Tokens::Whole(segments), wanted };
        self.trunk.norm.forward(&self.trunk.blocks(self.trunk.embed(ids, Some(segments.positions()), train), &pass))
    }

    /// [`Model::forward_packed`] of vectors that stand where tokens' embeddings would, `[N, D]` in float32: see [`Model::look_up`]. They are changed in place.
    pub fn forward_embedded(&self, embedded: Tensor, segments: &Segments, train: bool) -> Tensor {
        assert_eq!(embedded.size(), [segments.tokens(), self.config.width as i64], "segments that make up the vectors");
        let pass = Pass { train, rotary: self.trunk.tables_of(segments), tokens: Tokens::Whole(segments), wanted: None };
        self.trunk.norm.forward(&self.trunk.blocks(self.trunk.put(embedded, Some(segments.positions()), train), &pass))
    }

    /// Embeddings of tokens without positions, in float32: ids `[N]` to `[N, D]`.
    pub fn look_up(&self, ids: &Tensor) -> Tensor {
        self.trunk.look_up(ids)
    }

    /// Logits of a language model: `[.., D]` to `[.., V]`, in float32.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.rounded_logits(hidden).to_kind(Kind::Float)
    }

    /// The same in the precision of `hidden`, for functions that read either: in bfloat16 half the memory.
    pub fn rounded_logits(&self, hidden: &Tensor) -> Tensor {
        assert_eq!(self.head, HeadKind::Lm, "this model has a scalar head: it gives no logits");
        if let Some(weight) = self.quantised.as_ref().and_then(Head::weight) {
            let shape = [&hidden.size()[..hidden.dim() - 1], &[self.config.vocab_size as i64]].concat();
            return sound(weight.linear(&hidden.reshape([-1, self.config.width as i64]), None)).view(shape.as_slice());
        }
        if has_kernels(hidden.kind(), self.device) && fits(&self.head_weight) {
            let map = dense::Map { weight: &self.head_weight, bias: None, in_out: false };
            let shape = [&hidden.size()[..hidden.dim() - 1], &[self.config.vocab_size as i64]].concat();
            return sound(dense::linear(&hidden.reshape([-1, self.config.width as i64]), None, map)).view(shape.as_slice());
        }
        hidden.linear::<Tensor>(&cast(&self.head_weight, hidden.kind()), None)
    }

    /// Scores of a scalar model: `[.., D]` to `[..]`, worked out in float32.
    pub fn scalar(&self, hidden: &Tensor) -> Tensor {
        assert_eq!(self.head, HeadKind::Scalar, "this model has a language head: it gives no scores");
        hidden.to_kind(Kind::Float).linear::<Tensor>(&cast(&self.head_weight, Kind::Float), None).squeeze_dim(-1)
    }

    /// Score of each row at its last token, `[B]`: what `AutoModelForSequenceClassification` gives where that is not the padding of config.json.
    pub fn score_last(&self, rows: &[&[u32]]) -> Result<Tensor, ModelError> {
        if rows.is_empty() {
            return Ok(Tensor::zeros([0], (Kind::Float, self.device)));
        }
        self.check_ids(rows)?;
        let ids: Vec<i64> = rows.iter().flat_map(|row| row.iter()).map(|&id| i64::from(id)).collect();
        let segments = Segments::from_groups(&rows.iter().map(|row| vec![row.len()]).collect::<Vec<_>>(), self.device);
        let last: Vec<i64> = rows
            .iter()
            .scan(-1, |end, row| {
                *end += row.len() as i64;
                Some(*end)
            })
            .collect();
        let to = |values: &[i64]| Tensor::from_slice(values).to_device(self.device);
        Ok(self.scalar(&self.forward_at(&to(&ids), &segments, &to(&last), false)))
    }

    /// Refuses empty rows, rows longer than the context, and ids outside the vocabulary.
    pub fn check_ids(&self, rows: &[&[u32]]) -> Result<(), ModelError> {
        rows.iter().enumerate().try_for_each(|(i, row)| self.check_row(row, i))
    }

    /// The same for row `i`.
    pub(crate) fn check_row(&self, row: &[u32], i: usize) -> Result<(), ModelError> {
        let c = &self.config;
        if row.is_empty() {
            return Err(ModelError::Input(format!("row {i} has no tokens: give it at least one, for example the end token")));
        }
        if row.len() > c.context {
            return Err(ModelError::Input(format!("row {i} has {} tokens, the model's context is {}", row.len(), c.context)));
        }
        if let Some(id) = row.iter().find(|&&id| id as usize >= c.vocab_size) {
            let reason = format!("row {i} holds token {id}, the model knows {}: is this its own tokenizer?", c.vocab_size);
            return Err(ModelError::Input(reason));
        }
        Ok(())
    }

    /// Can [`Model::shift_score`] work? It asks for a bias in the final norm, which GPT-2 and GPT-NeoX have. RMSNorm gives g·x/rms(x): every
    /// constant that could be put into the weights of the other families would be divided by the token's own rms, and their heads have no bias.
    pub fn can_shift_score(&self) -> bool {
        self.head == HeadKind::Scalar && self.trunk.norm.bias.is_some()
    }

    /// Adds `c` to every score, exactly and without a bias that transformers would not know: the final norm gives h = g·z + b and the score
    /// is w·h, so b grows by c·w/|w|². Only for norms with a bias
    /// ([`Model::can_shift_score`]).
    pub fn shift_score(&self, c: f64) -> Result<(), ModelError> {
        if self.head != HeadKind::Scalar {
            return Err(ModelError::Input("a language model has no score to shift".into()));
        }
        let Some(bias) = &self.trunk.norm.bias else {
            return Err(ModelError::Input("the score of a model without a bias in its final norm cannot be shifted".into()));
        };
        tch::no_grad(|| {
            let w = self.head_weight.select(0, 0).to_kind(Kind::Double);
            let square = w.dot(&w).double_value(&[]);
            if square == 0.0 {
                return Err(ModelError::Input("a scalar head of zeros cannot be shifted".into()));
            }
            let moved = bias.to_kind(Kind::Double) + w * (c / square);
            bias.shallow_clone().copy_(&moved.to_kind(Kind::Float));
            if let Some(adapters) = self.adapters.borrow_mut().as_mut() {
                adapters.saved.push(Names::of(self.config.family).norm.into());
            }
            Ok(())
        })
    }

    /// What the weights have become, where they are in few bits.
    pub(crate) fn quantised_head(&self) -> Option<&Head> {
        self.quantised.as_ref()
    }

    /// The head and all that follows from it: `head` computes the logits from here on, and of the float weights those that `keep` names stay.
    pub(crate) fn set_quantised_head(&mut self, head: Head, keep: impl Fn(&str) -> bool) {
        if head.weight().is_some() && !self.config.tied {
            self.head_weight = Tensor::zeros([0, self.config.width as i64], (Kind::Float, self.device));
        }
        self.quantised = Some(head);
        self.parameters.retain(|p| keep(&p.name));
        self.set_adapters(None);
        self.set_compute(Kind::Float);
    }

    pub(crate) fn trunk(&self) -> &Transformer {
        &self.trunk
    }

    pub(crate) fn trunk_mut(&mut self) -> &mut Transformer {
        &mut self.trunk
    }

    /// Numbers of the parameters in the order in which [`Model::save`] reads them.
    pub(crate) fn save_order(&self) -> Vec<usize> {
        files::order(&self.parameters, files::SHARD_BYTES)
    }
}

/// Why a reward model is not taken for a language model.
fn no_writer(folder: &Path) -> ModelError {
    ModelError::Input(format!("{}: a reward model, which scores and does not write: name a language model", folder.display()))
}

/// Is it a weight and not a bias?
fn is_weight(p: &Parameter) -> bool {
    p.name.ends_with(".weight")
}
