//! JSON lines in and out.

use anyhow::{Context, Result};
use program::{input, refuse};
use serde::Serialize;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

/// The objects or strings of a JSON-lines file, with their line numbers.
pub fn read(path: &Path) -> Result<Vec<(usize, Value)>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(i, line): (usize, &str)| {
        let value = serde_json::from_str(line).map_err(|e| input(format!("{}, line {}: not JSON: {e}", path.display(), i + 1)))?;
        Ok((i + 1, value))
    };
    lines.map(parse).collect()
}

/// The text in `field` of every row; a row that is a string is the text itself.
pub fn texts(path: &Path, field: &str) -> Result<Vec<String>> {
    let text = |(line, row): (usize, Value)| match row.as_str().or_else(|| row[field].as_str()) {
        Some(text) if !text.trim().is_empty() => Ok(text.to_string()),
        _ => refuse!("{}, line {line}: no text in \"{field}\"", path.display()),
    };
    read(path)?.into_iter().map(text).collect()
}

/// Lines of a plain text, or the field `text` of a JSON-lines file (by its name's ending).
pub fn documents(path: &Path) -> Result<Vec<String>> {
    if path.extension().is_some_and(|e| e == "jsonl") {
        return texts(path, "text");
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_string).collect())
}

/// Writes rows as JSON lines, whole or not at all.
pub fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)?;
        bytes.push(b'\n');
    }
    write_bytes(path, &bytes)
}

/// Writes a file by one rename.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let at = || path.display().to_string();
    let part = path.with_extension("part");
    let mut file = std::fs::File::create(&part).with_context(at)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(at)?;
    std::fs::rename(&part, path).with_context(at)
}
