//! Which curves a reader sees, per stage.

use super::ReportError;
use super::facts::number;
use super::read::{StageRun, series};
use super::svg::{Chart, Curve, Mark};
use polars::prelude::DataFrame;
use serde_json::{Map, Value};

/// Points of a curve at most; neighbours are averaged, which also calms a noisy loss.
const POINTS: usize = 100;

/// Where the curves of one run come from.
struct Source<'a> {
    run: &'a StageRun,
    table: &'a DataFrame,
    /// What the horizontal axis counts.
    x: &'static str,
}

impl Source<'_> {
    fn curve(&self, name: &str, x: &str, y: &str, mark: Mark, colour: usize) -> Result<Curve, ReportError> {
        Ok(Curve { name: name.into(), points: series(self.table, x, y, POINTS)?, mark, colour, notes: vec![] })
    }

    /// Against the step, with the alarms marked. A curve is a name, a column, a mark and a colour.
    fn over_time(&self, what: &str, y: &str, curves: &[(&str, &str, Mark, usize)]) -> Result<Chart, ReportError> {
        let curves = curves.iter().map(|&(name, column, mark, colour)| self.curve(name, "step", column, mark, colour));
        let marks = self.run.alarms.iter().map(|a| (a.step as f64, a.kind.clone())).collect();
        Ok(Chart {
            title: format!("{}: {what}", self.run.name),
            x: self.x.into(),
            y: y.into(),
            curves: curves.collect::<Result<_, _>>()?,
            range: None,
            marks,
        })
    }
}

fn source(run: &StageRun) -> Option<Source<'_>> {
    run.metrics.as_ref().map(|table| Source { run, table, x: if run.stage == "ppo" { "round" } else { "step" } })
}

/// Those that say what the stage reached.
pub fn main(run: &StageRun, object: &Map<String, Value>) -> Result<Vec<Chart>, ReportError> {
    use Mark::{Dots, Line, Reference};
    let mut charts = Vec::new();
    if let Some(from) = source(run) {
        match run.stage {
            "ppo" => {
                charts.push(from.over_time(
                    "reward over rounds",
                    "mean score of the samples",
                    &[
                        ("training prompts", "objective/scores", Line, 1),
                        ("the same minus KL penalty", "objective/rlhf_reward", Line, 3),
                        ("held-out prompts", "eval/scores", Dots, 2),
                        ("SFT, held-out", "eval/scores_sft", Reference, 4),
                    ],
                )?);
                charts.push(from.over_time(
                    "KL over rounds",
                    "KL from SFT, nats a response",
                    &train_and_held_out("objective/kl", "eval/kl"),
                )?);
                charts.push(frontier(&from)?);
                let length = train_and_held_out("response_length", "eval/response_length");
                charts.push(from.over_time("length of the answers", "tokens", &length)?);
            }
            "reward" => {
                let loss = [("training", "loss", Line, 1), ("validation", "eval/loss", Dots, 2)];
                charts.push(from.over_time("loss", "preference loss, nats", &loss)?);
                charts.push(accuracy(&from, object)?);
            }
            _ => {
                let loss = [("training", "loss", Line, 1), ("validation", "eval/loss", Dots, 2)];
                charts.push(from.over_time("loss", "nats a token", &loss)?);
                charts.push(from.over_time("BLEU", "BLEU of held-out rows", &[("held-out", "eval/bleu", Dots, 2)])?);
                let right = [("held-out", "eval/accuracy", Dots, 2), ("always the commonest", "eval/commonest", Reference, 4)];
                charts.push(from.over_time("accuracy", "share of held-out rows or masked tokens", &right)?);
            }
        }
    }
    charts.extend(calibration(run, object));
    Ok(charts)
}

/// The rest: what one looks at when something is odd.
pub fn further(run: &StageRun) -> Result<Vec<Chart>, ReportError> {
    use Mark::{Dots, Line};
    let Some(from) = source(run) else { return Ok(vec![]) };
    let mut charts = Vec::new();
    let mut add = |what: &str, y: &str, curves: &[(&str, &str, Mark, usize)]| -> Result<(), ReportError> {
        charts.push(from.over_time(what, y, curves)?);
        Ok(())
    };
    match run.stage {
        "ppo" => {
            add("entropy", "nats a token", &[("entropy", "objective/entropy", Line, 1)])?;
            add("answers that end by themselves", "share of answers", &train_and_held_out("eos_rate", "eval/eos_rate"))?;
            add("win rate over SFT", "share of held-out prompts", &[("win rate", "eval/win_rate", Dots, 2)])?;
            add("clipped", "share of tokens", &[("policy ratio", "policy/clipfrac", Line, 1), ("value", "val/clipfrac", Line, 2)])?;
            add("KL of one round's updates", "approximate KL, nats a token", &[("KL", "policy/approxkl", Line, 1)])?;
            add("KL coefficient", "β", &[("β", "kl_coef", Line, 1)])?;
            add("policy loss", "clipped loss", &[("policy", "loss/policy", Line, 1)])?;
            add("value loss", "squared error", &[("value", "loss/value", Line, 1)])?;
            add("pre-training text", "nats a token", &[("loss", "loss/ptx", Line, 1)])?;
            add("repetition", "share of repeated word 3-grams", &[("held-out", "eval/repetition", Dots, 2)])?;
        }
        "reward" => {
            add("margin", "score of better − worse", &[("training", "margin", Line, 1), ("validation", "eval/margin", Dots, 2)])?;
            add("preference loss alone", "nats", &[("training", "loss/preference", Line, 1)])?;
            add("best answers as text", "nats a token", &[("training", "loss/lm", Line, 1)])?;
            add("calibration error", "expected error", &[("validation", "eval/ece", Dots, 2)])?;
        }
        _ => {
            add("bits per byte", "bits a byte of unseen text", &[("validation", "eval/bits_per_byte", Dots, 2)])?;
        }
    }
    add("gradient norm", "before clipping", &[("norm", "grad_norm", Line, 1)])?;
    add("learning rate", "learning rate", &[("rate", "lr", Line, 1)])?;
    add("steps left out", "optimiser steps", &[("skipped", "skipped_steps", Line, 1)])?;
    for (column, unit) in
        [("tokens_per_s", "tokens a second"), ("answers_per_s", "answers a second"), ("episodes_per_s", "episodes a second")]
    {
        add("speed", unit, &[(unit, column, Line, 1)])?;
    }
    charts.retain(|c| !c.title.ends_with("steps left out") || c.curves.iter().flat_map(|c| &c.points).any(|p| p.1 > 0.0));
    Ok(charts)
}

fn train_and_held_out<'a>(train: &'a str, held_out: &'a str) -> [(&'a str, &'a str, Mark, usize); 2] {
    [("training prompts", train, Mark::Line, 1), ("held-out prompts", held_out, Mark::Dots, 2)]
}

/// KL against reward: how much each nat bought.
fn frontier(from: &Source) -> Result<Chart, ReportError> {
    let training = from.curve("training prompts", "objective/kl", "objective/scores", Mark::Scatter, 1)?;
    let mut heldout = from.curve("held-out prompts", "eval/kl", "eval/scores", Mark::Dots, 2)?;
    heldout.notes = [(0, "first"), (heldout.points.len().saturating_sub(1), "last")].map(|(i, n)| (i, n.to_string())).to_vec();
    Ok(Chart {
        title: format!("{}: reward bought with KL", from.run.name),
        x: "KL from SFT, nats a response".into(),
        y: "mean score of the samples".into(),
        curves: vec![training, heldout],
        range: None,
        marks: vec![],
    })
}

/// Accuracy on unseen pairs, beside what length alone reaches and beside how far judges agree.
fn accuracy(from: &Source, object: &Map<String, Value>) -> Result<Chart, ReportError> {
    let mut chart = from.over_time("accuracy on unseen pairs", "share of pairs", &[("reward model", "eval/accuracy", Mark::Dots, 1)])?;
    let ends = chart.curves[0].points.first().zip(chart.curves[0].points.last()).map(|(a, b)| (a.0, b.0));
    for (name, key, colour) in [("longer wins", "baseline_longer", 4), ("judges agree", "judge_agreement", 3)] {
        let points = ends.zip(object.get(key).and_then(Value::as_f64)).map(|((a, b), y)| vec![(a, y), (b, y)]).unwrap_or_default();
        chart.curves.push(Curve { name: name.into(), points, mark: Mark::Reference, colour, notes: vec![] });
    }
    Ok(chart)
}

/// Reliability diagram: confidence against accuracy, bin by bin.
fn calibration(run: &StageRun, object: &Map<String, Value>) -> Option<Chart> {
    let bins = object.get("calibration")?.as_array()?;
    let points: Vec<(f64, f64)> =
        bins.iter().filter_map(|b| Some((b.get("confidence")?.as_f64()?, b.get("accuracy")?.as_f64()?))).collect();
    let counts = bins.iter().map(|b| b.get("count").and_then(Value::as_f64).map(number).unwrap_or_default());
    let notes = if points.len() == bins.len() { counts.enumerate().collect() } else { vec![] };
    let curves = vec![
        Curve { name: "perfect".into(), points: vec![(0.5, 0.5), (1.0, 1.0)], mark: Mark::Reference, colour: 4, notes: vec![] },
        Curve { name: "reward model (number of pairs)".into(), points, mark: Mark::Dots, colour: 1, notes },
    ];
    Some(Chart {
        title: format!("{}: calibration", run.name),
        x: "the model's confidence in its choice".into(),
        y: "share people agree with".into(),
        range: Some([(0.48, 1.02), (curves[1].points.iter().fold(0.5, |lo: f64, p| lo.min(p.1)) - 0.02, 1.02)]),
        curves,
        marks: vec![],
    })
}
