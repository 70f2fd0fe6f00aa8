//! Argilla. The exports are written by Argilla's own classes: scripts/reference/argilla_exports.py, which also says what is in them: two users'
//! submitted responses to two records, one user who discarded both (one of them without an answer), one draft, one record that nobody saw.

use crate::ingest::common::{Ingested, fixture, ingest};
use data::labels::{Judgment, Kind};

const ANA: &str = "00000000-0000-0000-0000-00000000000a";

fn read(name: &str) -> Ingested {
    let read = ingest(&[&fixture(&format!("argilla/{name}"))], &[]);
    assert_eq!(read.counts["files"][0]["format"], "argilla");
    assert_eq!(read.total("rejected"), 0);
    read
}

fn what_users_submitted(read: &Ingested) {
    let rankings = read.of(Kind::Ranking);
    let first = rankings[0];
    assert_eq!(
        (first.judge.as_deref(), first.ranks.clone(), first.comment.as_deref()),
        (Some(ANA), Some(vec![1, 2]), Some("It is right."))
    );
    assert_eq!((first.group.as_str(), first.answers.as_slice()), ("What is 1 + 1?", &["2".to_string(), "It is 2.".to_string()][..]));
    assert_eq!(rankings[2].ranks, Some(vec![2, 1]));
    let mut labels: Vec<String> = read.of(Kind::Choice).iter().map(|row| row.answers.join("+")).collect();
    labels.sort();
    assert_eq!(labels, ["maths", "maths", "other", "short+true"]);
    let written: Vec<&Judgment> = read.of(Kind::Demonstration);
    assert_eq!(
        (written.len(), written[0].answers.as_slice(), written[0].group.as_str()),
        (1, &["Grass is green.".to_string()][..], "Say something green.")
    );
    let scores: Vec<f32> = read.of(Kind::Rating).iter().map(|row| row.scores.as_ref().expect("score")[0]).collect();
    assert_eq!(scores, [4.0, 5.0, 2.0], "suggestions, discarded responses and drafts are no ratings");
    assert_eq!((read.total("open"), read.of(Kind::Open)[0].group.as_str()), (1, "Nobody has seen this one."));
}

#[test]
fn version_1_records_and_rows() {
    let records = read("records_v1.jsonl");
    what_users_submitted(&records);
    assert_eq!((records.total("ranking"), records.total("pairs"), records.total("ties")), (3, 3, 1));
    // Discarded by one user, twice; a draft.
    assert_eq!((records.total("skipped"), records.total("judges"), records.total("units")), (3, 3, 15));
    assert_eq!(records.of(Kind::Skipped).iter().filter(|row| row.has("draft")).count(), 1);
    // A row has nothing of a user who discarded the record without an answer.
    let rows = read("rows_v1.jsonl");
    what_users_submitted(&rows);
    assert_eq!((rows.total("ties"), rows.total("skipped"), rows.total("units")), (1, 2, 14));
}

#[test]
fn version_2_rows() {
    let rows = read("rows_v2.jsonl");
    what_users_submitted(&rows);
    assert_eq!((rows.total("ranking"), rows.total("ties"), rows.total("skipped"), rows.total("units")), (3, 1, 2, 14));
    // Parquet holds rankings as names in order, as a pulled data set does: the tie is lost there.
    let parquet = read("rows_v2.parquet");
    what_users_submitted(&parquet);
    assert_eq!((parquet.total("ranking"), parquet.total("ties"), parquet.total("skipped"), parquet.total("units")), (3, 0, 2, 14));
}

#[test]
fn version_2_records_do_not_say_what_was_discarded() {
    let records = read("records_v2.json");
    assert_eq!((records.total("ranking"), records.total("ties"), records.total("rating"), records.total("skipped")), (4, 1, 5, 0));
    assert_eq!((records.total("choice"), records.total("demonstration"), records.total("open"), records.total("judges")), (4, 1, 1, 3));
}
