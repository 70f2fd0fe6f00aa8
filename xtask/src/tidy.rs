//! House rules as code: who may use whom, a header on each module, no file past the ceiling, no test forgotten.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const CEILING: usize = 600;

/// Which crates of this workspace each crate may depend on (ARCHITECTURE.md draws it).
const MAY_USE: &[(&str, &[&str])] = &[
    ("program", &[]),
    ("unify", &[]),
    ("data", &[]),
    ("loss", &["native"]),
    ("native", &[]),
    ("recipes", &["data", "program"]),
    ("dist", &["native", "program"]),
    ("model", &["data", "native"]),
    ("train", &["data", "dist", "native"]),
    ("figures", &["data"]),
    ("evaluate", &["data", "model", "native", "loss", "figures", "program"]),
    ("judges", &["data"]),
    ("label", &["data", "judges", "model", "evaluate", "figures", "program"]),
    ("serve", &["data", "model", "train", "program"]),
    ("compress", &["data", "model", "evaluate", "program"]),
    ("safety", &["data", "model", "evaluate", "program"]),
    ("pretrain", STAGE),
    ("sft", STAGE),
    ("reward", &["data", "judges", "model", "loss", "train", "dist", "evaluate"]),
    ("ppo", STAGE),
    ("testkit", &["data", "model"]),
    ("xtask", &["data"]),
];

const STAGE: &[&str] = &["data", "model", "loss", "train", "dist", "evaluate"];

/// Every breach, one line each.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let workspace = table(&root.join("Cargo.toml"))?;
    let members = workspace["workspace"]["members"].as_array().context("workspace.members")?;
    for member in members.iter().filter_map(|m| m.as_str()) {
        arrows(root, member, &mut complaints)?;
        sources(&root.join(member), &mut complaints)?;
        tests(&root.join(member), &mut complaints)?;
    }
    Ok(complaints)
}

fn table(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// Dependencies (dev-dependencies too) stay within `MAY_USE`; only `native` loosens the lints.
fn arrows(root: &Path, member: &str, complaints: &mut Vec<String>) -> Result<()> {
    let manifest = table(&root.join(member).join("Cargo.toml"))?;
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == member) else {
        complaints.push(format!("{member}: a new crate; say in xtask/src/tidy.rs and ARCHITECTURE.md whom it may use"));
        return Ok(());
    };
    for section in ["dependencies", "dev-dependencies"] {
        for used in manifest.get(section).and_then(|d| d.as_table()).into_iter().flat_map(|t| t.keys()) {
            let ours = MAY_USE.iter().any(|(name, _)| name == used);
            let ours = ours && used != "unify" && (used != "testkit" || section == "dependencies"); // no code; tests only
            if ours && !allowed.contains(&used.as_str()) {
                complaints.push(format!("{member} may not use {used} ({section}); allowed: {allowed:?}"));
            }
        }
    }
    let inherits = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(|w| w.as_bool()) == Some(true);
    if !inherits && member != "native" {
        complaints.push(format!("{member} does not inherit the workspace's lints"));
    }
    Ok(())
}

/// Where a crate's tests are one binary, every file of them is in it, or has its own in the manifest: none is forgotten.
fn tests(folder: &Path, complaints: &mut Vec<String>) -> Result<()> {
    let Ok(suite) = std::fs::read_to_string(folder.join("tests/suite.rs")) else { return Ok(()) };
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))?;
    for entry in std::fs::read_dir(folder.join("tests"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let run = suite.contains(&format!("#[path = \"{name}\"]")) || manifest.contains(&format!("path = \"tests/{name}\""));
        if name.ends_with(".rs") && !run {
            complaints.push(format!("{}: neither in tests/suite.rs nor a [[test]] of the manifest, so nothing runs it", path.display()));
        }
    }
    Ok(())
}

fn sources(folder: &Path, complaints: &mut Vec<String>) -> Result<()> {
    let mut queue: Vec<PathBuf> = vec![folder.join("src"), folder.join("tests"), folder.join("benches")];
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                queue.push(entry?.path());
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let lines = text.lines().count();
            if !text.starts_with("//!") {
                complaints.push(format!("{}: no `//!` header", path.display()));
            }
            if lines > CEILING {
                complaints.push(format!("{}: {lines} lines, the ceiling is {CEILING}", path.display()));
            }
        }
    }
    Ok(())
}
