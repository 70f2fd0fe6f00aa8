//! What reward models say of the answers drawn.

use super::draw::Answer;
use anyhow::Result;
use data::prompts::Conversation;
use evaluate::RewardModel;
use indicatif::ProgressBar;
use label::choose::Scores;
use label::exit::input;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// Loads a reward model, whose products are in float32.
pub fn load(path: &Path, device: Device) -> Result<RewardModel> {
    Ok(RewardModel::load(path, device, Kind::Float)?)
}

/// Scores of all answers by all models, each model in its own tokens, template and prefix, one after the other in memory. Every answer is read with an
/// end token, as in the rankings that reward models learn from, also one that was cut short. An answer that does not fit beside its prompt into the context of one of them is taken out of `answers`; how many were is returned with the scores, one entry a prompt.
pub fn score(
    models: &[PathBuf],
    prompts: &[Conversation],
    answers: &mut [Vec<Answer>],
    batch: usize,
    device: Device,
    bar: &ProgressBar,
) -> Result<(Vec<Scores>, u64)> {
    let mut scores: Vec<Scores> = vec![vec![]; prompts.len()];
    let mut fits: Vec<Vec<bool>> = answers.iter().map(|a| vec![true; a.len()]).collect();
    for path in models {
        bar.set_message(format!("scoring with {}", path.display()));
        let model = load(path, device)?;
        let (mut rows, mut at) = (Vec::new(), Vec::new());
        for (p, (prompt, answers)) in prompts.iter().zip(answers.iter()).enumerate() {
            for (i, answer) in answers.iter().enumerate() {
                let row = model.row(&prompt.turns, &answer.text, true)?;
                if row.len() > model.context() {
                    fits[p][i] = false;
                } else {
                    rows.push(row);
                    at.push((p, i));
                }
            }
        }
        if rows.is_empty() && answers.iter().any(|a| !a.is_empty()) {
            return Err(input(format!(
                "{}: not one answer fits with its prompt into this reward model's context of {} tokens: lower --max-new",
                path.display(),
                model.context()
            )));
        }
        let found = model.score(&rows, batch, &|n| bar.inc(n as u64))?;
        // Answers that did not fit keep a NaN until they are taken out below.
        for (list, answers) in scores.iter_mut().zip(answers.iter()) {
            list.push(vec![f32::NAN; answers.len()]);
        }
        for ((p, i), score) in at.into_iter().zip(found) {
            if let Some(last) = scores[p].last_mut() {
                last[i] = score;
            }
        }
    }
    let left_out = fits.iter().flatten().filter(|fits| !**fits).count() as u64;
    for (p, fits) in fits.iter().enumerate() {
        keep(&mut answers[p], fits);
        scores[p].iter_mut().for_each(|list| keep(list, fits));
    }
    Ok((scores, left_out))
}

fn keep<T>(list: &mut Vec<T>, fits: &[bool]) {
    let mut fits = fits.iter();
    list.retain(|_| *fits.next().unwrap_or(&true));
}

/// Mean over the models of answer `i`'s score.
pub fn mean(scores: &Scores, i: usize) -> f32 {
    let sum: f64 = scores.iter().map(|s| f64::from(s[i])).sum();
    (sum / scores.len().max(1) as f64) as f32
}
