//! From folders to [`Run`]s. One damaged run is said to be so and hides no other.

use super::{Run, State};
use crate::report::{ReportError, stage_of};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Folders below the root that are looked into: `runs/recipe/sweep/stage`.
const DEPTH: usize = 4;
/// How much of a log's end is read: the last evaluation is in there.
const TAIL: u64 = 1 << 18;
/// Rates by the metrics' keys.
const RATES: [(&str, &str); 3] = [("tokens_per_s", "tokens/s"), ("answers_per_s", "answers/s"), ("episodes_per_s", "episodes/s")];

/// All runs in `root` and below, by name; `root` itself may be one. An input error where there is none.
pub fn scan(root: &Path) -> Result<Vec<Run>, ReportError> {
    let mut dirs = Vec::new();
    collect(root, DEPTH, &mut dirs).map_err(|source| ReportError::Io { action: "read", path: root.to_owned(), source })?;
    dirs.sort();
    let mut runs: Vec<Run> = dirs.iter().map(|dir| read(root, dir)).collect();
    // A model folder of a run listed here is that run.
    let named: Vec<(PathBuf, String)> =
        dirs.iter().zip(&runs).filter_map(|(dir, run)| Some((dir.canonicalize().ok()?, run.name.clone()))).collect();
    for from in runs.iter_mut().flat_map(|run| run.from.iter_mut()) {
        let path = Path::new(from.as_str()).canonicalize().unwrap_or_default();
        if let Some((_, name)) = named.iter().find(|(dir, _)| path.starts_with(dir)) {
            from.clone_from(name);
        }
    }
    if runs.is_empty() { Err(ReportError::NoRuns { path: root.to_owned() }) } else { Ok(runs) }
}

/// Folders with a configuration that a run resolved. What is inside a run is not looked into.
fn collect(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if dir.join("config.toml").is_file() {
        found.push(dir.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn read(root: &Path, dir: &Path) -> Run {
    let name = dir.strip_prefix(root).ok().filter(|p| !p.as_os_str().is_empty()).unwrap_or(dir).display().to_string();
    let mut damage = None;
    let mut said = |path: PathBuf, e: String| damage = Some(format!("{}: {e}", path.display()));
    let text = |file: &str| std::fs::read_to_string(dir.join(file));
    let config_text = text("config.toml").unwrap_or_default();
    let config: toml::Table = config_text.parse().unwrap_or_else(|e: toml::de::Error| {
        said(dir.join("config.toml"), e.message().into());
        toml::Table::new()
    });
    let stage = stage_of(dir.file_name().and_then(|n| n.to_str()).unwrap_or_default(), &config_text);
    let log = tail(&dir.join("metrics.jsonl")).unwrap_or_else(|e| {
        said(dir.join("metrics.jsonl"), e.to_string());
        vec![]
    });
    let summary: Option<Map<String, Value>> = text("summary.json").ok().and_then(|text| match serde_json::from_str(&text) {
        Ok(map) => Some(map),
        Err(e) => {
            said(dir.join("summary.json"), e.to_string());
            None
        }
    });
    let owner = data::lock::owner(dir).unwrap_or_else(|e| {
        said(dir.join(".lock"), e.to_string());
        None
    });
    let state = match (owner, &summary, newest_checkpoint(dir)) {
        (Some(owner), ..) => State::Running(owner),
        (None, Some(_), _) => State::Done,
        (None, None, Some(step)) => State::Stopped(step),
        (None, None, None) => State::Begun,
    };
    let last = |key: &str| log.iter().rev().find_map(|line| line.get(key)?.as_f64());
    let evaluation = match (&summary, &state) {
        (Some(summary), State::Done) => figures(stage, 1, &|key| summary.get(key)?.as_f64()),
        _ => figures(stage, 0, &last),
    };
    let whole = |section: &str, key: &str| config.get(section)?.get(key)?.as_integer().filter(|&n| n > 0).map(|n| n as u64);
    Run {
        name,
        stage,
        state,
        step: log.iter().filter_map(|line| line.get("step")?.as_u64()).max(),
        steps: whole("train", "steps").or_else(|| whole("rollout", "rounds")),
        rate: RATES.into_iter().find_map(|(key, unit)| Some((last(key)?, unit))),
        evaluation,
        written: std::fs::metadata(dir.join("metrics.jsonl")).and_then(|m| m.modified()).ok(),
        from: parents(&config),
        alarms: log.iter().filter(|line| line.contains_key("alarm")).count(),
        damage,
    }
}

/// What tells a stage's success, by the keys of the log (0) or of the summary (1).
fn figures(stage: &str, column: usize, value: &dyn Fn(&str) -> Option<f64>) -> Vec<(&'static str, f64)> {
    let keys: &[([&str; 2], &'static str)] = match stage {
        "pretrain" => &[(["eval/bits_per_byte", "bits_per_byte"], "bits a byte")],
        "sft" => &[(["eval/loss", "eval_loss"], "nats a token")],
        "reward" => &[(["eval/accuracy", "accuracy"], "accuracy"), (["eval/ece", "ece"], "ECE")],
        _ => &[(["eval/scores", "reward_policy"], "reward"), (["eval/win_rate", "win_rate"], "win rate"), (["eval/kl", "kl"], "KL")],
    };
    keys.iter().filter_map(|(keys, name)| Some((*name, value(keys[column])?))).collect()
}

/// The folders that the configuration names as beginnings.
fn parents(config: &toml::Table) -> Vec<String> {
    let text = |table: Option<&toml::Value>, key: &str| Some(table?.get(key)?.as_str()?.to_owned()).filter(|s| !s.is_empty());
    let more = config.get("reward").and_then(|r| r.get("more")?.as_array()).into_iter().flatten().map(|more| text(Some(more), "model"));
    [("model", "init"), ("policy", "init"), ("reward", "model"), ("value", "init")]
        .into_iter()
        .map(|(section, key)| text(config.get(section), key))
        .chain(more)
        .flatten()
        .collect()
}

fn newest_checkpoint(dir: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(dir.join("checkpoints")).ok()?;
    entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()).max()
}

/// The objects in the last part of a log; none where there is no log. A first or last line that is cut is left out.
fn tail(path: &Path) -> io::Result<Vec<Map<String, Value>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(e),
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let lines = bytes.split(|&b| b == b'\n').skip(usize::from(start > 0));
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}
