//! Everything before the first step: tokenizer, corpus, model, run folder. What fails here is the user's input.

use crate::masked::Masker;
use crate::mup;
use crate::network::{Network, Rows};
use anyhow::{Context, Result, bail, ensure};
use data::config::{self, Predict, PretrainConfig, TokenizerKind, plan};
use data::corpus::Corpus;
use data::inputs::Inputs;
use data::tokenizer::Tokenizer;
use dist::World;
use evaluate::teacher::{self, Teacher};
use model::bert::{Bert, BertConfig, BertHead};
use model::config::Shape;
use model::{Config, HeadKind, Model, Start, Student, lineage::Lineage};
use std::path::Path;
use tch::Device;
use train::{Optimizer, Progress, RunDir, State, cli::StageArgs, device, optim::Param, progress::note, summary};

/// Model, corpus and folder of the run.
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
    /// How text becomes its rows.
    pub rows: Rows,
    /// What it learns from beside the text.
    pub teacher: Option<Teacher<Network>>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// The tokens.
    pub corpus: Corpus,
    /// Where tensors live.
    pub device: Device,
    /// Where the model comes from.
    pub lineage: Lineage,
}

impl Setup {
    /// Opens the run folder; `None` where the run is already done.
    pub fn new(c: &PretrainConfig, args: &StageArgs, world: &World) -> Result<Option<Setup>> {
        let plan = plan::pretrain(c)?.shared_by(world.size())?;
        let device = device::pick(c.device, world.local_rank())?;
        device::set_threads(c.threads, world.cores());
        let init = if c.model.init.is_empty() { None } else { Some(model::resolve(Path::new(&c.model.init))?) };
        let out = args.out_dir("pretrain");
        let mut run = RunDir::open(world, &out, c, args.resume)?;
        if summary::done(&run) {
            if run.is_ours() {
                evaluate::report::write_run(run.path())?; // a kill may have come between the figures and their page
            }
            note(&format!("pretrain: {} is done already", out.display()));
            return Ok(None);
        }
        let state = State::open(&run)?;
        let tokenizer = match state.folder().or(init.as_deref()) {
            Some(folder) => Tokenizer::load(folder)?,
            None => tokenizer(c)?,
        };
        let mut inputs = Inputs::new(world.size()).sources("data.sources", &c.data.sources)?;
        if let Some(init) = &init {
            inputs = inputs.tokenizer(init, &Tokenizer::load(init)?);
        }
        let start = init.as_deref().map(|init| Start::new(init, &c.model.adapter, &c.lora, c.seed, device)).transpose()?;
        let mut parents = start.as_ref().map(|start| start.parents("model.init", "model.adapter")).transpose()?.unwrap_or_default();
        parents.extend(teacher::parent(&c.distill)?);
        let lineage = Lineage::new("pretrain", parents, inputs, &config::to_toml(c)).with_changes(run.changes());
        run.check_inputs(&lineage.inputs)?;
        let corpus = corpus(c, &tokenizer, &run)?;
        let mut network = match state.folder().or(init.as_deref()) {
            Some(folder) => {
                let from = start.as_ref().map(|start| (start, state.folder()));
                load(c, folder, from, &tokenizer, device).with_context(|| format!("model.init = {:?}", c.model.init))?
            }
            None => fresh(c, &tokenizer, device)?,
        };
        network.check(&c.lora, &c.train, &c.distributed)?;
        if let Network::Encoder(..) = &network
            && !c.eval.sample_prompt.is_empty()
        {
            let masked = tokenizer.encode_with_special(&c.eval.sample_prompt)?.iter().any(|id| Some(*id) == tokenizer.mask());
            ensure!(masked, "eval.sample_prompt: there is no mask token in it to be filled, such as [MASK]");
        }
        let precision = device::precision(c.precision, device);
        network.prepare(precision, c.model.dropout, c.train.activation_checkpointing);
        let teacher = Teacher::open(&c.distill, &network, &tokenizer, precision, |folder| load(c, folder, None, &tokenizer, device))?;
        let rows = network.rows(c.data.row)?;
        let windows = corpus.train.windows(rows.stride);
        let what = if c.data.row == 0 { "context" } else { "row" };
        ensure!(windows > 0, "data.sources: {} training tokens do not fill one {what} of {}", corpus.train.len(), rows.tokens);
        ensure!(
            corpus.valid.windows(rows.stride) > 0,
            "the held-out {} tokens do not fill one {what} of {}: raise eval.valid_fraction",
            corpus.valid.len(),
            rows.tokens
        );
        let steps = plan.total(windows);
        state.within(steps)?;
        run.accept(&lineage.inputs)?;
        Ok(Some(Setup { run, plan, steps, state, start, network, rows, teacher, tokenizer, corpus, device, lineage }))
    }

    /// The optimiser over what is trained of the model, as it stood at the checkpoint.
    pub fn optimiser(&mut self, c: &PretrainConfig, world: &World) -> Result<Optimizer> {
        let params = self.network.trainable();
        let params = params.into_iter().map(|p| Param { name: p.name, tensor: p.tensor, decay: p.decay, unit: p.unit }).collect();
        let mut optim = Optimizer::shared(params, &c.optim, world, c.distributed.shard)?;
        if let Some(ratio) = mup::ratio(&c.model) {
            optim = optim.with_rates(|p| mup::rate(p.unit, p.tensor.dim(), ratio));
        }
        self.network.share_out(optim.partition().units());
        self.state.restore("optim", &mut optim)?;
        Ok(optim)
    }
}

/// The network of a folder, for the objective; a decoder `from` what it starts from and the checkpoint.
fn load(
    c: &PretrainConfig,
    folder: &Path,
    from: Option<(&Start, Option<&Path>)>,
    tokenizer: &Tokenizer,
    device: Device,
) -> Result<Network> {
    match (model::kind_of(folder)?, c.objective) {
        (model::Kind::Decoder, Predict::Next) => Ok(Network::Decoder(match from {
            Some((start, checkpoint)) => start.open(HeadKind::Lm, checkpoint)?,
            None => Model::load_writer(folder, device)?,
        })),
        (model::Kind::Encoder, Predict::Masked) => {
            let masker = Masker::new(tokenizer, c.masked_share)?;
            Ok(Network::Encoder(Bert::load_as(folder, &BertHead::Masked, device)?, masker))
        }
        (kind, _) => bail!("objective: {kind:?} models are not trained for it: decoders predict the next token, encoders masked ones"),
    }
}

/// A fresh network of the configured shape.
fn fresh(c: &PretrainConfig, tokenizer: &Tokenizer, device: Device) -> Result<Network> {
    let m = &c.model;
    if c.objective == Predict::Masked {
        let shape = BertConfig::fresh(tokenizer.vocab_size(), m.context, m.layers, m.heads, m.width, tokenizer.pad())?;
        let masker = Masker::new(tokenizer, c.masked_share)?;
        return Ok(Network::Encoder(Bert::new(shape, &BertHead::Masked, device, c.seed)?, masker));
    }
    let family = model::config::Family::try_from(m.family)?;
    let mut shape = Config::fresh(family, shape(m, tokenizer.vocab_size()))?;
    shape.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let model = Model::new(shape, HeadKind::Lm, device, c.seed)?;
    if let Some(ratio) = mup::ratio(m) {
        mup::scale(&model, ratio);
    }
    Ok(Network::Decoder(model))
}

fn shape(m: &config::ModelShape, vocab_size: usize) -> Shape {
    let config::ModelShape { context, layers, heads, kv_heads, width, dropout, .. } = *m;
    Shape { vocab_size, context, layers, heads, kv_heads, width, dropout }
}

fn tokenizer(c: &PretrainConfig) -> Result<Tokenizer> {
    let trains = matches!(c.tokenizer.kind, TokenizerKind::Bpe | TokenizerKind::Wordpiece | TokenizerKind::Char);
    let mut bar = trains.then(|| Progress::bytes("tokenizer", 0));
    let mut last = 0;
    let tokenizer = data::tokenizer::choose(&c.tokenizer, &c.data, &mut |done, total| {
        if let Some(bar) = &mut bar {
            bar.set_total(total);
            bar.at(done, &[]);
        }
        last = done;
    })?;
    if let Some(mut bar) = bar {
        bar.finish(last, &[]);
    }
    Ok(tokenizer)
}

fn corpus(c: &PretrainConfig, tokenizer: &Tokenizer, run: &RunDir) -> Result<Corpus> {
    let mut bar: Option<Progress> = None;
    let mut last = 0;
    let corpus = Corpus::open(&c.data, tokenizer, c.eval.valid_fraction, &run.join("quarantine.jsonl"), &mut |done, total| {
        let bar = bar.get_or_insert_with(|| Progress::bytes("tokenise", total));
        bar.set_total(total);
        bar.at(done, &[]);
        last = done;
    })?;
    if let Some(mut bar) = bar {
        bar.finish(last, &[]);
    }
    if corpus.report.rejected > 0 {
        note(&format!("pretrain: {} of {} documents are in {}", corpus.report.rejected, corpus.report.read, corpus.report.path.display()));
    }
    let (train, valid) = (&corpus.train, &corpus.valid);
    let how = match (corpus.reused, tokenizer.is_slow()) {
        (true, _) => "from the cache",
        (false, false) => "tokenised",
        (false, true) => "tokenised by the tokenizers library alone, since the pre-tokenizer is of no known form",
    };
    note(&format!(
        "pretrain: {} training and {} validation tokens, vocabulary {} ({how})",
        train.len(),
        valid.len(),
        tokenizer.vocab_size()
    ));
    Ok(corpus)
}
