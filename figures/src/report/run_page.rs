//! The page of one run: all its curves, what it wrote, what it came from and how it was set.

use super::read::{StageRun, read_text};
use super::{Report, ReportError, charts, facts, html, replace};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Writes `DIR/report.html` of the run in `dir`.
pub fn write_run(dir: &Path) -> Result<PathBuf, ReportError> {
    let report = Report::build_run(dir)?;
    let path = dir.join("report.html");
    replace(&path, &render(&report, dir)?)?;
    Ok(path)
}

fn render(report: &Report, dir: &Path) -> Result<String, ReportError> {
    let run = &report.stages[0];
    let empty = Map::new();
    let object = report.json.get(&run.name).and_then(Value::as_object).unwrap_or(&empty);
    let recipe = dir.canonicalize().ok().and_then(|p| Some(p.parent()?.file_name()?.to_string_lossy().into_owned()));
    let mut page = html::head(&recipe.map(|recipe| format!("{recipe} / {}", run.name)).unwrap_or_else(|| run.name.clone()));
    if let Some(lead) = html::lead(object) {
        let _ = writeln!(page, "<p class=\"lead\">{}</p>", html::escape(&lead));
    }
    let _ = write!(page, "<div class=\"tiles\">\n{}{}</div>\n", html::tile(run, object), figures(run, object));
    page += &html::alarms(run);
    page += &html::change_table(object);
    let draw = |charts: Vec<super::svg::Chart>| charts.iter().map(super::svg::Chart::render).collect::<String>();
    page += &html::grid("What it reached", &draw(charts::main(run, object)?));
    page += &html::grid("How it went", &draw(charts::further(run)?));
    if let Some(comparison) = report.comparisons.get(&run.name).filter(|c| !c.side_by_side.is_empty()) {
        page += &html::answers(&comparison.side_by_side);
    }
    page += &super::token_rewards::section(dir)?;
    page += &sketches(&run.sketches);
    page += &html::numbers(report);
    page += &lineage(dir)?;
    if let Some(config) = read_text(&dir.join("config.toml"))? {
        let _ =
            writeln!(page, "<h2>Configuration</h2>\n<details><summary>config.toml</summary><pre>{}</pre></details>", html::escape(&config));
    }
    Ok(page + html::FOOT)
}

/// Further tiles: how long, how much, how fast.
fn figures(run: &StageRun, object: &Map<String, Value>) -> String {
    let tiles = [
        ("steps", if run.stage == "ppo" { "rounds" } else { "optimiser steps" }),
        ("tokens", "tokens"),
        ("episodes", "episodes"),
        ("tokens_per_s", "tokens a second"),
        ("episodes_per_s", "episodes a second"),
    ];
    let tile = |(key, what): (&str, &str)| {
        let value = object.get(key)?.as_f64()?;
        let shown = facts::number(if value >= 100.0 { value.round() } else { value });
        Some(format!("<div class=\"tile\"><div class=\"big\">{shown}</div><div class=\"sub\">{what}</div></div>\n"))
    };
    tiles.into_iter().filter_map(tile).take(3).collect()
}

/// What the model wrote at its evaluations: the last one, and the others behind a fold.
fn sketches(all: &[(u64, String)]) -> String {
    let Some((last, earlier)) = all.split_last() else { return String::new() };
    let block = |(step, text): &(u64, String)| {
        format!("<div class=\"pair\"><div class=\"sub\">at {step}</div><div class=\"answer\">{}</div></div>\n", html::escape(text))
    };
    let mut html = format!("<h2>What it wrote</h2>\n{}", block(last));
    if !earlier.is_empty() {
        let blocks: String = earlier.iter().map(block).collect();
        let _ = writeln!(html, "<details><summary>{} earlier</summary>{blocks}</details>", earlier.len());
    }
    html
}

/// Where the model came from: `lineage.json` of the finished model, as it stands.
fn lineage(dir: &Path) -> Result<String, ReportError> {
    let Some(text) = read_text(&dir.join("model/lineage.json"))? else { return Ok(String::new()) };
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return Ok(String::new()) };
    let mut rows = String::new();
    flatten("", &value, &mut rows);
    Ok(format!("<h2>Lineage</h2>\n<div class=\"scroll\"><table class=\"keys\">\n{rows}</table></div>\n"))
}

/// A row for each number or text inside a JSON value, named by its path.
fn flatten(name: &str, value: &Value, rows: &mut String) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&below(key), value, rows)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| flatten(&below(&i.to_string()), value, rows)),
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            let _ = writeln!(rows, "<tr><td>{}</td><td>{}</td></tr>", html::escape(name), html::escape(&text));
        }
    }
}
