//! Globs: `*`, `?` and `[...]` within a name, `**` for folders however deep; at the end `**` is the folder before it. Hidden names are found only where the
//! pattern has them letter by letter, as in a shell.
//!
//! The `glob` crate compares names. It does not walk here: its walk goes round with links that lead back up, and ends the program at a name that is not UTF-8.

use super::paths::{identity, visible};
use crate::error::DataError;
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// What stands between two slashes.
enum Part {
    /// A name as it is, or the root, or `..`.
    Name(PathBuf),
    /// A name with signs.
    Like(glob::Pattern),
    /// `**`.
    Deep,
}

/// Files and folders that match a glob, sorted; none is an error.
pub fn matches(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let none = |detail: String| DataError::NoFiles { path: pattern.to_string(), detail };
    let mut parts = parts(pattern).map_err(|e| none(format!("not a valid glob: {e}")))?;
    let mut folders_only = pattern.ends_with('/');
    while let Some(Part::Deep) = parts.last() {
        folders_only = true;
        parts.pop();
    }
    let mut search = Search { parts: &parts, seen: HashSet::new(), found: Vec::new() };
    search.descend(Path::new(""), 0)?;
    let mut found = search.found;
    found.retain(|path| !folders_only || path.is_dir());
    found.sort();
    if found.is_empty() { Err(none("no file matches this glob".to_string())) } else { Ok(found) }
}

fn parts(pattern: &str) -> Result<Vec<Part>, glob::PatternError> {
    let mut parts = Vec::new();
    for component in Path::new(pattern).components() {
        let text = component.as_os_str().to_string_lossy();
        match component {
            Component::CurDir => {}
            Component::Normal(_) if text == "**" => parts.push(Part::Deep),
            Component::Normal(_) if text.contains(['*', '?', '[']) => parts.push(Part::Like(glob::Pattern::new(&text)?)),
            _ => parts.push(Part::Name(PathBuf::from(component.as_os_str()))),
        }
    }
    Ok(parts)
}

struct Search<'a> {
    parts: &'a [Part],
    /// Folders that a part of the pattern has been looked for in, so that links cannot lead round.
    seen: HashSet<(usize, PathBuf)>,
    found: Vec<PathBuf>,
}

impl Search<'_> {
    /// Looks below `at`, which has matched so far, for part number `next` and all that follow.
    fn descend(&mut self, at: &Path, next: usize) -> Result<(), DataError> {
        let parts = self.parts;
        let folder = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match parts.get(next) {
            None => self.found.push(folder.to_path_buf()),
            Some(Part::Name(name)) => {
                let below = at.join(name);
                if below.exists() {
                    self.descend(&below, next + 1)?;
                }
            }
            Some(_) if !folder.is_dir() => {}
            Some(Part::Like(pattern)) => {
                for name in visible(folder)?.iter().filter_map(|path| path.file_name()) {
                    if pattern.matches(&name.to_string_lossy()) {
                        self.descend(&at.join(name), next + 1)?;
                    }
                }
            }
            Some(Part::Deep) => {
                if !self.seen.insert((next, identity(folder))) {
                    return Ok(());
                }
                self.descend(at, next + 1)?;
                for name in visible(folder)?.iter().filter_map(|path| path.file_name()) {
                    let below = at.join(name);
                    if below.is_dir() {
                        self.descend(&below, next)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_stand_for_names_and_depths() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
        std::fs::create_dir(dir.path().join(".hidden")).unwrap();
        for name in ["a.csv", ".b.csv", "sub/b.csv", "sub/deep/c.csv", ".hidden/d.csv"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(".", dir.path().join("sub/self")).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let found = matches(&dir.path().join(pattern).display().to_string()).unwrap();
            found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found("*"), ["a.csv", "sub"]);
        assert_eq!(found("*/"), ["sub"]);
        assert_eq!(found("**/*.csv"), ["a.csv", "sub/b.csv", "sub/deep/c.csv"]);
        assert_eq!(found("s?b/**/[!b].csv"), ["sub/deep/c.csv"]);
        assert_eq!(found("sub/../*.csv"), ["sub/../a.csv"]);
        assert_eq!(found(".hidden/*"), [".hidden/d.csv"], "what is named is not hidden");
        assert_eq!((found("**"), found("*/**")), (vec![String::new()], vec!["sub".to_string()]));
        let none = |pattern: &str| matches(&dir.path().join(pattern).display().to_string()).unwrap_err().to_string();
        assert!(none("*.txt").contains("no file matches") && none("a.csv/*").contains("no file matches"));
        assert!(none("a**").contains("not a valid glob") && none("[a").contains("not a valid glob"));
    }
}
