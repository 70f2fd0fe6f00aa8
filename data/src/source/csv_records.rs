//! Cutting CSV into records and fields, so that one malformed record costs one record and not the file, and every record knows its line.
//!
//! The scanner jumps from one separator, quote or line end to the next (quoted fields may hold line ends) and says where each field stands; nothing
//! is copied.

use memchr::{memchr, memchr_iter, memchr2};
use std::borrow::Cow;

/// A record that never ends (a quote that never closes) is given up after this many bytes.
const LONGEST_RECORD: usize = 16 << 20;

/// Where a field stands in the bytes, its outer quotes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    start: u32,
    end: u32,
    /// It holds doubled quotes, each of which is one.
    doubled: bool,
}

impl Field {
    /// A record is no longer than [`LONGEST_RECORD`] (and one block): 32 bits are enough, and half of what a field costs on its way.
    pub(super) fn new(start: usize, end: usize, doubled: bool) -> Field {
        Field { start: start as u32, end: end as u32, doubled }
    }

    /// The field's text; `text` is the record from its beginning on.
    pub(super) fn of<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let field = &text[self.start as usize..self.end as usize];
        if self.doubled { Cow::Owned(single(field)) } else { Cow::Borrowed(field) }
    }
}

/// The text with each doubled quote as one; all its quotes are doubled.
fn single(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = memchr(b'"', rest.as_bytes()) {
        out.push_str(&rest[..=at]);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What [`next`] found at the beginning of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole record: its bytes including the line end, and the lines it takes. Its fields are in the list.
    Record { bytes: usize, lines: u64 },
    /// A line without any field.
    Blank { bytes: usize },
    /// Quotes make no sense; the first line alone is to be rejected and scanning goes on after it.
    Broken { bytes: usize, why: &'static str },
    /// More bytes are needed.
    More,
}

/// Finds the record at the beginning of `bytes` and its fields; `last` says that nothing follows them.
pub(super) fn next(bytes: &[u8], separator: u8, last: bool, fields: &mut Vec<Field>) -> Found {
    fields.clear();
    let mut at = 0;
    // From the first quoted field to the last: line ends stand nowhere else within a record.
    let mut quoted: Option<(usize, usize)> = None;
    let lines = |quoted: Option<(usize, usize)>| 1 + quoted.map_or(0, |(from, to)| memchr_iter(b'\n', &bytes[from..to]).count() as u64);
    let more = |otherwise: Found| match bytes.len() > LONGEST_RECORD {
        true => broken(bytes, "a record of more than 16 MiB; probably a quote that never closes"),
        false if last => otherwise,
        false => Found::More,
    };
    loop {
        if bytes.get(at) != Some(&b'"') {
            let Some(length) = memchr2(separator, b'\n', &bytes[at..]) else {
                let end = at + trim_end(&bytes[at..]).len();
                if fields.is_empty() && end == 0 {
                    return more(Found::Blank { bytes: bytes.len() });
                }
                fields.push(Field::new(at, end, false));
                return more(Found::Record { bytes: bytes.len(), lines: lines(quoted) });
            };
            let end = at + length;
            if bytes[end] == separator {
                fields.push(Field::new(at, end, false));
                at = end + 1;
                continue;
            }
            let trimmed = at + trim_end(&bytes[at..end]).len();
            if fields.is_empty() && trimmed == 0 {
                return Found::Blank { bytes: end + 1 };
            }
            fields.push(Field::new(at, trimmed, false));
            return Found::Record { bytes: end + 1, lines: lines(quoted) };
        }
        let start = at + 1;
        let (mut from, mut doubled) = (start, false);
        let end = loop {
            let Some(length) = memchr(b'"', &bytes[from..]) else { return more(broken(bytes, "a quote that never closes")) };
            let quote = from + length;
            match bytes.get(quote + 1) {
                Some(b'"') => {
                    doubled = true;
                    from = quote + 2;
                }
                None if !last => return more(Found::More), // the next byte may double it
                _ => break quote,
            }
        };
        quoted = Some((quoted.map_or(start, |(from, _)| from), end));
        fields.push(Field::new(start, end, doubled));
        // What follows: `,`, a line end (`\r` belongs to it), or nothing.
        match (bytes.get(end + 1), bytes.get(end + 2)) {
            (Some(b), _) if *b == separator => at = end + 2,
            (Some(b'\n'), _) => return Found::Record { bytes: end + 2, lines: lines(quoted) },
            (Some(b'\r'), Some(b'\n')) => return Found::Record { bytes: end + 3, lines: lines(quoted) },
            (Some(b'\r'), None) | (None, _) => return more(Found::Record { bytes: bytes.len(), lines: lines(quoted) }),
            _ => return broken(bytes, "text after a closing quote"),
        }
    }
}

fn broken(bytes: &[u8], why: &'static str) -> Found {
    let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    Found::Broken { bytes: end, why }
}

/// A record without its line end.
pub(super) fn trim_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8], last: bool) -> (Found, Vec<String>) {
        let mut fields = Vec::new();
        let found = next(bytes, b',', last, &mut fields);
        let text = std::str::from_utf8(bytes).unwrap();
        (found, fields.iter().map(|field| field.of(text).to_string()).collect())
    }

    fn record(bytes: usize, lines: u64, fields: &[&str]) -> (Found, Vec<String>) {
        (Found::Record { bytes, lines }, fields.iter().map(|f| f.to_string()).collect())
    }

    #[test]
    fn records_end_where_they_should() {
        assert_eq!(scan(b"a,b\nc,d\n", true), record(4, 1, &["a", "b"]));
        assert_eq!(scan(b"\"a\nx\",\"b\"\"\n\"\r\nrest", true), record(14, 3, &["a\nx", "b\"\n"]));
        assert_eq!(scan(b"a,b", true), record(3, 1, &["a", "b"]));
        assert_eq!(scan(b"a,b\r", true), record(4, 1, &["a", "b"]));
        assert_eq!(scan(b"a,", true), record(2, 1, &["a", ""]));
        assert_eq!(scan(b"\"\",\"\"\"\"", true), record(7, 1, &["", "\""]));
        for more in [b"a,b".as_slice(), b"\"a\"\r", b"\"a\nb", b"\"a\"", b"a,", b""] {
            assert_eq!(scan(more, false).0, Found::More);
        }
        assert_eq!(scan(b"\r\nx", true).0, Found::Blank { bytes: 2 });
        assert_eq!(scan(b"", true).0, Found::Blank { bytes: 0 });
        assert_eq!(scan(b",\n", true), record(2, 1, &["", ""]));
        // A quote inside an unquoted field is just a quote.
        assert_eq!(scan(b"a b\"c,d\n", true), record(8, 1, &["a b\"c", "d"]));
    }

    #[test]
    fn broken_quotes_cost_their_first_line() {
        assert!(matches!(scan(b"x,\"open\ny,\"z\"\n", true).0, Found::Broken { bytes: 8, .. }));
        assert!(matches!(scan(b"x,\"open\nlast", true).0, Found::Broken { bytes: 8, .. }));
        assert!(matches!(scan(b"\"a\"b,c\n", true).0, Found::Broken { bytes: 7, .. }));
    }
}
