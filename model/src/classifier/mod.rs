//! A decoder that classifies (GPT-1, Radford et al. 2018, section 3.2): a linear map of the state at the end of a sequence, where all of it has been seen.
//!
//! A folder is what transformers' `…ForSequenceClassification` opens (`score.weight`, the state at the last token), with one key more in config.json that says
//! how rows become sequences ([`Frame`]). For one sequence a row the two give the same logits; states of two orders are added, and scores of choices compared,
//! by this reader alone.
//!
//! Letters: R rows, S sequences, T tokens of all of them, D width, L classes, K choices of the row with the most.

mod rows;

pub use rows::ClassifiedRows;

use crate::config::{Config, Dropout, FRAME, Reader};
use crate::error::ModelError;
use crate::files::{self, WeightFiles};
use crate::init::{Init, fresh};
use crate::model::{HeadKind, Model, Parameter};
use crate::names::SCALAR_HEAD;
use crate::stack::dropped;
use data::config::{InputShape, Target};
use data::frames::Frame;
use serde_json::{Map, Value, json};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Stands where a row has no further choice: its probability is 0, its gradient too.
const NO_CHOICE: f64 = -1e30;

/// A decoder with a classifier, and with its language head for the auxiliary loss.
#[derive(Debug)]
pub struct Classifier {
    model: Model,
    /// `[L, D]`; `[1, D]` for numbers and choices.
    score: Tensor,
    frame: Option<Frame>,
    names: Vec<String>,
}

/// How rows become sequences, where the folder says so, and the names of classes.
type Declared = (Option<Frame>, Vec<String>);

impl Classifier {
    /// What a folder says of its classifier: the frame of this project's folders, and the names of classes. `None` where it has no classifier, or the one
    /// score of a reward model.
    fn declared(config: &Config, path: &Path) -> Result<Option<Declared>, ModelError> {
        let r = Reader { raw: &config.raw, path };
        let Some(names) = r.classes()? else { return Ok(None) };
        let frame = match r.get(FRAME) {
            None => None,
            Some(frame) => match serde_json::from_value::<Frame>(frame.clone()) {
                Ok(frame) => Some(frame),
                Err(why) => return r.fail(FRAME, why.to_string()),
            },
        };
        let single = names.len() < 2;
        match frame {
            None if single => Ok(None),
            None => Ok(Some((None, names))),
            Some(frame) if has_classes(&frame) && single => {
                r.fail("id2label", format!("{} classes: there must be at least two", names.len()))
            }
            Some(frame) => Ok(Some((Some(frame), if has_classes(&frame) { names } else { vec![] }))),
        }
    }

    /// Loads a folder with the classifier that its `config.json` names: one of ours, or of transformers', whose rows are one sequence each.
    pub fn load(folder: &Path, device: Device) -> Result<Classifier, ModelError> {
        let (config, path) = (Config::load(folder)?, folder.join("config.json"));
        let Some((frame, names)) = Classifier::declared(&config, &path)? else {
            let reason = format!("{}: no classifier: name one that `sft` made with objective = \"classify\"", folder.display());
            return Err(ModelError::Input(reason));
        };
        if frame.is_none() {
            Reader { raw: &config.raw, path: &path }.single_label()?;
        }
        let model = Model::load_under_classes(folder, device)?;
        let shape = [names.len().max(1) as i64, model.config().width as i64];
        let score = WeightFiles::open(folder)?.take(SCALAR_HEAD, &shape, device)?.set_requires_grad(true);
        Ok(Classifier { model, score, frame, names })
    }

    /// The classifier of a folder if it is one for this frame and knows all of these classes; its own keep their numbers.
    pub fn load_for(folder: &Path, frame: &Frame, names: &[String], device: Device) -> Result<Option<Classifier>, ModelError> {
        let found = Classifier::declared(&Config::load(folder)?, &folder.join("config.json"))?;
        let fits = found.is_some_and(|(own, known)| own.as_ref() == Some(frame) && names.iter().all(|name| known.contains(name)));
        if fits { Classifier::load(folder, device).map(Some) } else { Ok(None) }
    }

    /// A fresh classifier, N(0, `init_std`) and always the same, on a language model. The embedding grows to `vocab_size` tokens where it has fewer: the new
    /// rows are fresh. `pad` is named in config.json where the model names no padding, for transformers looks for the last token before it.
    pub fn on(model: Model, frame: Frame, names: Vec<String>, vocab_size: usize, pad: u32) -> Result<Classifier, ModelError> {
        if has_classes(&frame) && names.len() < 2 {
            return Err(ModelError::Input(format!("{} classes: a classifier has at least two", names.len())));
        }
        let names = if has_classes(&frame) { names } else { vec![] };
        let mut model = if vocab_size > model.config().vocab_size { model.with_vocabulary(vocab_size)? } else { model };
        model.name_pad(pad);
        let shape = [names.len().max(1) as i64, model.config().width as i64];
        let score = fresh(SCALAR_HEAD, &shape, Init::Normal(model.config().init_std), 0, model.device())?.set_requires_grad(true);
        Ok(Classifier { model, score, frame: Some(frame), names })
    }

    /// Writes config.json and model.safetensors into `folder`, which is made if need be. An output matrix of its own is kept beside the classifier.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        files::write_json(&folder.join("config.json"), &self.to_hf())?;
        files::write_parameters(folder, &self.parameters())
    }

    fn to_hf(&self) -> Map<String, Value> {
        let mut out = self.model.config().to_hf(HeadKind::Scalar);
        // Rows end with a token that pads nothing, so that the end token may.
        out.insert("pad_token_id".into(), json!(self.model.config().pad));
        if !self.names.is_empty() {
            let names = self.names.iter().enumerate();
            out.insert("id2label".into(), names.clone().map(|(i, name)| (i.to_string(), json!(name))).collect::<Map<_, _>>().into());
            out.insert("label2id".into(), names.map(|(i, name)| (name.clone(), json!(i))).collect::<Map<_, _>>().into());
            out.insert("problem_type".into(), json!("single_label_classification"));
        } else if self.target() == Target::Number {
            out.insert("problem_type".into(), json!("regression"));
        }
        if let Some(frame) = &self.frame {
            out.insert(FRAME.into(), json!(frame));
        }
        out
    }

    /// The decoder.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Changes the dropout of training: in the network, on what the classifier reads, and in what `config.json` will say.
    pub fn set_dropout(&mut self, p: f64) {
        self.model.set_dropout(Dropout::all(p));
    }

    /// Sets the precision of activations and matrix products; the classifier's own are float32.
    pub fn set_compute(&mut self, kind: Kind) {
        self.model.set_compute(kind);
    }

    /// See [`Model::set_activation_checkpointing`].
    pub fn set_activation_checkpointing(&mut self, on: bool) {
        self.model.set_activation_checkpointing(on);
    }

    /// Takes the weights out of autograd.
    pub fn freeze(&self) {
        self.parameters().iter().for_each(|p| _ = p.tensor.set_requires_grad(false));
    }

    /// All weights, each once: the decoder's with an output matrix of its own, and the classifier's.
    pub fn parameters(&self) -> Vec<Parameter> {
        let score = Parameter { name: SCALAR_HEAD.into(), tensor: self.score.shallow_clone(), decay: true, unit: 0 };
        self.model.parameters().into_iter().chain([score]).collect()
    }

    /// How rows become sequences; `None` of a folder that transformers wrote, whose rows are texts as they stand.
    pub fn frame(&self) -> Option<&Frame> {
        self.frame.as_ref()
    }

    /// The classes in the order of their numbers; none for numbers and choices.
    pub fn classes(&self) -> &[String] {
        &self.names
    }

    /// What is predicted.
    pub fn target(&self) -> Target {
        self.frame.map_or(Target::Class, |frame| frame.target)
    }

    fn kind(&self) -> InputShape {
        self.frame.map_or(InputShape::Classification, |frame| frame.kind)
    }

    /// Rows of ids as the network reads them. Refuses empty rows, sequences longer than the context, and ids outside the vocabulary.
    pub fn rows(&self, rows: &[&[u32]]) -> Result<ClassifiedRows, ModelError> {
        let extract = self.frame.map(|frame| frame.extract);
        for (i, row) in rows.iter().enumerate() {
            if row.is_empty() {
                self.model.check_row(row, i)?;
            }
            row.split_inclusive(|id| Some(*id) == extract).try_for_each(|sequence| self.model.check_row(sequence, i))?;
        }
        Ok(ClassifiedRows::new(rows, extract, self.model.device()))
    }

    /// States of all tokens, `[T, D]`; `train` switches dropout on.
    pub fn states(&self, rows: &ClassifiedRows, train: bool) -> Tensor {
        self.model.forward_packed(&rows.ids, &rows.segments, train)
    }

    /// What is predicted of each row, in float32: logits of classes `[R, L]`, a number `[R, 1]`, or logits of choices `[R, K]`, very small where a row has no
    /// further choice. Dropout on the states leaves out the same features in all sequences of a row.
    pub fn outputs(&self, states: &Tensor, rows: &ClassifiedRows, train: bool) -> Tensor {
        let ends = states.index_select(0, &rows.ends).to_kind(Kind::Float); // [S, D]
        let p = self.model.config().dropout.residual;
        let (r, width) = (rows.len() as i64, self.model.config().width as i64);
        let ends = if train && p > 0.0 {
            let kept = dropped(Tensor::ones([r, width], (Kind::Float, ends.device())), p, train);
            ends * kept.index_select(0, &rows.owners)
        } else {
            ends
        };
        let score = |read: &Tensor| read.linear::<Tensor>(&self.score, None);
        match self.kind() {
            InputShape::Classification | InputShape::Entailment => score(&ends),
            InputShape::Similarity => score(&Tensor::zeros([r, width], (Kind::Float, ends.device())).index_add(0, &rows.owners, &ends)),
            InputShape::Choice => by_row(&score(&ends).squeeze_dim(-1), &rows.counts),
        }
    }

    /// States `[N, D]` of all tokens that have a next one in their sequence, and these `[N]`: what the auxiliary loss learns.
    pub fn next_tokens(&self, states: &Tensor, rows: &ClassifiedRows) -> (Tensor, Tensor) {
        (states.index_select(0, &rows.next.0), rows.next.1.shallow_clone())
    }
}

/// Whether what is predicted is one of the classes that have names.
fn has_classes(frame: &Frame) -> bool {
    frame.target == Target::Class && frame.kind != InputShape::Choice
}

/// Scores of choices `[S]` as a row each, `[R, K]`.
fn by_row(scores: &Tensor, counts: &[usize]) -> Tensor {
    let most = counts.iter().copied().max().unwrap_or(0);
    let mut places = Vec::with_capacity(counts.len() * most);
    let mut first = 0;
    for &count in counts {
        places.extend((0..most).map(|i| if i < count { (first + i) as i64 } else { -1 }));
        first += count;
    }
    places.iter_mut().filter(|place| **place < 0).for_each(|place| *place = first as i64);
    let none = Tensor::full([1], NO_CHOICE, (Kind::Float, scores.device()));
    let places = Tensor::from_slice(&places).to_device(scores.device());
    Tensor::cat(&[scores, &none], 0).index_select(0, &places).view([counts.len() as i64, most as i64])
}
