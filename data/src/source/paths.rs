//! From a configured path to files: environment variables, globs, folders, and formats by name.

use crate::config::{self, Format};
use crate::error::DataError;
use std::path::{Path, PathBuf};

/// `*` does not take hidden files, as in a shell; `**` and `*` otherwise as `glob` has them.
const VISIBLE: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: false, require_literal_leading_dot: true };

/// Replaces `${NAME}` and `${NAME:-default}` by environment variables.
pub fn expand(path: &str) -> Result<String, DataError> {
    expand_with(path, |name| std::env::var(name).ok())
}

fn expand_with(path: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, DataError> {
    let mut out = String::new();
    let mut rest = path;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let inside = &rest[start + 2..start + length];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        // As in a shell, `:-` stands in for an empty variable too.
        let value = variable(name).filter(|v| default.is_none() || !v.is_empty());
        let value = value.or_else(|| default.map(str::to_string));
        let value = value.ok_or_else(|| DataError::Variable { path: path.to_string(), name: name.to_string() })?;
        out.push_str(&rest[..start]);
        out.push_str(&value);
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The format that a file name tells, compression suffix aside.
pub fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "txt" | "text" => Some(Format::Text),
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "parquet" => Some(Format::Parquet),
        "arrow" | "feather" | "ipc" => Some(Format::Arrow),
        _ => None,
    }
}

/// All files of a source with their formats, sorted by name. A folder means every file below it whose name tells a format
/// (the configured one, if there is one); hidden files are left out.
pub fn files(source: &config::Source) -> Result<Vec<(PathBuf, Format)>, DataError> {
    let path = expand(&source.path)?;
    let none = |detail: &str| DataError::NoFiles { path: path.clone(), detail: detail.to_string() };
    if path.trim().is_empty() {
        return Err(none("the source's `path` is empty"));
    }
    let mut found = Vec::new();
    let literal = PathBuf::from(&path);
    if literal.exists() {
        found.push(literal);
    } else if path.contains(['*', '?', '[']) {
        found = matches(&path)?;
    } else {
        return Err(none("there is no such file or folder"));
    }
    let mut files = Vec::new();
    for path in found {
        if path.is_dir() {
            walk(&path, source.format, &mut files)?;
        } else {
            let format = source.format.or_else(|| format_of(&path)).ok_or(DataError::UnknownFormat { path: path.clone() })?;
            files.push((path, format));
        }
    }
    if files.is_empty() {
        return Err(none(
            "the folder has no file of a known format (.txt, .jsonl, .json, .csv, .tsv, .parquet, .arrow, .feather; .gz and .zst of the text formats)",
        ));
    }
    Ok(files)
}

/// Files and folders that match a glob, sorted; none is an error.
pub fn matches(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let none = |detail: String| DataError::NoFiles { path: pattern.to_string(), detail };
    let matches = glob::glob_with(pattern, VISIBLE).map_err(|e| none(format!("not a valid glob: {e}")))?;
    let mut found = matches.collect::<Result<Vec<_>, _>>().map_err(|e| none(e.to_string()))?;
    found.sort();
    if found.is_empty() { Err(none("no file matches this glob".to_string())) } else { Ok(found) }
}

fn walk(folder: &Path, wanted: Option<Format>, files: &mut Vec<(PathBuf, Format)>) -> Result<(), DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io("read", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(DataError::io("read", folder))?.path());
    }
    paths.sort();
    for path in paths {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            walk(&path, wanted, files)?;
        } else if let Some(format) = format_of(&path)
            && wanted.is_none_or(|wanted| wanted == format)
        {
            files.push((path, format));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_defaults_and_missing_ones_are_named() {
        let vars = |name: &str| match name {
            "DATA" => Some("/d".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        assert_eq!(expand_with("${DATA}/x", vars).unwrap(), "/d/x");
        assert_eq!(expand_with("${NONE:-../shared}/x/${DATA:-y}", vars).unwrap(), "../shared/x//d");
        assert_eq!(expand_with("${EMPTY:-z}", vars).unwrap(), "z");
        assert_eq!(expand_with("a$b}c", vars).unwrap(), "a$b}c");
        let error = expand_with("${NONE}/x", vars).unwrap_err().to_string();
        assert!(error.contains("NONE") && error.contains("${NONE:-folder}"), "{error}");
    }

    #[test]
    fn names_tell_formats() {
        for (name, format) in [
            ("a.txt", Some(Format::Text)),
            ("a.txt.gz", Some(Format::Text)),
            ("A.JSONL.zst", Some(Format::Jsonl)),
            ("a.b.csv", Some(Format::Csv)),
            ("a.tsv", Some(Format::Tsv)),
            ("a.parquet", Some(Format::Parquet)),
            ("a.feather", Some(Format::Arrow)),
            ("README.md", None),
            ("Makefile", None),
        ] {
            assert_eq!(format_of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn folders_and_globs_give_sorted_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b.txt", "a.jsonl", "sub/c.txt", ".hidden.txt", "notes.md"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let names = |path: PathBuf, format| -> Vec<String> {
            let source = config::Source { path: path.display().to_string(), format, ..Default::default() };
            files(&source).unwrap().iter().map(|(p, _)| p.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(dir.path().into(), None), ["a.jsonl", "b.txt", "sub/c.txt"]);
        assert_eq!(names(dir.path().into(), Some(Format::Text)), ["b.txt", "sub/c.txt"]);
        assert_eq!(names(dir.path().join("*.[jt]*"), None), ["a.jsonl", "b.txt"]);
        assert_eq!(names(dir.path().join("**/*.txt"), None), ["b.txt", "sub/c.txt"]);
        let missing = config::Source { path: dir.path().join("no/*.txt").display().to_string(), ..Default::default() };
        assert!(matches!(files(&missing), Err(DataError::NoFiles { .. })));
        let unknown = config::Source { path: dir.path().join("notes.md").display().to_string(), ..Default::default() };
        assert!(matches!(files(&unknown), Err(DataError::UnknownFormat { .. })));
    }
}
