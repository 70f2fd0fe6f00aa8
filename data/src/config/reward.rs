//! Configuration of `reward`.

use super::common::{Checkpoint, Device, Distributed, Eval, Lora, Optim, Precision, Quarantine, Schedule, Source, Template, Train};
use super::preset::Preset;
use super::sft::InitModel;
use super::watch::{Alarm, Log};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SFT model and human rankings to reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardConfig {
    /// Whose choices stand where this file says nothing (docs/departures.md has the table).
    pub preset: Preset,
    /// Seed of the head, the order and dropout.
    pub seed: u64,
    /// Where the tensors live.
    pub device: Device,
    /// Precision of activations and matrix products; weights, optimiser, softmax and losses stay in float32.
    pub precision: Precision,
    /// CPU threads; 0 means as many as `OMP_NUM_THREADS` says, else the cores that Slurm gives the task, else this process's share of all cores. Where other
    /// programs compute beside it, fewer are quicker.
    pub threads: usize,
    /// The model to start from.
    pub model: InitModel,
    /// Low-rank adapters instead of all weights.
    pub lora: Lora,
    /// The rankings.
    pub data: RankingData,
    /// The objective.
    pub loss: PreferenceLoss,
    /// Moving the scores after training.
    pub centre: Centre,
    /// Optimiser.
    pub optim: Optim,
    /// Learning rate over time.
    pub schedule: Schedule,
    /// Length and batches. `batch` counts items: a prompt's answers with every judgment of them; a pair is an item of two answers.
    pub train: Train,
    /// Share (0 to 1) of the steps, the last ones, whose mean weights are the finished model; evaluations during these steps are of the mean so far, while
    /// checkpoints hold the weights themselves. 0 takes the last weights. A run that goes on with another `train.steps` keeps what is in the mean once the
    /// steps now asked for have begun; `averaged_steps` in `summary.json` says how many there were.
    pub average: f64,
    /// Evaluation.
    pub eval: Eval,
    /// Checkpoints.
    pub checkpoint: Checkpoint,
    /// Several processes.
    pub distributed: Distributed,
    /// Logs besides metrics.jsonl.
    pub log: Log,
    /// Alarms.
    pub alarm: Alarm,
}

impl Default for RewardConfig {
    fn default() -> Self {
        RewardConfig {
            preset: Preset::default(),
            seed: 1,
            device: Device::default(),
            precision: Precision::default(),
            threads: 0,
            model: InitModel::default(),
            lora: Lora::default(),
            data: RankingData::default(),
            loss: PreferenceLoss::default(),
            centre: Centre::default(),
            optim: Optim { lr: 1e-4, weight_decay: 0.01, ..Optim::default() },
            schedule: Schedule::default(),
            train: Train::default(),
            average: 0.0,
            eval: Eval { valid_fraction: 0.15, max_rows: 0, ..Eval::default() },
            checkpoint: Checkpoint::default(),
            distributed: Distributed::default(),
            log: Log::default(),
            alarm: Alarm::default(),
        }
    }
}

/// Rankings of K answers to one prompt; pairs are rankings of two.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RankingData {
    /// Where the rankings are: rows of any format, or tables of judgments as `label` and the run folders of `reward` have them, which need no column
    /// names.
    pub sources: Vec<Source>,
    /// Rankings held out, instead of a share of `sources` (`eval.valid_fraction`); nothing of their groups is trained on, and `merge_judges` leaves them
    /// as people said them.
    pub heldout: Vec<Source>,
    /// How prompt and answer become text.
    pub template: Template,
    /// Longest prompt and answer in tokens; rankings with a longer one go to the quarantine. 0 means the model's context.
    pub max_length: usize,
    /// Put before every prompt, for one model of several aspects; PPO adds it again when it asks this model.
    pub prompt_prefix: String,
    /// Average the judgments of one set of answers (by mean score) into one ranking instead of learning from each judge.
    pub merge_judges: bool,
    /// How much each judge's word counts. The training rankings alone are asked; what is held out stays as people said it. A run's `judges.jsonl` says what
    /// each judge was found to be worth.
    pub judges: Judges,
    /// Bad rows allowed.
    pub quarantine: Quarantine,
}

/// What is made of who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Judges {
    /// All judges count alike.
    #[default]
    Alike,
    /// Each ranking counts as its judge's reliability says, which is read from where several judged the same prompt (as `label stats --weigh`): 1 for a typical
    /// judgment, near 0 for clicks at random.
    Weighed,
    /// One ranking an item, with the worths that all its judges' words together give its answers as soft labels (as `label stats --fit`).
    Fitted,
}

/// Kind of preference loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PreferenceKind {
    /// Bradley-Terry on all pairs of a ranking: -log sigmoid(better - worse), averaged over the ranking's pairs.
    #[default]
    BradleyTerry,
    /// Plackett-Luce on the whole ranking, ties by Efron's average.
    PlackettLuce,
    /// Softmax cross-entropy of the best answer among all (OpenAI 2019); the order of the others does not matter.
    Best,
}

/// What to do with tied pairs under Bradley-Terry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// Leave tied pairs out.
    #[default]
    Skip,
    /// Train towards probability one half.
    Half,
}

/// What a margin is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Margin {
    /// There is none.
    #[default]
    None,
    /// The difference of the judge's own scores; rankings without scores have none, which is counted and said.
    Scores,
    /// The difference of the fitted worths, with `soft_labels = false`.
    Worth,
}

/// Form of the centring term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CentreForm {
    /// mean(score²) over the answers.
    #[default]
    Scores,
    /// mean((s_i + s_j)²) over the pairs that Bradley-Terry would compare (TRL): the middle of a pair is drawn to zero, not its scores.
    Pairs,
}

/// The reward model's objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceLoss {
    /// Kind.
    pub kind: PreferenceKind,
    /// Tied pairs, for Bradley-Terry.
    pub ties: Ties,
    /// Weight of the centring term added to the loss, which keeps scores near zero.
    pub centre_coef: f64,
    /// Its form.
    pub centre_form: CentreForm,
    /// Share of each pair's probability given to the other side (label smoothing), 0 to 0.5, for Bradley-Terry.
    pub label_smoothing: f64,
    /// Where a table of judgments has a fitted worth for the answers (`label stats --fit`), learn the probabilities that it gives (cross-entropy) and not the
    /// ranks.
    pub soft_labels: bool,
    /// By how much the better answer of a pair must score higher, for Bradley-Terry on ranks.
    pub margin: Margin,
    /// What the difference of two scores or worths is multiplied by to give the margin. Scores of 1 to 7 would want about 0.5, scores of 0 to 100 about
    /// 0.02.
    pub margin_scale: f64,
    /// Weight of the language-model loss of the answers that a judge puts first: the mean over their tokens, given the prompt, is added, times this. It keeps the
    /// states useful for more than the labels, where these are few (text regularisation by SFT, arXiv 2406.10216); 0 is without. An output matrix that is not
    /// the embedding is that of `model.init`: it is not trained and not part of the reward model.
    pub lm_weight: f64,
}

impl Default for PreferenceLoss {
    fn default() -> Self {
        PreferenceLoss {
            kind: PreferenceKind::default(),
            ties: Ties::default(),
            centre_coef: 0.0,
            centre_form: CentreForm::default(),
            label_smoothing: 0.0,
            soft_labels: true,
            margin: Margin::default(),
            margin_scale: 1.0,
            lm_weight: 0.0,
        }
    }
}

/// After training, the mean score of the SFT model's own answers is subtracted, so that 0 means "as good as SFT".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Centre {
    /// Answers sampled for it; 0 leaves the scores as they are.
    pub samples: usize,
    /// Longest such answer in tokens.
    pub max_new_tokens: usize,
    /// Divide the scores by their standard deviation over those answers too, so that they have unit variance.
    pub gain: bool,
}

impl Default for Centre {
    fn default() -> Self {
        Centre { samples: 256, max_new_tokens: 64, gain: false }
    }
}
