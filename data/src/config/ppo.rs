//! Configuration of `ppo`. Formulas and sources: `loss::ppo`, `docs/departures.md`.

use super::common::{Checkpoint, Device, Distributed, Eval, Lora, Optim, Precision, Quarantine, Schedule, Source, Template};
use super::preset::Preset;
use super::pretrain::TextData;
use super::watch::{Alarm, Drift, Log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SFT model and reward model to policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PpoConfig {
    /// Whose choices stand where this file says nothing (docs/departures.md has the table).
    pub preset: Preset,
    /// Seed of the order and of every sampled token.
    pub seed: u64,
    /// Where the tensors live.
    pub device: Device,
    /// Precision of activations and matrix products; weights, optimiser, softmax and losses stay in float32.
    pub precision: Precision,
    /// CPU threads; 0 means as many as `OMP_NUM_THREADS` says, else the cores that Slurm gives the task, else this process's share of all cores. Where other
    /// programs compute beside it, fewer are quicker.
    pub threads: usize,
    /// The policy's first weights, and the frozen reference.
    pub policy: Policy,
    /// Low-rank adapters on policy and separate critic instead of all their weights: the reference is the policy's weights without them, the critic's weights
    /// are the reward model's where it starts from that.
    pub lora: Lora,
    /// The judge.
    pub reward: RewardSource,
    /// The critic.
    pub value: Value,
    /// The prompts.
    pub data: PromptData,
    /// Sampling.
    pub rollout: Rollout,
    /// The objective.
    pub ppo: Objective,
    /// Pre-training gradients mixed in (PPO-ptx, arXiv 2203.02155).
    pub ptx: Ptx,
    /// Optimiser of policy and critic.
    pub optim: Optim,
    /// Learning rate over time, in rounds.
    pub schedule: Schedule,
    /// Evaluation on held-out prompts, in rounds.
    pub eval: Eval,
    /// Checkpoints, in rounds.
    pub checkpoint: Checkpoint,
    /// Several processes.
    pub distributed: Distributed,
    /// Logs besides metrics.jsonl.
    pub log: Log,
    /// Alarms.
    pub alarm: Alarm,
    /// Alarms about a policy that drifts too far.
    pub drift: Drift,
}

impl Default for PpoConfig {
    fn default() -> Self {
        PpoConfig {
            preset: Preset::default(),
            seed: 1,
            device: Device::default(),
            precision: Precision::default(),
            threads: 0,
            policy: Policy::default(),
            lora: Lora::default(),
            reward: RewardSource::default(),
            value: Value::default(),
            data: PromptData::default(),
            rollout: Rollout::default(),
            ppo: Objective::default(),
            ptx: Ptx::default(),
            optim: Optim { lr: 2e-5, eps: 1e-5, weight_decay: 0.0, ..Optim::default() },
            schedule: Schedule { warmup_steps: 0, min_ratio: 0.0, decay: super::common::Decay::Linear },
            eval: Eval { every: 10, max_rows: 128, valid_fraction: 0.1, ..Eval::default() },
            checkpoint: Checkpoint { every: 10, ..Checkpoint::default() },
            distributed: Distributed::default(),
            log: Log::default(),
            alarm: Alarm::default(),
            drift: Drift::default(),
        }
    }
}

/// The policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// SFT run folder or model folder; also the frozen reference.
    pub init: String,
    /// A folder with an adapter that PEFT or one of our runs wrote for `init`; empty for none. The reference has it too. Trained further with `lora.rank`
    /// above 0 (rank and alpha must be the adapter's), merged into the weights without.
    pub adapter: String,
}

/// The reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardSource {
    /// Reward run folder or a sequence-classification folder with one label.
    pub model: String,
    /// Further reward models; their scores are added.
    pub more: Vec<WeightedReward>,
    /// Scores are cut to ±this before the penalties; 0 leaves them.
    pub clip: f64,
    /// Factor on the score of `model`.
    pub weight: f64,
}

impl Default for RewardSource {
    fn default() -> Self {
        RewardSource { model: String::new(), more: vec![], clip: 0.0, weight: 1.0 }
    }
}

/// One more reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedReward {
    /// Folder.
    pub model: String,
    /// Factor on its score.
    pub weight: f64,
}

impl Default for WeightedReward {
    fn default() -> Self {
        WeightedReward { model: String::new(), weight: 1.0 }
    }
}

/// Where the value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    /// A model of its own, warm-started from the reward model (or `value.init`).
    #[default]
    Separate,
    /// A scalar head on the policy's trunk.
    Shared,
}

/// The first weights of the critic's head; D is the model's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValueHead {
    /// A separate critic keeps the head of its folder, or gets N(0, 1/√(D+1)) where that has none; a shared one starts at zero.
    #[default]
    Auto,
    /// Zero: every value is 0 at first.
    Zero,
    /// N(0, 1/√(D+1)), as reward heads start.
    Normal,
    /// N(0, 1/(D+1)), OpenRLHF's fresh heads.
    Small,
}

/// The critic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Value {
    /// Kind.
    pub kind: ValueKind,
    /// Folder of a separate critic's first weights; empty means the reward model.
    pub init: String,
    /// First weights of the head.
    pub head: ValueHead,
    /// Learning rate of a separate critic as a multiple of the policy's.
    pub lr_ratio: f64,
}

impl Default for Value {
    fn default() -> Self {
        Value { kind: ValueKind::default(), init: String::new(), head: ValueHead::default(), lr_ratio: 1.0 }
    }
}

/// The prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromptData {
    /// Where the prompts are.
    pub sources: Vec<Source>,
    /// Prompts to evaluate on; where none are given, `eval.valid_fraction` of the sources is held out.
    pub heldout: Vec<Source>,
    /// How a prompt becomes text; the SFT model's own template.
    pub template: Template,
    /// Longest prompt in tokens; longer ones go to the quarantine. 0 means context minus response: the shortest context of policy, separate critic, and the
    /// reward models that read the policy's tokens as they are.
    pub max_length: usize,
    /// Use each distinct prompt once an epoch, however often the sources repeat it.
    pub deduplicate: bool,
    /// Bad rows allowed.
    pub quarantine: Quarantine,
}

impl Default for PromptData {
    fn default() -> Self {
        PromptData {
            sources: vec![],
            heldout: vec![],
            template: Template::default(),
            max_length: 0,
            deduplicate: true,
            quarantine: Quarantine::default(),
        }
    }
}

/// Sampling of episodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// Rounds of sampling and learning.
    pub rounds: u64,
    /// Episodes (prompt and sampled response) a round.
    pub episodes: usize,
    /// Longest response in tokens, the end token included.
    pub max_new_tokens: usize,
    /// Sampling temperature; log-probabilities of policy and reference are taken at this temperature too.
    pub temperature: f64,
    /// Sequences that go through a model at once when sampling and scoring; 0 means all.
    pub batch: usize,
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout { rounds: 100, episodes: 64, max_new_tokens: 48, temperature: 1.0, batch: 0 }
    }
}

/// What happens to the score of a response that never ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MissingEos {
    /// `missing_eos_value` is subtracted from the score (TRL).
    #[default]
    Subtract,
    /// The score becomes minus `missing_eos_value` (OpenAI 2019, summarize-from-feedback).
    Replace,
    /// Nothing.
    Keep,
}

/// Where the score, and with it the last value, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScorePosition {
    /// On the last token of the response (OpenRLHF); with `after_end = "keep"` that is the last fixed slot (OpenAI 2019).
    #[default]
    LastToken,
    /// One position after the end token (summarize-from-feedback, TRL): the critic also values the finished text, from the very state that the
    /// reward model reads, and learns it without discount. Responses without an end token have it on their last token.
    AfterEnd,
}

/// What follows an end token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AfterEnd {
    /// Nothing: the response ends there.
    #[default]
    Stop,
    /// Sampling goes on to `max_new_tokens`, and PPO learns from all tokens; the reward model and people read up to the end token (OpenAI 2019).
    Keep,
}

/// Episodes that are whitened together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhitenScope {
    /// Those of the round.
    #[default]
    Round,
    /// Those of an optimiser step (OpenAI 2019).
    Minibatch,
}

/// Divisor of a variance of n values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Variance {
    /// n − 1 (TRL, verl).
    #[default]
    Unbiased,
    /// n (OpenAI 2019, summarize-from-feedback, OpenRLHF).
    Biased,
}

/// Estimator of the per-token KL that is taken off the reward (Schulman, "Approximating KL divergence").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KlEstimator {
    /// log π − log π_ref: unbiased, may be negative.
    #[default]
    K1,
    /// ½ (log π − log π_ref)².
    K2,
    /// π_ref/π − 1 + log π − log π_ref: unbiased, never negative.
    K3,
}

/// The PPO objective (arXiv 1707.06347, 1909.08593).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// Passes over a round's episodes.
    pub epochs: usize,
    /// Optimiser steps a pass; must divide `rollout.episodes`.
    pub minibatches: usize,
    /// Episodes at a time through the model while learning; must divide a minibatch. 0 means the minibatch.
    pub micro_batch: usize,
    /// Keep only each block's input for the backward pass and work the rest out again: the same gradients, less memory, a third more work.
    pub activation_checkpointing: bool,
    /// Clip range ε of the probability ratio.
    pub clip: f64,
    /// ε above 1, where it differs (0.28 in NeMo-RL, "clip-higher"); 0 means `clip`.
    pub clip_high: f64,
    /// Dual clipping: with a negative advantage a ratio counts at most so many times (3 in verl, above 1); 0 is off.
    pub dual_clip: f64,
    /// Clip range of the value around its old one; 0 switches it off.
    pub value_clip: f64,
    /// Weight of the value loss (which has its own factor ½).
    pub value_coef: f64,
    /// Weight of the entropy bonus.
    pub entropy_coef: f64,
    /// Discount γ.
    pub gamma: f64,
    /// GAE's λ.
    pub lambda: f64,
    /// KL coefficient β, the first one when adaptive.
    pub kl_coef: f64,
    /// Target of the adaptive controller, in nats a response; 0 keeps β fixed.
    pub kl_target: f64,
    /// Horizon of the adaptive controller, in episodes; above a fifth of `rollout.episodes`, or a round could take β to 0.
    pub kl_horizon: f64,
    /// Estimator of the per-token KL.
    pub kl_estimator: KlEstimator,
    /// log π − log π_ref of a token is cut to ±this before the estimator (20 in verl); 0 leaves it.
    pub kl_difference_clamp: f64,
    /// The estimate of a token is cut to ±this (10 in verl and OpenRLHF); 0 leaves it.
    pub kl_clamp: f64,
    /// Rule for responses without an end token.
    pub missing_eos: MissingEos,
    /// Its value.
    pub missing_eos_value: f64,
    /// Tokens after an end token.
    pub after_end: AfterEnd,
    /// Where the score stands.
    pub score_position: ScorePosition,
    /// Scale per-token rewards to unit variance (the mean stays).
    pub whiten_rewards: bool,
    /// Shift and scale advantages to zero mean and unit variance.
    pub whiten_advantages: bool,
    /// Over which episodes.
    pub whiten_scope: WhitenScope,
    /// With which variance.
    pub whiten_variance: Variance,
    /// Stop a round's passes once approxkl exceeds this; 0 never stops.
    pub target_approxkl: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Objective {
            epochs: 1,
            minibatches: 8,
            micro_batch: 0,
            activation_checkpointing: false,
            clip: 0.2,
            clip_high: 0.0,
            dual_clip: 0.0,
            value_clip: 0.2,
            value_coef: 0.1,
            entropy_coef: 0.0,
            gamma: 1.0,
            lambda: 0.95,
            kl_coef: 0.05,
            kl_target: 0.0,
            kl_horizon: 10_000.0,
            kl_estimator: KlEstimator::default(),
            kl_difference_clamp: 0.0,
            kl_clamp: 0.0,
            missing_eos: MissingEos::default(),
            missing_eos_value: 1.0,
            after_end: AfterEnd::default(),
            score_position: ScorePosition::default(),
            whiten_rewards: false,
            whiten_advantages: true,
            whiten_scope: WhitenScope::default(),
            whiten_variance: Variance::default(),
            target_approxkl: 0.0,
        }
    }
}

/// PPO-ptx: next-token loss on pre-training text, added to each policy step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ptx {
    /// Weight γ of the next-token loss; 0 is off.
    pub coef: f64,
    /// Sequences an optimiser step.
    pub batch: usize,
    /// Tokens a sequence; at most the policy's context.
    pub length: usize,
    /// The text (shards are shared with pre-training).
    pub data: TextData,
}

impl Default for Ptx {
    fn default() -> Self {
        Ptx { coef: 0.0, batch: 8, length: 64, data: TextData::default() }
    }
}
