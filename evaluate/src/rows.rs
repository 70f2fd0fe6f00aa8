//! Rows of a file, for commands that use all of them or none: a figure over fewer rows would be another figure.

use crate::exit::input;
use data::config::Source;
use data::source::{self, Met, Row};
use serde_json::Value;
use std::path::Path;

/// The goal of [`read`] where rows are measured.
pub const FIGURES: &str = "figures are of all rows or of none";

/// What `take` makes of each row, of the first `limit` (0: of all). The first row that cannot be read or that `take` refuses is an error with its place, and
/// so is a file without rows; `goal` says why none is passed over.
pub fn read<T>(path: &Path, limit: usize, goal: &str, mut take: impl FnMut(&Row) -> Result<T, String>) -> anyhow::Result<Vec<T>> {
    let source = Source { path: path.display().to_string(), ..Source::default() };
    let mut rows = Vec::new();
    let mut broken: Option<String> = None;
    for (file, format) in source::files(&source)? {
        source::read_all(&file, format, &source::every_field(format, &source.columns), &mut |met| {
            if broken.is_some() || (limit > 0 && rows.len() == limit) {
                return Ok(());
            }
            let (line, why) = match met {
                Met::Row(row) => match take(&row) {
                    Ok(taken) => {
                        rows.push(taken);
                        return Ok(());
                    }
                    Err(why) => (row.line, why),
                },
                Met::Bad { line, reason, detail, .. } => (line, format!("{}: {detail}", reason.name())),
            };
            broken = Some(format!("{}: {why} ({goal})", place(&file, line)));
            Ok(())
        })?;
    }
    match broken {
        Some(broken) => Err(input(broken)),
        None if rows.is_empty() => Err(input(format!("{}: no rows", path.display()))),
        None => Ok(rows),
    }
}

/// Where a row stands, in words.
pub fn place(file: &Path, line: u64) -> String {
    format!("{}, line {line}", file.display())
}

/// A field that must be text.
pub fn text(row: &Row, field: &str) -> Result<String, String> {
    match row.fields.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Err(format!("no field {field:?}: expected text")),
        Some(other) => Err(format!("field {field:?} is {}: expected text", source::kind(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert!(refused("{\"n\": 1}\n{\"m\": 2}\n{}\n", 0).ends_with("rows.jsonl, line 2: no n (all or none)"));
        let broken = refused("{\"n\": 1}\n\n{\n{\"m\": 2}\n", 0);
        assert!(broken.contains("rows.jsonl, line 3: broken-json: ") && broken.ends_with(" (all or none)"), "{broken}");
        for beyond in ["{\"n\": 1}\n{\"m\": 2}\n", "{\"n\": 1}\n{\n"] {
            assert_eq!(read(beyond, 1).expect("rows"), [1], "what is not taken is not looked at");
        }
        assert!(refused("\n", 0).ends_with("rows.jsonl: no rows"));
    }

    #[test]
    fn a_field_of_text() {
        let Value::Object(fields) = json!({ "a": "words", "b": 7, "c": null }) else { panic!("an object") };
        let row = Row { file: std::sync::Arc::from(Path::new("rows.jsonl")), line: 1, fields };
        assert_eq!(text(&row, "a").as_deref(), Ok("words"));
        assert_eq!(text(&row, "b"), Err("field \"b\" is a number: expected text".to_string()));
        for absent in ["c", "d"] {
            assert_eq!(text(&row, absent), Err(format!("no field {absent:?}: expected text")));
        }
    }
}
