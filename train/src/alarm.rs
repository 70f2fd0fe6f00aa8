//! Alarms: what a watchful person would notice in the metrics, said once for each episode of trouble, with what to try.
//!
//! They read the lines of `metrics.jsonl` and nothing else, so a resumed run that reads its lines again stands where it stood. Rules look at the
//! keys they find; a stage without `objective/kl` has no KL alarm.

use crate::progress::short;
use data::config::{Alarm, Drift};
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// Figures of training and held-out data that should move together: both keys, +1 where higher is better and −1 where lower is, what it means
/// when they part, and what to try.
const PAIRS: [(&str, &str, f64, &str); 3] = [
    (
        "objective/scores",
        "eval/scores",
        1.0,
        "the policy learns the reward model's mistakes (over-optimisation, arXiv 2210.10760). Try a larger ppo.kl_coef, fewer rounds, or a \
         better reward model",
    ),
    ("loss", "eval/loss", -1.0, OVERFIT),
    ("accuracy", "eval/accuracy", 1.0, OVERFIT),
];
const OVERFIT: &str = "the model learns its training rows by heart. Try fewer steps, more data, dropout, or a lower optim.lr";

/// An alarm that has gone off.
#[derive(Debug, Clone, PartialEq)]
pub struct Raised {
    /// `not-finite`, `kl`, `entropy`, `length`, `eos` or `held-out`.
    pub kind: &'static str,
    /// What was seen, why it matters, what to try.
    pub message: String,
    /// Whether the run must stop.
    pub stop: bool,
    /// Checkpoints up to this step were written before the trouble.
    pub good_until: u64,
}

/// The rules and what they remember.
#[derive(Debug)]
pub struct Alarms {
    config: Alarm,
    drift: Option<Drift>,
    not_finite: Episode,
    /// Step of the first line of the present row of skipped steps.
    skipping_since: Option<u64>,
    kl: Track,
    entropy: Track,
    length: Track,
    eos: Track,
    pairs: [Pair; PAIRS.len()],
}

impl Alarms {
    /// The alarms of every stage.
    pub fn new(config: &Alarm) -> Alarms {
        Alarms {
            config: *config,
            drift: None,
            not_finite: Episode::default(),
            skipping_since: None,
            kl: Track::default(),
            entropy: Track::default(),
            length: Track::default(),
            eos: Track::default(),
            pairs: Default::default(),
        }
    }

    /// With those about a policy that drifts.
    pub fn with_drift(self, drift: &Drift) -> Alarms {
        Alarms { drift: Some(*drift), ..self }
    }

    /// Reads one line of the metrics; returns the alarms it sets off.
    pub fn observe(&mut self, line: &Map<String, Value>) -> Vec<Raised> {
        let Some(step) = line.get("step").and_then(Value::as_u64) else { return vec![] };
        let number = |key: &str| line.get(key).and_then(Value::as_f64);
        let mut raised = Vec::new();
        raised.extend(self.finite(step, line, &number));
        if let Some(drift) = self.drift {
            raised.extend(self.drifting(step, &drift, &number));
        }
        raised.extend(self.held_out(step, &number));
        raised
    }

    fn raise(&self, kind: &'static str, good_until: u64, step: u64, message: String) -> Raised {
        let unit = if self.drift.is_some() { "round" } else { "step" };
        Raised { kind, message: format!("{unit} {step}: {message}."), stop: self.config.stop, good_until }
    }

    /// NaN and infinity, and steps left out because of them.
    fn finite(&mut self, step: u64, line: &Map<String, Value>, number: &dyn Fn(&str) -> Option<f64>) -> Option<Raised> {
        let names: Vec<&str> = line.get("not_finite").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let in_a_row = number("skipped_in_a_row");
        if names.is_empty() && in_a_row.is_none() {
            return None; // a line that says nothing about it
        }
        if let Some(row) = in_a_row {
            self.skipping_since = if row == 0.0 { None } else { self.skipping_since.or(Some(step)) };
        }
        let in_a_row = in_a_row.unwrap_or(0.0) as u64;
        // Where a gradient was finite, the weights it was taken at were good: those of the step before the last good one.
        let good_until = self.skipping_since.unwrap_or(step).saturating_sub(2);
        let begins = self.not_finite.observe(!names.is_empty() || in_a_row > 0, self.config.window);
        let lr = number("lr").map(|lr| format!(" (now {})", short(lr))).unwrap_or_default();
        let advice = format!("Try a lower optim.lr{lr}, optim.clip_norm, a longer schedule.warmup_steps, or look for broken rows");
        if self.config.max_skipped > 0 && in_a_row >= self.config.max_skipped {
            let seen = format!("the last {in_a_row} optimiser steps were left out, because loss or gradient was NaN or infinite");
            let message = format!("{seen}; the weights will not move again by themselves. {advice}");
            return Some(Raised { stop: true, ..self.raise("not-finite", good_until, step, message) });
        }
        let seen = match names[..] {
            [] => "loss or gradient was".to_owned(),
            [one] => format!("{one} is"),
            _ => format!("{} are", names.join(" and ")),
        };
        let left_out = if in_a_row > 0 { "; the step was left out, weights and moments are untouched" } else { "" };
        let total = number("skipped_steps").filter(|n| *n > 0.0).map(|n| format!(" ({n} so far)")).unwrap_or_default();
        let message = format!(
            "{seen} NaN or infinite{left_out}{total}. Once does no harm, several in a row mean that training has diverged. {advice}"
        );
        begins.then(|| self.raise("not-finite", good_until, step, message))
    }

    /// The policy against what it was.
    fn drifting(&mut self, step: u64, limits: &Drift, number: &dyn Fn(&str) -> Option<f64>) -> Vec<Raised> {
        let window = self.config.window;
        let before = step.saturating_sub(window as u64);
        let mut found = Vec::new();
        if let Some(kl) = number("objective/kl") {
            let from = self.kl.push(kl, window);
            let above = limits.max_kl > 0.0 && kl > limits.max_kl;
            let growth = from.filter(|from| *from > 0.0).map_or(0.0, |from| kl / from);
            let grown = limits.kl_growth > 0.0 && growth > limits.kl_growth && kl > limits.max_kl / 5.0;
            if self.kl.episode.observe(above || grown, window) {
                let seen = if above {
                    format!("above drift.max_kl = {}", limits.max_kl)
                } else {
                    format!("{growth:.1} times what it was {} rounds ago", window - 1)
                };
                let coef = number("kl_coef").map(|c| format!(" (now {})", short(c))).unwrap_or_default();
                let message = format!(
                    "KL from the SFT model is {} nats a response, {seen}. The reward model knows answers like the SFT model's; far from them \
                     its scores mean little. Try a larger ppo.kl_coef{coef}, ppo.kl_target, or a lower optim.lr",
                    short(kl)
                );
                found.push(("kl", message));
            }
        }
        if let Some((first, now)) = self.entropy.compare(number("objective/entropy"), window)
            && self.entropy.episode.observe(now < limits.min_entropy * first, window)
        {
            let message = format!(
                "entropy is {} nats a token, {:.0}% of the first {}. The policy gives everyone the same answer and cannot explore. Try \
                     ppo.entropy_coef, a larger ppo.kl_coef, or a lower optim.lr",
                short(now),
                100.0 * now / first,
                short(first)
            );
            found.push(("entropy", message));
        }
        if let Some((first, now)) = self.length.compare(number("response_length"), window)
            && self.length.episode.observe(now < limits.min_length * first, window)
        {
            let message = format!(
                "responses are {} tokens long, {:.0}% of the first {}. Short answers may score well without being good. Look at the \
                     samples and at the reward model's `shorter wins`; try a larger ppo.kl_coef",
                short(now),
                100.0 * now / first,
                short(first)
            );
            found.push(("length", message));
        }
        if let Some((first, now)) = self.eos.compare(number("eos_rate"), window)
            && self.eos.episode.observe(limits.max_eos_drop > 0.0 && first - now > limits.max_eos_drop, window)
        {
            let message = format!(
                "{:.0}% of the responses end by themselves, {:.0}% did at first. The policy talks until rollout.max_new_tokens cuts it \
                     off. Try the other ppo.missing_eos, a larger ppo.kl_coef, or a larger rollout.max_new_tokens",
                100.0 * now,
                100.0 * first
            );
            found.push(("eos", message));
        }
        found.into_iter().map(|(kind, message)| self.raise(kind, before, step, message)).collect()
    }

    /// Training figures that still gain while the held-out ones lose.
    fn held_out(&mut self, step: u64, number: &dyn Fn(&str) -> Option<f64>) -> Vec<Raised> {
        let mut found = Vec::new();
        for (pair, (train, eval, sign, meaning)) in self.pairs.iter_mut().zip(PAIRS) {
            pair.since.extend(number(train).map(|x| sign * x));
            let Some(parted) = number(eval).and_then(|x| pair.evaluate(step, sign * x, &self.config)) else { continue };
            let Parted { best_step, train: [t0, t1], eval: [e0, e1] } = parted;
            let message = format!(
                "since the best evaluation (at {best_step}) {train} went {} → {}, but held-out {eval} {} → {}: {meaning}; or take the checkpoint \
                 of {best_step}",
                short(sign * t0),
                short(sign * t1),
                short(sign * e0),
                short(sign * e1)
            );
            found.push((best_step, message));
        }
        found.into_iter().map(|(best, message)| self.raise("held-out", best, step, message)).collect()
    }
}

/// Trouble that has begun and not ended yet.
#[derive(Debug, Default)]
struct Episode {
    on: bool,
    quiet: usize,
}

impl Episode {
    /// True when trouble begins. It ends after `window` observations without.
    fn observe(&mut self, trouble: bool, window: usize) -> bool {
        self.quiet = if trouble { 0 } else { self.quiet + 1 };
        let begins = trouble && !self.on;
        self.on = trouble || (self.on && self.quiet < window);
        begins
    }
}

/// The first values of a figure and the newest ones.
#[derive(Debug, Default)]
struct Track {
    first: Vec<f64>,
    newest: VecDeque<f64>,
    episode: Episode,
}

impl Track {
    /// Adds a value; returns the oldest of the newest `window`, once there are so many.
    fn push(&mut self, value: f64, window: usize) -> Option<f64> {
        self.newest.push_back(value);
        if self.newest.len() > window {
            self.newest.pop_front();
        }
        (self.newest.len() == window).then(|| self.newest[0])
    }

    /// Adds a value; returns the means of the first and of the newest `window` values, once the two do not overlap.
    fn compare(&mut self, value: Option<f64>, window: usize) -> Option<(f64, f64)> {
        let value = value?;
        if self.first.len() < window {
            self.first.push(value);
            return None;
        }
        self.push(value, window)?;
        let mean = |sum: f64| sum / window as f64;
        Some((mean(self.first.iter().sum()), mean(self.newest.iter().sum())))
    }
}

/// A training figure beside a held-out one, both signed so that higher is better.
#[derive(Debug, Default)]
struct Pair {
    /// Training figures since the last evaluation.
    since: Vec<f64>,
    best: Option<Best>,
    worse: usize,
    episode: Episode,
}

#[derive(Debug)]
struct Best {
    step: u64,
    eval: f64,
    /// Mean training figure before it and the squared standard error of that mean.
    train: Option<(f64, f64)>,
}

/// What [`Pair::evaluate`] saw: from the best evaluation to this one.
struct Parted {
    best_step: u64,
    train: [f64; 2],
    eval: [f64; 2],
}

impl Pair {
    /// An evaluation. They have parted when training gained more than its noise (two standard errors) since the best one, while the held-out figure
    /// lost more than `held_out` of that gain, `patience` times in a row.
    fn evaluate(&mut self, step: u64, eval: f64, config: &Alarm) -> Option<Parted> {
        let train = mean_and_error(&std::mem::take(&mut self.since));
        let best = match &mut self.best {
            Some(best) if eval <= best.eval => best,
            _ => {
                self.best = Some(Best { step, eval, train });
                self.worse = 0;
                self.episode.observe(false, config.patience);
                return None;
            }
        };
        let now = train?;
        let then = *best.train.get_or_insert(now); // the first evaluation has no training before it
        let gain = now.0 - then.0;
        let parted = gain > 2.0 * (now.1 + then.1).sqrt() && best.eval - eval > config.held_out * gain;
        self.worse = if parted { self.worse + 1 } else { 0 };
        let begins = self.episode.observe(config.held_out > 0.0 && self.worse >= config.patience, config.patience);
        begins.then_some(Parted { best_step: best.step, train: [then.0, now.0], eval: [best.eval, eval] })
    }
}

/// Mean and squared standard error of the mean, of two values or more.
fn mean_and_error(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (n >= 2.0).then(|| (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) / n))
}
