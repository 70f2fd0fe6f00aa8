//! The report as one page: style and drawings inside, nothing fetched, every word from outside escaped.

use super::facts::{self, facts, measured, number, pair, percent, signed};
use super::read::StageRun;
use super::samples::{Answer, SideBySide, spread};
use super::{Report, ReportError, charts};
use serde_json::{Map, Value};
use std::fmt::Write;

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

/// The page of a pipeline.
pub fn render(report: &Report) -> Result<String, ReportError> {
    let mut page = head(&report.recipe);
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
    report.stages.iter().for_each(|run| page += &alarms(run));
    for run in report.stages.iter().filter(|r| r.stage == "ppo") {
        page += &change_table(object(&run.name));
    }
    let mut drawn = String::new();
    for run in &report.stages {
        charts::main(run, object(&run.name))?.iter().for_each(|chart| drawn += &chart.render());
    }
    page += &grid("How they learned", &drawn);
    for comparison in report.comparisons.values().filter(|c| !c.side_by_side.is_empty()) {
        page += &answers(&comparison.side_by_side);
    }
    page += &numbers(report);
    page += "<p class=\"small\">Intervals are at 95%: Wilson for win rates, bootstrap over prompts for reward accuracy and over pairs for differences. \
             The same numbers stand in report.json.</p>\n";
    Ok(page + FOOT)
}

/// What ends a page.
pub const FOOT: &str = "</main></body></html>\n";

/// What begins a page.
pub fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}: report</title>\n<style>\n{}</style></head>\n<body><main>\n<h1>{title}</h1>\n",
        include_str!("page.css")
    )
}

/// Drawings under a heading; nothing where there are none.
pub fn grid(heading: &str, drawn: &str) -> String {
    if drawn.is_empty() { String::new() } else { format!("<h2>{heading}</h2>\n<div class=\"charts\">\n{drawn}</div>\n") }
}

/// The alarms of a run, where there were any.
pub fn alarms(run: &StageRun) -> String {
    let mut html = String::new();
    for alarm in &run.alarms {
        let _ = writeln!(
            html,
            "<div class=\"alarm\"><b>{}: alarm ({})</b> {}</div>",
            escape(&run.name),
            escape(&alarm.kind),
            escape(&alarm.message)
        );
    }
    html
}

/// Every number of every stage.
pub fn numbers(report: &Report) -> String {
    let mut html = String::from(
        "<h2>All numbers</h2>\n<div class=\"scroll\"><table><tr><th>stage</th><th>what</th><th class=\"n\">value</th><th></th></tr>\n",
    );
    let empty = Map::new();
    for run in &report.stages {
        let object = report.json.get(&run.name).and_then(Value::as_object).unwrap_or(&empty);
        for (i, fact) in facts(run, object, report.comparisons.get(&run.name)).iter().enumerate() {
            let name = if i == 0 { escape(&run.name) } else { String::new() };
            let _ = writeln!(
                html,
                "<tr><td>{name}</td><td>{}</td><td class=\"n\">{}</td><td class=\"detail\">{}</td></tr>",
                escape(&fact.label),
                escape(&fact.value),
                escape(&fact.detail)
            );
        }
    }
    html + "</table></div>\n"
}

/// What came out, in one sentence: by gold where it is known, else by the reward model.
pub fn lead(ppo: &Map<String, Value>) -> Option<String> {
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

/// A run in one number.
pub fn tile(run: &StageRun, object: &Map<String, Value>) -> String {
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
pub fn change_table(object: &Map<String, Value>) -> String {
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

/// Three pairs at once, more behind a fold.
pub fn answers(all: &[SideBySide]) -> String {
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
