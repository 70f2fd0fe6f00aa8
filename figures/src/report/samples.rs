//! SFT model against policy: means per model, and the two answers to each prompt compared.

use super::ReportError;
use super::read::frame;
use crate::{distinct_n, repetition, stats};
use polars::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Seed of the bootstrap: a report is the same whenever it is made.
const SEED: u64 = 1;

/// Two answers to one prompt.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SideBySide {
    /// The row's id.
    pub id: String,
    /// What was asked.
    pub prompt: String,
    /// The SFT model's answer.
    pub sft: Answer,
    /// The policy's answer.
    pub policy: Answer,
}

/// An answer and what was thought of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Answer {
    /// The text.
    pub response: String,
    /// The reward model's score.
    pub score: Option<f64>,
    /// The true preference, where it is known.
    pub gold: Option<f64>,
}

/// What the samples say.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Keys to add to the stage's object in report.json.
    pub keys: Map<String, Value>,
    /// All prompts that both models answered, from the policy's greatest loss to its greatest gain (by gold, else by score).
    pub side_by_side: Vec<SideBySide>,
    /// Things the reader should know.
    pub notes: Vec<String>,
}

/// Compares the rows of `samples.jsonl` or `gold.jsonl`. Rows are paired by `id`; when a model answered one id several times, its
/// first answer meets the other's first, and so on.
pub fn compare(rows: &[Map<String, Value>]) -> Result<Comparison, ReportError> {
    let rows: Vec<Map<String, Value>> = with_keys(rows);
    let mut out = Comparison::default();
    let table = frame(&rows)?;
    for required in ["model", "prompt", "response"] {
        if !table.column(required).is_ok_and(|c| c.dtype() == &DataType::String) {
            out.notes.push(format!("the samples have no text field {required:?}: not compared"));
            return Ok(out);
        }
    }
    let numeric: Vec<String> =
        table.columns().iter().filter(|c| c.dtype() == &DataType::Float64 && c.name() != "id").map(|c| c.name().to_string()).collect();

    let ending = new_ending(&table);
    // `col` would take some names for patterns.
    let mean = |name: &String| Expr::Column(name.as_str().into()).mean();
    let means = table
        .clone()
        .lazy()
        .group_by_stable([col("model")])
        .agg(numeric.iter().map(mean).chain([len().alias(ending.as_str())]).collect::<Vec<_>>())
        .collect()?;
    out.keys.insert("means".into(), means_json(&means, &numeric, &rows, &ending)?);

    let of = |model: &str| table.clone().lazy().filter(col("model").eq(lit(model)));
    let join = JoinArgs::new(JoinType::Inner).with_suffix(Some(ending.as_str().into()));
    let paired = of("sft").join(of("policy"), [col("key")], [col("key")], join).collect()?;
    out.keys.insert("pairs".into(), json!(paired.height()));
    if paired.height() == 0 {
        out.notes.push("no id was answered by both \"sft\" and \"policy\": the two cannot be compared pair by pair".into());
        return Ok(out);
    }
    let mut differences = Map::new();
    for name in &numeric {
        let (sft, policy) = (paired.column(name)?.f64()?, paired.column(&format!("{name}{ending}"))?.f64()?);
        let pairs: Vec<(f64, f64)> = policy.iter().zip(sft.iter()).filter_map(|(policy, sft)| Some((policy?, sft?))).collect();
        let Some((difference, ci)) = stats::paired_difference(&pairs.iter().map(|p| p.0 - p.1).collect::<Vec<_>>(), SEED) else { continue };
        differences.insert(name.clone(), json!({ "difference": difference, "ci": ci, "pairs": pairs.len() }));
        if let (true, Some(win)) = (name == "gold" || name == "score", stats::win_rate(pairs.iter().copied())) {
            out.keys.insert(format!("{name}_win_rate"), json!(win.rate));
            out.keys.insert(format!("{name}_win_rate_ci"), json!(win.ci));
            out.keys.insert(format!("{name}_pairs"), json!(win.pairs));
            out.keys.insert(format!("{name}_difference"), json!(difference));
            out.keys.insert(format!("{name}_difference_ci"), json!(ci));
        }
    }
    out.keys.insert("differences".into(), Value::Object(differences));
    if let Some(r) = correlation(&table)? {
        out.keys.insert("score_gold_correlation".into(), json!(r));
    }
    out.side_by_side = side_by_side(&paired, &ending);
    Ok(out)
}

/// An ending that no column's name has: of a count beside the fields, and of the policy's fields beside the SFT model's.
fn new_ending(table: &DataFrame) -> String {
    let mut ending = "_policy".to_string();
    while table.columns().iter().any(|column| column.name().ends_with(ending.as_str())) {
        ending.push('_');
    }
    ending
}

/// The rows with `key` (id and how many times this model has answered it before) and `repetition` where it is not there yet.
fn with_keys(rows: &[Map<String, Value>]) -> Vec<Map<String, Value>> {
    let mut seen: HashMap<(String, String), u32> = HashMap::new();
    let text = |row: &Map<String, Value>, key: &str| row.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string));
    rows.iter()
        .map(|row| {
            let mut row = row.clone();
            let id = text(&row, "id").or_else(|| text(&row, "prompt")).unwrap_or_default();
            let count = seen.entry((text(&row, "model").unwrap_or_default(), id.clone())).or_default();
            row.insert("key".into(), json!(if *count == 0 { id } else { format!("{id}#{count}") }));
            *count += 1;
            if !row.contains_key("repetition") {
                let share = row.get("response").and_then(Value::as_str).map(repetition);
                row.insert("repetition".into(), json!(share));
            }
            row
        })
        .collect()
}

/// {model: {rows, column: mean, distinct_2}}; `count` is the column with the rows. A field that is itself called `rows` has no mean here.
fn means_json(means: &DataFrame, numeric: &[String], rows: &[Map<String, Value>], count: &str) -> PolarsResult<Value> {
    let models = means.column("model")?.str()?;
    let counts = means.column(count)?.cast(&DataType::Float64)?;
    let mut all = Map::new();
    for (i, model) in models.iter().enumerate() {
        let Some(model) = model else { continue };
        let mut one = Map::new();
        one.insert("rows".into(), json!(counts.f64()?.get(i).unwrap_or_default() as u64));
        for name in numeric {
            one.entry(name.clone()).or_insert(json!(means.column(name)?.f64()?.get(i)));
        }
        let is_model = |row: &&Map<String, Value>| row.get("model").and_then(Value::as_str) == Some(model);
        let texts: Vec<&str> = rows.iter().filter(is_model).filter_map(|row| row.get("response")?.as_str()).collect();
        one.insert("distinct_2".into(), json!(distinct_n(&texts, 2)));
        all.insert(model.to_string(), Value::Object(one));
    }
    Ok(Value::Object(all))
}

/// Pearson's correlation of the reward model's score with gold over all answers: does the proxy know the truth?
fn correlation(table: &DataFrame) -> PolarsResult<Option<f64>> {
    if !["score", "gold"].iter().all(|n| table.column(n).is_ok_and(|c| c.dtype() == &DataType::Float64)) {
        return Ok(None);
    }
    let product = |a: &str, b: &str| ((col(a) - col(a).mean()) * (col(b) - col(b).mean())).sum();
    let sums = table
        .clone()
        .lazy()
        .filter(col("score").is_not_null().and(col("gold").is_not_null()))
        .select([product("score", "gold").alias("sg"), product("score", "score").alias("ss"), product("gold", "gold").alias("gg")])
        .collect()?;
    let sum = |name: &str| -> PolarsResult<f64> { Ok(sums.column(name)?.f64()?.get(0).unwrap_or(0.0)) };
    let spread = (sum("ss")? * sum("gg")?).sqrt();
    Ok((spread > 0.0).then_some(sum("sg")? / spread))
}

fn side_by_side(paired: &DataFrame, ending: &str) -> Vec<SideBySide> {
    let text = |name: &str, i: usize| -> String {
        paired.column(name).ok().and_then(|c| c.str().ok()).and_then(|c| c.get(i)).unwrap_or_default().to_string()
    };
    let number = |name: &str, i: usize| paired.column(name).ok().and_then(|c| c.f64().ok()).and_then(|c| c.get(i));
    let mut all: Vec<SideBySide> = (0..paired.height())
        .map(|i| {
            let answer = |suffix: &str| Answer {
                response: text(&format!("response{suffix}"), i),
                score: number(&format!("score{suffix}"), i),
                gold: number(&format!("gold{suffix}"), i),
            };
            SideBySide { id: text("key", i), prompt: text("prompt", i), sft: answer(""), policy: answer(ending) }
        })
        .collect();
    let gain = |s: &SideBySide| s.policy.gold.zip(s.sft.gold).or(s.policy.score.zip(s.sft.score)).map_or(0.0, |(p, s)| p - s);
    all.sort_by(|a, b| gain(a).total_cmp(&gain(b)).then_with(|| a.id.cmp(&b.id)));
    all
}

/// `n` of the rows spread evenly from loss to gain, so that nobody picked the pretty ones: three are the middles of the lower,
/// middle and upper third.
pub fn spread(all: &[SideBySide], n: usize) -> Vec<&SideBySide> {
    if all.len() <= n {
        return all.iter().collect();
    }
    (0..n).map(|i| &all[(2 * i + 1) * all.len() / (2 * n)]).collect()
}
