//! From a configured path to files: environment variables, globs, folders, and formats by name.

use super::pattern::matches;
use crate::config::{self, Format};
use crate::error::DataError;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

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
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
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

/// All files of a source with their formats, sorted by name, each once by whatever names it is reached. A folder means every file below it whose name tells a
/// format (the configured one, if there is one); hidden files are left out.
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
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    for path in found {
        if path.is_dir() {
            walk(&path, source.format, &mut seen, &mut files)?;
        } else if seen.insert(identity(&path)) {
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

/// The files below a folder; `seen` are the files and folders met so far.
fn walk(folder: &Path, wanted: Option<Format>, seen: &mut HashSet<PathBuf>, files: &mut Vec<(PathBuf, Format)>) -> Result<(), DataError> {
    if !seen.insert(identity(folder)) {
        return Ok(());
    }
    for path in visible(folder)? {
        if path.is_dir() {
            walk(&path, wanted, seen, files)?;
        } else if let Some(format) = format_of(&path)
            && wanted.is_none_or(|wanted| wanted == format)
            && seen.insert(identity(&path))
        {
            files.push((path, format));
        }
    }
    Ok(())
}

/// What stands in a folder, sorted, without what is hidden.
pub(super) fn visible(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io("read", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(DataError::io("read", folder))?.path());
    }
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort();
    Ok(paths)
}

/// The one path of a file or folder that has several, by links or `..`.
pub(super) fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
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

    #[test]
    fn each_file_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
        for name in ["a.csv", "sub/b.csv", "sub/deep/c.csv"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        for (to, name) in [(".", "self"), ("..", "sub/up"), ("a.csv", "z.csv")] {
            std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        }
        for path in [dir.path().to_path_buf(), dir.path().join("**/*"), dir.path().join("**")] {
            let source = config::Source { path: path.display().to_string(), ..Default::default() };
            let mut names: Vec<PathBuf> =
                files(&source).unwrap().iter().map(|(path, _)| identity(path).strip_prefix(identity(dir.path())).unwrap().into()).collect();
            names.sort();
            assert_eq!(names, ["a.csv", "sub/b.csv", "sub/deep/c.csv"].map(PathBuf::from), "{}", source.path);
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_a_name() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt"));
        std::fs::write(&file, "x").unwrap();
        for path in [dir.path().to_path_buf(), dir.path().join("*.txt"), dir.path().join("**/caf?.*")] {
            let source = config::Source { path: path.display().to_string(), ..Default::default() };
            assert_eq!(files(&source).unwrap(), [(file.clone(), Format::Text)], "{}", source.path);
        }
    }
}
