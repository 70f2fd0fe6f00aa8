//! Rows of a file, for commands that use all of them or none: a figure over fewer rows would be another figure.

use crate::exit::input;
use data::config::Source;
use data::quarantine::Quarantine;
use data::source::{self, Row};
use std::path::Path;

/// What ends the message of [`read`] where rows are measured.
pub const FIGURES: &str = "figures are of all rows or of none";

/// What `take` makes of each row, of the first `limit` (0: of all). The first row that it refuses, a row that cannot be read, or a file without any is an
/// error; `goal` says why.
pub fn read<T>(path: &Path, limit: usize, goal: &str, mut take: impl FnMut(&Row) -> Result<T, String>) -> anyhow::Result<Vec<T>> {
    let folder = tempfile::tempdir()?;
    let mut bad = Quarantine::new(folder.path().join("bad.jsonl"));
    let (mut rows, mut broken) = (Vec::new(), None);
    let source = Source { path: path.display().to_string(), ..Source::default() };
    source::read(&source, &mut bad, &mut |row, _| {
        if limit > 0 && rows.len() == limit {
            return Ok(());
        }
        match take(&row) {
            Ok(taken) => rows.push(taken),
            Err(why) => broken = broken.take().or_else(|| Some(format!("{}, line {}: {why}", row.file.display(), row.line))),
        }
        Ok(())
    })?;
    match broken {
        Some(broken) => Err(input(broken)),
        None if rows.is_empty() || bad.rejected() > 0 => {
            Err(input(format!("{}: {} readable rows and {} others: {goal}", path.display(), rows.len(), bad.rejected())))
        }
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_or_none() {
        let dir = tempfile::tempdir().expect("folder");
        let read = |text: &str, limit: usize| {
            let path = dir.path().join("rows.jsonl");
            std::fs::write(&path, text).expect("written");
            read(&path, limit, "all or none", |row| row.fields.get("n").and_then(|n| n.as_u64()).ok_or_else(|| "no n".to_string()))
        };
        let refused = |text: &str, limit: usize| read(text, limit).expect_err("a mistake").to_string();
        let good = "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n";
        assert_eq!(read(good, 0).expect("rows"), [1, 2, 3]);
        assert_eq!(read(good, 2).expect("rows"), [1, 2]);
        assert!(refused("{\"n\": 1}\n{\"m\": 2}\n{}\n", 0).ends_with("rows.jsonl, line 2: no n"));
        assert_eq!(read("{\"n\": 1}\n{\"m\": 2}\n", 1).expect("rows"), [1], "what is not taken is not looked at");
        assert!(refused("{\"n\": 1}\n{\n", 0).ends_with("1 readable rows and 1 others: all or none"));
        assert!(refused("\n", 0).ends_with("0 readable rows and 0 others: all or none"));
    }
}
