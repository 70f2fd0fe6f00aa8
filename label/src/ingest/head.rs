//! The beginning of a file: what container its rows are in, and what the first of them looks like.

use data::error::{DataError, SourceError};
use data::source;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of the beginning that readers are shown.
const LENGTH: usize = 64 << 10;

/// The beginning of a file, by which readers know their own.
pub struct Head<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its first 64 KiB after decompression, cut at a character's boundary; empty for Parquet and Arrow.
    pub text: &'a str,
    /// The first record: the first line of JSON Lines, the first element of a JSON array, the document itself where it is no array, or (for CSV,
    /// TSV, Parquet, Arrow) an object with the columns' names as keys and the first row's cells as values. Null where there is none.
    pub first: &'a Value,
    /// `json` (one document), `jsonl`, `csv`, `tsv`, `parquet`, `arrow`, by content.
    pub form: &'static str,
}

impl Head<'_> {
    /// True if the first record has all these fields.
    pub fn has(&self, fields: &[&str]) -> bool {
        fields.iter().all(|field| self.first.get(field).is_some())
    }

    /// The first record's fields in words, for messages.
    pub fn fields(&self) -> String {
        match self.first.as_object() {
            Some(fields) if !fields.is_empty() => {
                let mut names: Vec<&str> = fields.keys().take(12).map(String::as_str).collect();
                if fields.len() > names.len() {
                    names.push("...");
                }
                format!("fields {}", names.join(", "))
            }
            _ => "no rows with fields".to_string(),
        }
    }
}

/// What a [`Head`] borrows.
pub struct Owned {
    path: PathBuf,
    text: String,
    first: Value,
    form: &'static str,
}

impl Owned {
    /// Reads the beginning of a file.
    pub fn read(path: &Path) -> Result<Owned, SourceError> {
        let bytes = beginning(path)?;
        let form = form_of(path, &bytes);
        let text = if matches!(form, "parquet" | "arrow") { String::new() } else { valid(&bytes).to_string() };
        let first = if bytes.is_empty() { Value::Null } else { first(path)? };
        Ok(Owned { path: path.to_path_buf(), text, first, form })
    }

    /// The beginning as readers see it.
    pub fn head(&self) -> Head<'_> {
        Head { path: &self.path, text: &self.text, first: &self.first, form: self.form }
    }
}

/// The container of a file's rows, as in [`Head::form`].
pub fn form(path: &Path) -> Result<&'static str, SourceError> {
    Ok(form_of(path, &beginning(path)?))
}

fn beginning(path: &Path) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    source::open(path)?.take(LENGTH as u64).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    Ok(bytes)
}

/// The text up to the first byte that is not UTF-8: the end of what was read may cut a character.
fn valid(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn form_of(path: &Path, bytes: &[u8]) -> &'static str {
    if bytes.starts_with(b"PAR1") {
        return "parquet";
    }
    // The file format, and the stream format as Hugging Face's cache has it.
    if bytes.starts_with(b"ARROW1") || bytes.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
        return "arrow";
    }
    let text = valid(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    match text.chars().next() {
        Some('[') => "json",
        Some('{') => object_form(text),
        // Nothing in it: an empty list of rows rather than a table without a header.
        None => "jsonl",
        _ => separated(path, text),
    }
}

/// An object over several lines is one document; else each line is one.
fn object_form(text: &str) -> &'static str {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match serde_json::from_str::<Value>(first) {
        Ok(_) => "jsonl",
        // Cut by the end of what was read, or by a line end inside the object; a next line that begins a new object says the line is just broken.
        Err(e) if e.is_eof() && !rest.is_empty() && !rest.trim_start().starts_with('{') => "json",
        Err(_) => "jsonl",
    }
}

/// Comma or tab, whichever the header has more of; the name where that does not tell.
fn separated(path: &Path, text: &str) -> &'static str {
    let (mut quoted, mut commas, mut tabs) = (false, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            b',' if !quoted => commas += 1,
            b'\t' if !quoted => tabs += 1,
            _ => {}
        }
    }
    match (tabs, commas) {
        (t, c) if t > c => "tsv",
        (t, c) if t < c => "csv",
        _ if source::format_of(path) == Some(data::config::Format::Tsv) => "tsv",
        _ => "csv",
    }
}

/// The first row that can be read.
fn first(path: &Path) -> Result<Value, SourceError> {
    let mut first = None;
    let enough = || SourceError::Internal("enough".to_string());
    let result = super::rows::scan(path, &mut |met| {
        if let source::Met::Row(row) = met {
            first = Some(row.fields);
            return Err(enough());
        }
        Ok(())
    });
    match (first, result) {
        (Some(fields), _) => Ok(Value::Object(fields)),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(Value::Object(Map::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_content() {
        let form = |text: &str| form_of(Path::new("x.dat"), text.as_bytes());
        assert_eq!(form("[{\"a\": 1}]"), "json");
        assert_eq!(form("\u{feff} {\n \"a\": 1\n}"), "json");
        assert_eq!(form("{\"a\": 1}\n{\"a\": 2}"), "jsonl");
        assert_eq!(form("{\"a\": \n{\"a\": 2}"), "jsonl");
        assert_eq!(form("\"a\tb,\",c\n1\t1\t1\t1,2"), "csv");
        assert_eq!(form("a\tb,c\td\n"), "tsv");
        assert_eq!(form("PAR1.."), "parquet");
        assert_eq!(form_of(Path::new("x.tsv.gz"), b"single\n1,2"), "tsv");
    }
}
