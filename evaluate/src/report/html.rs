//! The report as one page: style and drawings inside, nothing fetched, every word from outside escaped.

use super::facts::{self, facts, measured, number, pair, percent, signed};
use super::read::{StageRun, series};
use super::samples::{Answer, SideBySide, spread};
use super::svg::{Chart, Curve, Mark};
use super::{Report, ReportError};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Points of a curve at most; neighbours are averaged, which also calms a noisy loss.
const POINTS: usize = 100;
/// Answers on the page besides the first three.
const MORE_ANSWERS: usize = 24;

/// Text as HTML text or attribute value.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// The whole page.
pub fn render(report: &Report) -> Result<String, ReportError> {
    let title = escape(&report.recipe);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}: report</title>\n<style>\n{}</style></head>\n<body><main>\n<h1>{title}</h1>\n",
        include_str!("page.css")
    );
    let empty = Map::new();
    let object = |name: &str| report.json.get(name).and_then(Value::as_object).unwrap_or(&empty);
    if let Some(lead) = lead(object("ppo")) {
        let _ = writeln!(page, "<p class=\"lead\">{}</p>", escape(&lead));
    }
    page += "<div class=\"tiles\">\n";
    for run in &report.stages {
        page += &tile(run, object(&run.name));
    }
    page += "</div>\n";
    for run in report.stages.iter().filter(|r| r.stage == "ppo") {
        page += &change_table(object(&run.name));
    }
    let mut charts = String::new();
    for run in &report.stages {
        for chart in stage_charts(run, object(&run.name))? {
            charts += &chart.render();
        }
    }
    if !charts.is_empty() {
        let _ = writeln!(page, "<h2>How they learned</h2>\n<div class=\"charts\">\n{charts}</div>");
    }
    for comparison in report.comparisons.values().filter(|c| !c.side_by_side.is_empty()) {
        page += &answers(&comparison.side_by_side);
    }
    page += "<h2>All numbers</h2>\n<div class=\"scroll\"><table><tr><th>stage</th><th>what</th><th class=\"n\">value</th><th></th></tr>\n";
    for run in &report.stages {
        for (i, fact) in facts(run, object(&run.name), report.comparisons.get(&run.name)).iter().enumerate() {
            let name = if i == 0 { escape(&run.name) } else { String::new() };
            let _ = writeln!(
                page,
                "<tr><td>{name}</td><td>{}</td><td class=\"n\">{}</td><td class=\"detail\">{}</td></tr>",
                escape(&fact.label),
                escape(&fact.value),
                escape(&fact.detail)
            );
        }
    }
    page += "</table></div>\n<p class=\"small\">Intervals are at 95%: Wilson for win rates, bootstrap over prompts for reward accuracy and over pairs for differences. \
             The same numbers stand in report.json.</p>\n</main></body></html>\n";
    Ok(page)
}

/// What came out, in one sentence: by gold where it is known, else by the reward model.
fn lead(ppo: &Map<String, Value>) -> Option<String> {
    let of = |key: &str| {
        let rate = ppo.get(key)?.as_f64()?;
        let ci = ppo.get(&format!("{key}_ci")).and_then(pair).map(|[a, b]| format!(" (95% interval {} to {})", percent(a), percent(b)));
        Some(format!("{}{}", percent(rate), ci.unwrap_or_default()))
    };
    let kl = ppo.get("kl").and_then(Value::as_f64).map(|kl| format!(", at {} nats of KL a response", measured(kl))).unwrap_or_default();
    if let Some(gold) = of("gold_win_rate") {
        return Some(format!("By the true preference, the policy's answer beats the SFT model's in {gold} of the prompts{kl}."));
    }
    of("win_rate").map(|rate| format!("By the reward model, the policy's answer beats the SFT model's in {rate} of the prompts{kl}."))
}

fn tile(run: &StageRun, object: &Map<String, Value>) -> String {
    let value = |key: &str| object.get(key).and_then(Value::as_f64);
    let (big, what) = match run.stage {
        "pretrain" => (value("bits_per_byte").map(measured), "bits per byte, unseen text"),
        "sft" => (value("eval_loss").map(measured), "validation loss, nats a token"),
        "reward" => (value("accuracy").map(percent), "of unseen pairs as people judged"),
        _ => (value("reward_policy").zip(value("reward_sft")).map(|(p, s)| signed(p - s)), "reward over the SFT model"),
    };
    let status = run.status();
    let missing = if status == "missing" { " missing" } else { "" };
    let (big, what) = match (big, status) {
        (Some(big), "unfinished") => (big, format!("{what}; unfinished")),
        (Some(big), _) => (big, what.to_string()),
        (None, status) => ("–".into(), if status == "done" { "missing in summary.json".into() } else { status.to_string() }),
    };
    let time = value("wall_s").map(|s| format!("<div class=\"sub\">{}</div>", facts::duration(s))).unwrap_or_default();
    format!(
        "<div class=\"tile{missing}\"><div class=\"name\">{}</div><div class=\"big\">{}</div><div class=\"sub\">{}</div>{time}</div>\n",
        escape(&run.name),
        escape(&big),
        escape(&what)
    )
}

/// SFT against policy, column by column.
fn change_table(object: &Map<String, Value>) -> String {
    let rows = facts::changes(object);
    if rows.is_empty() {
        return String::new();
    }
    let pairs = object.get("pairs").and_then(Value::as_f64).map(|n| format!(", mean over {} prompts", number(n))).unwrap_or_default();
    let mut html = format!(
        "<h2>SFT model and policy{pairs}</h2>\n<div class=\"scroll\"><table><tr><th></th><th class=\"n\">SFT</th><th class=\"n\">policy</th>\
         <th class=\"n\">difference</th><th class=\"n\">95% interval</th></tr>\n"
    );
    for row in rows {
        let ci = row.ci.map(|[a, b]| format!("{} to {}", signed(a), signed(b))).unwrap_or_default();
        let cells: String = [measured(row.sft), measured(row.policy), signed(row.difference), ci]
            .iter()
            .map(|c| format!("<td class=\"n\">{c}</td>"))
            .collect();
        let _ = writeln!(html, "<tr><td>{}</td>{cells}</tr>", escape(&row.name));
    }
    html + "</table></div>\n"
}

fn stage_charts(run: &StageRun, object: &Map<String, Value>) -> Result<Vec<Chart>, ReportError> {
    let mut charts = Vec::new();
    if let Some(table) = &run.metrics {
        let curve = |name: &str, x: &str, y: &str, mark: Mark, colour: usize| -> Result<Curve, ReportError> {
            Ok(Curve { name: name.into(), points: series(table, x, y, POINTS)?, mark, colour, notes: vec![] })
        };
        let chart = |what: &str, x: &str, y: &str, curves: Vec<Curve>| Chart {
            title: format!("{}: {what}", run.name),
            x: x.into(),
            y: y.into(),
            curves,
            range: None,
        };
        if run.stage == "ppo" {
            let scores = curve("training prompts", "step", "objective/scores", Mark::Line, 1)?;
            let shaped = curve("the same minus KL penalty", "step", "objective/rlhf_reward", Mark::Line, 3)?;
            let heldout = curve("held-out prompts", "step", "eval/scores", Mark::Dots, 2)?;
            let sft = curve("SFT, held-out", "step", "eval/scores_sft", Mark::Reference, 4)?;
            charts.push(chart("reward over rounds", "round", "mean score of the samples", vec![scores, shaped, heldout, sft]));
            let kl = curve("training prompts", "step", "objective/kl", Mark::Line, 1)?;
            let heldout = curve("held-out prompts", "step", "eval/kl", Mark::Dots, 2)?;
            charts.push(chart("KL over rounds", "round", "KL from SFT, nats a response", vec![kl, heldout]));
            let frontier = curve("training prompts", "objective/kl", "objective/scores", Mark::Line, 1)?;
            let mut heldout = curve("held-out prompts", "eval/kl", "eval/scores", Mark::Dots, 2)?;
            heldout.notes = [(0, "first"), (heldout.points.len().saturating_sub(1), "last")].map(|(i, n)| (i, n.to_string())).to_vec();
            charts.push(chart(
                "reward bought with KL",
                "KL from SFT, nats a response",
                "mean score of the samples",
                vec![frontier, heldout],
            ));
            let length = curve("training prompts", "step", "response_length", Mark::Line, 1)?;
            let heldout = curve("held-out prompts", "step", "eval/response_length", Mark::Dots, 2)?;
            charts.push(chart("length of the answers", "round", "tokens", vec![length, heldout]));
        } else {
            let train = curve("training", "step", "loss", Mark::Line, 1)?;
            let valid = curve("validation", "step", "eval/loss", Mark::Dots, 2)?;
            charts.push(chart("loss", "step", if run.stage == "reward" { "preference loss" } else { "nats a token" }, vec![train, valid]));
        }
        if run.stage == "reward" {
            let accuracy = curve("reward model", "step", "eval/accuracy", Mark::Dots, 1)?;
            let ends = accuracy.points.first().zip(accuracy.points.last()).map(|(a, b)| (a.0, b.0));
            let level = |name: &str, key: &str, colour: usize| {
                let points = ends.zip(object.get(key).and_then(Value::as_f64)).map(|((a, b), y)| vec![(a, y), (b, y)]).unwrap_or_default();
                Curve { name: name.into(), points, mark: Mark::Reference, colour, notes: vec![] }
            };
            let curves = vec![accuracy, level("longer wins", "baseline_longer", 4), level("judges agree", "judge_agreement", 3)];
            charts.push(chart("accuracy on unseen pairs", "step", "share of pairs", curves));
        }
    }
    charts.extend(calibration(run, object));
    Ok(charts)
}

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
    })
}

/// Three pairs at once, more behind a fold.
fn answers(all: &[SideBySide]) -> String {
    let mut html =
        String::from("<h2>Answers side by side</h2>\n<p class=\"small\">Chosen evenly from the policy's losses to its gains.</p>\n");
    let first = spread(all, 3);
    for pair in &first {
        html += &block(pair);
    }
    let more: Vec<_> = spread(all, MORE_ANSWERS).into_iter().filter(|p| first.iter().all(|f| f.id != p.id)).collect();
    if !more.is_empty() {
        let _ = writeln!(html, "<details><summary>{} more of {}</summary>", more.len(), all.len());
        more.into_iter().for_each(|pair| html += &block(pair));
        html += "</details>\n";
    }
    html
}

fn block(pair: &SideBySide) -> String {
    let one = |who: &str, answer: &Answer| {
        let mut marks = vec![who.to_string()];
        marks.extend(answer.score.map(|s| format!("score {}", measured(s))));
        marks.extend(answer.gold.map(|g| format!("gold {}", measured(g))));
        format!(
            "<div><div class=\"sub\">{}</div><div class=\"answer\">{}</div></div>",
            escape(&marks.join(" · ")),
            escape(&answer.response)
        )
    };
    format!(
        "<div class=\"pair\"><div class=\"prompt\">{}</div><div class=\"two\">{}{}</div></div>\n",
        escape(&pair.prompt),
        one("SFT", &pair.sft),
        one("policy", &pair.policy)
    )
}
