//! What was said, as a table of judgments or as JSON Lines of the same rows ([`plain`]), of which `label ingest` makes the table again.
//!
//! The table holds every answer that stands (rankings and skips) and, so that judges can be checked by it alone, every gold item with its known
//! order as a row of kind `open` with the flag `gold`. Answers that a later one took the place of stay in the database; they are counted.

use super::db::Db;
use super::items::turns;
use crate::export::{Whole, plain};
use anyhow::Result;
use data::labels::table::TableWriter;
use data::labels::{Judgment, Kind, flag};
use std::path::Path;

/// What an export holds. `rankings + skipped + gold` are the rows of the table; `superseded` more answers are in the database alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Rankings.
    pub rankings: u64,
    /// Rankings among them that reject every answer.
    pub rejected: u64,
    /// Rankings among them without an order: all answers rejected, nothing said about which is least bad.
    pub without_order: u64,
    /// Skips.
    pub skipped: u64,
    /// Gold items with their known order.
    pub gold: u64,
    /// Answers that were changed later: not in the table.
    pub superseded: u64,
}

impl std::fmt::Display for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Exported { rankings, rejected, without_order, skipped, gold, superseded } = self;
        write!(f, "{rankings} rankings (in {rejected} every answer is rejected, {without_order} have no order), {skipped} skips, ")?;
        write!(f, "{gold} gold items; {superseded} answers were changed later and are not among them")
    }
}

/// Hands out every row of the table.
pub fn each(db: &Db, name: &Path, mut take: impl FnMut(Judgment) -> Result<()>) -> Result<Exported> {
    // One transaction that reads: all of one moment, however long it takes.
    let tx = db.conn().unchecked_transaction()?;
    let mut exported = Exported::default();
    let mut query = tx.prepare(
        "SELECT i.key, i.split, i.prompt, i.answers, i.authors, t.shown, j.kind, j.ranks, j.rejected, j.comment, j.started, j.ended, j.seconds,
                l.name, j.id
         FROM judgment j JOIN item i ON i.id = j.item JOIN labeller l ON l.id = j.labeller
         JOIN task t ON t.labeller = j.labeller AND t.item = j.item
         WHERE j.superseded IS NULL ORDER BY j.id",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let text = |i: usize| row.get::<_, String>(i);
        let ranks: Option<String> = row.get(7)?;
        let (ranking, rejected) = (text(6)? == "ranking", row.get(8)?);
        let judgment = Judgment {
            kind: if ranking { Kind::Ranking } else { Kind::Skipped },
            shown: Some(serde_json::from_str(&text(5)?)?),
            ranks: ranks.map(|ranks| serde_json::from_str(&ranks)).transpose()?,
            flags: if rejected { vec![flag::REJECT_ALL.to_string()] } else { Vec::new() },
            comment: row.get(9)?,
            started: Some(row.get(10)?),
            ended: Some(row.get(11)?),
            seconds: Some(row.get::<_, f64>(12)? as f32),
            judge: Some(text(13)?),
            file: name.to_path_buf(),
            row: row.get::<_, i64>(14)? as u64,
            ..item(row)?
        };
        exported.rankings += u64::from(ranking);
        exported.skipped += u64::from(!ranking);
        exported.rejected += u64::from(rejected);
        exported.without_order += u64::from(ranking && judgment.ranks.is_none());
        take(judgment)?;
    }
    let mut query =
        tx.prepare("SELECT key, split, prompt, answers, authors, gold, file, row FROM item WHERE gold IS NOT NULL ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        exported.gold += 1;
        take(Judgment {
            ranks: Some(serde_json::from_str(&row.get::<_, String>(5)?)?),
            flags: vec![flag::GOLD.to_string()],
            file: row.get::<_, String>(6)?.into(),
            row: row.get::<_, i64>(7)? as u64,
            ..item(row)?
        })?;
    }
    let superseded: i64 = tx.query_row("SELECT COUNT(*) FROM judgment WHERE superseded IS NOT NULL", [], |row| row.get(0))?;
    exported.superseded = superseded as u64;
    Ok(exported)
}

/// The item's part of a row that begins with key, split, prompt, answers and authors. Scores that a reward model gave are left out: beside a
/// judge's ranks they would pass for the judge's.
fn item(row: &rusqlite::Row) -> Result<Judgment> {
    let text = |i: usize| row.get::<_, String>(i);
    let authors: Option<String> = row.get(4)?;
    Ok(Judgment {
        item: text(0)?,
        group: text(1)?,
        authors: authors.map(|authors| serde_json::from_str(&authors)).transpose()?,
        ..Judgment::new(Kind::Open, turns(&text(2)?)?, serde_json::from_str(&text(3)?)?)
    })
}

/// Writes the export to `path`: JSON Lines if its name ends so, else a table. It appears whole or not at all.
pub fn write(db: &Db, database: &Path, path: &Path) -> Result<Exported> {
    let name = Path::new(database.file_name().unwrap_or(database.as_os_str()));
    if path.extension().is_some_and(|e| e == "jsonl") {
        let mut file = Whole::create(path)?;
        let exported = each(db, name, |judgment| Ok(file.line(&plain::to_json(&judgment))?))?;
        file.finish()?;
        return Ok(exported);
    }
    let mut table = TableWriter::create(path)?;
    let exported = each(db, name, |judgment| Ok(table.push(judgment)?))?;
    table.finish()?;
    Ok(exported)
}
