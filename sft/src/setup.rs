//! Everything before the first step. What fails here is the user's input.

use crate::batch;
use crate::decide;
use crate::network::Network;
use anyhow::{Context, Result, bail, ensure};
use data::chat::ChatTemplate;
use data::config::{self, InputShape, SftConfig, Target, Task, plan};
use data::demos::{self, Demo};
use data::frames::{Frame, MARKS};
use data::inputs::Inputs;
use data::split::Split;
use data::tokenizer::{self, Tokenizer};
use dist::World;
use evaluate::teacher::{self, Teacher};
use model::bert::{Bert, BertHead};
use model::lineage::{Lineage, Parent};
use model::seq2seq::{Seq2Seq, Seq2SeqConfig, Stack};
use model::vision::{Vision, VisionConfig};
use model::{Captioner, Classifier, HeadKind, Model, Start, Student};
use std::collections::BTreeSet;
use std::path::Path;
use tch::Device;
use train::{Optimizer, RunDir, State, cli::StageArgs, device, optim::Param, progress::note, summary};

/// Model, rows and folder of the run.
pub struct Setup {
    /// Run folder.
    pub run: RunDir,
    /// Sizes of a step.
    pub plan: plan::Steps,
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Where the run stands.
    pub state: State,
    /// What a model that is not fresh starts from.
    pub start: Option<Start>,
    /// The model.
    pub network: Network,
    /// What it learns from beside the rows.
    pub teacher: Option<Teacher<Network>>,
    /// Its tokenizer, with the template to be saved.
    pub tokenizer: Tokenizer,
    /// How a conversation becomes text, for a decoder.
    pub template: Option<ChatTemplate>,
    /// The demonstrations.
    pub demos: Split<Demo>,
    /// Training rows by sequence.
    pub sequences: Vec<Vec<usize>>,
    /// Where tensors live.
    pub device: Device,
    /// Where the model comes from.
    pub lineage: Lineage,
}

impl Setup {
    /// Opens the run folder; `None` where the run is already done.
    pub fn new(c: &SftConfig, args: &StageArgs, world: &World) -> Result<Option<Setup>> {
        let plan = plan::sft(c)?.shared_by(world.size())?;
        let device = device::pick(c.device, world.local_rank())?;
        device::set_threads(c.threads, world.cores());
        let init = if c.model.init.is_empty() { None } else { Some(model::resolve(Path::new(&c.model.init))?) };
        let out = args.out_dir("sft");
        let mut run = RunDir::open(world, &out, c, args.resume)?;
        if summary::done(&run) {
            if run.is_ours() {
                evaluate::report::write_run(run.path())?; // a kill may have come between the figures and their page
            }
            note(&format!("sft: {} is done already", out.display()));
            return Ok(None);
        }
        let state = State::open(&run)?;
        let quarantine = run.join("quarantine.jsonl");
        let mut tokenizer = match (&init, state.folder()) {
            (Some(folder), _) => Tokenizer::load(folder)?,
            (None, Some(folder)) => Tokenizer::load(folder)?,
            (None, None) => {
                let texts = demos::load_texts(&c.data, &quarantine)?;
                tokenizer::choose_from(&c.tokenizer, &texts.iter().flatten().map(String::as_str).collect::<Vec<_>>())?.ending()?
            }
        };
        let sources = [c.data.sources.as_slice(), &c.data.heldout].concat();
        let mut inputs = Inputs::new(world.size()).sources("data.sources", &sources)?;
        if let Some(init) = &init {
            inputs = inputs.tokenizer(init, &tokenizer);
        }
        let from_decoder = match &init {
            Some(init) => model::kind_of(init)? == model::Kind::Decoder,
            None => false,
        };
        let template = match &init {
            Some(init) if from_decoder && c.objective == Task::Answer => Some(ChatTemplate::new(c.data.template, init)?),
            _ => None,
        };
        if let Some(template) = &template {
            inputs = inputs.template(template);
            tokenizer.set_chat_template(Some(template.source().to_owned()));
        }
        if c.data.augment.copies > 0 && !c.data.augment.synonyms.is_empty() {
            inputs = inputs.file("data.augment.synonyms", Path::new(&c.data.augment.synonyms))?;
        }
        let eyes = init.as_deref().and_then(Captioner::eyes);
        let said = "has a vision encoder already: leave vision.layers and vision.init out";
        ensure!(eyes.is_none() || !c.vision.asked(), "model.init = {:?}: {said}", c.model.init);
        if eyes.is_some() || c.vision.asked() {
            let hash = demos::hash_pictures(&c.data, &quarantine)?;
            inputs = inputs.folder("data.pictures", Path::new(&c.data.sources[0].path), hash);
        }
        let start = init.as_deref().map(|init| Start::new(init, &c.model.adapter, &c.lora, c.seed, device)).transpose()?;
        let mut parents = start.as_ref().map(|start| start.parents("model.init", "model.adapter")).transpose()?.unwrap_or_default();
        parents.extend(teacher::parent(&c.distill)?);
        parents.extend(eyes.map(|eyes| Parent::new("model.init/vision", &eyes)).transpose()?);
        if !c.vision.init.is_empty() {
            parents.push(Parent::new("vision.init", Path::new(&c.vision.init))?);
        }
        let lineage = Lineage::new("sft", parents, inputs, &config::to_toml(c)).with_changes(run.changes());
        run.check_inputs(&lineage.inputs)?;
        if from_decoder && c.objective == Task::Classify {
            tokenizer = tokenizer.with_special(&MARKS)?;
        }
        let from = state.folder().or(init.as_deref());
        let decoder = start.as_ref().map(|start| (start, state.folder()));
        let mut network =
            network(c, from, decoder, &tokenizer, device, &quarantine).with_context(|| format!("model.init = {:?}", c.model.init))?;
        network.check(&c.lora, &c.train, &c.distributed)?;
        let precision = device::precision(c.precision, device);
        network.prepare(precision, c.model.dropout, c.train.activation_checkpointing);
        let teacher = Teacher::open(&c.distill, &network, &tokenizer, precision, |folder| taught_by(&network, folder, device))?;
        let context = network.context();
        let layout = network.layout(template.as_ref());
        let demos = demos::load_demos(&c.data, &tokenizer, &layout, context, c.eval.valid_fraction, c.seed, &quarantine)?;
        ensure!(!demos.train.is_empty(), "data.sources: no demonstration is left to learn from");
        ensure!(!demos.valid.is_empty(), "no demonstration is held out: raise eval.valid_fraction or give data.heldout");
        network.check_classes(&demos.valid)?;
        let packing = c.data.packing && matches!(network, Network::Decoder(_));
        ensure!(packing == c.data.packing, "data.packing: only a decoder's rows can share a sequence");
        if demos.report.rejected > 0 {
            note(&format!("sft: {} of {} rows are in {}", demos.report.rejected, demos.report.read, demos.report.path.display()));
        }
        let sequences = batch::sequences(&demos.train, packing, context);
        let steps = plan.total(sequences.len() as u64);
        state.within(steps)?;
        run.accept(&lineage.inputs)?;
        Ok(Some(Setup { run, plan, steps, state, start, network, teacher, tokenizer, template, demos, sequences, device, lineage }))
    }

    /// The optimiser over what is trained of the model, as it stood at the checkpoint.
    pub fn optimiser(&mut self, c: &SftConfig, world: &World) -> Result<Optimizer> {
        let params = self.network.trainable();
        let params = params.into_iter().map(|p| Param { name: p.name, tensor: p.tensor, decay: p.decay, unit: p.unit }).collect();
        let mut optim = Optimizer::shared(params, &c.optim, world, c.distributed.shard)?;
        self.network.share_out(optim.partition().units());
        self.state.restore("optim", &mut optim)?;
        Ok(optim)
    }
}

/// The network in the folder `from` as the objective wants it, or a fresh encoder-decoder. `decoder`: what a decoder starts from, and the checkpoint.
fn network(
    c: &SftConfig,
    from: Option<&Path>,
    decoder: Option<(&Start, Option<&Path>)>,
    tokenizer: &Tokenizer,
    device: Device,
    quarantine: &Path,
) -> Result<Network> {
    let Some(folder) = from else {
        let f = &c.model.fresh;
        let ffn_width = if f.ffn_width == 0 { 4 * f.width } else { f.ffn_width };
        let side = Stack { layers: f.layers, heads: f.heads, ffn_width };
        let shape = Seq2SeqConfig::fresh(tokenizer.vocab_size(), f.context, f.width, side, tokenizer.eos(), tokenizer.pad())?;
        return Ok(Network::Translator(Seq2Seq::new(shape, device, c.seed)?));
    };
    match (model::kind_of(folder)?, c.objective) {
        (model::Kind::Decoder, Task::Answer) => {
            let model = match decoder {
                Some((start, checkpoint)) => start.open(HeadKind::Lm, checkpoint)?,
                None => Model::load_as(folder, HeadKind::Lm, device)?,
            };
            let vision = if Captioner::eyes(folder).is_some() {
                Captioner::load_vision(folder, &model)?
            } else if c.vision.layers > 0 {
                Vision::new(VisionConfig::fresh(&c.vision)?, model.config().width, device, c.seed)?
            } else if !c.vision.init.is_empty() {
                Vision::load(Path::new(&c.vision.init), model.config().width, device)?
            } else {
                return Ok(Network::Decoder(model));
            };
            Ok(Network::Captioner(Captioner::new(model, vision)?))
        }
        (model::Kind::EncoderDecoder, Task::Answer) => Ok(Network::Translator(Seq2Seq::load(folder, device)?)),
        (model::Kind::Decoder, Task::Classify) => {
            let Some((start, checkpoint)) = decoder else { bail!("objective: a decoder that classifies starts from a model") };
            let classifier = decides(c, start, checkpoint, tokenizer, quarantine)?;
            decide::freeze_unread(&classifier, &c.loss);
            Ok(Network::Decides(classifier))
        }
        (model::Kind::Encoder, Task::Classify) => {
            let plain = matches!(c.task.kind, InputShape::Classification | InputShape::Entailment) && c.task.target == Target::Class;
            ensure!(plain, "task: an encoder names classes of a text or a pair: start from a decoder");
            ensure!(c.loss.lm_weight == 0.0, "loss.lm_weight: an encoder is no language model");
            let classes: BTreeSet<String> = demos::load_classes(&c.data, quarantine)?;
            // A folder's own classes keep their numbers.
            if let BertHead::Classes(known) = Bert::declared_head(folder)?
                && classes.iter().all(|class| known.contains(class))
            {
                return Ok(Network::Classifier(Bert::load(folder, device)?));
            }
            Ok(Network::Classifier(Bert::load_as(folder, &BertHead::Classes(classes.into_iter().collect()), device)?))
        }
        (kind, _) => {
            bail!("objective: {kind:?} models are not trained for it: decoders and encoder-decoders answer, decoders and encoders classify")
        }
    }
}

/// The network in `folder`, which is to teach `student`.
fn taught_by(student: &Network, folder: &Path, device: Device) -> Result<Network> {
    match (student, model::kind_of(folder)?) {
        (Network::Decoder(_), model::Kind::Decoder) => Ok(Network::Decoder(Model::load_writer(folder, device)?)),
        (Network::Translator(_), model::Kind::EncoderDecoder) => Ok(Network::Translator(Seq2Seq::load(folder, device)?)),
        (_, kind) => bail!("a {kind:?} cannot teach this student: both must be decoders, or both encoder-decoders"),
    }
}

/// The decoder with its classifier: the checkpoint's, that of the folder it starts from if it is for the same, or a fresh one.
fn decides(c: &SftConfig, start: &Start, checkpoint: Option<&Path>, tokenizer: &Tokenizer, quarantine: &Path) -> Result<Classifier> {
    if let Some(folder) = checkpoint {
        return Ok(Classifier::load(folder, start.device)?);
    }
    let frame = Frame::of(tokenizer, c.task.kind, c.task.target).context("the tokenizer takes no start, delimiter and extract tokens")?;
    let named = c.task.target == Target::Class && c.task.kind != InputShape::Choice;
    let classes = if named { demos::load_classes(&c.data, quarantine)?.into_iter().collect() } else { vec![] };
    // A folder's own classes keep their numbers.
    if start.adapter.is_none()
        && let Some(model) = Classifier::load_for(&start.init, &frame, &classes, start.device)?
    {
        return Ok(model);
    }
    Ok(Classifier::on(start.merged(HeadKind::Lm)?, frame, classes, tokenizer.vocab_size(), tokenizer.pad())?)
}
