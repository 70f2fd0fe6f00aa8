//! Validated plans: ranges checked, sizes derived. Uneven divisions are errors, never floors.

use super::classify::{InputShape, Target};
use super::common::{Distill, Distributed, Eval, Lora, Optim, OptimKind, Schedule, Shard, Source, Train};
use super::load::ConfigError;
use super::ppo::{AfterEnd, PpoConfig, ScorePosition};
use super::pretrain::{Family, Predict, PretrainConfig, TokenizerKind};
use super::reward::{Judges, Margin, PreferenceKind, RewardConfig};
use super::sft::{Augment, SftConfig, Task};
use super::watch::Alarm;

fn range<V: std::fmt::Display>(ok: bool, key: &str, value: V, message: &str) -> Result<(), ConfigError> {
    if ok { Ok(()) } else { Err(ConfigError::Range { key: key.into(), value: value.to_string(), message: message.into() }) }
}

/// `a / b` where it has no remainder, else an error that names both keys.
fn exact_div(key: &str, a: usize, by: &str, b: usize) -> Result<usize, ConfigError> {
    range(b > 0 && a.is_multiple_of(b), key, a, &format!("must be a multiple of {by} = {b}"))?;
    Ok(a / b)
}

/// Sizes of an optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// Rows an optimiser step.
    pub batch: usize,
    /// Rows at a time through the model.
    pub micro_batch: usize,
    /// `train.steps`, where given.
    pub fixed: Option<u64>,
    /// `train.epochs`.
    pub epochs: f64,
}

/// How many of `rows` go through the model at a time where `processes` share them: at most `at_a_time`, and so few that each process has some.
fn shared(key: &str, rows: usize, at_a_time: usize, processes: usize) -> Result<usize, ConfigError> {
    range(rows >= processes, key, rows, &format!("{processes} processes cannot share it: take at least so many, or fewer processes"))?;
    let even = rows.div_ceil(processes);
    let for_all = if rows.div_ceil(even) >= processes { even } else { rows / processes };
    Ok(at_a_time.min(for_all))
}

impl Steps {
    /// The same steps taken by several processes, each its share of the micro-batches, which get smaller where there are too few of them.
    pub fn shared_by(self, processes: usize) -> Result<Steps, ConfigError> {
        Ok(Steps { micro_batch: shared("train.batch", self.batch, self.micro_batch, processes)?, ..self })
    }

    /// Optimiser steps of the run, given the number of training rows.
    pub fn total(&self, rows: u64) -> u64 {
        self.fixed.unwrap_or_else(|| ((rows as f64 * self.epochs / self.batch as f64).ceil() as u64).max(1))
    }
}

fn steps(t: &Train) -> Result<Steps, ConfigError> {
    range(t.batch > 0, "train.batch", t.batch, "must be at least 1")?;
    range(t.log_every > 0, "train.log_every", t.log_every, "must be at least 1")?;
    range(t.steps > 0 || t.epochs > 0.0, "train.epochs", t.epochs, "must be above 0 when train.steps is 0")?;
    let micro_batch = if t.micro_batch == 0 { t.batch } else { t.micro_batch };
    exact_div("train.batch", t.batch, "train.micro_batch", micro_batch)?;
    Ok(Steps { batch: t.batch, micro_batch, fixed: (t.steps > 0).then_some(t.steps), epochs: t.epochs })
}

fn optim(o: &Optim, s: &Schedule) -> Result<(), ConfigError> {
    range(o.lr > 0.0 && o.lr.is_finite(), "optim.lr", o.lr, "must be a positive number")?;
    range((0.0..1.0).contains(&o.beta1), "optim.beta1", o.beta1, "must lie in [0, 1)")?;
    range((0.0..1.0).contains(&o.beta2), "optim.beta2", o.beta2, "must lie in [0, 1)")?;
    range(o.eps > 0.0, "optim.eps", o.eps, "must be positive")?;
    range(o.weight_decay >= 0.0, "optim.weight_decay", o.weight_decay, "must not be negative")?;
    range(o.clip_norm >= 0.0, "optim.clip_norm", o.clip_norm, "must not be negative (0 switches clipping off)")?;
    range(o.l1 >= 0.0 && o.l1.is_finite(), "optim.l1", o.l1, "must be a number not below 0")?;
    let has_form = !matches!(o.kind, OptimKind::Sgd | OptimKind::Lion | OptimKind::Adamw8bit);
    range(has_form || !o.tf_style, "optim.tf_style", o.tf_style, "is a form of Adam: not for sgd, lion and adamw-8bit")?;
    let (g, m) = (&o.sgd, &o.muon);
    range((0.0..1.0).contains(&g.momentum), "optim.sgd.momentum", g.momentum, "must lie in [0, 1)")?;
    range((0.0..=1.0).contains(&g.dampening), "optim.sgd.dampening", g.dampening, "must lie in [0, 1]")?;
    let plain = g.momentum > 0.0 && g.dampening == 0.0;
    range(!g.nesterov || plain, "optim.sgd.nesterov", g.nesterov, "wants momentum above 0 and no dampening")?;
    range((0.0..1.0).contains(&m.momentum), "optim.muon.momentum", m.momentum, "must lie in [0, 1)")?;
    range((1..100).contains(&m.ns_steps), "optim.muon.ns_steps", m.ns_steps, "must lie in 1 to 99")?;
    range((0.0..=1.0).contains(&s.min_ratio), "schedule.min_ratio", s.min_ratio, "must lie in [0, 1]")
}

fn eval(e: &Eval) -> Result<(), ConfigError> {
    range((0.0..1.0).contains(&e.valid_fraction), "eval.valid_fraction", e.valid_fraction, "must lie in [0, 1)")
}

/// Samples are shown by the stages that learn to write text.
fn no_sample(e: &Eval) -> Result<(), ConfigError> {
    let said = "is for pretrain and sft: leave it out, this stage shows no such sample";
    range(e.sample_prompt.is_empty(), "eval.sample_prompt", &e.sample_prompt, said)?;
    range(e.sample_tokens == Eval::default().sample_tokens, "eval.sample_tokens", e.sample_tokens, said)
}

fn alarm(a: &Alarm) -> Result<(), ConfigError> {
    range(a.window > 0, "alarm.window", a.window, "must be at least 1")?;
    range(a.patience > 0, "alarm.patience", a.patience, "must be at least 1")?;
    range(a.held_out >= 0.0, "alarm.held_out", a.held_out, "must not be negative (0 switches it off)")
}

fn dropout(key: &str, p: f64) -> Result<(), ConfigError> {
    range((0.0..1.0).contains(&p), key, p, "must lie in [0, 1)")
}

/// Weights in parts are whole only while their block computes: what reads them at other times does not go together with that.
fn in_parts(d: &Distributed, l: &Lora, key: &str, recompute: bool) -> Result<(), ConfigError> {
    let whole = d.shard != Shard::Parameters;
    range(whole || l.rank == 0, "lora.rank", l.rank, "does not go together with distributed.shard = \"parameters\": use \"gradients\"")?;
    range(whole || !recompute, key, recompute, "does not go together with distributed.shard = \"parameters\": use \"gradients\"")
}

/// Muon makes whole matrices orthogonal: parts of them will not do, and the two of an adapter are not the map. Moments of bytes share a scale, which parts would cut.
fn whole_matrices(o: &Optim, d: &Distributed, l: &Lora) -> Result<(), ConfigError> {
    let (key, message) = ("optim.kind", "steps whole matrices: not together with");
    let (muon, bytes) = (o.kind == OptimKind::Muon, o.kind == OptimKind::Adamw8bit);
    range(!bytes || d.shard == Shard::None, key, "adamw-8bit", "does not go together with distributed.shard")?;
    range(!muon || d.shard == Shard::None, key, "muon", &format!("{message} distributed.shard"))?;
    range(!muon || l.rank == 0, key, "muon", &format!("{message} adapters (lora.rank)"))
}

fn distill(d: &Distill) -> Result<(), ConfigError> {
    range(d.temperature > 0.0 && d.temperature.is_finite(), "distill.temperature", d.temperature, "must be a positive number")?;
    range((0.0..=1.0).contains(&d.weight), "distill.weight", d.weight, "must lie in [0, 1]")
}

fn lora(l: &Lora) -> Result<(), ConfigError> {
    range(l.alpha > 0.0 && l.alpha.is_finite(), "lora.alpha", l.alpha, "must be a positive number")?;
    dropout("lora.dropout", l.dropout)
}

fn sources(s: &[Source]) -> Result<(), ConfigError> {
    range(!s.is_empty(), "data.sources", "[]", "needs at least one [[data.sources]] with a path")?;
    for (i, source) in s.iter().enumerate() {
        range(!source.path.is_empty(), &format!("data.sources.{i}.path"), "\"\"", "must name a file, a glob or a folder")?;
    }
    Ok(())
}

fn folder(key: &str, path: &str) -> Result<(), ConfigError> {
    range(!path.is_empty(), key, "\"\"", "must name a run folder or a Hugging Face model folder")
}

/// Checks a `pretrain` configuration and derives its sizes.
pub fn pretrain(c: &PretrainConfig) -> Result<Steps, ConfigError> {
    optim(&c.optim, &c.schedule)?;
    eval(&c.eval)?;
    alarm(&c.alarm)?;
    dropout("model.dropout", c.model.dropout)?;
    lora(&c.lora)?;
    whole_matrices(&c.optim, &c.distributed, &c.lora)?;
    in_parts(&c.distributed, &c.lora, "train.activation_checkpointing", c.train.activation_checkpointing)?;
    distill(&c.distill)?;
    sources(&c.data.sources)?;
    let m = &c.model;
    let fresh = m.init.is_empty();
    range(!fresh || c.lora.rank == 0, "lora.rank", c.lora.rank, "adapters change a model that is there: name it in model.init")?;
    range(!fresh || m.adapter.is_empty(), "model.adapter", &m.adapter, "an adapter changes a model that is there: name it in model.init")?;
    let mup = m.mup_base_width > 0;
    let adam = matches!(c.optim.kind, OptimKind::Adamw | OptimKind::Adamw8bit | OptimKind::Adam | OptimKind::Lion);
    let (key, width) = ("model.mup_base_width", m.mup_base_width);
    range(!mup || fresh, key, width, "is for a fresh model: leave model.init empty")?;
    range(!mup || c.objective == Predict::Next, key, width, "is for decoders")?;
    range(
        !mup || adam,
        key,
        width,
        "goes with optim.kind adamw, adamw-8bit, adam and lion, whose steps do not depend on the gradient's scale",
    )?;
    range(m.context >= 2, "model.context", m.context, "must be at least 2 tokens")?;
    range(c.masked_share > 0.0 && c.masked_share < 1.0, "masked_share", c.masked_share, "must lie in (0, 1)")?;
    range(
        c.objective == Predict::Next || m.context >= 4,
        "model.context",
        m.context,
        "must be at least 4 for masked tokens between two special ones",
    )?;
    if fresh {
        range(m.layers > 0, "model.layers", m.layers, "must be at least 1")?;
        exact_div("model.width", m.width, "model.heads", m.heads)?;
        let masked = c.objective == Predict::Masked;
        let message = "family bert goes with objective = \"masked\", the others with \"next\"";
        range(masked == (m.family == Family::Bert), "objective", if masked { "masked" } else { "next" }, message)?;
        range(m.width > 0, "model.width", m.width, "must be positive")?;
        let t = &c.tokenizer;
        range(t.kind != TokenizerKind::File || !t.path.is_empty(), "tokenizer.path", "\"\"", "kind `file` needs a tokenizer.json")?;
        range(
            t.kind != TokenizerKind::Bpe || t.vocab_size >= 260,
            "tokenizer.vocab_size",
            t.vocab_size,
            "byte-level BPE needs 256 bytes and 4 special tokens: at least 260",
        )?;
    }
    steps(&c.train)
}

/// Checks an `sft` configuration and derives its sizes.
pub fn sft(c: &SftConfig) -> Result<Steps, ConfigError> {
    optim(&c.optim, &c.schedule)?;
    eval(&c.eval)?;
    alarm(&c.alarm)?;
    dropout("model.dropout", c.model.dropout)?;
    lora(&c.lora)?;
    whole_matrices(&c.optim, &c.distributed, &c.lora)?;
    in_parts(&c.distributed, &c.lora, "train.activation_checkpointing", c.train.activation_checkpointing)?;
    range(
        c.distill.on().is_none() || c.objective == Task::Answer,
        "distill.teacher",
        &c.distill.teacher,
        "a teacher gives distributions over tokens: not for objective = \"classify\"",
    )?;
    range(c.model.freeze == 0, "model.freeze", c.model.freeze, "is for reward")?;
    let fresh = &c.model.fresh;
    match (c.model.init.is_empty(), fresh.layers) {
        (_, 0) => folder("model.init", &c.model.init)?,
        (false, n) => range(false, "model.fresh.layers", n, "makes a model of its own: leave it 0 where model.init names one")?,
        (true, _) => {
            exact_div("model.fresh.width", fresh.width, "model.fresh.heads", fresh.heads)?;
            range(fresh.context >= 2, "model.fresh.context", fresh.context, "must be at least 2 tokens")?;
            let lossless = matches!(c.tokenizer.kind, TokenizerKind::Bpe | TokenizerKind::Byte | TokenizerKind::Char | TokenizerKind::File);
            range(lossless, "tokenizer.kind", "wordpiece", "writes no text: take bpe, char, byte or file")?;
            range(c.objective == Task::Answer, "objective", "classify", "a classifier starts from a model: name it in model.init")?;
        }
    }
    vision(c)?;
    range((0.0..1.0).contains(&c.loss.label_smoothing), "loss.label_smoothing", c.loss.label_smoothing, "must lie in [0, 1)")?;
    classify(c)?;
    range(c.bleu.beams > 0, "bleu.beams", c.bleu.beams, "must be at least 1")?;
    range(c.bleu.max_new_tokens > 0, "bleu.max_new_tokens", c.bleu.max_new_tokens, "must be at least 1")?;
    distill(&c.distill)?;
    sources(&c.data.sources)?;
    for (i, source) in c.data.heldout.iter().enumerate() {
        range(!source.path.is_empty(), &format!("data.heldout.{i}.path"), "\"\"", "must name a file, a glob or a folder")?;
    }
    augment(&c.data.augment)?;
    steps(&c.train)
}

fn vision(c: &SftConfig) -> Result<(), ConfigError> {
    let v = &c.vision;
    if !v.asked() {
        return Ok(());
    }
    let shape = "is the shape of a fresh one: leave it 0 where vision.init names a folder";
    range(v.init.is_empty() || v.layers == 0, "vision.layers", v.layers, shape)?;
    range(!c.model.init.is_empty(), "model.init", "\"\"", "must name the decoder that is to see")?;
    range(c.objective == Task::Answer, "objective", "classify", "a decoder that sees answers")?;
    range(!c.data.packing, "data.packing", true, "rows with pictures have sequences of their own")?;
    if v.layers > 0 {
        range(v.patch_size > 0, "vision.patch_size", v.patch_size, "must be at least 1 pixel")?;
        range(v.image_size > 0, "vision.image_size", v.image_size, "must be at least 1 pixel")?;
        exact_div("vision.image_size", v.image_size, "vision.patch_size", v.patch_size)?;
        exact_div("vision.width", v.width, "vision.heads", v.heads)?;
        range(v.width > 0, "vision.width", v.width, "must be positive")?;
    }
    Ok(())
}

/// What `sft` does with rows that are classified.
fn classify(c: &SftConfig) -> Result<(), ConfigError> {
    let (task, weight) = (c.task, c.loss.lm_weight);
    range(weight >= 0.0 && weight.is_finite(), "loss.lm_weight", weight, "must be a number that is not negative")?;
    if c.objective != Task::Classify {
        range(weight == 0.0, "loss.lm_weight", weight, "goes with objective = \"classify\": otherwise the language model's is the loss")?;
        return range(task == Default::default(), "task", "set", "goes with objective = \"classify\"");
    }
    let choice = task.kind == InputShape::Choice;
    let classes = task.target == Target::Class && !choice;
    range(task.target == Target::Class || !choice, "task.target", "number", "a choice is one of several: take class")?;
    let several = choice || task.kind == InputShape::Similarity;
    range(
        !several || c.eval.sample_prompt.is_empty(),
        "eval.sample_prompt",
        &c.eval.sample_prompt,
        "is one text, and task.kind asks for several: leave it empty to be shown a held-out row",
    )?;
    range(classes || c.loss.label_smoothing == 0.0, "loss.label_smoothing", c.loss.label_smoothing, "is for classes by name")
}

fn augment(a: &Augment) -> Result<(), ConfigError> {
    for (key, p) in [("delete", a.delete), ("swap", a.swap), ("replace", a.replace)] {
        range((0.0..=1.0).contains(&p), &format!("data.augment.{key}"), p, "must lie in [0, 1]")?;
    }
    let changes = a.delete + a.swap + a.replace > 0.0;
    range(changes || a.copies == 0, "data.augment.copies", a.copies, "needs delete, swap or replace above 0: they would be plain copies")?;
    range(a.copies > 0 || !changes, "data.augment.copies", a.copies, "must be at least 1 where delete, swap or replace are set")
}

/// Checks a `reward` configuration and derives its sizes.
pub fn reward(c: &RewardConfig) -> Result<Steps, ConfigError> {
    optim(&c.optim, &c.schedule)?;
    eval(&c.eval)?;
    alarm(&c.alarm)?;
    no_sample(&c.eval)?;
    dropout("model.dropout", c.model.dropout)?;
    lora(&c.lora)?;
    whole_matrices(&c.optim, &c.distributed, &c.lora)?;
    in_parts(&c.distributed, &c.lora, "train.activation_checkpointing", c.train.activation_checkpointing)?;
    range(c.model.fresh.layers == 0, "model.fresh.layers", c.model.fresh.layers, "is for sft: a reward model starts from model.init")?;
    folder("model.init", &c.model.init)?;
    let freeze = c.model.freeze;
    range(freeze == 0 || c.lora.rank == 0, "model.freeze", freeze, "goes with lora.rank = 0: beside adapters no block is trained")?;
    let whole = c.distributed.shard != Shard::Parameters;
    range(freeze == 0 || whole, "model.freeze", freeze, "does not go together with distributed.shard = \"parameters\": use \"gradients\"")?;
    sources(&c.data.sources)?;
    for (i, source) in c.data.heldout.iter().enumerate() {
        range(!source.path.is_empty(), &format!("data.heldout.{i}.path"), "\"\"", "must name a file, a glob or a folder")?;
    }
    let judges = match c.data.judges {
        Judges::Alike => "alike",
        Judges::Weighed => "weighed",
        Judges::Fitted => "fitted",
    };
    range(!c.data.merge_judges || judges == "alike", "data.judges", judges, "needs to know who said what: set data.merge_judges = false")?;
    let l = &c.loss;
    range((0.0..=1.0).contains(&c.average), "average", c.average, "must lie in [0, 1]")?;
    let margin = match l.margin {
        Margin::None => "none",
        Margin::Scores => "scores",
        Margin::Worth => "worth",
    };
    range(
        l.margin == Margin::None || l.kind == PreferenceKind::BradleyTerry,
        "loss.margin",
        margin,
        "only loss.kind = \"bradley-terry\" has margins",
    )?;
    range(
        l.margin != Margin::Worth || !l.soft_labels,
        "loss.margin",
        margin,
        "a worth is a soft label or a margin, not both: set loss.soft_labels = false",
    )?;
    range(l.margin_scale > 0.0 && l.margin_scale.is_finite(), "loss.margin_scale", l.margin_scale, "must be a positive number")?;
    range((0.0..0.5).contains(&l.label_smoothing), "loss.label_smoothing", l.label_smoothing, "must lie in [0, 0.5)")?;
    range(
        l.label_smoothing == 0.0 || l.kind == PreferenceKind::BradleyTerry,
        "loss.label_smoothing",
        l.label_smoothing,
        "only loss.kind = \"bradley-terry\" smooths labels",
    )?;
    range(l.centre_coef >= 0.0, "loss.centre_coef", l.centre_coef, "must not be negative")?;
    range(l.lm_weight >= 0.0 && l.lm_weight.is_finite(), "loss.lm_weight", l.lm_weight, "must be a number that is not negative")?;
    steps(&c.train)
}

/// Sizes of a PPO round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds of the run.
    pub rounds: u64,
    /// Episodes a round.
    pub episodes: usize,
    /// Sequences at a time when sampling and scoring.
    pub rollout_batch: usize,
    /// Episodes an optimiser step.
    pub minibatch: usize,
    /// Episodes at a time through the model while learning.
    pub micro_batch: usize,
}

impl Rounds {
    /// The same rounds by several processes: each samples, scores and learns from its share.
    pub fn shared_by(self, processes: usize) -> Result<Rounds, ConfigError> {
        let rollout_batch = shared("rollout.episodes", self.episodes, self.rollout_batch, processes)?;
        let micro_batch = shared("episodes a minibatch", self.minibatch, self.micro_batch, processes)?;
        Ok(Rounds { rollout_batch, micro_batch, ..self })
    }
}

/// Checks a `ppo` configuration and derives its sizes.
pub fn ppo(c: &PpoConfig) -> Result<Rounds, ConfigError> {
    optim(&c.optim, &c.schedule)?;
    eval(&c.eval)?;
    alarm(&c.alarm)?;
    no_sample(&c.eval)?;
    lora(&c.lora)?;
    range(
        c.lora.dropout == 0.0,
        "lora.dropout",
        c.lora.dropout,
        "must be 0: ppo learns without dropout, or the first ratios would not be 1",
    )?;
    whole_matrices(&c.optim, &c.distributed, &c.lora)?;
    in_parts(&c.distributed, &c.lora, "ppo.activation_checkpointing", c.ppo.activation_checkpointing)?;
    folder("policy.init", &c.policy.init)?;
    folder("reward.model", &c.reward.model)?;
    sources(&c.data.sources)?;
    let (r, p, ptx) = (&c.rollout, &c.ppo, &c.ptx);
    range(c.reward.clip >= 0.0, "reward.clip", c.reward.clip, "must not be negative (0 leaves the scores)")?;
    let ratio = c.value.lr_ratio;
    range(ratio >= 0.0 && ratio.is_finite(), "value.lr_ratio", ratio, "must be a number not below 0")?;
    range(r.rounds > 0, "rollout.rounds", r.rounds, "must be at least 1")?;
    range(r.episodes > 0, "rollout.episodes", r.episodes, "must be at least 1")?;
    range(r.max_new_tokens > 0, "rollout.max_new_tokens", r.max_new_tokens, "must be at least 1")?;
    range(r.temperature > 0.0, "rollout.temperature", r.temperature, "must be positive: PPO learns from samples")?;
    range(p.epochs > 0, "ppo.epochs", p.epochs, "must be at least 1")?;
    range(p.clip > 0.0, "ppo.clip", p.clip, "must be positive")?;
    range(p.clip_high == 0.0 || p.clip_high >= p.clip, "ppo.clip_high", p.clip_high, "must be 0 or at least ppo.clip")?;
    range(p.dual_clip == 0.0 || p.dual_clip > 1.0, "ppo.dual_clip", p.dual_clip, "must be 0 (off) or above 1")?;
    range(p.kl_clamp >= 0.0, "ppo.kl_clamp", p.kl_clamp, "must not be negative (0 switches it off)")?;
    range(p.kl_difference_clamp >= 0.0, "ppo.kl_difference_clamp", p.kl_difference_clamp, "must not be negative (0 switches it off)")?;
    range(
        p.after_end == AfterEnd::Stop || p.score_position == ScorePosition::LastToken,
        "ppo.score_position",
        "after-end",
        "with ppo.after_end = \"keep\" nothing stands after the last token: take last-token",
    )?;
    range(p.value_clip >= 0.0, "ppo.value_clip", p.value_clip, "must not be negative (0 switches it off)")?;
    range((0.0..=1.0).contains(&p.gamma), "ppo.gamma", p.gamma, "must lie in [0, 1]")?;
    range((0.0..=1.0).contains(&p.lambda), "ppo.lambda", p.lambda, "must lie in [0, 1]")?;
    for (key, weight) in [("ppo.value_coef", p.value_coef), ("ppo.entropy_coef", p.entropy_coef), ("ptx.coef", ptx.coef)] {
        range(weight >= 0.0 && weight.is_finite(), key, weight, "must be a number not below 0")?;
    }
    range(p.kl_coef >= 0.0, "ppo.kl_coef", p.kl_coef, "must not be negative")?;
    range(p.kl_target >= 0.0, "ppo.kl_target", p.kl_target, "must not be negative (0 keeps ppo.kl_coef as it is)")?;
    range(
        p.kl_target == 0.0 || 5.0 * p.kl_horizon > r.episodes as f64, // a round multiplies by 1 − 0.2 · episodes / horizon at least
        "ppo.kl_horizon",
        p.kl_horizon,
        "must be more than a fifth of rollout.episodes with an adaptive coefficient, which a round could take to 0 or below",
    )?;
    range((0.0..1.0).contains(&c.drift.min_entropy), "drift.min_entropy", c.drift.min_entropy, "must lie in [0, 1)")?;
    range((0.0..1.0).contains(&c.drift.min_length), "drift.min_length", c.drift.min_length, "must lie in [0, 1)")?;
    let mixes = ptx.coef > 0.0;
    range(!mixes || !ptx.data.sources.is_empty(), "ptx.data.sources", "[]", "ptx.coef above 0 needs pre-training text")?;
    range(!mixes || ptx.batch > 0, "ptx.batch", ptx.batch, "must be at least 1 where ptx.coef is above 0")?;
    range(!mixes || ptx.length > 0, "ptx.length", ptx.length, "must be at least 1 where ptx.coef is above 0")?;
    range(ptx.data.row == 0, "ptx.data.row", ptx.data.row, "is for pretrain: ptx.length says how long its sequences are")?;
    let minibatch = exact_div("rollout.episodes", r.episodes, "ppo.minibatches", p.minibatches)?;
    let micro_batch = if p.micro_batch == 0 { minibatch } else { p.micro_batch };
    exact_div("episodes a minibatch", minibatch, "ppo.micro_batch", micro_batch)?;
    let rollout_batch = if r.batch == 0 { r.episodes } else { r.batch };
    Ok(Rounds { rounds: r.rounds, episodes: r.episodes, rollout_batch, minibatch, micro_batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_pretrain() -> PretrainConfig {
        let mut c = PretrainConfig::default();
        c.data.sources.push(Source { path: "x.txt".into(), ..Source::default() });
        c
    }

    #[test]
    fn uneven_batches_are_errors() {
        let mut c = a_pretrain();
        c.train = Train { batch: 10, micro_batch: 4, ..Train::default() };
        assert_eq!(pretrain(&c).unwrap_err().to_string(), "train.batch = 10: must be a multiple of train.micro_batch = 4");
        c.train.micro_batch = 5;
        assert_eq!(pretrain(&c).unwrap().micro_batch, 5);
    }

    #[test]
    fn every_process_has_a_micro_batch() {
        let plan = steps(&Train { batch: 8, micro_batch: 4, ..Train::default() }).unwrap();
        let of = |processes| plan.shared_by(processes).map(|p| p.micro_batch);
        assert_eq!([1, 2, 3, 8].map(|n| of(n).unwrap()), [4, 4, 3, 1]);
        assert_eq!(
            of(9).unwrap_err().to_string(),
            "train.batch = 8: 9 processes cannot share it: take at least so many, or fewer processes"
        );
        let rounds = Rounds { rounds: 1, episodes: 12, rollout_batch: 12, minibatch: 6, micro_batch: 6 };
        let shared = rounds.shared_by(4).unwrap();
        assert_eq!((shared.rollout_batch, shared.micro_batch, shared.minibatch), (3, 1, 6));
        assert!(rounds.shared_by(7).is_err());
    }

    #[test]
    fn epochs_become_steps() {
        let plan = steps(&Train { epochs: 1.5, batch: 8, ..Train::default() }).unwrap();
        assert_eq!(plan.total(100), 19); // 150 rows / 8
        let plan = steps(&Train { steps: 7, ..Train::default() }).unwrap();
        assert_eq!(plan.total(100), 7);
    }

    #[test]
    fn out_of_range_names_key_and_remedy() {
        let mut c = a_pretrain();
        c.optim.lr = -1.0;
        assert_eq!(pretrain(&c).unwrap_err().to_string(), "optim.lr = -1: must be a positive number");
        let mut c = a_pretrain();
        c.data.sources.clear();
        assert!(pretrain(&c).is_err());
        let ppo_error = ppo(&PpoConfig::default()).unwrap_err().to_string();
        assert!(ppo_error.starts_with("policy.init"), "{ppo_error}");
    }

    #[test]
    fn ppo_refuses_what_would_do_nothing_or_turn_a_term_round() {
        let mut valid = PpoConfig::default();
        valid.policy.init = "sft".into();
        valid.reward.model = "reward".into();
        valid.data.sources.push(Source { path: "x.jsonl".into(), ..Source::default() });
        valid.ptx.data.sources.push(Source { path: "x.txt".into(), ..Source::default() });
        valid.ptx.coef = 0.1;
        valid.ppo.kl_target = 6.0;
        valid.ppo.kl_horizon = 12.9; // of 64 episodes
        ppo(&valid).unwrap();
        type Wrong = fn(&mut PpoConfig);
        let wrong: [(&str, Wrong); 13] = [
            ("ppo.kl_horizon", |c| c.ppo.kl_horizon = 12.8),
            ("ppo.kl_horizon", |c| c.ppo.kl_horizon = f64::NAN),
            ("ppo.kl_target", |c| c.ppo.kl_target = -1.0),
            ("ppo.value_coef", |c| c.ppo.value_coef = -0.1),
            ("ppo.entropy_coef", |c| c.ppo.entropy_coef = -0.1),
            ("reward.clip", |c| c.reward.clip = -1.0),
            ("value.lr_ratio", |c| c.value.lr_ratio = -1.0),
            ("ptx.coef", |c| c.ptx.coef = -0.1),
            ("ptx.batch", |c| c.ptx.batch = 0),
            ("ptx.length", |c| c.ptx.length = 0),
            ("lora.dropout", |c| c.lora.dropout = 0.1),
            ("eval.sample_prompt", |c| c.eval.sample_prompt = "a".into()),
            ("eval.sample_tokens", |c| c.eval.sample_tokens = 8),
        ];
        for (key, change) in wrong {
            let mut c = valid.clone();
            change(&mut c);
            let said = ppo(&c).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{key} = ")), "{key}: {said}");
        }
    }

    #[test]
    fn reward_refuses_what_its_loss_and_evaluation_do_not_read() {
        let mut valid = RewardConfig::default();
        valid.model.init = "sft".into();
        valid.data.sources.push(Source { path: "x.jsonl".into(), ..Source::default() });
        valid.loss.label_smoothing = 0.1;
        reward(&valid).unwrap();
        for kind in [PreferenceKind::PlackettLuce, PreferenceKind::Best] {
            let mut c = valid.clone();
            c.loss.kind = kind;
            let said = reward(&c).unwrap_err().to_string();
            assert_eq!(said, "loss.label_smoothing = 0.1: only loss.kind = \"bradley-terry\" smooths labels");
        }
        valid.eval.sample_tokens = 8;
        assert!(reward(&valid).unwrap_err().to_string().starts_with("eval.sample_tokens = 8: is for pretrain and sft"));
    }
}
