//! The table of judgments comes back as it was written, and nothing else is taken for one.

use data::chat::Message;
use data::config::{RankingData, Source};
use data::error::DataError;
use data::labels::table::{LabelTable, write_table};
use data::labels::{Judgment, Kind, flag, item_key};
use data::rankings::load_rankings;
use serde_json::{Map, json};
use std::path::Path;
use tempfile::TempDir;

/// Judgments of all kinds, with and without every field.
fn judgments(n: u32) -> Vec<Judgment> {
    (0..n)
        .map(|i| {
            let k = 1 + i % 4;
            let answers: Vec<String> = (0..k).map(|a| format!("answer {a} 早")).collect();
            let rest: Map<String, _> = [("tool_calls".to_string(), json!([{"id": i}]))].into_iter().filter(|_| i % 7 == 0).collect();
            let mut prompt = vec![Message { role: "user".into(), content: format!("问题 {i}"), rest }];
            if i % 3 == 0 {
                prompt.insert(0, Message::new("system", "be short"));
            }
            let some = i % 2 == 0;
            Judgment {
                authors: some.then(|| (0..k).map(|a| format!("model-{a}")).collect()),
                shown: some.then(|| (0..k).rev().collect()),
                ranks: (!some).then(|| (0..k).map(|a| 1 + a / 2).collect()),
                scores: some.then(|| (0..k).map(|a| a as f32 - 0.5).collect()),
                worth: (!some).then(|| (0..k).map(|a| a as f32 / 3.0).collect()),
                judge: some.then(|| format!("judge {}", i % 5)),
                started: (!some).then_some(-5),
                ended: some.then_some(1_700_000_000_123),
                seconds: some.then_some(1.5),
                confidence: some.then_some(0.25),
                weight: 0.5 + i as f32,
                flags: if some { vec![flag::GOLD.to_string(), "late".to_string()] } else { Vec::new() },
                comment: some.then(|| "“fine”\nso so".to_string()),
                file: "in/a.csv".into(),
                row: u64::from(i) + 2,
                ..Judgment::new(Kind::ALL[i as usize % Kind::ALL.len()], prompt, answers)
            }
        })
        .collect()
}

#[test]
fn a_table_comes_back_as_it_was_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run/labels.arrow");
    let judgments = judgments(10_000);
    assert_eq!(write_table(&path, judgments.clone()).unwrap(), 10_000);
    let table = LabelTable::open(&path).unwrap();
    assert_eq!(table.iter().collect::<Result<Vec<_>, _>>().unwrap(), judgments);
    assert_eq!((table.len(), table.get(9_999).unwrap()), (10_000, judgments[9_999].clone()));
    assert!(table.get(10_000).is_err());
    assert_eq!(write_table(&path, []).unwrap(), 0);
    assert!(LabelTable::open(&path).unwrap().is_empty());
}

#[test]
fn a_torn_or_foreign_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("labels.arrow");
    write_table(&path, judgments(10)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(LabelTable::open(&path), Err(DataError::Table { .. })));
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chats.arrow");
    assert!(LabelTable::open(&foreign).err().unwrap().to_string().contains("no table of judgments"));
}

#[test]
fn the_order_of_answers_does_not_make_another_item() {
    let prompt = [Message::new("user", "q")];
    let [a, b] = ["a", "b"].map(str::to_string);
    assert_eq!(item_key(&prompt, &[a.clone(), b.clone()]), item_key(&prompt, &[b.clone(), a.clone()]));
    assert_ne!(item_key(&prompt, &[a.clone(), b.clone()]), item_key(&prompt, &[format!("{a}{b}")]));
    assert_ne!(item_key(&[], std::slice::from_ref(&a)), item_key(&prompt, std::slice::from_ref(&a)));
}

/// Judgments as JSON Lines; a row of somebody else's with a `kind` is a row.
#[test]
fn judgments_in_rows_are_left_out_as_in_a_table() {
    let dir = TempDir::new().unwrap();
    let row = |more: &str| {
        format!("{{\"item\": \"i\", \"prompt\": [{{\"role\": \"user\", \"content\": \"q\"}}], \"answers\": [\"x\", \"y\"], {more}}}\n")
    };
    let text = [
        row(r#""kind": "ranking", "ranks": [2, 1], "flags": []"#),
        row(r#""kind": "ranking", "ranks": [1, 1], "flags": []"#),
        row(r#""kind": "ranking", "ranks": [1, 1], "flags": ["reject-all"]"#),
        row(r#""kind": "ranking", "flags": ["reject-all"]"#),
        row(r#""kind": "ranking", "ranks": [1, 2], "flags": ["reject-all"]"#),
        row(r#""kind": "skipped", "flags": []"#),
        row(r#""kind": "open", "ranks": [1, 2], "flags": ["gold"]"#),
        "{\"kind\": \"open\", \"prompt\": \"p\", \"chosen\": \"x\", \"rejected\": \"y\"}\n".to_string(),
    ];
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, text.concat()).unwrap();
    let source = Source { path: path.display().to_string(), ..Source::default() };
    let config = RankingData { sources: vec![source], ..RankingData::default() };
    let split = load_rankings(&config, None, 0.0, 1, &dir.path().join("bad.jsonl")).unwrap();
    assert_eq!(split.train.iter().map(|r| r.ranks.clone()).collect::<Vec<_>>(), [[2, 1], [1, 1], [1, 2], [1, 2]]);
    let skipped: Vec<(&str, u64)> = split.report.skipped.iter().map(|(cause, n)| (cause.as_str(), *n)).collect();
    assert_eq!((skipped, split.report.rejected), (vec![("open", 1), ("reject-all", 2), ("skipped", 1)], 0));
}
