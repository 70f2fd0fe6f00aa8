//! The report as text.

use super::facts::{facts, measured};
use super::samples::{Answer, spread};
use super::{Report, SideBySide};
use serde_json::{Map, Value};

/// Columns that a line of an answer may fill.
const WIDTH: usize = 100;

/// All stages' lines, then three answers side by side.
pub fn render(report: &Report) -> String {
    let empty = Map::new();
    let mut rows: Vec<[String; 4]> = Vec::new();
    for stage in &report.stages {
        let object = report.json.get(&stage.name).and_then(Value::as_object).unwrap_or(&empty);
        for (i, fact) in facts(stage, object, report.comparisons.get(&stage.name)).into_iter().enumerate() {
            let name = if i == 0 { stage.name.clone() } else { String::new() };
            rows.push([name, fact.label, fact.value, fact.detail]);
        }
    }
    let wide = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let (stage, label, value) = (wide(0), wide(1), wide(2));
    let mut out = format!("\n{}\n", report.recipe);
    for [name, what, number, detail] in &rows {
        if !name.is_empty() {
            out.push('\n');
        }
        out.push_str(format!("  {name:<stage$}  {what:<label$}  {number:>value$}  {detail}").trim_end());
        out.push('\n');
    }
    for comparison in report.comparisons.values() {
        let chosen = spread(&comparison.side_by_side, 3);
        if !chosen.is_empty() {
            out.push_str("\n  Answers side by side, from the policy's losses to its gains:\n");
        }
        chosen.into_iter().for_each(|pair| out.push_str(&block(pair)));
    }
    out
}

fn block(pair: &SideBySide) -> String {
    let prompt = wrap(&pair.prompt, WIDTH, "           ");
    format!("\n    prompt {prompt}\n{}{}", answer("SFT", &pair.sft), answer("policy", &pair.policy))
}

fn answer(who: &str, answer: &Answer) -> String {
    let mut marks = Vec::new();
    marks.extend(answer.score.map(|s| format!("score {}", measured(s))));
    marks.extend(answer.gold.map(|g| format!("gold {}", measured(g))));
    let marks = if marks.is_empty() { String::new() } else { format!("\n           ({})", marks.join(", ")) };
    format!("    {who:<6} {}{marks}\n", wrap(&answer.response, WIDTH, "           "))
}

/// Breaks at spaces; control characters, which could drive the reader's terminal, become spaces.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut lines = vec![String::new()];
    for word in clean.split_whitespace() {
        let last = lines.last().map_or(0, |l| l.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{indent}"))
}
