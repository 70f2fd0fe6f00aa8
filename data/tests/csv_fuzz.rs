//! CSV by chance: every table comes back as it was written, and no bytes whatever lose a row in silence or panic.

use data::config::{self, Format};
use data::quarantine::{Quarantine, Reason};
use data::source;
use proptest::prelude::*;

/// What was read.
struct Table {
    rows: Vec<Vec<String>>,
    /// Line of each row.
    lines: Vec<u64>,
    rejected: u64,
}

fn read(bytes: &[u8], format: Format) -> Table {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table");
    std::fs::write(&path, bytes).unwrap();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    let mut bad = Quarantine::new(dir.path().join("bad.jsonl"));
    let met = source::read_file(&path, format, &config::Columns::default(), &mut bad, &mut |row, _| {
        lines.push(row.line);
        rows.push(row.fields.values().map(|cell| cell.as_str().unwrap_or_default().to_string()).collect());
        Ok(())
    })
    .unwrap();
    assert_eq!(met, rows.len() as u64 + bad.rejected());
    Table { rows, lines, rejected: bad.rejected() }
}

/// One cell, quoted where it must be or where it pleases.
fn write(cell: &str, separator: char, quoted: bool, out: &mut String) {
    if quoted || cell.contains([separator, '"', '\n', '\r']) {
        out.push_str(&format!("\"{}\"", cell.replace('"', "\"\"")));
    } else {
        out.push_str(cell);
    }
}

fn cells() -> impl Strategy<Value = Vec<Vec<(String, bool)>>> {
    let cell = prop_oneof!["[a-z ]{0,6}", "[\"a,\t\n\r;# ]{0,5}", "\\PC{0,4}"];
    (2usize..5).prop_flat_map(move |width| prop::collection::vec(prop::collection::vec((cell.clone(), any::<bool>()), width), 1..12))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_come_back(table in cells(), tsv in any::<bool>(), windows in any::<bool>(), last_end in any::<bool>()) {
        let (separator, format) = if tsv { ('\t', Format::Tsv) } else { (',', Format::Csv) };
        let end = if windows { "\r\n" } else { "\n" };
        let header: Vec<String> = (0..table[0].len()).map(|i| format!("c{i}")).collect();
        let mut text = header.join(&separator.to_string());
        let mut lines = Vec::new();
        for row in &table {
            text.push_str(end);
            lines.push(text.matches('\n').count() as u64 + 1);
            for (i, (cell, quoted)) in row.iter().enumerate() {
                if i > 0 {
                    text.push(separator);
                }
                write(cell, separator, *quoted, &mut text);
            }
        }
        if last_end {
            text.push_str(end);
        }
        let expected: Vec<Vec<String>> = table.iter().map(|row| row.iter().map(|(cell, _)| cell.clone()).collect()).collect();
        let found = read(text.as_bytes(), format);
        prop_assert_eq!(found.rejected, 0);
        prop_assert_eq!(found.rows, expected);
        prop_assert_eq!(found.lines, lines);
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(prop_oneof![
        Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b' '), Just(0xffu8), Just(0xc3u8), any::<u8>()
    ], 0..200)) {
        for format in [Format::Csv, Format::Tsv] {
            let bytes = [b"a,b\tc,d\n".as_slice(), &body].concat();
            let Table { rows, lines, .. } = read(&bytes, format);
            prop_assert_eq!(rows.len(), lines.len());
            prop_assert!(lines.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}

#[test]
fn reasons_have_the_names_that_the_file_shows() {
    for reason in [Reason::NotUtf8, Reason::BrokenJson, Reason::NotAnObject, Reason::BrokenQuotes, Reason::FieldCount, Reason::LineTooLong]
        .into_iter()
        .chain([
            Reason::MissingField,
            Reason::WrongType,
            Reason::Empty,
            Reason::TooLong,
            Reason::BadRanking,
            Reason::BadWeight,
            Reason::BadChat,
        ])
    {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
    }
}
