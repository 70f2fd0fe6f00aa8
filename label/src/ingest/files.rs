//! From the paths on the command line to files.

use anyhow::Context;
use data::config::{Format, Source};
use std::path::{Path, PathBuf};

/// All files, each once, sorted within each path. A file named outright is taken whatever its name; from folders and globs come those whose names
/// tell a form of table (plain text is none), and what is left alone is said.
pub fn find(paths: &[String], out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut left = Vec::new();
    for path in paths {
        let expanded = data::source::expand(path)?;
        let literal = PathBuf::from(&expanded);
        if literal.is_file() {
            files.push(literal);
            continue;
        }
        if !literal.exists() && expanded.contains(['*', '?', '[']) {
            // `files` would refuse a match whose name tells nothing.
            for found in glob(&expanded)? {
                if found.is_dir() { folder(&found, &mut files, &mut left)? } else { sort(found, &mut files, &mut left) }
            }
            continue;
        }
        folder(&literal, &mut files, &mut left)?;
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    files.iter().try_for_each(|file| program::keep_input(file, out))?;
    if !left.is_empty() {
        let names: Vec<String> = left.iter().map(|p: &PathBuf| p.display().to_string()).collect();
        eprintln!("left alone, since their names tell no table: {}", names.join(", "));
    }
    if files.is_empty() {
        return Err(crate::exit::input(format!("no file to read in {}", paths.join(", "))));
    }
    Ok(files)
}

fn folder(path: &Path, files: &mut Vec<PathBuf>, left: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let source = Source { path: path.display().to_string(), ..Source::default() };
    for (file, format) in data::source::files(&source)? {
        if format == Format::Text { left.push(file) } else { files.push(file) }
    }
    Ok(())
}

fn sort(file: PathBuf, files: &mut Vec<PathBuf>, left: &mut Vec<PathBuf>) {
    match data::source::format_of(&file) {
        None | Some(Format::Text) => left.push(file),
        Some(_) => files.push(file),
    }
}

fn glob(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    data::source::matches(pattern).with_context(|| format!("looking for {pattern}"))
}
