//! The reward models of a run: a score for a prompt and an answer.
//!
//! A reward model reads what it was trained on (see [`RewardModel`]). Only where its tokens, template and (absent) prefix are the policy's too do the
//! sampled ids pass as they are.

use crate::batch::Episode;
use crate::setup::Place;
use anyhow::{Result, ensure};
use data::chat::ChatTemplate;
use data::config::RewardSource;
use data::inputs::Inputs;
use data::prompts::Prompt;
use data::tokenizer::Tokenizer;
use dist::World;
use evaluate::RewardModel;
use evaluate::reward_tokens::TokenRewards;
use model::Model;
use std::path::Path;

/// One reward model and its share in the reward.
#[derive(Debug)]
struct Judge {
    model: RewardModel,
    weight: f64,
    /// Reads the policy's tokens as they are.
    shares_ids: bool,
}

/// What the reward models say of some answers.
#[derive(Debug, Clone)]
pub struct Scores {
    /// The weighted sum of their scores, in the order of the answers.
    pub scores: Vec<f32>,
    /// Answers whose beginning alone was read: in a reward model's own tokens they are longer than its context.
    pub cut: usize,
}

/// All reward models of a run; their weighted scores are added.
#[derive(Debug)]
pub struct Judges {
    judges: Vec<Judge>,
    batch: usize,
}

impl Judges {
    /// Loads the reward models. Tokenizer and template are the policy's, `batch` the rows at a time.
    pub fn load(config: &RewardSource, policy: (&Tokenizer, &ChatTemplate), batch: usize, place: Place) -> Result<Judges> {
        let first = (config.model.as_str(), config.weight);
        let all = std::iter::once(first).chain(config.more.iter().map(|m| (m.model.as_str(), m.weight)));
        let load = |(path, weight): (&str, f64)| -> Result<Judge> {
            let model = RewardModel::load(Path::new(path), place.device, place.compute)?;
            let shares_ids = model.shares_ids(policy.0, policy.1);
            Ok(Judge { model, weight, shares_ids })
        };
        Ok(Judges { judges: all.map(load).collect::<Result<_>>()?, batch })
    }

    /// The model of `reward.model`.
    pub fn first(&self) -> Option<&Model> {
        self.judges.first().map(|judge| judge.model.model())
    }

    /// Adds how each reads a text to what the run reads; their weights are recorded as the run's parents.
    pub fn record(&self, inputs: Inputs) -> Inputs {
        self.judges.iter().fold(inputs, |all, judge| all.folder("reward.reading", judge.model.path(), judge.model.reading()))
    }

    /// The shortest context of those that read the policy's tokens as they are; `None` where none does.
    pub fn context(&self) -> Option<usize> {
        self.judges.iter().filter(|judge| judge.shares_ids).map(|judge| judge.model.context()).min()
    }

    /// Checks that those that read prompts in tokens of their own have room for each of these with an answer of `answer` tokens.
    pub fn check<'a>(&self, prompts: impl Iterator<Item = &'a Prompt> + Clone, answer: usize) -> Result<()> {
        for judge in self.judges.iter().filter(|judge| !judge.shares_ids) {
            let mut longest = 0;
            for prompt in prompts.clone() {
                longest = longest.max(judge.model.asked(&prompt.turns)?.len());
            }
            let (path, context) = (judge.model.path().display(), judge.model.context());
            ensure!(
                longest + answer <= context,
                "reward model {path}: it reads up to {longest} tokens of a prompt and {answer} of an answer, more than its context of {context}: \
                 lower data.max_length or rollout.max_new_tokens"
            );
        }
        Ok(())
    }

    /// Scores `[B]` of the episodes.
    pub fn score(&self, episodes: &[Episode], policy: &Tokenizer) -> Result<Scores> {
        self.score_some(&episodes.iter().collect::<Vec<_>>(), policy)
    }

    /// The same, each rank a share of them; all ranks get all scores.
    pub fn score_shared(&self, episodes: &[Episode], policy: &Tokenizer, world: &World) -> Result<Scores> {
        let mine: Vec<(usize, &Episode)> = world.share(episodes).map(|(i, e, _)| (i, e)).collect();
        let found = self.score_some(&mine.iter().map(|(_, e)| *e).collect::<Vec<_>>(), policy)?;
        let mut numbers = vec![0f64; episodes.len() + 1];
        mine.iter().zip(found.scores).for_each(|((i, _), score)| numbers[*i] = f64::from(score));
        numbers[episodes.len()] = found.cut as f64;
        world.sum_all(&mut numbers)?; // each score is one rank's, and 0 of the others
        let cut = numbers.pop().unwrap_or_default() as usize;
        Ok(Scores { scores: numbers.into_iter().map(|s| s as f32).collect(), cut })
    }

    /// The reward of the first judge after each of the tokens that it scores an answer by.
    pub fn token_rewards(&self, who: &str, e: &Episode, policy: &Tokenizer) -> Result<Option<TokenRewards>> {
        self.judges.first().map(|judge| judge.token_rewards(who, e, policy)).transpose()
    }

    fn score_some(&self, episodes: &[&Episode], policy: &Tokenizer) -> Result<Scores> {
        let mut scores = vec![0f32; episodes.len()];
        let mut cut = vec![false; episodes.len()];
        for judge in &self.judges {
            let mut rows = Vec::with_capacity(episodes.len());
            for (e, cut) in episodes.iter().zip(&mut cut) {
                let (row, was_cut) = judge.row(e, policy)?;
                *cut |= was_cut;
                rows.push(row);
            }
            for (sum, score) in scores.iter_mut().zip(judge.model.score(&rows, self.batch.max(1), &|_| {})?) {
                *sum += judge.weight as f32 * score;
            }
        }
        Ok(Scores { scores, cut: cut.into_iter().filter(|&cut| cut).count() })
    }
}

impl Judge {
    fn token_rewards(&self, who: &str, e: &Episode, policy: &Tokenizer) -> Result<TokenRewards> {
        let (ids, _) = self.row(e, policy)?;
        let asked = if self.shares_ids { e.prompt.len() } else { self.model.asked(&e.turns)?.len() };
        Ok(self.model.token_rewards_of(who, &e.turns, &ids, asked)?)
    }

    /// The tokens that this judge reads: the policy's own, or prompt and answer encoded again as in its training. A special token that the policy
    /// put inside its answer is read as its characters; an answer that did not end has no end token here either. What does not fit into the context
    /// is cut off (`true`): no setting rules that out, since an answer of bytes that are no text is longer in other tokens than in the policy's.
    fn row(&self, e: &Episode, policy: &Tokenizer) -> Result<(Vec<u32>, bool)> {
        if self.shares_ids {
            return Ok((e.prompt.iter().chain(e.answer()).copied().collect(), false)); // `Judges::context` has made room
        }
        let answer = e.answer();
        let answer = policy.decode(&answer[..answer.len() - usize::from(e.finished)], false)?;
        let mut ids = self.model.row(&e.turns, &answer, e.finished)?;
        let cut = ids.len() > self.model.context();
        ids.truncate(self.model.context());
        Ok((ids, cut))
    }
}
