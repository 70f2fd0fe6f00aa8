//! Prodigy.

use crate::ingest::common::{ingest, ingest_text, real};
use data::labels::Kind;

/// Options that differ from task to task are answers: `accept` ranks them.
pub const CHOICE: &str = concat!(
    r#"{"text":"Say hello","options":[{"id":"gpt","text":"Hello there!"},{"id":"llama","text":"Bye."}],"accept":["gpt"],"answer":"accept","_task_hash":1,"_session_id":"set-ann","_timestamp":1694858483}"#,
    "\n",
    r#"{"text":"Say no","options":[{"id":"gpt","text":"Yes."},{"id":"llama","text":"Nope."}],"accept":["gpt","llama"],"answer":"accept","_task_hash":2,"_session_id":"set-ann"}"#,
    "\n",
    r#"{"text":"Say no","options":[{"id":"gpt","text":"Yes."},{"id":"llama","text":"Nope."}],"accept":[],"answer":"reject","_task_hash":2,"_session_id":"set-bob","user_input":"both wrong"}"#,
    "\n",
    r#"{"text":"Say no","options":[{"id":"gpt","text":"Yes."},{"id":"llama","text":"Nope."}],"accept":["kim"],"answer":"accept","_task_hash":2,"_session_id":"set-bob"}"#,
);

#[test]
fn options_that_differ_are_ranked() {
    let read = ingest_text("choice.jsonl", CHOICE, &[]);
    assert_eq!((read.total("ranking"), read.total("bad-ranking"), read.total("judges")), (3, 1, 2));
    assert_eq!((read.total("pairs"), read.total("ties"), read.total("items")), (3, 2, 2));
    let first = &read.rows[0];
    assert_eq!(first.ranks, Some(vec![1, 2]));
    assert_eq!(first.authors, Some(vec!["gpt".to_string(), "llama".to_string()]));
    assert_eq!((first.judge.as_deref(), first.ended, first.group.as_str()), (Some("set-ann"), Some(1_694_858_483_000), "Say hello"));
    assert_eq!(read.rows[1].flags, Vec::<String>::new());
    assert_eq!((read.rows[2].flags.as_slice(), read.rows[2].comment.as_deref()), (&["reject-all".to_string()][..], Some("both wrong")));
}

#[test]
fn the_same_options_everywhere_are_labels() {
    let task = |text: &str, accept: &str, answer: &str| {
        let options = r#"[{"id":1,"text":"praise"},{"id":2,"text":"blame"}]"#;
        format!(
            r#"{{"text":"{text}","options":{options},"accept":{accept},"answer":"{answer}","_task_hash":1,"_annotator_id":"ann","_session_id":"s"}}"#
        )
    };
    let lines = [
        task("a", "[1]", "accept"),
        task("a", "[1,2]", "accept"),
        task("a", "[]", "accept"),
        task("b", "[]", "reject"),
        task("b", "[]", "ignore"),
    ];
    let read = ingest_text("labels.jsonl", &lines.join("\n"), &[]);
    assert_eq!((read.total("choice"), read.total("skipped"), read.total("items"), read.total("judges")), (3, 2, 2, 1));
    let chosen: Vec<usize> = read.of(Kind::Choice).iter().map(|row| row.answers.len()).collect();
    assert_eq!(chosen, [1, 2, 0]);
}

#[test]
fn compare_written_text_and_what_is_no_judgment() {
    let lines = [
        r#"{"id":1,"input":{"text":"NLP"},"accept":{"text":"Natural Language Processing"},"reject":{"text":"Neuro-Linguistic Programming"},"mapping":{"A":"reject","B":"accept"},"answer":"reject","_task_hash":1}"#,
        r#"{"text":"Write a haiku","user_input":"Old pond","_view_id":"text_input","answer":"accept","_task_hash":2}"#,
        r#"{"text":"Paris","spans":[{"start":0,"end":5,"label":"GPE"}],"answer":"accept","_task_hash":3}"#,
        r#"{"prompt":"1+1?","response":"3","answer":"reject","_task_hash":4,"flagged":true}"#,
    ];
    let read = ingest_text("mixed.jsonl", &lines.join("\n"), &[]);
    assert_eq!((read.total("ranking"), read.total("demonstration"), read.total("rating"), read.total("no-judgment")), (1, 1, 1, 1));
    let compared = read.of(Kind::Ranking)[0];
    assert_eq!((compared.ranks.clone(), compared.authors.clone()), (Some(vec![2, 1]), Some(vec!["B".to_string(), "A".to_string()])));
    let rated = read.of(Kind::Rating)[0];
    assert_eq!((rated.group.as_str(), rated.answers.as_slice(), rated.scores.clone()), ("1+1?", &["3".to_string()][..], Some(vec![0.0])));
    assert_eq!(rated.flags, ["flagged"]);
}

/// Counted with Python: `collections.Counter(json.loads(l)["answer"] for l in open(f))`, `len({json.loads(l)["_annotator_id"] ...})`,
/// `len({(r["text"], r["label"]) ...})`.
#[test]
fn real_files() {
    if let Some(path) = real("l03-prodigy-exports/pydata-ams-2023.jsonl") {
        let read = ingest(&[&path], &[]);
        assert_eq!((read.total("units"), read.total("rejected")), (3372, 0));
        let scores: Vec<f32> = read.of(Kind::Rating).iter().map(|row| row.scores.as_ref().expect("score")[0]).collect();
        assert_eq!((scores.iter().filter(|s| **s == 1.0).count(), scores.iter().filter(|s| **s == 0.0).count()), (1705, 1388));
        assert_eq!((read.total("skipped"), read.total("judges"), read.total("items"), read.total("ties")), (279, 42, 117, 0));
        assert!(read.rows.iter().all(|row| row.ended.is_some() && row.judge.is_some()));
    }
    if let Some(path) = real("l03-prodigy-exports/annotated_github-issues-DOCUMENTATION-textcat.jsonl") {
        let read = ingest(&[&path], &[]);
        let accepted = read.of(Kind::Rating).iter().filter(|row| row.scores == Some(vec![1.0])).count();
        assert_eq!((read.total("units"), read.total("rejected"), accepted, read.total("rating")), (830, 0, 261, 786));
        assert_eq!((read.total("skipped"), read.total("judges"), read.total("items")), (44, 0, 830));
    }
}
