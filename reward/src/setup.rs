//! Everything before the first step. What fails here is the user's input.

use crate::batch::{self, Answers, Item};
use crate::{centre, crowd, notice};
use anyhow::{Context, Result, ensure};
use data::chat::ChatTemplate;
use data::config::{self, RewardConfig, plan};
use data::inputs::Inputs;
use data::labels::{Judgment, table};
use data::rankings::{self, Lengths, Ranking};
use data::split::Split;
use data::tokenizer::Tokenizer;
use dist::World;
use model::{HeadKind, Model, Start, config::Dropout, lineage::Lineage};
use std::path::Path;
use tch::{Device, Tensor};
use train::{Average, Optimizer, RunDir, State, cli::StageArgs, device, optim::Param, progress::note, summary};

/// The mean of the weights in a checkpoint.
pub const AVERAGE: &str = "state/average.safetensors";

/// Model, rankings and folder of the run.
pub struct Setup {
    /// Run folder.
    pub run: RunDir,
    /// The SFT model.
    pub start: Start,
    /// Sizes of a step.
    pub plan: plan::Steps,
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Where the run stands.
    pub state: State,
    /// Trunk and scalar head.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How prompt and answer become text.
    pub template: ChatTemplate,
    /// The language model's output matrix, where its loss is learnt too. `[V, D]`
    pub language_head: Option<Tensor>,
    /// The rankings.
    pub rankings: Split<Ranking>,
    /// What is learned from: the training rankings in tokens, together where they are of the same answers.
    pub train: Vec<Item>,
    /// The answers of each held-out ranking in tokens.
    pub valid: Vec<Answers>,
    /// Where tensors live.
    pub device: Device,
    /// Where the model comes from.
    pub lineage: Lineage,
}

impl Setup {
    /// Opens the run folder; `None` where the run is already done.
    pub fn new(c: &RewardConfig, args: &StageArgs, world: &World) -> Result<Option<Setup>> {
        let plan = plan::reward(c)?.shared_by(world.size())?;
        let device = device::pick(c.device, world.local_rank())?;
        device::set_threads(c.threads, world.cores());
        let init = model::resolve(Path::new(&c.model.init))?;
        let out = args.out_dir("reward");
        let mut run = RunDir::open(world, &out, c, args.resume)?;
        if summary::done(&run) {
            if run.is_ours() {
                evaluate::report::write_run(run.path())?; // a kill may have come between the figures and their page
            }
            note(&format!("reward: {} is done already", out.display()));
            return Ok(None);
        }
        let state = State::open(&run)?;
        let mut tokenizer = Tokenizer::load(&init)?;
        let inputs = Inputs::new(world.size()).sources("data.sources", &c.data.sources)?.sources("data.heldout", &c.data.heldout)?;
        let template = ChatTemplate::new(c.data.template, &init)?;
        let inputs = inputs.tokenizer(&init, &tokenizer).template(&template);
        let start = Start::new(&init, &c.model.adapter, &c.lora, c.seed, device)?;
        let parents = start.parents("model.init", "model.adapter")?;
        let lineage = Lineage::new("reward", parents, inputs, &config::to_toml(c))
            .with_changes(run.changes())
            .with_prompt_prefix(&c.data.prompt_prefix);
        run.check_inputs(&lineage.inputs)?;
        tokenizer.set_chat_template(Some(template.source().to_owned()));
        let mut model = start.open(HeadKind::Scalar, state.folder()).with_context(|| format!("model.init = {:?}", c.model.init))?;
        model.set_activation_checkpointing(c.train.activation_checkpointing);
        model.set_compute(device::precision(c.precision, device));
        model.set_dropout(Dropout::all(c.model.dropout));
        let (freeze, blocks) = (c.model.freeze, model.config().layers);
        ensure!(freeze <= blocks, "model.freeze = {freeze}: the model has {blocks} blocks");
        if freeze > 0 {
            model.freeze_first(freeze);
        }
        let language_head = (c.loss.lm_weight > 0.0).then(|| start.language_head(&model)).transpose();
        let language_head =
            language_head.with_context(|| format!("loss.lm_weight = {}: model.init has no language head", c.loss.lm_weight))?;
        ensure!(
            c.centre.samples == 0 || model.can_shift_score(),
            "centre.samples = {}: the scores of this model cannot be centred, because its final norm has no bias (GPT-2 and GPT-NeoX have \
             one): set centre.samples = 0",
            c.centre.samples
        );
        let lengths = Lengths { tokenizer: &tokenizer, template: &template, context: model.config().context };
        let mut rankings = rankings::load_rankings(&c.data, Some(lengths), c.eval.valid_fraction, c.seed, &run.join("quarantine.jsonl"))?;
        let judged = if c.eval.max_rows == 0 { rankings.valid.len() } else { c.eval.max_rows.min(rankings.valid.len()) };
        let with_preference = rankings.valid.iter().position(|r| r.pairs().next().is_some());
        let with_preference =
            with_preference.context("no ranking with a preference is held out: raise eval.valid_fraction or give data.heldout")?;
        ensure!(
            with_preference < judged,
            "eval.max_rows = {judged}: the first held-out ranking with a preference is number {}: raise it, or set it to 0 for all",
            with_preference + 1
        );
        table::write_table(&run.join("labels.arrow"), rankings.train.iter().chain(&rankings.valid).map(Judgment::from))?;
        rankings.train = crowd::heard(rankings.train, c, &run)?;
        notice::read(&rankings, c)?;
        rankings.valid.truncate(judged);
        // A worth tells apart what ranks call tied.
        let tied_only = |r: &Ranking| r.pairs().next().is_none() && !(c.loss.soft_labels && r.worth.is_some());
        let all_tied = rankings.train.iter().filter(|r| tied_only(r)).count();
        let learns_from_ties = c.loss.kind == config::PreferenceKind::BradleyTerry && c.loss.ties == config::Ties::Half;
        if !learns_from_ties {
            rankings.train.retain(|r| !tied_only(r)); // nothing to learn from; counted
            *rankings.report.skipped.entry("all tied".into()).or_default() += all_tied as u64;
        }
        ensure!(!rankings.train.is_empty(), "data.sources: no ranking is left to learn from");
        if c.centre.samples > 0 {
            centre::check(&rankings.train, (&tokenizer, &template), c, model.config().context)?;
        }
        let prefix = c.data.prompt_prefix.as_str();
        let train = batch::items(&rankings.train, (prefix, &c.loss), &tokenizer, &template)?;
        let valid = rankings.valid.iter().map(|r| batch::encode(r, prefix, &tokenizer, &template)).collect::<Result<_>>()?;
        let steps = plan.total(train.len() as u64);
        state.within(steps)?;
        if let Some(folder) = state.folder().filter(|_| c.average > 0.0 && state.step == steps) {
            let averaged = train::average::count(&folder.join(AVERAGE))?;
            let why = "the run was begun as a longer one, and the steps whose mean was asked for have not come";
            ensure!(averaged > 0, "average = {}: no weights are in the mean after {steps} steps: {why}: ask for more steps", c.average);
        }
        run.accept(&lineage.inputs)?;
        Ok(Some(Setup {
            run,
            start,
            plan,
            steps,
            state,
            model,
            language_head,
            tokenizer,
            template,
            rankings,
            train,
            valid,
            device,
            lineage,
        }))
    }

    /// The optimiser over what is trained of the model, as it stood at the checkpoint.
    pub fn optimiser(&mut self, c: &RewardConfig, world: &World) -> Result<Optimizer> {
        let params =
            self.model.trainable().into_iter().map(|p| Param { name: p.name, tensor: p.tensor, decay: p.decay, unit: p.unit }).collect();
        let mut optim = Optimizer::shared(params, &c.optim, world, c.distributed.shard)?;
        self.model.share_out(optim.partition().units());
        self.state.restore("optim", &mut optim)?;
        Ok(optim)
    }

    /// The mean of the weights over the last steps, as it stood at the checkpoint; `None` without one.
    pub fn average(&self, c: &RewardConfig, optim: &Optimizer) -> Result<Option<Average>> {
        let mut average = Average::new(optim, c.average, self.steps)?;
        if let (Some(average), Some(folder)) = (&mut average, self.state.folder()) {
            average.load(&folder.join(AVERAGE), self.state.step)?;
        }
        Ok(average)
    }
}
