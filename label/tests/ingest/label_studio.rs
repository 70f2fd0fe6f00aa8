//! Label Studio: real exports of version 1.23.2 in all four forms, the documented variants of a Ranker's value, and what several controls say at once.

use crate::ingest::common::{Ingested, anywhere, ingest, ingest_text, label, real, sorted, text};
use data::labels::{Judgment, Kind, flag};
use serde_json::{Value, json};

/// The four exports of one project.
fn forms(project: &str) -> Option<[Ingested; 4]> {
    let at = |end: &str| real(&format!("l02-label-studio-real-exports/{project}{end}"));
    let (json, min, csv, tsv) = (at(".json")?, at(".min.json")?, at(".csv")?, at(".tsv")?);
    Some([json, min, csv, tsv].map(|path| ingest(&[&path], &[])))
}

/// All forms hold the same judgments; the flat ones none of the skips.
fn same_in_every_form([whole, flat @ ..]: &[Ingested; 4]) {
    let said = |read: &Ingested| sorted(read.rows.iter().filter(|row| row.kind != Kind::Skipped).map(anywhere));
    for read in flat {
        assert_eq!(said(read), said(whole));
        assert_eq!((read.total("rejected"), read.total("skipped")), (0, 0));
    }
}

/// Counted with Python over the JSON export: annotations, `was_cancelled`, distinct `completed_by`, distinct (prompt, sorted answers), and results with
/// `selected == "left"`.
#[test]
fn pairwise_by_three_annotators() {
    let Some(forms) = forms("pairwise_pandalm_3annotators") else { return };
    same_in_every_form(&forms);
    let json = &forms[0];
    assert_eq!((json.total("units"), json.total("ranking"), json.total("skipped"), json.total("rejected")), (360, 299, 61, 0));
    assert_eq!((json.total("items"), json.total("judges"), json.total("pairs"), json.total("ties")), (115, 3, 299, 0));
    assert_eq!(forms[1].total("items"), 102);
    let rankings = json.of(Kind::Ranking);
    assert_eq!(rankings.iter().filter(|row| row.ranks == Some(vec![1, 2])).count(), 139);
    let first = rankings[0];
    assert_eq!((first.judge.as_deref(), first.seconds, first.shown.clone()), (Some("1"), Some(34.433), Some(vec![0, 1])));
    // 2026-11-22T00:47:08.510Z, and 34.433 s before.
    assert_eq!((first.ended, first.started), (Some(1_795_308_428_510), Some(1_795_308_394_077)));
    // A skip still says what was passed over.
    assert!(json.of(Kind::Skipped).iter().all(|row| row.answers.len() == 2 && row.judge.is_some()));
}

/// `sum(n * (n - 1) // 2 for n = items ranked)`; with buckets the ties are that sum over each bucket.
#[test]
fn rankers_with_and_without_buckets() {
    if let Some(forms) = forms("ranker_oasst") {
        same_in_every_form(&forms);
        let json = &forms[0];
        assert_eq!((json.total("units"), json.total("ranking"), json.total("items"), json.total("judges")), (60, 60, 60, 1));
        assert_eq!((json.total("pairs"), json.total("ties")), (277, 0));
        // Second of the list, third, first: the answers stay in the list's order.
        assert_eq!(json.rows[0].ranks, Some(vec![3, 1, 2]));
    }
    if let Some(forms) = forms("ranker_buckets_oasst") {
        same_in_every_form(&forms);
        let json = &forms[0];
        assert_eq!((json.total("ranking"), json.total("items"), json.total("pairs"), json.total("ties")), (20, 20, 98, 26));
        // The note of the export: the human's best is in `best`, the last in `rejected`, the rest in `_`.
        for row in &json.rows {
            let ranks = row.ranks.as_ref().expect("ranks");
            assert_eq!((ranks.iter().filter(|r| **r == 1).count(), ranks.iter().max()), (1, Some(&if ranks.len() == 2 { 2 } else { 3 })));
        }
    }
}

#[test]
fn written_texts_are_demonstrations() {
    let Some(forms) = forms("textarea_sft_selfinstruct") else { return };
    same_in_every_form(&forms);
    assert_eq!((forms[0].total("demonstration"), forms[0].total("items"), forms[0].total("units")), (60, 60, 60));
    assert!(forms[0].rows[0].answers[0].starts_with("If you have any questions about my rate or find it necessary"));
}

/// Three chats of three turns with four questions a turn; `sum(len(a["result"]) for t in tasks for a in t["annotations"])` is 36.
#[test]
fn questions_about_the_turns_of_a_chat() {
    if let Some(path) = real("l01-label-studio-exports/choices_export_multiturn_chat.json") {
        let read = ingest(&[&path], &[]);
        assert_eq!((read.total("choice"), read.total("units"), read.total("items"), read.total("judges")), (36, 36, 36, 1));
        let eighth = &read.rows[7];
        assert_eq!(eighth.answers, ["Provide More Information to the User", "Redirect to a Different Team/Resource"]);
        assert_eq!(eighth.flags, ["control=turn2_response_action"]);
        // turn2_prg shows turn2_dialogue.
        assert_eq!((eighth.prompt.len(), eighth.prompt[0].content.as_str()), (2, "SmartWear Pro."));
    }
    // A chat with a model and an image with polygons are no judgments; a label may be any text.
    for (name, kept, bad) in [("sdk_fixture_chat_data", 0, 1), ("sdk_fixture_json_min_data", 0, 1), ("sdk_fixture_csv_test2", 1, 0)] {
        let Some(path) = real(&format!("l01-label-studio-exports/{name}.json")) else { return };
        let beside = real("l03-prodigy-exports/pydata-ams-2023.jsonl").expect("shared data");
        let read = ingest(&[&path, &beside], &[]);
        assert_eq!(
            (read.counts["files"][0]["kept"].as_u64(), read.counts["files"][0]["rejected"].as_u64()),
            (Some(kept), Some(bad)),
            "{name}"
        );
        if kept == 1 {
            assert_eq!(read.rows[0].answers, ["Yes \" \"\" \n \t \t а б в \n"]);
            assert_eq!(read.rows[0].group, "rawWork:spotify:publisher:WCPWW008648058000");
        } else {
            assert_eq!(read.bad[0]["reason"], "no-judgment");
        }
    }
}

/// A task over three items with these annotations.
fn ranked(annotations: Value) -> Value {
    let item = |id: &str| json!({ "id": id, "title": id.to_uppercase(), "body": format!("text of {id}") });
    json!({ "id": 1, "data": { "prompt": "p", "items": [item("blog"), item("mdn"), item("wiki")] }, "annotations": annotations })
}

fn annotated(result: Value) -> Value {
    json!({ "completed_by": 1, "result": result, "was_cancelled": false, "lead_time": 1.5 })
}

fn read(tasks: Value, more: &[&str]) -> Ingested {
    ingest_text("export.json", &tasks.to_string(), more)
}

#[test]
fn every_documented_form_of_a_rankers_value() {
    let Some(path) = real("l01-label-studio-exports/docs_format/ranker_result_variants.json") else { return };
    let variants: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("read")).expect("JSON");
    // blog, mdn, wiki in the order of the list; mdn is the best of all variants.
    for (name, ranks) in [
        ("current_no_buckets", vec![3, 1, 2]),
        ("current_buckets", vec![3, 1, 2]),
        ("current_default_bucket", vec![2, 1, 1]),
        ("older_docs_plain_array (commit 0151c4c08c7cc9f50fb85130ab2d66f2e18f03ce)", vec![3, 1, 2]),
    ] {
        let read = read(json!([ranked(json!([annotated(json!([variants[name]]))]))]), &[]);
        assert_eq!((read.rows.len(), read.rows[0].ranks.clone()), (1, Some(ranks)), "{name}");
        assert_eq!(read.rows[0].answers, ["text of blog", "text of mdn", "text of wiki"]);
    }
    let items: Vec<Value> = ["ghk", "abc", "def"].iter().map(|id| json!({ "id": id, "body": id })).collect();
    let task = json!({ "data": { "items": items }, "annotations": [annotated(json!([variants["oldest_weighted"]]))] });
    let oldest = read(json!([task]), &[]);
    assert_eq!((oldest.rows[0].ranks.clone(), oldest.rows[0].scores.clone()), (Some(vec![3, 1, 2]), Some(vec![0.75, 1.0, 0.78])));
}

#[test]
fn buckets_of_unknown_names_need_an_order() {
    let value = json!({ "ranker": { "kim": ["wiki"], "_": ["blog"], "lee": ["mdn"] } });
    let result = json!([{ "type": "ranker", "from_name": "rank", "to_name": "list", "value": value }]);
    let tasks = json!([ranked(json!([annotated(result)])), ranked(json!([]))]);
    let unknown = read(tasks.clone(), &[]);
    assert_eq!((unknown.total("bad-ranking"), unknown.total("open")), (1, 1));
    assert!(unknown.bad[0]["detail"].as_str().expect("detail").contains("--buckets"), "{}", unknown.bad[0]);
    let known = read(tasks, &["--buckets", "lee,_,kim"]);
    assert_eq!(known.rows[0].ranks, Some(vec![2, 1, 3]));
}

#[test]
fn several_controls_of_one_annotation() {
    let said = |kind: &str, from: &str, to: &str, value: Value| json!({ "type": kind, "from_name": from, "to_name": to, "value": value });
    let task = |result: Value, more: Value| {
        let mut annotation = annotated(result);
        annotation.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        json!({ "id": 7, "data": { "prompt": "p", "answer1": "one", "answer2": "two", "model_1": "gpt", "model_2": "llama" }, "annotations": [annotation] })
    };
    let pair = said("pairwise", "better", "answer1,answer2", json!({ "selected": "right" }));
    let tasks = json!([
        // A comparison with a rating of the text shown, and a comment: two judgments, the comment with the first.
        task(
            json!([
                pair,
                said("rating", "difficulty", "prompt", json!({ "rating": 4 })),
                said("textarea", "why", "prompt", json!({ "text": ["longer", "truer"] }))
            ]),
            json!({ "ground_truth": true })
        ),
        // A rating of each answer: one ranking by score.
        task(
            json!([
                said("rating", "rating_1", "answer1", json!({ "rating": 2 })),
                said("rating", "rating_2", "answer2", json!({ "rating": 5 }))
            ]),
            json!({ "completed_by": { "id": 5, "email": "ann@example.org" } })
        ),
        // A label that names a side; one that names neither.
        task(json!([said("choices", "winner", "prompt", json!({ "choices": ["B is much better"] }))]), json!({})),
        task(json!([said("choices", "winner", "prompt", json!({ "choices": ["tie"] }))]), json!({})),
        task(json!([said("choices", "topic", "prompt", json!({ "choices": ["cooking"] }))]), json!({})),
        // Two comparisons are of two items.
        task(json!([pair, said("pairwise", "safer", "answer1,answer2", json!({ "selected": "left" }))]), json!({})),
        // A region of an image beside a comparison, and an answer that the judge wrote.
        task(
            json!([
                pair,
                said("rectanglelabels", "box", "img", json!({ "x": 1, "y": 2 })),
                said("textarea", "rewrite", "prompt", json!({ "text": "three" }))
            ]),
            json!({})
        ),
        task(json!([]), json!({ "was_cancelled": true })),
        task(json!([]), json!({})),
    ]);
    let read = read(tasks, &[]);
    assert_eq!((read.total("units"), read.total("no-judgment")), (13, 2));
    assert_eq!(
        (read.total("ranking"), read.total("rating"), read.total("choice"), read.total("demonstration"), read.total("skipped")),
        (7, 1, 1, 1, 1)
    );
    let rows = &read.rows;
    assert_eq!(
        (rows[0].ranks.clone(), rows[0].comment.as_deref(), rows[0].has(flag::GOLD)),
        (Some(vec![2, 1]), Some("longer\ntruer"), true)
    );
    assert_eq!(rows[0].authors, Some(vec!["gpt".to_string(), "llama".to_string()]));
    assert_eq!((rows[1].kind, rows[1].answers.as_slice(), rows[1].scores.clone()), (Kind::Rating, &["p".to_string()][..], Some(vec![4.0])));
    assert_eq!(
        (rows[2].ranks.clone(), rows[2].scores.clone(), rows[2].judge.as_deref()),
        (Some(vec![2, 1]), Some(vec![2.0, 5.0]), Some("ann@example.org"))
    );
    assert_eq!((rows[3].ranks.clone(), rows[3].flags.as_slice()), (Some(vec![2, 1]), &["label=B is much better".to_string()][..]));
    assert_eq!((rows[4].ranks.clone(), rows[4].item == rows[3].item), (Some(vec![1, 1]), true));
    assert_eq!((rows[5].kind, rows[5].answers.as_slice()), (Kind::Choice, &["cooking".to_string()][..]));
    assert_ne!(rows[6].item, rows[7].item);
    assert_eq!((rows[9].kind, rows[9].answers.as_slice()), (Kind::Demonstration, &["three".to_string()][..]));
    assert_eq!(rows[10].kind, Kind::Skipped);
    let rows: Vec<&Judgment> = read.of(Kind::Ranking);
    assert!(rows.iter().all(|row| row.row > 0 && row.row <= 7));
}

/// A single label and a written text look alike in the flat forms.
#[test]
fn labels_and_texts_of_the_flat_forms() {
    let row = |n: usize, label: &str| json!({ "text": format!("t{n}"), "id": n, "mood": label, "why": format!("because {n}"), "annotator": 1, "annotation_id": n, "lead_time": 1.0 });
    let rows: Vec<Value> = (0..8).map(|n| row(n, if n % 3 == 0 { "glad" } else { "sad" })).collect();
    let min = read(Value::from(rows), &[]);
    assert_eq!((min.total("choice"), min.total("units")), (8, 8));
    assert_eq!((min.rows[3].answers.as_slice(), min.rows[3].comment.as_deref()), (&["glad".to_string()][..], Some("because 3")));
    // In CSV nothing says which of two columns of text the annotator filled.
    let csv = "annotation_id,annotator,category,id,lead_time,mood,text\n1,1,news,1,2.0,glad,a b\n2,1,letters,2,2.0,sad,c d\n";
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("export.csv");
    std::fs::write(&path, csv).expect("written");
    let out = dir.path().join("out.arrow");
    let stderr = label(&["ingest", text(&path), "--out", text(&out), "--max-fraction", "1"]).code(2).get_output().stderr.clone();
    assert!(String::from_utf8(stderr).expect("UTF-8").contains("2 units read, 2 rejected"));
    let bad = std::fs::read_to_string(dir.path().join("out.quarantine.jsonl")).expect("quarantine");
    assert!(bad.contains("category, mood") && bad.contains("export as JSON"), "{bad}");
}
