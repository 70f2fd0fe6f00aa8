//! `evaluate tasks`: what a model can do without training, zero-shot or with examples in the prompt.

use crate::cli::TasksArgs;
use crate::exit::input;
use crate::open::open;
use data::config::{self, TaskConfig};
use data::tasks::Task;
use evaluate::tasks::{self, Outcome, Shots, TaskError};
use indicatif::{ProgressBar, ProgressStyle};
use model::HeadKind;
use program::say;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Scores every task with every number of examples and prints the figures.
pub fn run(args: &TasksArgs) -> anyhow::Result<()> {
    let mut loaded = Vec::new(); // a broken task should not wait for the model
    for path in &args.task {
        let config = config::load::<TaskConfig>(path, &[]).map_err(|e| input(e.to_string()))?;
        let name = path.file_stem().map_or("task".into(), |s| s.to_string_lossy());
        loaded.push(Task::load(&name, config, args.limit)?);
    }
    let mut opened = open(&args.model, HeadKind::Lm)?;
    opened.quantise(args.weights)?;
    let tokenizer = opened.need_tokenizer("scoring text")?;
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left")?);
    let mut outcomes = Vec::new();
    for task in &loaded {
        let perplexity = task.config.kind == config::TaskKind::Perplexity;
        for &count in if perplexity { &[0][..] } else { &args.shots } {
            bar.set_message(format!("{}, {count} examples", task.name));
            let shots = Shots { count, draws: args.draws, seed: args.seed };
            let outcome = tasks::run(&opened.model, tokenizer, task, shots, &mut |done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            });
            outcomes.push(outcome.map_err(|e| match e {
                TaskError::Data(e) => anyhow::Error::from(e),
                TaskError::Model(e) => e.into(),
            })?);
        }
    }
    bar.finish_and_clear();
    if let Some(path) = &args.items {
        write(path, &items(&outcomes))?;
    }
    if let Some(path) = &args.html {
        write(path, &tasks::page(&format!("Tasks of {}", args.model.model.display()), &outcomes))?;
    }
    if args.model.json {
        say!("{}", json!({ "model": args.model.model, "seed": args.seed, "tasks": outcomes }));
    } else {
        program::text(table(&outcomes));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).map_err(|e| input(format!("{}: cannot be written: {e}", path.display())))
}

/// A line a scored item.
fn items(outcomes: &[Outcome]) -> String {
    let mut lines = String::new();
    for outcome in outcomes {
        for row in &outcome.rows {
            let mut line = json!({ "task": outcome.task, "shots": outcome.shots });
            if let (Value::Object(line), Ok(Value::Object(row))) = (&mut line, serde_json::to_value(row)) {
                line.extend(row);
            }
            let _ = writeln!(lines, "{line}");
        }
    }
    lines
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<18} {:>8} {:>6}  {:<16} {:>9}  95%\n", "task", "examples", "items", "figure", "value");
    for outcome in outcomes {
        for metric in &outcome.metrics {
            let ci = metric.ci.map(|[lo, hi]| format!("{lo:.4} to {hi:.4}")).unwrap_or_default();
            let (task, shots, items) = (&outcome.task, outcome.shots, outcome.items);
            let _ = writeln!(text, "{task:<18} {shots:>8} {items:>6}  {:<16} {:>9.4}  {ci}", metric.name, metric.value);
        }
        if let (Some(chance), Some(majority)) = (outcome.chance, outcome.majority) {
            let _ = writeln!(text, "{:<34}  {:<16} {chance:>9.4}  always the commonest: {majority:.4}", "", "chance");
        }
        if outcome.cut > 0 {
            let _ = writeln!(text, "  {} prompts are longer than the model's context: their first tokens were left out", outcome.cut);
        }
    }
    text
}
