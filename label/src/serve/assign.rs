//! Which item a labeller gets next.
//!
//! An ordinary item goes to `overlap` labellers: those who ranked it, and those who hold a lease on it, are never more. Leases of labellers who
//! went away run out. Gold items come at a place that nobody can foresee in each run of `gold_every` items, to every labeller alike, and are
//! counted in what is left, so that nothing on the page tells them from the others.

use super::db::{Db, Secret};
use super::items::{self, Item};
use super::judge::{self, Draft};
use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, params};

/// How a round is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Labellers an item.
    pub overlap: u32,
    /// One item in so many is a gold item, as long as there are some; 0 for none.
    pub gold_every: u32,
    /// How long an item is kept for whoever has it before them, in milliseconds.
    pub lease: i64,
}

/// An item before a labeller.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What the page calls it.
    pub reference: String,
    /// The item.
    pub item: Item,
    /// `shown[i]` is the place of answer i.
    pub shown: Vec<u32>,
    /// What was begun, or what was said before if it is being changed.
    pub draft: Draft,
    /// True if an answer that was submitted is being changed.
    pub revising: bool,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// An item to rank.
    Task(Box<Task>),
    /// Nothing; true if others hold leases on items that may come back.
    Nothing(bool),
}

/// How far a labeller has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Items ranked or skipped.
    pub done: u64,
    /// Items still to come, the one before the labeller among them, if the others do no more.
    pub left: u64,
}

/// An item that `?1` has not answered and of which fewer than `?2` labellers have ranked it or hold it at `?3`.
const OPEN: &str = "FROM item i INDEXED BY item_open WHERE i.gold IS NULL AND i.judged < ?2
    AND NOT EXISTS (SELECT 1 FROM judgment j WHERE j.labeller = ?1 AND j.item = i.id AND j.superseded IS NULL)
    AND i.judged + (SELECT COUNT(*) FROM task t WHERE t.item = i.id AND t.labeller <> ?1 AND t.lease > ?3) < ?2";

/// A gold item that `?1` has not answered.
const GOLD: &str = "FROM item i WHERE i.gold IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM judgment j WHERE j.labeller = ?1 AND j.item = i.id AND j.superseded IS NULL)";

/// Gives a labeller the item being changed, else the one begun, else the next one.
pub fn next(db: &mut Db, rules: Rules, labeller: i64, now: i64) -> Result<Next> {
    let secret = db.secret();
    let tx = db.write()?;
    let next = match (revising(&tx, labeller)?, begun(&tx, rules, labeller, now)?) {
        (Some(item), _) => Next::Task(Box::new(task(&tx, labeller, item, true)?)),
        (None, Some(item)) => {
            let lease = params![labeller, item, now + rules.lease];
            tx.execute("UPDATE task SET lease = ?3 WHERE labeller = ?1 AND item = ?2", lease)?;
            Next::Task(Box::new(task(&tx, labeller, item, false)?))
        }
        (None, None) => match choose(&tx, secret, rules, labeller, now)? {
            Some(item) => {
                give(&tx, secret, labeller, item, now, now + rules.lease)?;
                Next::Task(Box::new(task(&tx, labeller, item, false)?))
            }
            None => Next::Nothing(others_work(&tx, labeller, now)?),
        },
    };
    tx.commit()?;
    Ok(next)
}

/// The item whose answer the labeller is changing.
pub fn revising(conn: &Connection, labeller: i64) -> Result<Option<i64>> {
    Ok(conn.query_row("SELECT revising FROM labeller WHERE id = ?1", [labeller], |row| row.get(0))?)
}

/// The item that the labeller has before them: not answered, the lease alive, or run out but nobody else has taken the place.
fn begun(conn: &Connection, rules: Rules, labeller: i64, now: i64) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached(
        "SELECT t.item FROM task t JOIN item i ON i.id = t.item WHERE t.labeller = ?1 AND t.lease IS NOT NULL
         AND (t.lease > ?3 OR i.gold IS NOT NULL
              OR i.judged + (SELECT COUNT(*) FROM task o WHERE o.item = i.id AND o.labeller <> ?1 AND o.lease > ?3) < ?2)
         ORDER BY t.lease DESC LIMIT 1",
    )?;
    Ok(query.query_row(params![labeller, rules.overlap, now], |row| row.get(0)).optional()?)
}

/// The next item, ordinary or gold.
fn choose(conn: &Connection, secret: Secret, rules: Rules, labeller: i64, now: i64) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached(&format!("SELECT i.id {OPEN} ORDER BY i.id LIMIT 1"))?;
    let ordinary: Option<i64> = query.query_row(params![labeller, rules.overlap, now], |row| row.get(0)).optional()?;
    if ordinary.is_none() || !is_gold_slot(secret, rules, labeller, done(conn, labeller)?) {
        return Ok(ordinary);
    }
    let mut query = conn.prepare_cached(&format!("SELECT i.id {GOLD}"))?;
    let gold: Vec<i64> = query.query_map([labeller], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(gold.into_iter().min_by_key(|&item| secret.draw("gold order", &[labeller, item])).or(ordinary))
}

/// True if the item after `done` others is a gold item.
fn is_gold_slot(secret: Secret, rules: Rules, labeller: i64, done: u64) -> bool {
    let every = u64::from(rules.gold_every);
    every > 0 && secret.draw("gold slot", &[labeller, (done / every) as i64]) % every == done % every
}

/// Items that the labeller has ranked or skipped.
fn done(conn: &Connection, labeller: i64) -> Result<u64> {
    let count: i64 =
        conn.query_row("SELECT COUNT(*) FROM judgment WHERE labeller = ?1 AND superseded IS NULL", [labeller], |row| row.get(0))?;
    Ok(count as u64)
}

/// Writes down that the item is the labeller's until `lease`, and in what order its answers are shown.
fn give(conn: &Connection, secret: Secret, labeller: i64, item: i64, now: i64, lease: i64) -> Result<()> {
    let k = items::item(conn, item)?.answers.len();
    let shown = items::json(&shown(secret, labeller, item, k));
    let reference = secret.keyed("reference", &[labeller, item]).to_hex();
    conn.execute(
        "INSERT INTO task (labeller, item, ref, shown, started, lease) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (labeller, item) DO UPDATE SET lease = excluded.lease",
        params![labeller, item, &reference[..24], shown, now, lease],
    )?;
    Ok(())
}

/// A random order of `k` answers, always the same for this labeller and item: place i belongs to answer i.
fn shown(secret: Secret, labeller: i64, item: i64, k: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by_key(|&i| secret.draw("shown", &[labeller, item, i as i64]));
    let mut shown = vec![0; k];
    order.into_iter().enumerate().for_each(|(place, i)| shown[i] = place as u32);
    shown
}

/// True if others hold items that would be this labeller's if they let go.
fn others_work(conn: &Connection, labeller: i64, now: i64) -> Result<bool> {
    let held = "SELECT EXISTS (SELECT 1 FROM task t JOIN item i ON i.id = t.item WHERE t.labeller <> ?1 AND t.lease > ?2 AND i.gold IS NULL
         AND NOT EXISTS (SELECT 1 FROM judgment j WHERE j.labeller = ?1 AND j.item = i.id AND j.superseded IS NULL))";
    Ok(conn.query_row(held, params![labeller, now], |row| row.get(0))?)
}

fn task(conn: &Connection, labeller: i64, item: i64, revising: bool) -> Result<Task> {
    let (reference, shown, draft): (String, String, Option<String>) =
        conn.query_row("SELECT ref, shown, draft FROM task WHERE labeller = ?1 AND item = ?2", params![labeller, item], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let shown: Vec<u32> = serde_json::from_str(&shown)?;
    let draft = match draft {
        Some(text) => serde_json::from_str(&text)?,
        None if revising => judge::as_draft(conn, labeller, item, &shown)?,
        None => Draft::empty(shown.len()),
    };
    Ok(Task { reference, item: items::item(conn, item)?, shown, draft, revising })
}

/// How far the labeller has come, and how far it is to the end if the others do no more. Every answer, gold or not, takes one off.
pub fn progress(db: &Db, rules: Rules, labeller: i64, now: i64) -> Result<Progress> {
    let count = |query: &str, values: &[&dyn rusqlite::ToSql]| -> Result<u64> {
        Ok(db.conn().prepare_cached(query)?.query_row(values, |row| row.get::<_, i64>(0))? as u64)
    };
    let done = done(db.conn(), labeller)?;
    let mut ordinary = count(&format!("SELECT COUNT(*) {OPEN}"), &[&labeller, &rules.overlap, &now])?;
    let mut gold = count(&format!("SELECT COUNT(*) {GOLD}"), &[&labeller])?;
    let mut left = 0;
    // As `choose` will go on: a gold item comes only before an ordinary one.
    while ordinary > 0 {
        let is_gold = gold > 0 && is_gold_slot(db.secret(), rules, labeller, done + left);
        *(if is_gold { &mut gold } else { &mut ordinary }) -= 1;
        left += 1;
    }
    Ok(Progress { done, left })
}

#[cfg(test)]
#[path = "assign_tests.rs"]
mod tests;
