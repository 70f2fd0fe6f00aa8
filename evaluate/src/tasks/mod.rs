//! Tasks scored by likelihood, without training: zero-shot (GPT-2, 2019) and with K examples in the prompt (GPT-3, arXiv 2005.14165).
//!
//! Figures are those of lm-evaluation-harness, so that they can be compared: `acc` by the summed log-likelihood, `acc_norm` by that sum divided by the choice's
//! characters, perplexities over all documents together. Intervals are at 95%.

mod page;

pub use page::page;

use crate::likelihood::{self, Likelihood, Request};
use crate::metrics::classes;
use crate::stats::{bootstrap_ratio, wilson};
use data::config::TaskKind;
use data::error::DataError;
use data::tasks::{Item, Task};
use data::tokenizer::Tokenizer;
use model::{Model, ModelError};
use serde::Serialize;

/// Seed of the bootstrap: the same items give the same interval.
const SEED: u64 = 1;

/// Why a task cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The rows, the templates or the tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// How examples come into the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shots {
    /// Examples in each prompt.
    pub count: usize,
    /// So many draws of examples for each item, each scored.
    pub draws: u64,
    /// Seed of the first draw; the next has the next number.
    pub seed: u64,
}

/// A figure with its interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Name, as in lm-evaluation-harness.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// Its interval: Wilson's for a share of single items, else the bootstrap over items.
    pub ci: Option<[f64; 2]>,
}

/// What a task gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The task.
    pub task: String,
    /// Examples in each prompt.
    pub shots: usize,
    /// Draws of examples for each item.
    pub draws: u64,
    /// Items scored.
    pub items: usize,
    /// The figures.
    pub metrics: Vec<Metric>,
    /// For choices: accuracy of guessing, and of always naming the place that is right most often.
    pub chance: Option<f64>,
    /// See `chance`.
    pub majority: Option<f64>,
    /// Contexts that lost their first tokens, because the model's context is shorter.
    pub cut: usize,
    /// Every item as it was scored.
    #[serde(skip)]
    pub rows: Vec<Scored>,
}

/// An item as it was scored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    /// Place of the item in the task.
    pub item: usize,
    /// Which draw of examples.
    pub draw: u64,
    /// Summed log-likelihood of each continuation in nats; of a document as a whole.
    pub log_probs: Vec<f64>,
    /// Which continuations the model would have written greedily.
    pub greedy: Vec<bool>,
    /// Characters of each choice, words of a document.
    #[serde(skip)]
    units: Vec<f64>,
    /// UTF-8 bytes of a document.
    #[serde(skip)]
    bytes: f64,
    /// The right choice.
    pub right: usize,
    /// The likeliest choice.
    pub chosen: usize,
}

/// Scores all items of a task. `done` hears (requests scored, requests in all).
pub fn run(
    model: &Model,
    tokenizer: &Tokenizer,
    task: &Task,
    shots: Shots,
    done: &mut dyn FnMut(usize, usize),
) -> Result<Outcome, TaskError> {
    let room = model.config().context;
    let draws = if shots.count == 0 { 1 } else { shots.draws.max(1) };
    let mut requests: Vec<Request> = Vec::new();
    let mut owners = Vec::new(); // (item, draw) of each request
    for i in 0..task.items.len() {
        for draw in 0..draws {
            let made = match task.config.kind {
                TaskKind::Perplexity => likelihood::rolling(tokenizer, &task.items[i].target, room)?,
                _ => {
                    let context = task.context(i, shots.count, shots.seed.wrapping_add(draw))?;
                    vec![likelihood::request(tokenizer, &context, &task.continuations(i))?]
                }
            };
            owners.extend(made.iter().map(|_| (i, draw)));
            requests.extend(made);
        }
    }
    let longest = |r: &Request| r.context.len() + r.continuations.iter().map(Vec::len).max().unwrap_or(0);
    let cut = requests.iter().filter(|r| longest(r) > room + 1).count();
    let all = requests.len();
    let found = likelihood::likelihoods(model, &requests, &mut |n| done(n, all))?;
    let mut rows: Vec<Scored> = Vec::new();
    for ((item, draw), likelihoods) in owners.into_iter().zip(found) {
        match rows.last_mut() {
            // Another window of the same document.
            Some(last) if (last.item, last.draw) == (item, draw) => last.log_probs[0] += likelihoods[0].log_prob,
            _ => rows.push(Scored::new(item, draw, &task.items[item], task.config.kind, &likelihoods)),
        }
    }
    let metrics = match task.config.kind {
        TaskKind::Perplexity => of_documents(&rows),
        TaskKind::Cloze => of_words(&rows, task.items.len()),
        TaskKind::Choice => {
            let names = &task.items[0].choices;
            let classes = task.items.iter().all(|item| item.choices == *names);
            [of_choices(&rows, task.items.len()), if classes { of_classes(&rows, names) } else { vec![] }].concat()
        }
    };
    let choices = task.config.kind == TaskKind::Choice;
    Ok(Outcome {
        task: task.name.clone(),
        shots: shots.count,
        draws,
        items: task.items.len(),
        metrics,
        chance: choices.then(|| task.items.iter().map(|i| 1.0 / i.choices.len() as f64).sum::<f64>() / task.items.len() as f64),
        majority: choices.then(|| majority(&task.items)),
        cut,
        rows,
    })
}

impl Scored {
    fn new(item: usize, draw: u64, of: &Item, kind: TaskKind, likelihoods: &[Likelihood]) -> Scored {
        let log_probs: Vec<f64> = likelihoods.iter().map(|l| l.log_prob).collect();
        let (units, bytes) = match kind {
            TaskKind::Choice => (of.choices.iter().map(|c| c.chars().count() as f64).collect(), 0.0),
            TaskKind::Cloze => (vec![], 0.0),
            TaskKind::Perplexity => (vec![words(&of.target) as f64], of.target.len() as f64),
        };
        let greedy = likelihoods.iter().map(|l| l.greedy).collect();
        Scored { item, draw, chosen: first_best(&log_probs), log_probs, greedy, units, bytes, right: of.right }
    }
}

/// Pieces that runs of blanks leave, as Python's `re.split(r"\s+", text)` counts them: a blank at an end makes an empty one.
fn words(text: &str) -> usize {
    let blank = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    let runs = text.chars().fold((0, false), |(runs, inside), c| (runs + usize::from(blank(c) && !inside), blank(c))).0;
    runs + 1
}

/// The first of the greatest.
fn first_best(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// How often the place that is right most often is right.
fn majority(items: &[Item]) -> f64 {
    let places = items.iter().map(|i| i.right).max().unwrap_or(0) + 1;
    let count = |place| items.iter().filter(|i| i.right == place).count();
    (0..places).map(count).max().unwrap_or(0) as f64 / items.len() as f64
}

/// A share of rows, several of which may be of one item.
fn share(name: &'static str, rows: &[Scored], items: usize, hit: impl Fn(&Scored) -> bool) -> Metric {
    let mut groups = vec![(0.0, 0.0); items];
    for row in rows {
        groups[row.item].0 += f64::from(u8::from(hit(row)));
        groups[row.item].1 += 1.0;
    }
    let hits: f64 = groups.iter().map(|g| g.0).sum();
    let ci = if rows.len() == items { wilson(hits, items as u64) } else { bootstrap_ratio(&groups, SEED) };
    Metric { name, value: hits / rows.len() as f64, ci }
}

fn of_choices(rows: &[Scored], items: usize) -> Vec<Metric> {
    let by_length = |row: &Scored| {
        let each: Vec<f64> = row.log_probs.iter().zip(&row.units).map(|(l, n)| l / n).collect();
        first_best(&each) == row.right
    };
    vec![share("acc", rows, items, |row| row.chosen == row.right), share("acc_norm", rows, items, by_length)]
}

/// Choices that all items share are classes: mean F1 and Matthews' correlation, by the summed likelihood.
fn of_classes(rows: &[Scored], names: &[String]) -> Vec<Metric> {
    let found = classes(rows.iter().map(|row| (names[row.chosen].as_str(), names[row.right].as_str())));
    let metric = |name, value| Metric { name, value, ci: None };
    found.map(|c| vec![metric("macro_f1", c.macro_f1), metric("mcc", c.matthews)]).unwrap_or_default()
}

fn of_words(rows: &[Scored], items: usize) -> Vec<Metric> {
    let mut groups = vec![(0.0, 0.0); items];
    for row in rows {
        groups[row.item].0 -= row.log_probs[0];
        groups[row.item].1 += 1.0;
    }
    vec![ratio("perplexity", &groups, f64::exp), share("acc", rows, items, |row| row.greedy[0])]
}

fn of_documents(rows: &[Scored]) -> Vec<Metric> {
    let by = |units: &dyn Fn(&Scored) -> f64| rows.iter().map(|row| (-row.log_probs[0], units(row))).collect::<Vec<_>>();
    let bytes = by(&|row| row.bytes);
    vec![
        ratio("word_perplexity", &by(&|row| row.units[0]), f64::exp),
        ratio("byte_perplexity", &bytes, f64::exp),
        ratio("bits_per_byte", &bytes, |nats| nats / std::f64::consts::LN_2),
    ]
}

/// A growing function of Σ a / Σ b.
fn ratio(name: &'static str, groups: &[(f64, f64)], of: impl Fn(f64) -> f64) -> Metric {
    let (a, b) = groups.iter().fold((0.0, 0.0), |sum, g| (sum.0 + g.0, sum.1 + g.1));
    Metric { name, value: of(a / b), ci: bootstrap_ratio(groups, SEED).map(|ci| ci.map(of)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_python_splits_them() {
        // len(re.split(r"\s+", text))
        for (text, n) in [("", 1), ("a", 1), ("a b", 2), (" a  b\n", 4), ("a\u{3000}b\x1cc", 3), ("\n", 2)] {
            assert_eq!(words(text), n, "{text:?}");
        }
    }

    #[test]
    fn ties_go_to_the_first_and_several_draws_are_one_item() {
        assert_eq!(first_best(&[-2.0, -1.0, -1.0]), 1);
        let row = |item, draw, chosen| Scored {
            item,
            draw,
            log_probs: vec![-1.0, -2.0],
            greedy: vec![],
            units: vec![1.0, 4.0],
            bytes: 0.0,
            right: 0,
            chosen,
        };
        let once: Vec<Scored> = (0..40).map(|i| row(i, 0, i % 2)).collect();
        let metrics = of_choices(&once, 40);
        assert_eq!((metrics[0].value, metrics[0].ci), (0.5, wilson(20.0, 40)));
        assert_eq!(metrics[1].value, 0.0, "-1 a character against -0.5");
        let classes = of_classes(&once, &["no".into(), "yes".into()]);
        assert!((classes[0].value - 1.0 / 3.0).abs() < 1e-12, "the mean of 2·20/(20 + 40) and 0");
        assert_eq!((classes[1].name, classes[1].value), ("mcc", 0.0));
        let four: Vec<Scored> = (0..160).map(|i| row(i / 4, i as u64 % 4, i / 4 % 2)).collect();
        let [lo, hi] = of_choices(&four, 40)[0].ci.unwrap();
        assert!(hi - lo > 0.2, "four draws of an item say no more than one here: {lo} {hi}");
    }
}
