//! `label export`, and that what it writes is read back.

use crate::ingest::common::{anywhere, ingest, ingest_text, label, sorted, text};
use data::chat::Message;
use data::config::{Quarantine, RankingData, Source};
use data::labels::table::write_table;
use data::labels::{Judgment, Kind, flag};
use data::rankings::load_rankings;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

/// Exports the rows; what the program says (JSON), and the file's text.
fn export(rows: &[Judgment], to: &str, out: &Path) -> Value {
    let table = out.with_extension("table.arrow");
    write_table(&table, rows.to_vec()).expect("table");
    let stdout = label(&["export", text(&table), "--to", to, "--out", text(out), "--json"]).success().get_output().stdout.clone();
    serde_json::from_slice(&stdout).expect("JSON")
}

fn ranking(prompt: &str, answers: &[&str], ranks: &[u32]) -> Judgment {
    let answers: Vec<String> = answers.iter().map(|a| a.to_string()).collect();
    Judgment {
        ranks: Some(ranks.to_vec()),
        file: "people.csv".into(),
        row: 3,
        ..Judgment::new(Kind::Ranking, vec![Message::new("user", prompt)], answers)
    }
}

fn judged(judgment: Judgment, judge: &str) -> Judgment {
    Judgment {
        judge: Some(judge.to_string()),
        started: Some(1_700_000_000_123),
        ended: Some(1_700_000_012_345),
        seconds: Some(12.25),
        ..judgment
    }
}

/// A bit of everything that Label Studio's tasks can hold.
fn rankings() -> Vec<Judgment> {
    let mut gold = judged(ranking("p", &["b", "a", "c"], &[2, 1, 2]), "ann");
    gold.flags = vec!["vip".to_string(), flag::GOLD.to_string()];
    gold.comment = Some("clear".to_string());
    gold.authors = Some(vec!["m2".to_string(), "m1".to_string(), "m3".to_string()]);
    gold.weight = 0.5;
    gold.shown = Some(vec![2, 0, 1]);
    gold.scores = Some(vec![0.1, 0.9, 0.1]);
    let mut other = judged(ranking("p", &["a", "b", "c"], &[1, 3, 2]), "bob");
    other.confidence = Some(0.7);
    // The same item in another order.
    assert_eq!(gold.item, other.item);
    let open = Judgment { kind: Kind::Open, ranks: None, ..ranking("q", &["x", "y"], &[]) };
    let skipped =
        judged(Judgment { kind: Kind::Skipped, ranks: None, comment: Some("rude".to_string()), ..ranking("q", &["x", "y"], &[]) }, "bob");
    let mut unseen = Judgment { kind: Kind::Open, ranks: None, ..ranking("r", &["x", "y"], &[]) };
    unseen.item = "of the source".to_string();
    let nobody = ranking("s", &["x", "y"], &[1, 2]);
    vec![gold, other, open, skipped, unseen, nobody]
}

#[test]
fn label_studio_tasks_are_read_back() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("tasks.json");
    let rows = rankings();
    let said = export(&rows, "label-studio", &out);
    assert_eq!((said["rows"].as_u64(), said["left_out"].as_object().map(|l| l.len())), (Some(4), Some(0)));
    let interface = std::fs::read_to_string(out.with_extension("xml")).expect("interface");
    assert!(interface.contains("<Bucket name=\"3\"") && interface.contains("value=\"$items\""), "{interface}");
    let back = ingest(&[&out], &[]);
    // The item that somebody skipped has an annotation now, so it is not open.
    let expected: Vec<Judgment> =
        rows.iter().filter(|row| row.kind != Kind::Open || row.group == "r").map(|row| in_order(row, &rows)).collect();
    assert_eq!(back.counts["files"][0]["format"], "label-studio");
    assert_eq!(sorted(back.rows.iter().map(anywhere)), sorted(expected.iter().map(anywhere)));
}

/// A judgment with its answers in the order of the first row of its item, which is the task's.
fn in_order(judgment: &Judgment, rows: &[Judgment]) -> Judgment {
    let first = rows.iter().find(|row| row.item == judgment.item).expect("itself at least");
    let places: Vec<usize> = first.answers.iter().map(|a| judgment.answers.iter().position(|b| a == b).expect("same answers")).collect();
    let pick = |list: &Option<Vec<u32>>| list.as_ref().map(|list| places.iter().map(|at| list[*at]).collect());
    Judgment {
        answers: first.answers.clone(),
        authors: first.authors.clone(),
        ranks: pick(&judgment.ranks),
        shown: pick(&judgment.shown),
        ..judgment.clone()
    }
}

#[test]
fn pairs_for_trl() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("pairs.jsonl");
    let lines = |out: &Path| -> Vec<Value> {
        std::fs::read_to_string(out).expect("pairs").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let written = Judgment::new(Kind::Demonstration, vec![Message::new("user", "p")], vec!["d".to_string()]);
    // Ratings of several answers in one row order them; one of one answer does not.
    let mut rated = Judgment { kind: Kind::Rating, ranks: None, ..ranking("r", &["x", "y"], &[]) };
    rated.scores = Some(vec![2.0, 5.0]);
    let alone = Judgment { scores: Some(vec![1.0]), ..Judgment::new(Kind::Rating, vec![Message::new("user", "p")], vec!["d".to_string()]) };
    let rows = [&rankings()[..], &[written, rated, alone]].concat();
    let said = export(&rows, "trl", &out);
    // Two of three pairs, three of three, one, and the rated pair.
    assert_eq!(said["rows"], 7);
    assert_eq!(lines(&out)[6], json!({ "prompt": "r", "chosen": "y", "rejected": "x" }));
    assert_eq!(
        said["left_out"],
        json!({ "judgments of the kind demonstration": 1, "judgments of the kind open": 2, "judgments of the kind rating": 1,
            "judgments of the kind skipped": 1, "tied pairs": 1 })
    );
    assert_eq!(lines(&out)[0], json!({ "prompt": "p", "chosen": "a", "rejected": "b" }));
    assert!(said["notes"][0].as_str().expect("note").contains("no margin"), "{said}");
    // One conversation makes all of them conversations; worths give margins.
    let mut talk = ranking("hi", &["x", "y"], &[2, 1]);
    talk.prompt = vec![Message::new("user", "hi"), Message::new("assistant", "yes?"), Message::new("user", "go on")];
    talk.worth = Some(vec![-0.25, 1.0]);
    let mut scored = ranking("p", &["a", "b"], &[1, 2]);
    scored.scores = Some(vec![4.0, 3.5]);
    export(&[talk, scored], "trl", &out);
    let pairs = lines(&out);
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let prompt = json!([turn("user", "hi"), turn("assistant", "yes?"), turn("user", "go on")]);
    assert_eq!(
        pairs[0],
        json!({ "prompt": prompt, "chosen": [turn("assistant", "y")], "rejected": [turn("assistant", "x")], "margin": 1.25 })
    );
    assert_eq!(
        pairs[1],
        json!({ "prompt": [turn("user", "p")], "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")], "margin": 0.5 })
    );
}

#[test]
fn the_table_itself_is_read_back() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let table = dir.path().join("labels.arrow");
    write_table(&table, rankings()).expect("table");
    let back = ingest(&[&table], &[]);
    assert_eq!(back.counts["files"][0]["format"], "judgments");
    assert_eq!(back.rows, rankings());
}

/// Every form of a table teaches the same rankings, and no skip, no open item and no word that all answers are bad.
#[test]
fn what_is_no_ranking_is_left_out_of_every_form() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut key = ranking("t", &["x", "y"], &[1, 2]);
    (key.kind, key.flags) = (Kind::Open, vec![flag::GOLD.to_string()]);
    let mut bad = judged(ranking("u", &["x", "y"], &[1, 1]), "ann");
    bad.flags = vec![flag::REJECT_ALL.to_string()];
    let rows = [&rankings()[..], &[key, bad]].concat();
    let forms = ["jsonl", "parquet"].map(|form| {
        let out = dir.path().join(format!("plain.{form}"));
        export(&rows, form, &out);
        out
    });
    let read = |path: &Path| {
        let source = Source { path: text(path).to_string(), ..Source::default() };
        let config = RankingData { sources: vec![source], quarantine: Quarantine::default(), ..RankingData::default() };
        let split = load_rankings(&config, None, 0.0, 1, &dir.path().join("bad.jsonl")).expect("rankings");
        let said: Vec<_> = split.train.into_iter().map(|r| (r.judge, r.answers, r.ranks)).collect();
        (said, split.report.skipped, split.report.rejected)
    };
    let of_table = read(&forms[0].with_extension("table.arrow"));
    assert_eq!((of_table.0.len(), of_table.1["open"], of_table.1["reject-all"], of_table.1["skipped"]), (3, 3, 1, 1));
    for form in &forms {
        assert_eq!(read(form), of_table, "{}", form.display());
    }
}

#[test]
fn nothing_to_export_is_a_mistake() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let table = dir.path().join("t.arrow");
    let open = Judgment { kind: Kind::Open, ranks: None, ..ranking("q", &["x", "y"], &[]) };
    write_table(&table, [open]).expect("table");
    label(&["export", text(&table), "--to", "trl", "--out", text(&dir.path().join("o"))]).code(2);
    label(&["export", text(&dir.path().join("none.arrow")), "--to", "trl", "--out", "o"]).code(2);
    assert!(!dir.path().join("o").exists());
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "\\PC{0,12}", Just("a\nb\t\"c\" 好 🦀\\".to_string())]
}

fn message() -> impl Strategy<Value = Message> {
    let rest = prop_oneof![3 => Just(json!({})), 1 => words().prop_map(|w| json!({ "tool_calls": [w, null, 1.5], "empty": null }))];
    (prop_oneof![Just("user"), Just("assistant"), Just("system")], words(), rest)
        .prop_map(|(role, content, rest)| Message { rest: rest.as_object().expect("object").clone(), ..Message::new(role, &content) })
}

prop_compose! {
    /// Any judgment that may stand in a table.
    fn judgment()(
        kind in prop::sample::select(Kind::ALL.to_vec()),
        prompt in prop::collection::vec(message(), 0..3),
        answers in prop::collection::vec(words(), 2..5),
        marks in prop::collection::vec((0u32..3, any::<f32>(), -9.0f32..9.0, words()), 5),
        has in prop::collection::vec(any::<bool>(), 9),
        (started, seconds, weight) in (0i64..4_000_000_000_000, 0.0f32..1e6, 1e-3f32..1e3),
        (judge, comment, flags) in (words(), words(), prop::collection::vec(words(), 0..3)),
        row in 1u64..1_000_000,
    ) -> Judgment {
        let k = answers.len();
        let finite = |x: f32| if x.is_finite() { x } else { 0.1 };
        let scores: Vec<f32> = marks[..k].iter().map(|m| finite(m.1)).collect();
        let ranks = data::rankings::ranks_of(&marks[..k].iter().map(|m| m.0 as f32).collect::<Vec<_>>());
        Judgment {
            ranks: (kind == Kind::Ranking || has[0]).then_some(ranks),
            scores: has[1].then_some(scores),
            worth: has[2].then(|| marks[..k].iter().map(|m| m.2).collect()),
            authors: has[3].then(|| marks[..k].iter().map(|m| m.3.clone()).collect()),
            shown: has[4].then(|| (0..k as u32).rev().collect()),
            judge: has[5].then_some(judge),
            started: has[6].then_some(started),
            ended: has[6].then_some(started + 5),
            seconds: has[7].then_some(seconds),
            confidence: has[7].then_some(weight / 1e3),
            comment: has[8].then_some(comment),
            weight,
            flags,
            file: "made/by test.csv".into(),
            row,
            ..Judgment::new(kind, prompt, answers)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// JSON Lines and Parquet hold everything.
    #[test]
    fn plain_forms_come_back_as_they_were(rows in prop::collection::vec(judgment(), 1..40)) {
        let dir = tempfile::tempdir().expect("temporary folder");
        for form in ["jsonl", "parquet"] {
            let out = dir.path().join(format!("plain.{form}"));
            export(&rows, form, &out);
            let back = ingest(&[&out], &[]);
            prop_assert_eq!(&back.rows, &rows, "{}", form);
        }
    }
}

#[test]
fn the_table_is_not_replaced_by_what_is_made_of_it() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let table = dir.path().join("labels.arrow");
    write_table(&table, rankings()).expect("table");
    let before = std::fs::read(&table).expect("table");
    for to in ["trl", "jsonl", "parquet", "label-studio"] {
        let assert = label(&["export", text(&table), "--to", to, "--out", text(&table)]).code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains("to be read and to be written"), "{said}");
    }
    assert_eq!(std::fs::read(&table).expect("table"), before);
}

/// Rows of our own form that another program wrote, with what says the most and no more.
#[test]
fn rows_of_our_form_keep_kind_and_flags_without_weight_and_source() {
    let turn = json!([{ "role": "user", "content": "q" }]);
    let rows = [
        json!({ "kind": "open", "prompt": turn, "answers": ["a", "b"], "ranks": [1, 2], "flags": ["gold"] }),
        json!({ "kind": "ranking", "prompt": "q", "answers": ["a", "b"], "ranks": [2, 1], "judge": "ann", "flags": ["reject-all"] }),
    ];
    let back = ingest_text("rows.jsonl", &rows.map(|row| row.to_string()).join("\n"), &[]);
    assert_eq!(back.counts["files"][0]["format"], "judgments");
    let told: Vec<_> = back.rows.iter().map(|j| (j.kind, j.flags.join(" "), j.ranks.clone(), j.weight, j.row)).collect();
    assert_eq!(
        told,
        [
            (Kind::Open, flag::GOLD.to_string(), Some(vec![1, 2]), 1.0, 1),
            (Kind::Ranking, flag::REJECT_ALL.to_string(), Some(vec![2, 1]), 1.0, 2),
        ]
    );
    assert_eq!((&back.rows[0].prompt, &back.rows[0].item), (&back.rows[1].prompt, &back.rows[1].item));
    assert!(back.rows[0].file.ends_with("rows.jsonl"), "{:?}", back.rows[0].file);
}
