//! Everything before the first round: folders, models, prompts. What fails here is the user's input.

use crate::batch::Critic;
use crate::judge::Judges;
use crate::ptx::Mixer;
use anyhow::{Context, Result, ensure};
use data::chat::ChatTemplate;
use data::config::{self, Lora, PpoConfig, PromptData, ValueHead, ValueKind, plan};
use data::inputs::Inputs;
use data::prompts::{self, Prompt};
use data::tokenizer::Tokenizer;
use dist::World;
use model::{
    HeadKind, Model, ModelError, Start,
    lineage::{Lineage, Parent},
};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};
use train::{Optimizer, RunDir, State, cli::StageArgs, device, optim::Param, progress::note, summary};

/// Where the models' tensors live, and the precision of their products.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// Precision of activations.
    pub compute: tch::Kind,
}

/// The stage's models, prompts and folder.
pub struct Setup {
    /// Run folder.
    pub run: RunDir,
    /// Sizes of a round.
    pub rounds: plan::Rounds,
    /// Where the run stands.
    pub state: State,
    /// What the policy starts from.
    pub start: Start,
    /// π, learning.
    pub policy: Model,
    /// π_ref, frozen: the SFT model.
    pub reference: Model,
    /// V, learning.
    pub critic: Critic,
    /// The reward models.
    pub judges: Judges,
    /// The policy's tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end an answer.
    pub stop_ids: Vec<u32>,
    /// Prompts to learn on.
    pub prompts: Vec<Prompt>,
    /// Prompts to evaluate on.
    pub heldout: Vec<Prompt>,
    /// Pre-training text.
    pub mixer: Option<Mixer>,
    /// Where tensors live.
    pub device: Device,
    /// Where this model comes from.
    pub lineage: Lineage,
}

impl Setup {
    /// Opens the run folder; `None` where the run is already done.
    pub fn new(c: &PpoConfig, args: &StageArgs, world: &World) -> Result<Option<Setup>> {
        let rounds = plan::ppo(c)?.shared_by(world.size())?;
        let device = device::pick(c.device, world.local_rank())?;
        device::set_threads(c.threads, world.cores());
        let place = Place { device, compute: device::precision(c.precision, device) };
        let sft = model::resolve(Path::new(&c.policy.init))?;
        let judge = model::resolve(Path::new(&c.reward.model))?;
        let out = args.out_dir("ppo");
        let mut run = RunDir::open(world, &out, c, args.resume)?;
        if summary::done(&run) {
            if run.is_ours() {
                evaluate::report::write_run(run.path())?; // a kill may have come between the figures and their page
            }
            note(&format!("ppo: {} is done already", out.display()));
            return Ok(None);
        }
        let state = State::open(&run)?;
        let tokenizer = Tokenizer::load(&sft)?;
        let template = ChatTemplate::new(c.data.template, &sft)?;
        let start = Start::new(&sft, &c.policy.adapter, &c.lora, c.seed, device)?;
        let judges = Judges::load(&c.reward, (&tokenizer, &template), rounds.rollout_batch, place)?;
        let parents = parents(c, &start, &judge)?;
        let inputs = Inputs::new(world.size()).sources("data.sources", &c.data.sources)?.sources("data.heldout", &c.data.heldout)?;
        let inputs = inputs.sources("ptx.data.sources", &c.ptx.data.sources)?.tokenizer(&sft, &tokenizer).template(&template);
        let inputs = judges.record(inputs);
        let lineage = Lineage::new("ppo", parents, inputs, &config::to_toml(c)).with_changes(run.changes());
        run.check_inputs(&lineage.inputs)?;
        state.within(rounds.rounds)?;
        let policy = start.open(HeadKind::Lm, state.folder()).with_context(|| format!("policy.init = {:?}", c.policy.init))?;
        let mut policy = policy.with_compute(place.compute);
        let reference = start.reference(&policy)?;
        policy.set_activation_checkpointing(c.ppo.activation_checkpointing);
        let mut critic = critic(c, &judges, &state, &policy, place)?;
        if let Critic::Separate(model) = &mut critic {
            model.set_activation_checkpointing(c.ppo.activation_checkpointing);
        }
        let stop_ids = template.stop_ids(&tokenizer);
        let context = reference.config().context;
        let readers = [Some(context), judges.context(), critic.context()];
        let (prompts, heldout) = load_prompts(c, &tokenizer, &template, readers.into_iter().flatten().min().unwrap_or(context), &run)?;
        judges.check(prompts.iter().chain(&heldout), c.rollout.max_new_tokens)?;
        let mixer = Mixer::open(&c.ptx, (&tokenizer, context), c.seed, &run.join("quarantine-ptx.jsonl"), device)?;
        run.accept(&lineage.inputs)?;
        let setup = Setup {
            run,
            rounds,
            state,
            start,
            policy,
            reference,
            critic,
            judges,
            tokenizer,
            stop_ids,
            prompts,
            heldout,
            mixer,
            device,
            lineage,
        };
        Ok(Some(setup))
    }

    /// Optimisers of the policy (with a shared head) and of a separate critic, as they stood at the checkpoint.
    pub fn optimisers(&mut self, c: &PpoConfig, world: &World) -> Result<(Optimizer, Option<Optimizer>)> {
        let params = |m: &Model| -> Vec<Param> {
            m.trainable().into_iter().map(|p| Param { name: p.name, tensor: p.tensor, decay: p.decay, unit: p.unit }).collect()
        };
        let mut policy_params = params(&self.policy);
        let mut value = None;
        match &mut self.critic {
            Critic::Separate(model) => {
                let optim = Optimizer::shared(params(model), &c.optim, world, c.distributed.shard)?;
                model.share_out(optim.partition().units());
                value = Some(optim);
            }
            Critic::Shared(head) => {
                policy_params.push(Param { name: "value_head".into(), tensor: head.shallow_clone(), decay: false, unit: 0 })
            }
        }
        let mut policy = Optimizer::shared(policy_params, &c.optim, world, c.distributed.shard)?;
        self.policy.share_out(policy.partition().units());
        self.state.restore("policy", &mut policy)?;
        if let Some(value) = &mut value {
            self.state.restore("value", value)?;
        }
        Ok((policy, value))
    }
}

/// Where a checkpoint keeps a separate critic.
pub fn critic_folder(checkpoint: &Path) -> PathBuf {
    checkpoint.join("state").join("critic")
}

/// The file of a shared head in a checkpoint.
pub fn head_file(checkpoint: &Path) -> PathBuf {
    checkpoint.join("state").join("value_head.safetensors")
}

/// All folders that the policy is made from.
fn parents(c: &PpoConfig, start: &Start, judge: &Path) -> Result<Vec<Parent>> {
    let mut parents = start.parents("policy.init", "policy.adapter")?;
    parents.push(Parent::new("reward.model", judge)?);
    for more in &c.reward.more {
        parents.push(Parent::new("reward.more", &model::resolve(Path::new(&more.model))?)?);
    }
    if c.value.kind == ValueKind::Separate && !c.value.init.is_empty() {
        parents.push(Parent::new("value.init", &model::resolve(Path::new(&c.value.init))?)?);
    }
    Ok(parents)
}

/// The folder of a separate critic's first weights.
fn critic_init(c: &PpoConfig) -> &Path {
    Path::new(if c.value.init.is_empty() { &c.reward.model } else { &c.value.init })
}

/// Writes a separate critic into a checkpoint: its weights or its adapters.
pub fn save_critic(c: &PpoConfig, critic: &Model, checkpoint: &Path) -> Result<(), ModelError> {
    let folder = critic_folder(checkpoint);
    if c.lora.on().is_some() { critic.save_adapters(&folder, critic_init(c)) } else { critic.save(&folder) }
}

/// A critic of adapters on frozen weights: those of the reward model in its own memory, where the critic starts from that.
fn adapted_critic(c: &PpoConfig, lora: &Lora, judges: &Judges, checkpoint: Option<&Path>, device: Device) -> Result<Model> {
    let base = match judges.first().filter(|_| c.value.init.is_empty()) {
        Some(judge) => judge.share()?,
        None => Model::load_as(&model::resolve(critic_init(c))?, HeadKind::Scalar, device)?,
    };
    Ok(match checkpoint {
        Some(checkpoint) => base.load_adapters(&critic_folder(checkpoint), Some(lora))?,
        None => {
            fill_head(base.head_weight(), c);
            base.with_adapters(lora, c.seed.wrapping_add(1))?
        }
    })
}

fn critic(c: &PpoConfig, judges: &Judges, state: &State, policy: &Model, place: Place) -> Result<Critic> {
    let device = place.device;
    if let (ValueKind::Separate, Some(lora)) = (c.value.kind, c.lora.on()) {
        let critic = adapted_critic(c, lora, judges, state.folder(), device).context("the critic's first weights (value.init)")?;
        return Ok(Critic::Separate(Box::new(critic.with_compute(place.compute))));
    }
    match (c.value.kind, state.folder()) {
        (ValueKind::Separate, Some(checkpoint)) => {
            Ok(Critic::Separate(Box::new(Model::load(&critic_folder(checkpoint), device)?.with_compute(place.compute))))
        }
        (ValueKind::Separate, None) => {
            let critic = Model::load_as(&model::resolve(critic_init(c))?, HeadKind::Scalar, device)
                .context("the critic's first weights (value.init)")?;
            fill_head(critic.head_weight(), c);
            Ok(Critic::Separate(Box::new(critic.with_compute(place.compute))))
        }
        (ValueKind::Shared, checkpoint) => {
            let head = match checkpoint {
                Some(checkpoint) => {
                    let all = Tensor::read_safetensors(head_file(checkpoint))?;
                    all.into_iter().find(|(n, _)| n == "value_head").map(|(_, t)| t).context("value_head is missing in the checkpoint")?
                }
                None => {
                    let head = Tensor::zeros([1, policy.config().width as i64], (tch::Kind::Float, tch::Device::Cpu));
                    fill_head(&head, c);
                    head
                }
            };
            Ok(Critic::Shared(head.to_device(device).set_requires_grad(true)))
        }
    }
}

/// Draws a critic's first head `[1, D]`, on the CPU so that every device has the same.
fn fill_head(head: &Tensor, c: &PpoConfig) {
    let width = head.size()[1];
    let std = match c.value.head {
        ValueHead::Auto => return,
        ValueHead::Zero => 0.0,
        ValueHead::Normal => 1.0 / (width as f64 + 1.0).sqrt(),
        ValueHead::Small => 1.0 / (width as f64 + 1.0),
    };
    tch::manual_seed(train::seed::mix(c.seed, u64::MAX, 2));
    let drawn = Tensor::randn([1, width], (tch::Kind::Float, Device::Cpu)) * std;
    tch::no_grad(|| head.shallow_clone().copy_(&drawn));
}

/// The prompts that leave room for an answer in `context`, the shortest of the models that read the policy's tokens.
fn load_prompts(
    c: &PpoConfig,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    context: usize,
    run: &RunDir,
) -> Result<(Vec<Prompt>, Vec<Prompt>)> {
    let room = context.saturating_sub(c.rollout.max_new_tokens);
    ensure!(
        room > 0,
        "rollout.max_new_tokens = {}: the shortest context, of policy, critic and reward models, is only {context} tokens",
        c.rollout.max_new_tokens
    );
    let longest = if c.data.max_length == 0 { room } else { c.data.max_length };
    ensure!(longest <= room, "data.max_length = {longest}: prompt and response must fit into {context} tokens, which leaves {room}");
    let data = PromptData { max_length: longest, ..c.data.clone() };
    let split = prompts::load_prompts(&data, tokenizer, template, longest, c.eval.valid_fraction, c.seed, &run.join("quarantine.jsonl"))?;
    let report = &split.report;
    if report.rejected > 0 {
        note(&format!("ppo: {} of {} prompts are in {}", report.rejected, report.read, report.path.display()));
    }
    ensure!(!split.train.is_empty(), "data.sources: no prompt is left to learn on: lower eval.valid_fraction or give data.heldout");
    let mut heldout = split.valid;
    if c.eval.max_rows > 0 {
        heldout.truncate(c.eval.max_rows);
    }
    ensure!(!heldout.is_empty(), "no held-out prompts: raise eval.valid_fraction or give data.heldout");
    Ok((split.train, heldout))
}
