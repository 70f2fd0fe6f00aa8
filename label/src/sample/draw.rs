//! Drawing answers: several models, several answers a prompt, each text once.

use crate::exit::input;
use anyhow::{Context, Result};
use data::chat::{ChatTemplate, Message};
use data::config::Template;
use data::prompts::{Complaint, Conversation};
use data::quarantine::Reason;
use data::tokenizer::Tokenizer;
use indicatif::ProgressBar;
use model::{Generation, HeadKind, Model, Sampling, generate_rows};
use std::path::{Path, PathBuf};
use tch::Device;

/// A language model that writes answers. Its weights are in memory only while it writes.
#[derive(Debug)]
pub struct Writer {
    /// The name in `authors`.
    pub label: String,
    folder: PathBuf,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    context: usize,
}

/// An answer as a labeller will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text without special tokens and outer blanks.
    pub text: String,
    /// Label of the model that wrote it; empty where nobody knows.
    pub author: String,
}

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Answers a prompt, of all models together.
    pub draw: usize,
    /// Tokens an answer at most, the end token included.
    pub max_new: usize,
    /// Logits are divided by it.
    pub temperature: f64,
    /// Share of the probability that is sampled from.
    pub top_p: f64,
    /// Seed.
    pub seed: u64,
    /// Rows at a time.
    pub batch: usize,
    /// How often a place whose answer was empty or a duplicate is drawn again.
    pub redraws: u64,
}

/// What became of all that was drawn: `drawn` = kept answers + `empty` + `duplicates`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers drawn, redraws included.
    pub drawn: u64,
    /// Of them without a visible character.
    pub empty: u64,
    /// Of them equal to an answer that the prompt had already.
    pub duplicates: u64,
    /// Kept answers that were cut at `max_new` tokens.
    pub unfinished: u64,
    /// Places that stayed empty after all redraws.
    pub missing: u64,
}

impl Writer {
    /// Reads the folder's tokenizer and template, and sees that its weights are those of a language model.
    pub fn open(path: &Path, label: String, template: Option<Template>, device: Device) -> Result<Writer> {
        let folder = model::resolve(path)?;
        let named = || format!("model {}", path.display());
        let tokenizer = Tokenizer::load(&folder).with_context(named)?;
        let own = if tokenizer.chat_template().is_some() { Template::Model } else { Template::Plain };
        let template = ChatTemplate::new(template.unwrap_or(own), &folder).with_context(named)?;
        template.check(&tokenizer).with_context(named)?;
        let model = Model::load(&folder, device).with_context(named)?;
        if model.head() != HeadKind::Lm {
            return Err(input(format!("{}: a reward model, which scores and does not write: give it to --reward", path.display())));
        }
        Ok(Writer { label, folder, tokenizer, template, context: model.config().context })
    }

    /// Tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What speaks against asking this model, beside `max_new` tokens of answer.
    pub fn complaint(&self, turns: &[Message], max_new: usize) -> Result<Complaint, data::error::DataError> {
        let ids = match self.template.encode_turns(&self.tokenizer, turns) {
            Ok(ids) => ids,
            Err(data::error::DataError::Template { detail, .. }) => return Ok(Some((Reason::BadChat, detail))),
            Err(other) => return Err(other),
        };
        let room = self.context.saturating_sub(max_new);
        let why = || format!("{} tokens for model {}; beside an answer of {max_new} at most {room} fit", ids.len(), self.label);
        Ok((ids.len() > room).then(|| (Reason::TooLong, why())))
    }

    /// One answer to each prompt: text, and whether it ended.
    fn write(&self, model: &Model, ids: &[Vec<u32>], seed: u64, plan: &Plan, bar: &ProgressBar) -> Result<Vec<(String, bool)>> {
        let sampling = Sampling {
            max_new: plan.max_new,
            temperature: plan.temperature,
            top_p: plan.top_p,
            stop: self.template.stop_ids(&self.tokenizer),
            seed,
            batch: plan.batch.max(1),
            ..Sampling::default()
        };
        let rows: Vec<u64> = (0..ids.len() as u64).collect();
        let text = |answer: Generation| -> Result<(String, bool)> {
            let ids = &answer.ids[..answer.ids.len() - usize::from(answer.finished)];
            Ok((self.tokenizer.decode(ids, true)?.trim().to_string(), answer.finished))
        };
        generate_rows(model, ids, &rows, &sampling, |_| bar.inc(1))?.into_iter().map(text).collect()
    }
}

/// Which model writes answer number `place` to prompt number `prompt`: they take turns, and another begins with each prompt, so that none is
/// favoured where their number does not divide that of the answers.
fn author(place: usize, prompt: usize, writers: usize) -> usize {
    (place + prompt) % writers
}

/// The answers to each prompt, distinct and in the order of their places.
pub fn draw(
    writers: &[Writer],
    prompts: &[Conversation],
    plan: &Plan,
    device: Device,
    bar: &ProgressBar,
) -> Result<(Vec<Vec<Answer>>, Tally)> {
    let mut tally = Tally::default();
    let mut places: Vec<Vec<Option<Answer>>> = vec![vec![None; plan.draw]; prompts.len()];
    for (number, writer) in writers.iter().enumerate() {
        bar.set_message(format!("drawing from {}", writer.label));
        let mut open: Vec<(usize, usize)> = (0..prompts.len())
            .flat_map(|p| (0..plan.draw).map(move |place| (p, place)))
            .filter(|&(p, place)| author(place, p, writers.len()) == number)
            .collect();
        if open.is_empty() {
            continue;
        }
        let model = Model::load(&writer.folder, device)?;
        model.freeze();
        for round in 0..=plan.redraws {
            bar.inc_length(if round == 0 { 0 } else { open.len() as u64 });
            let ids = open.iter().map(|&(p, _)| Ok(writer.template.encode_turns(&writer.tokenizer, &prompts[p].turns)?));
            let ids = ids.collect::<Result<Vec<_>>>()?;
            let texts = writer.write(&model, &ids, super::mix(plan.seed, &[number as u64, round]), plan, bar)?;
            tally.drawn += texts.len() as u64;
            let mut again = Vec::new();
            for (&(p, place), (text, finished)) in open.iter().zip(texts) {
                if text.is_empty() {
                    tally.empty += 1;
                    again.push((p, place));
                } else if places[p].iter().flatten().any(|other| other.text == text) {
                    tally.duplicates += 1;
                    again.push((p, place));
                } else {
                    tally.unfinished += u64::from(!finished);
                    places[p][place] = Some(Answer { text, author: writer.label.clone() });
                }
            }
            open = again;
            if open.is_empty() {
                break;
            }
        }
        tally.missing += open.len() as u64;
    }
    Ok((places.into_iter().map(|row| row.into_iter().flatten().collect()).collect(), tally))
}

/// A label for each folder: its own name, that of the run where it is a run's `model`, or the path as it was given where two would be alike.
pub fn labels(paths: &[PathBuf]) -> Result<Vec<String>> {
    let short = |path: &Path| -> String {
        let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match name(&full) {
            model if model == "model" => full.parent().map(name).filter(|n| !n.is_empty()).unwrap_or(model),
            name => name,
        }
    };
    let names: Vec<String> = paths.iter().map(|p| short(p)).collect();
    let alike = |name: &String| names.iter().filter(|n| *n == name).count() > 1;
    let labels: Vec<String> =
        paths.iter().zip(&names).map(|(p, name)| if alike(name) { p.display().to_string() } else { name.clone() }).collect();
    match labels.iter().enumerate().find(|(i, label)| labels[..*i].contains(label)) {
        Some((_, twice)) => Err(input(format!("--model {twice} is given twice"))),
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_take_turns_and_none_is_favoured() {
        let of = |prompt| (0..4).map(|place| author(place, prompt, 3)).collect::<Vec<_>>();
        assert_eq!((of(0), of(1)), (vec![0, 1, 2, 0], vec![1, 2, 0, 1]));
        let mut counts = [0; 3];
        (0..30).flat_map(of).for_each(|a| counts[a] += 1);
        assert_eq!(counts, [40; 3]);
    }

    #[test]
    fn labels_are_folder_names_until_they_collide() {
        let of = |paths: &[&str]| labels(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["runs/demo/sft", "runs/demo/ppo/model"]).unwrap(), ["sft", "ppo"]);
        assert_eq!(of(&["a/sft", "b/sft", "b/ppo"]).unwrap(), ["a/sft", "b/sft", "ppo"]);
        assert!(of(&["a/sft", "a/sft"]).unwrap_err().to_string().contains("given twice"));
    }
}
