//! Cutting CSV into records before it is parsed, so that one malformed record costs one record and not the file, and every record knows its line.
//!
//! polars parses a block as a whole: one stray quote or ragged row fails it or silently joins rows. So this scanner walks the bytes once, finds where
//! each record ends (quoted fields may hold line ends), counts its fields, and lets through only what polars reads the same way.

/// A record that never ends (a quote that never closes) is given up after this many bytes.
const LONGEST_RECORD: usize = 16 << 20;

/// What [`next`] found at the beginning of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole record: its bytes including the line end, the lines it takes, its number of fields, and whether it has to be written anew
    /// because a quote stands inside an unquoted field.
    Record { bytes: usize, lines: u64, fields: usize, stray_quotes: bool },
    /// A line without any field.
    Blank { bytes: usize },
    /// Quotes make no sense; the first line alone is to be rejected and scanning goes on after it.
    Broken { bytes: usize, why: &'static str },
    /// More bytes are needed.
    More,
}

/// Where the scanner is inside a record.
#[derive(Clone, Copy, PartialEq)]
enum At {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote inside a quoted field: the field's end, or the first of a doubled quote.
    QuoteInQuoted,
}

/// Finds the record at the beginning of `bytes`; `last` says that nothing follows them.
pub(super) fn next(bytes: &[u8], separator: u8, last: bool) -> Found {
    let mut at = At::FieldStart;
    let (mut fields, mut lines, mut stray_quotes) = (1usize, 1u64, false);
    for (i, &byte) in bytes.iter().enumerate() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::QuoteInQuoted,
            (At::Quoted, b'\n') => {
                lines += 1;
                At::Quoted
            }
            (At::Quoted, _) => At::Quoted,
            (At::QuoteInQuoted, b'"') => At::Quoted,
            (_, b'\n') => {
                if fields == 1 && matches!(&bytes[..i], [] | b"\r") {
                    return Found::Blank { bytes: i + 1 };
                }
                return Found::Record { bytes: i + 1, lines, fields, stray_quotes };
            }
            (_, b) if b == separator => {
                fields += 1;
                At::FieldStart
            }
            // `"text"\r\n`: the carriage return belongs to the line end.
            (At::QuoteInQuoted, b'\r') if matches!(bytes.get(i + 1), None | Some(b'\n')) => At::QuoteInQuoted,
            (At::QuoteInQuoted, _) => return broken(bytes, "text after a closing quote"),
            (At::FieldStart, b'"') => At::Quoted,
            (_, b'"') => {
                stray_quotes = true;
                At::Unquoted
            }
            _ => At::Unquoted,
        };
        if i >= LONGEST_RECORD {
            return broken(bytes, "a record of more than 16 MiB; probably a quote that never closes");
        }
    }
    match (last, at) {
        (false, _) => Found::More,
        (true, At::Quoted) => broken(bytes, "a quote that never closes"),
        (true, _) if bytes.is_empty() || bytes == b"\r" => Found::Blank { bytes: bytes.len() },
        (true, _) => Found::Record { bytes: bytes.len(), lines, fields, stray_quotes },
    }
}

fn broken(bytes: &[u8], why: &'static str) -> Found {
    let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
    Found::Broken { bytes: end, why }
}

/// A record without its line end.
pub(super) fn trim_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

/// Copies a record field by field, quoting every unquoted field that holds a quote, as RFC 4180 wants it.
pub(super) fn requote(record: &[u8], separator: u8, out: &mut Vec<u8>) {
    let mut at = At::FieldStart;
    let mut start = 0;
    for i in 0..=record.len() {
        let byte = record.get(i).copied();
        let ends = byte.is_none_or(|b| b == separator) && at != At::Quoted;
        if ends {
            let field = &record[start..i];
            if field.first() == Some(&b'"') || !field.contains(&b'"') {
                out.extend_from_slice(field)
            } else {
                quote(field, out)
            }
            out.extend(byte);
            start = i + 1;
            at = At::FieldStart;
            continue;
        }
        at = match (at, byte) {
            (At::FieldStart, Some(b'"')) | (At::QuoteInQuoted, Some(b'"')) => At::Quoted,
            (At::Quoted, Some(b'"')) => At::QuoteInQuoted,
            (At::FieldStart, _) => At::Unquoted,
            (same, _) => same,
        };
    }
}

/// Copies a line in which quotes are ordinary characters (as in many TSV files) so that they survive the parsing.
pub(super) fn quote_all(line: &[u8], separator: u8, out: &mut Vec<u8>) {
    for (i, field) in line.split(|b| *b == separator).enumerate() {
        if i > 0 {
            out.push(separator);
        }
        quote(field, out);
    }
}

fn quote(field: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in field {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize, lines: u64, fields: usize) -> Found {
        Found::Record { bytes, lines, fields, stray_quotes: false }
    }

    #[test]
    fn records_end_where_they_should() {
        assert_eq!(next(b"a,b\nc,d\n", b',', true), record(4, 1, 2));
        assert_eq!(next(b"\"a\nx\",\"b\"\"\n\"\r\nrest", b',', true), record(14, 3, 2));
        assert_eq!(next(b"a,b", b',', true), record(3, 1, 2));
        assert_eq!(next(b"a,b", b',', false), Found::More);
        assert_eq!(next(b"\"a\"\r", b',', false), Found::More);
        assert_eq!(next(b"\"a\nb", b',', false), Found::More);
        assert_eq!(next(b"\r\nx", b',', true), Found::Blank { bytes: 2 });
        assert_eq!(next(b",\n", b',', true), record(2, 1, 2));
        assert_eq!(next(b"a b\"c,d\n", b',', true), Found::Record { bytes: 8, lines: 1, fields: 2, stray_quotes: true });
    }

    #[test]
    fn broken_quotes_cost_their_first_line() {
        assert!(matches!(next(b"x,\"open\ny,\"z\"\n", b',', true), Found::Broken { bytes: 8, .. }));
        assert!(matches!(next(b"x,\"open\nlast", b',', true), Found::Broken { bytes: 8, .. }));
        assert!(matches!(next(b"\"a\"b,c\n", b',', true), Found::Broken { bytes: 7, .. }));
    }

    #[test]
    fn stray_quotes_are_quoted() {
        let mut out = Vec::new();
        requote(b"5\" pipe,\"a,\"\"b\"\"\",c\"", b',', &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"5\"\" pipe\",\"a,\"\"b\"\"\",\"c\"\"\"");
        let mut out = Vec::new();
        quote_all(b"\"so\" he said\tb", b'\t', &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"\"\"so\"\" he said\"\t\"b\"");
    }
}
