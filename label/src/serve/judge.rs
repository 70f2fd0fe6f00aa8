//! What labellers say: submitted once however often the request comes, changed without losing what was said before, and drafts of what is
//! not finished.

use super::assign;
use super::db::{Db, random};
use super::items;
use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// Longest comment, in characters.
pub const COMMENT: usize = 4000;

/// An unfinished answer. Places are those of the page: `places[p]` is the rank of the answer shown at place p, if it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// Ranks, 1 is best; equal ranks are ties.
    pub places: Vec<Option<u32>>,
    /// Every answer is bad.
    pub rejected: bool,
    /// What was written beside it.
    pub comment: String,
    /// Time with the page in view so far.
    pub seconds: f64,
}

impl Draft {
    /// Nothing yet about `k` answers.
    pub fn empty(k: usize) -> Draft {
        Draft { places: vec![None; k], rejected: false, comment: String::new(), seconds: 0.0 }
    }
}

/// What is said about an item.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// An order: the rank of the answer shown at each place, or none where all were rejected without an order.
    Ranking {
        /// 1 is best, no gaps, ties share a rank.
        places: Option<Vec<u32>>,
        /// Every answer is bad.
        rejected: bool,
    },
    /// The labeller passes on it.
    Skipped,
}

/// A submitted answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the page calls the item.
    pub reference: String,
    /// Of the page that it comes from.
    pub nonce: String,
    /// What is said.
    pub verdict: Verdict,
    /// The comment, or the reason for skipping.
    pub comment: Option<String>,
    /// Time with the page in view, which the page's script measures; without a script the time from the page to the answer counts.
    pub seconds: Option<f64>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on the disk.
    Stored,
    /// It was on the disk already: the request came again.
    Repeated,
    /// The labeller was never given this item.
    NotGiven,
    /// It has not as many ranks as the item has answers.
    WrongLength,
}

/// Makes ranks dense: 1 is best, no gaps, equal ones stay equal.
pub fn dense(ranks: &[u32]) -> Vec<u32> {
    let mut values = ranks.to_vec();
    values.sort_unstable();
    values.dedup();
    ranks.iter().map(|rank| values.partition_point(|v| v < rank) as u32 + 1).collect()
}

/// Stores an answer. An earlier one of the same labeller about the same item stays in the database as superseded.
pub fn submit(db: &mut Db, labeller: i64, answer: &Answer, now: i64) -> Result<Outcome> {
    let tx = db.write()?;
    let task: Option<(i64, String, i64)> = tx
        .query_row("SELECT item, shown, started FROM task WHERE labeller = ?1 AND ref = ?2", params![labeller, answer.reference], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((item, shown, started)) = task else { return Ok(Outcome::NotGiven) };
    let shown: Vec<u32> = serde_json::from_str(&shown)?;
    let (kind, ranks, rejected) = match &answer.verdict {
        Verdict::Ranking { places: Some(places), .. } if places.len() != shown.len() => return Ok(Outcome::WrongLength),
        // From the page's places to the item's answers.
        Verdict::Ranking { places, rejected } => {
            let ranks = places.as_ref().map(|places| shown.iter().map(|&at| places[at as usize]).collect::<Vec<u32>>());
            ("ranking", ranks.map(|ranks| items::json(&dense(&ranks))), *rejected)
        }
        Verdict::Skipped => ("skipped", None, false),
    };
    let same: Option<bool> = tx
        .query_row(
            "SELECT item = ?3 AND kind = ?4 AND ranks IS ?5 AND rejected = ?6 AND comment IS ?7 FROM judgment WHERE labeller = ?1 AND nonce = ?2",
            params![labeller, answer.nonce, item, kind, ranks, rejected, answer.comment],
            |row| row.get(0),
        )
        .optional()?;
    let nonce = match same {
        Some(true) => return Ok(Outcome::Repeated),
        // The same page once more with another answer (the browser's way back): a change, as after undo.
        Some(false) => blake3::Hash::from(random()?).to_hex().to_string(),
        None => answer.nonce.clone(),
    };
    let before: Option<String> = tx
        .query_row(
            "UPDATE judgment SET superseded = ?3 WHERE labeller = ?1 AND item = ?2 AND superseded IS NULL RETURNING kind",
            params![labeller, item, now],
            |row| row.get(0),
        )
        .optional()?;
    let elapsed = (now - started).max(0) as f64 / 1000.0;
    let seconds = answer.seconds.filter(|s| s.is_finite()).map_or(elapsed, |s| s.clamp(0.0, elapsed));
    tx.execute(
        "INSERT INTO judgment (labeller, item, nonce, kind, ranks, rejected, comment, started, ended, seconds)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![labeller, item, nonce, kind, ranks, rejected, answer.comment, started, now.max(started), seconds],
    )?;
    let more = i64::from(kind == "ranking") - i64::from(before.as_deref() == Some("ranking"));
    tx.execute("UPDATE item SET judged = judged + ?2 WHERE id = ?1", params![item, more])?;
    tx.execute("UPDATE task SET lease = NULL, draft = NULL WHERE labeller = ?1 AND item = ?2", params![labeller, item])?;
    tx.execute("UPDATE labeller SET revising = NULL WHERE id = ?1 AND revising = ?2", params![labeller, item])?;
    tx.commit()?;
    Ok(Outcome::Stored)
}

/// Takes the labeller back to the answer submitted last, or, while one is being changed, to the one before it. False if there is none.
pub fn undo(db: &mut Db, labeller: i64, now: i64) -> Result<bool> {
    let tx = db.write()?;
    let item: Option<i64> = tx
        .query_row(
            "SELECT item FROM judgment WHERE labeller = ?1 AND superseded IS NULL AND id < COALESCE(
                 (SELECT j.id FROM judgment j JOIN labeller l ON l.id = j.labeller
                  WHERE l.id = ?1 AND j.item = l.revising AND j.superseded IS NULL), 9223372036854775807)
             ORDER BY id DESC LIMIT 1",
            [labeller],
            |row| row.get(0),
        )
        .optional()?;
    let Some(item) = item else { return Ok(false) };
    if let Some(left) = assign::revising(&tx, labeller)? {
        tx.execute("UPDATE task SET draft = NULL WHERE labeller = ?1 AND item = ?2", params![labeller, left])?;
    }
    tx.execute("UPDATE labeller SET revising = ?2 WHERE id = ?1", params![labeller, item])?;
    tx.execute("UPDATE task SET started = ?3, draft = NULL WHERE labeller = ?1 AND item = ?2", params![labeller, item, now])?;
    tx.commit()?;
    Ok(true)
}

/// Leaves the answer that is being changed as it was.
pub fn keep(db: &mut Db, labeller: i64) -> Result<()> {
    let tx = db.write()?;
    if let Some(item) = assign::revising(&tx, labeller)? {
        tx.execute("UPDATE task SET draft = NULL WHERE labeller = ?1 AND item = ?2", params![labeller, item])?;
    }
    tx.execute("UPDATE labeller SET revising = NULL WHERE id = ?1", [labeller])?;
    tx.commit()?;
    Ok(())
}

/// Stores a draft of the item before the labeller and keeps a living lease alive; one that has run out may be another's by now. False if the
/// item is not before them (any more), or the draft does not fit it.
pub fn save_draft(db: &mut Db, rules: assign::Rules, labeller: i64, reference: &str, draft: &Draft, now: i64) -> Result<bool> {
    let tx = db.write()?;
    let changed = tx.execute(
        "UPDATE task SET draft = ?3, lease = CASE WHEN lease > ?6 THEN MAX(lease, ?5) ELSE lease END
         WHERE labeller = ?1 AND ref = ?2 AND json_array_length(shown) = ?4
         AND (lease IS NOT NULL OR item = (SELECT revising FROM labeller WHERE id = ?1))",
        params![labeller, reference, items::json(draft), draft.places.len() as i64, now + rules.lease, now],
    )?;
    tx.commit()?;
    Ok(changed == 1)
}

/// The answer that stands, as a draft to be changed.
pub fn as_draft(conn: &Connection, labeller: i64, item: i64, shown: &[u32]) -> Result<Draft> {
    let (kind, ranks, rejected, comment): (String, Option<String>, bool, Option<String>) = conn.query_row(
        "SELECT kind, ranks, rejected, comment FROM judgment WHERE labeller = ?1 AND item = ?2 AND superseded IS NULL",
        params![labeller, item],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let ranks: Option<Vec<u32>> = ranks.map(|text| serde_json::from_str(&text)).transpose()?;
    let mut draft = Draft { rejected, ..Draft::empty(shown.len()) };
    for (i, rank) in ranks.into_iter().flatten().enumerate() {
        draft.places[shown[i] as usize] = Some(rank);
    }
    // The reason for skipping is no comment on an order.
    draft.comment = comment.filter(|_| kind == "ranking").unwrap_or_default();
    Ok(draft)
}
