//! Everything before the first step. What fails here is the user's input.

use crate::batch;
use anyhow::{Context, Result, ensure};
use data::chat::ChatTemplate;
use data::config::{self, SftConfig, plan};
use data::demos::{self, Demo};
use data::inputs::Inputs;
use data::split::Split;
use data::tokenizer::Tokenizer;
use dist::World;
use model::{HeadKind, Model, Start, config::Dropout, lineage::Lineage};
use std::path::Path;
use tch::Device;
use train::{AdamW, RunDir, State, cli::StageArgs, device, optim::Param, progress::note, summary};

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
    /// What the model starts from.
    pub start: Start,
    /// The model.
    pub model: Model,
    /// Its tokenizer, with the template to be saved.
    pub tokenizer: Tokenizer,
    /// How a conversation becomes text.
    pub template: ChatTemplate,
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
        device::set_threads(c.threads, world.local_size());
        let init = model::resolve(Path::new(&c.model.init))?;
        let out = args.out_dir("sft");
        let run = RunDir::open(world, &out, &config::to_toml(c), args.resume)?;
        if summary::done(&run) {
            note(&format!("sft: {} is done already", out.display()));
            return Ok(None);
        }
        let state = State::open(&run)?;
        let mut tokenizer = Tokenizer::load(&init)?;
        let inputs = Inputs::new(world.size()).sources("data.sources", &c.data.sources)?.tokenizer(&init, &tokenizer);
        let start = Start::new(&init, &c.model.adapter, &c.lora, c.seed, device)?;
        let parents = start.parents("model.init", "model.adapter")?;
        let lineage = Lineage::new("sft", parents, inputs, &config::to_toml(c)).with_changes(run.changes());
        run.check_inputs(&lineage.inputs)?;
        let template = ChatTemplate::new(c.data.template, &init)?;
        tokenizer.set_chat_template(Some(template.source().to_owned()));
        let mut model = start.open(HeadKind::Lm, state.folder()).with_context(|| format!("model.init = {:?}", c.model.init))?;
        model.set_activation_checkpointing(c.train.activation_checkpointing);
        model.set_compute(device::precision(c.precision, device));
        model.set_dropout(Dropout::all(c.model.dropout));
        let context = model.config().context;
        let demos =
            demos::load_demos(&c.data, &tokenizer, &template, context, c.eval.valid_fraction, c.seed, &run.join("quarantine.jsonl"))?;
        ensure!(!demos.train.is_empty(), "data.sources: no demonstration is left to learn from");
        ensure!(!demos.valid.is_empty(), "no demonstration is held out: raise eval.valid_fraction");
        if demos.report.rejected > 0 {
            note(&format!("sft: {} of {} rows are in {}", demos.report.rejected, demos.report.read, demos.report.path.display()));
        }
        let sequences = batch::sequences(&demos.train, c.data.packing, context);
        let steps = plan.total(sequences.len() as u64);
        state.within(steps)?;
        Ok(Some(Setup { run, plan, steps, state, start, model, tokenizer, template, demos, sequences, device, lineage }))
    }

    /// The optimiser over what is trained of the model, as it stood at the checkpoint.
    pub fn optimiser(&mut self, c: &SftConfig, world: &World) -> Result<AdamW> {
        let params =
            self.model.trainable().into_iter().map(|p| Param { name: p.name, tensor: p.tensor, decay: p.decay, unit: p.unit }).collect();
        let mut optim = AdamW::shared(params, &c.optim, world, c.distributed.shard)?;
        self.model.share_out(optim.partition().units());
        self.state.restore("optim", &mut optim)?;
        Ok(optim)
    }
}
