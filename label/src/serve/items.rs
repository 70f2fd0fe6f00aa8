//! Items into the database: from tables of judgments, keyed by `item`, again and again as more of them come.

use super::db::Db;
use crate::exit;
use anyhow::Result;
use data::chat::Message;
use data::labels::{Judgment, Kind, flag, places_of, table::LabelTable};
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::Value;
use std::path::Path;

/// Most answers an item may have: more cannot be ranked with care.
pub const MAX_ANSWERS: usize = 20;

/// What became of the rows of the tables; the counts sum to the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// New items to be ranked.
    pub items: u64,
    /// New items whose right order is known, to check labellers by.
    pub gold: u64,
    /// Rows about items that are there already, in this table or from an earlier run.
    pub known: u64,
    /// Rows that are judgments by somebody: nothing to show.
    pub judgments: u64,
}

/// Reads tables into the database, all of them or, with an error, none.
pub fn load(db: &mut Db, tables: &[impl AsRef<Path>]) -> Result<Loaded> {
    let tx = db.write()?;
    let mut loaded = Loaded::default();
    for path in tables {
        let path = path.as_ref();
        let table = LabelTable::open(path)?;
        for (row, judgment) in table.iter().enumerate() {
            let judgment = judgment?;
            let gold = judgment.has(flag::GOLD) && judgment.ranks.is_some();
            if judgment.kind != Kind::Open && !gold {
                loaded.judgments += 1;
                continue;
            }
            let known = add(&tx, &judgment, path, row as u64 + 1, gold)
                .map_err(|detail| exit::input(format!("{}, row {}: item {:?} {detail}", path.display(), row + 1, judgment.item)))?;
            match (known, gold) {
                (true, _) => loaded.known += 1,
                (false, true) => loaded.gold += 1,
                (false, false) => loaded.items += 1,
            }
        }
    }
    tx.commit()?;
    Ok(loaded)
}

/// Adds an item; true if it was there. The error says what is wrong with it.
fn add(tx: &Transaction, judgment: &Judgment, path: &Path, row: u64, gold: bool) -> Result<bool, String> {
    let k = judgment.answers.len();
    if !(2..=MAX_ANSWERS).contains(&k) {
        return Err(format!("has {k} answers: from 2 to {MAX_ANSWERS} can be ranked"));
    }
    if judgment.prompt.is_empty() {
        return Err("has no prompt".to_string());
    }
    let ranks = judgment.ranks.as_ref().filter(|_| gold);
    let found = tx
        .query_row("SELECT id, prompt, answers, gold IS NOT NULL FROM item WHERE key = ?1", [&judgment.item], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, bool>(3)?))
        })
        .optional()
        .map_err(|e| e.to_string())?;
    let Some((id, prompt, answers, is_gold)) = found else {
        let authors = judgment.authors.as_ref().map(json);
        tx.prepare_cached(
            "INSERT INTO item (key, split, prompt, answers, authors, gold, file, row) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .and_then(|mut insert| {
            let (file, gold) = (path.display().to_string(), ranks.map(json));
            let (prompt, answers) = (json(&judgment.prompt), json(&judgment.answers));
            insert.execute(params![judgment.item, judgment.group, prompt, answers, authors, gold, file, row as i64])
        })
        .map_err(|e| e.to_string())?;
        return Ok(false);
    };
    let before = turns(&prompt).map_err(|e| e.to_string())?;
    let answers: Vec<String> = serde_json::from_str(&answers).map_err(|e| e.to_string())?;
    let places = places_of(&answers, &judgment.answers);
    if before != judgment.prompt || answers.len() != judgment.answers.len() || places.len() != answers.len() {
        return Err("is in the database with another prompt or other answers: give the new item a key of its own".into());
    }
    // A gold row about an item that stands there as an ordinary one makes it gold from now on.
    if let Some(ranks) = ranks.filter(|_| !is_gold) {
        let ranks: Vec<u32> = places.iter().map(|&at| ranks[at]).collect();
        tx.execute("UPDATE item SET gold = ?2 WHERE id = ?1", params![id, json(&ranks)]).map_err(|e| e.to_string())?;
    }
    Ok(true)
}

/// A list as the database keeps it.
pub fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default() // lists of text and numbers always become JSON
}

/// A conversation as [`json`] wrote it.
pub fn turns(text: &str) -> serde_json::Result<Vec<Message>> {
    let turns: Vec<serde_json::Map<String, Value>> = serde_json::from_str(text)?;
    let take = |turn: &mut serde_json::Map<String, Value>, key: &str| match turn.shift_remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(), // `json` writes both as text
    };
    Ok(turns
        .into_iter()
        .map(|mut turn| Message { role: take(&mut turn, "role"), content: take(&mut turn, "content"), rest: turn })
        .collect())
}

/// An item as it is shown and exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Key in the database.
    pub id: i64,
    /// The conversation before the answer.
    pub prompt: Vec<Message>,
    /// The answers, in the order of the table.
    pub answers: Vec<String>,
    /// True if its right order is known.
    pub gold: bool,
}

/// The item with this key in the database.
pub fn item(conn: &rusqlite::Connection, id: i64) -> Result<Item> {
    let (prompt, answers, gold): (String, String, bool) =
        conn.query_row("SELECT prompt, answers, gold IS NOT NULL FROM item WHERE id = ?1", [id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok(Item { id, prompt: turns(&prompt)?, answers: serde_json::from_str(&answers)?, gold })
}
