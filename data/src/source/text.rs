//! Plain text: one document a file, or several separated by a line `<|endoftext|>`.

use super::Sink;
use super::open::{LONGEST_LINE, Line, open, read_line, without_mark};
use crate::error::SourceError;
use crate::quarantine::Reason;
use serde_json::{Map, Value};

/// The line between two documents of one file.
const SEPARATOR: &str = "<|endoftext|>";

/// A document longer than this many bytes is handed over in pieces, cut at the end of a paragraph where there is one and of a line
/// otherwise. Books then neither fill the memory nor fall on one side of the train/validation split as a whole. Each piece but the last has a
/// field `continues = true`, so that no end token is put between the pieces.
const PIECE: usize = 16 << 10;

/// Name of the field that marks a piece of a document as not the last one.
const CONTINUES: &str = "continues";

pub(super) fn read(sink: &mut Sink, column: &str) -> Result<(), SourceError> {
    let mut reader = open(&sink.file)?;
    let mut raw = Vec::new();
    let mut document = Document { text: String::new(), start: 1, column };
    let mut line = 0u64;
    loop {
        let found = read_line(&mut reader, &mut raw, LONGEST_LINE).map_err(|e| sink.unreadable(line + 1, e.to_string()))?;
        line += 1;
        match found {
            Line::End => break,
            Line::TooLong => {
                sink.reject(line, Reason::LineTooLong, format!("more than {LONGEST_LINE} bytes without a line end"), &raw)?;
                continue;
            }
            Line::Read => {}
        }
        let bytes = if line == 1 { without_mark(&raw) } else { &raw };
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                // Only this line is lost: the text before and after it is whole.
                sink.reject(line, Reason::NotUtf8, format!("byte {} of the line", error.valid_up_to() + 1), bytes)?;
                continue;
            }
        };
        if text.trim() == SEPARATOR {
            document.end(sink, line + 1)?;
            continue;
        }
        // A document does not begin with blank lines.
        if document.text.is_empty() && text.trim().is_empty() {
            document.start = line + 1;
            continue;
        }
        document.add(text, line, sink)?;
    }
    document.end(sink, line)
}

/// The document being read.
struct Document<'a> {
    text: String,
    /// Line of its first character.
    start: u64,
    column: &'a str,
}

impl Document<'_> {
    fn add(&mut self, text: &str, line: u64, sink: &mut Sink) -> Result<(), SourceError> {
        // A paragraph's end is preferred to a line's end for as long as the piece is not twice its size. Blank lines do not begin a piece
        // (unless there is no end of them): they may be the document's last, and its last piece would be missing.
        let blank = text.trim().is_empty();
        let paragraph = self.text.ends_with("\n\n") && !blank;
        let longest = if blank { 4 * PIECE } else { 2 * PIECE };
        if self.text.len() + text.len() > PIECE && !self.text.is_empty() && (paragraph || self.text.len() > longest) {
            self.hand_over(sink, line, true)?;
        }
        self.text.push_str(text);
        self.text.push('\n');
        Ok(())
    }

    fn end(&mut self, sink: &mut Sink, next: u64) -> Result<(), SourceError> {
        self.text.truncate(self.text.trim_end().len());
        if self.text.is_empty() {
            self.start = next;
            return Ok(());
        }
        self.hand_over(sink, next, false)
    }

    fn hand_over(&mut self, sink: &mut Sink, next: u64, continues: bool) -> Result<(), SourceError> {
        let mut fields = Map::new();
        fields.insert(self.column.to_string(), Value::String(std::mem::take(&mut self.text)));
        if continues {
            fields.insert(CONTINUES.to_string(), Value::Bool(true));
        }
        let start = std::mem::replace(&mut self.start, next);
        sink.row(start, fields)
    }
}
