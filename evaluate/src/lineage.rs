//! `evaluate lineage`: a model's ancestry, back to its texts and rankings.

use crate::cli::LineageArgs;
use anyhow::Context;
use model::lineage::{self, Lineage, Parent, weights_hash};
use program::say;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// Prints the tree of records; with `--check` compares every folder and file that is still there with what was recorded.
pub fn run(args: &LineageArgs) -> anyhow::Result<()> {
    let folder = model::resolve(&args.model)?;
    let record = lineage::read(&folder).with_context(|| format!("{} has no record of where it came from", folder.display()))?;
    if args.json {
        say!("{}", json!({ "model": folder, "hash": weights_hash(&folder)?, "lineage": record }));
        return Ok(());
    }
    let mut text = String::new();
    let root =
        Parent { key: "model".into(), path: folder.display().to_string(), hash: weights_hash(&folder)?, lineage: Some(Box::new(record)) };
    tree(&root, "", args.check, &mut text);
    program::text(&text);
    Ok(())
}

/// One folder and, below it, what it was made from.
fn tree(folder: &Parent, indent: &str, check: bool, out: &mut String) {
    let short: String = folder.hash.chars().take(12).collect();
    let state = if check { now(&folder.hash, weights_hash(Path::new(&folder.path)).ok()) } else { "" };
    let _ = writeln!(out, "{} · {} · weights {short}{state}", folder.key, folder.path); // writing to a String cannot fail
    let Some(record) = &folder.lineage else {
        let _ = writeln!(out, "{indent}   no record: made elsewhere");
        return;
    };
    let _ = writeln!(out, "{indent}│  {}", made(record));
    for change in &record.changes {
        let _ = writeln!(out, "{indent}│  at step {}: {change}", change.step);
    }
    let folders: Vec<&Parent> = record.parents.iter().collect();
    let is_folder = |key: &str| folders.iter().any(|p| p.key == key);
    let in_folder = |key: &str| is_folder(key) || data::inputs::MADE.contains(&key);
    let files: Vec<_> = record.inputs.items.iter().filter(|i| !in_folder(&i.key)).collect();
    for (i, file) in files.iter().enumerate() {
        let corner = if i + 1 == files.len() && folders.is_empty() { "└─" } else { "├─" };
        let short: String = file.hash.chars().take(12).collect();
        let found = || data::inputs::hash_file(Path::new(&file.path)).ok().map(|h| h.to_hex().to_string());
        let state = if check { now(&file.hash, found()) } else { "" };
        let _ = writeln!(out, "{indent}{corner} {} · {} · {short}{state}", file.key, file.path);
    }
    for (i, parent) in folders.iter().enumerate() {
        let last = i + 1 == folders.len();
        let _ = write!(out, "{indent}{} ", if last { "└─" } else { "├─" });
        tree(parent, &format!("{indent}{}  ", if last { " " } else { "│" }), check, out);
    }
}

/// `ppo 0.1.0 · 1920 episodes · configuration 3f2a…`
fn made(record: &Lineage) -> String {
    let mut parts = vec![format!("{} {}", record.stage, record.version)];
    if record.tokens > 0 {
        parts.push(format!("{} tokens", record.tokens));
    }
    if record.episodes > 0 {
        parts.push(format!("{} episodes", record.episodes));
    }
    parts.push(format!("configuration {}", record.config_hash.chars().take(12).collect::<String>()));
    parts.join(" · ")
}

/// How what is there now compares with what was recorded.
fn now(recorded: &str, found: Option<String>) -> &'static str {
    match found {
        None => " · gone",
        Some(hash) if hash == recorded => " · as recorded",
        Some(_) => " · CHANGED since",
    }
}
