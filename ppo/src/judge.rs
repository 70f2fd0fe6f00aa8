//! The reward models: a score for a prompt and an answer.
//!
//! A reward model reads what it was trained on: the prompt with its own prefix, in its own template and tokens, and the answer's text. Only where all of
//! that is the policy's too do the sampled ids pass as they are.

use crate::batch::Episode;
use crate::setup::Place;
use anyhow::{Context, Result};
use data::chat::ChatTemplate;
use data::config::{RewardSource, Template};
use data::tokenizer::Tokenizer;
use model::Model;
use std::path::Path;
use tch::{Device, Kind, Tensor, no_grad};

/// One reward model with its tokenizer and its share in the reward.
#[derive(Debug)]
struct Judge {
    model: Model,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// Put before the prompt, as when this model was trained.
    prefix: String,
    weight: f64,
    /// Reads the policy's tokens as they are.
    shares_ids: bool,
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
        let judges = all.map(|(path, weight)| Judge::load(path, weight, policy, place)).collect::<Result<_>>()?;
        Ok(Judges { judges, batch })
    }

    /// Scores `[B]` as f32, in the order of the episodes.
    pub fn score(&self, episodes: &[Episode], policy: &Tokenizer) -> Result<Vec<f32>> {
        let mut total = vec![0f32; episodes.len()];
        for judge in &self.judges {
            let rows = episodes.iter().map(|e| judge.row(e, policy)).collect::<Result<Vec<_>>>()?;
            for (sum, score) in total.iter_mut().zip(judge.score(&rows, self.batch)?) {
                *sum += judge.weight as f32 * score;
            }
        }
        Ok(total)
    }
}

impl Judge {
    fn load(path: &str, weight: f64, (policy, policy_template): (&Tokenizer, &ChatTemplate), place: Place) -> Result<Judge> {
        let folder = model::resolve(Path::new(path))?;
        let model = Model::load(&folder, place.device).with_context(|| format!("reward model {path}"))?.with_compute(place.compute);
        anyhow::ensure!(
            model.head() == model::HeadKind::Scalar,
            "{path}: not a reward model (its config.json names no sequence classification)"
        );
        let tokenizer = Tokenizer::load(&folder)?;
        let prefix = model::lineage::read(&folder).ok().and_then(|l| l.prompt_prefix).unwrap_or_default();
        let own = if tokenizer.chat_template().is_some() { Template::Model } else { Template::Plain };
        let template = ChatTemplate::new(own, &folder)?;
        template.check(&tokenizer)?;
        let same_text = template.source() == policy_template.source() && prefix.is_empty();
        let shares_ids = tokenizer.hash() == policy.hash() && same_text;
        Ok(Judge { model, tokenizer, template, prefix, weight, shares_ids })
    }

    /// The tokens that this judge reads: the policy's own, or prompt and answer encoded again as in its training. A special token that the policy
    /// put inside its answer is read as its characters; an answer that did not end has no end token here either.
    fn row(&self, e: &Episode, policy: &Tokenizer) -> Result<Vec<u32>> {
        let ids = if self.shares_ids {
            e.prompt.iter().chain(e.answer()).copied().collect()
        } else {
            let answer = e.answer();
            let answer = policy.decode(&answer[..answer.len() - usize::from(e.finished)], false)?;
            let prompt = format!("{}{}", self.prefix, e.text);
            let (mut ids, mut response) = self.template.encode_pair(&self.tokenizer, &prompt, &answer)?;
            if !e.finished {
                let stops = self.template.stop_ids(&self.tokenizer);
                response.truncate(response.iter().rposition(|id| stops.contains(id)).unwrap_or(response.len()));
            }
            ids.extend(response);
            ids
        };
        let context = self.model.config().context;
        anyhow::ensure!(
            ids.len() <= context,
            "prompt and answer have {} tokens for a reward model of context {context}: lower data.max_length or rollout.max_new_tokens",
            ids.len()
        );
        Ok(ids)
    }

    /// Scores at the last token of each row; rows of like length go together.
    fn score(&self, rows: &[Vec<u32>], batch: usize) -> Result<Vec<f32>> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&i| rows[i].len());
        let mut scores = vec![0f32; rows.len()];
        for chunk in order.chunks(batch.max(1)) {
            let picked: Vec<&[u32]> = chunk.iter().map(|&i| rows[i].as_slice()).collect();
            let found = no_grad(|| self.model.score_last(&picked, self.tokenizer.pad()))?; // [b]
            let found = Vec::<f32>::try_from(Tensor::to_kind(&found.to_device(Device::Cpu), Kind::Float))?;
            chunk.iter().zip(found).for_each(|(&i, s)| scores[i] = s);
        }
        Ok(scores)
    }
}
