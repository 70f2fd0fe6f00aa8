//! How the round stands: what each labeller did, how each item stands, and how far the labellers agree so far. For the admin page.

use super::assign::Rules;
use super::db::Db;
use super::items;
use super::people::{self, Person};
use anyhow::Result;
use data::chat::Message;
use data::rankings::Ranking;
use figures::preference::{self, Agreement};
use rusqlite::params;
use std::collections::HashMap;

/// The whole round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Ordinary items.
    pub items: u64,
    /// Ordinary items with as many rankings as asked for.
    pub complete: u64,
    /// Rankings of ordinary items still to come.
    pub missing: u64,
    /// Gold items.
    pub gold: u64,
    /// Rankings that stand, of gold items too.
    pub rankings: u64,
    /// Skips that stand.
    pub skipped: u64,
    /// Answers that were changed later.
    pub superseded: u64,
    /// Items before labellers now.
    pub leases: u64,
}

/// Counts of the whole round.
pub fn standing(db: &Db, rules: Rules, now: i64) -> Result<Standing> {
    let count = |query: &str| -> Result<u64> {
        let query = query.replace("?overlap", &rules.overlap.to_string()).replace("?now", &now.to_string());
        Ok(db.conn().query_row(&query, [], |row| row.get::<_, i64>(0))? as u64)
    };
    Ok(Standing {
        items: count("SELECT COUNT(*) FROM item WHERE gold IS NULL")?,
        complete: count("SELECT COUNT(*) FROM item WHERE gold IS NULL AND judged >= ?overlap")?,
        missing: count("SELECT COALESCE(SUM(MAX(0, ?overlap - judged)), 0) FROM item WHERE gold IS NULL")?,
        gold: count("SELECT COUNT(*) FROM item WHERE gold IS NOT NULL")?,
        rankings: count("SELECT COUNT(*) FROM judgment WHERE superseded IS NULL AND kind = 'ranking'")?,
        skipped: count("SELECT COUNT(*) FROM judgment WHERE superseded IS NULL AND kind = 'skipped'")?,
        superseded: count("SELECT COUNT(*) FROM judgment WHERE superseded IS NOT NULL")?,
        leases: count("SELECT COUNT(*) FROM task WHERE lease > ?now")?,
    })
}

/// How far two labellers agree about the same pair of answers, ties left aside; none where no pair was ordered twice.
pub fn agreement(db: &Db) -> Result<Option<Agreement>> {
    let mut query = db.conn().prepare_cached(
        "SELECT i.id, i.split, i.answers, j.ranks, l.name FROM judgment j JOIN item i ON i.id = j.item JOIN labeller l ON l.id = j.labeller
         WHERE j.superseded IS NULL AND j.ranks IS NOT NULL ORDER BY j.id",
    )?;
    let mut rows = query.query([])?;
    let mut rankings = Vec::new();
    while let Some(row) = rows.next()? {
        rankings.push(Ranking {
            prompt: vec![Message::new("user", &row.get::<_, i64>(0)?.to_string())], // tells the items apart, which is all that is asked of it
            group: row.get(1)?,
            answers: serde_json::from_str(&row.get::<_, String>(2)?)?,
            ranks: serde_json::from_str(&row.get::<_, String>(3)?)?,
            judge: row.get(4)?,
            scores: None,
            worth: None,
            weight: 1.0,
            file: Default::default(),
            row: 0,
        });
    }
    let nothing: Vec<Vec<f64>> = rankings.iter().map(|r| vec![0.0; r.answers.len()]).collect();
    Ok(preference::evaluate(&rankings, &nothing, 1).and_then(|report| report.judge_agreement))
}

/// What one labeller did.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Who.
    pub person: Person,
    /// Rankings that stand.
    pub rankings: u64,
    /// Rankings that reject every answer.
    pub rejected: u64,
    /// Skips that stand.
    pub skipped: u64,
    /// Answers changed later.
    pub changed: u64,
    /// Median of the seconds an item.
    pub median: Option<f64>,
    /// Pairs of gold answers in the right order (a tie is half a pair), of all that the truth orders.
    pub gold: Option<(f64, u64)>,
    /// When the last answer came.
    pub last: Option<i64>,
}

/// What each labeller did.
pub fn work(db: &Db) -> Result<Vec<Work>> {
    let mut all: Vec<Work> = people::all(db)?
        .into_iter()
        .map(|person| Work { person, rankings: 0, rejected: 0, skipped: 0, changed: 0, median: None, gold: None, last: None })
        .collect();
    let places: HashMap<i64, usize> = all.iter().enumerate().map(|(at, work)| (work.person.id, at)).collect();
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
    let mut query = db.conn().prepare_cached(
        "SELECT j.labeller, j.kind = 'ranking', j.rejected, j.superseded IS NOT NULL, j.seconds, j.ended, j.ranks, i.gold
         FROM judgment j JOIN item i ON i.id = j.item",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let Some(&at) = places.get(&row.get(0)?) else { continue };
        let one = &mut all[at];
        one.last = one.last.max(Some(row.get(5)?));
        if row.get(3)? {
            one.changed += 1;
            continue;
        }
        let ranking: bool = row.get(1)?;
        one.rankings += u64::from(ranking);
        one.skipped += u64::from(!ranking);
        one.rejected += u64::from(row.get::<_, bool>(2)?);
        seconds[at].push(row.get(4)?);
        if let (Some(said), Some(truth)) = (row.get::<_, Option<String>>(6)?, row.get::<_, Option<String>>(7)?) {
            let (right, pairs) = right_pairs(&serde_json::from_str::<Vec<u32>>(&said)?, &serde_json::from_str::<Vec<u32>>(&truth)?);
            let sum = one.gold.unwrap_or_default();
            one.gold = Some((sum.0 + right, sum.1 + pairs));
        }
    }
    for (work, mut seconds) in all.iter_mut().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let middle = seconds.len() / 2;
        work.median = match seconds.len() {
            0 => None,
            n if n % 2 == 1 => Some(seconds[middle]),
            _ => Some((seconds[middle - 1] + seconds[middle]) / 2.0),
        };
    }
    Ok(all)
}

/// Pairs that the truth orders: how many of them `said` orders the same (a tie counts half), and all of them.
fn right_pairs(said: &[u32], truth: &[u32]) -> (f64, u64) {
    let (mut right, mut pairs) = (0.0, 0);
    for i in 0..truth.len() {
        for j in (0..truth.len()).filter(|&j| truth[i] < truth[j]) {
            pairs += 1;
            right += match said[i].cmp(&said[j]) {
                std::cmp::Ordering::Less => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Greater => 0.0,
            };
        }
    }
    (right, pairs)
}

/// How one item stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Number of the item.
    pub id: i64,
    /// The last turn of its prompt.
    pub prompt: String,
    /// True if its right order is known.
    pub gold: bool,
    /// Rankings that stand.
    pub rankings: u64,
    /// Of them those that reject every answer.
    pub rejected: u64,
    /// Skips that stand.
    pub skipped: u64,
    /// Labellers who have it before them now.
    pub leases: u64,
    /// Reasons for skips and comments.
    pub comments: Vec<String>,
}

/// Items after the first `from`, at most `count`, and how many there are.
pub fn items(db: &Db, from: u64, count: u64, now: i64) -> Result<(Vec<Row>, u64)> {
    let total: i64 = db.conn().query_row("SELECT COUNT(*) FROM item", [], |row| row.get(0))?;
    let mut query = db.conn().prepare_cached(
        "SELECT i.id, i.prompt, i.gold IS NOT NULL, i.judged, COALESCE(SUM(j.rejected), 0), COALESCE(SUM(j.kind = 'skipped'), 0),
                (SELECT COUNT(*) FROM task t WHERE t.item = i.id AND t.lease > ?3), json_group_array(j.comment) FILTER (WHERE j.comment <> '')
         FROM item i LEFT JOIN judgment j ON j.item = i.id AND j.superseded IS NULL
         GROUP BY i.id ORDER BY i.id LIMIT ?2 OFFSET ?1",
    )?;
    let mut rows = query.query(params![from as i64, count as i64, now])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        let prompt = items::turns(&row.get::<_, String>(1)?)?;
        let number = |i: usize| row.get::<_, i64>(i).map(|n| n as u64);
        list.push(Row {
            id: row.get(0)?,
            prompt: prompt.last().map(|turn| turn.content.clone()).unwrap_or_default(),
            gold: row.get(2)?,
            rankings: number(3)?,
            rejected: number(4)?,
            skipped: number(5)?,
            leases: number(6)?,
            comments: serde_json::from_str(&row.get::<_, String>(7)?)?,
        });
    }
    Ok((list, total as u64))
}

#[cfg(test)]
mod tests {
    use super::right_pairs;

    #[test]
    fn gold_pairs_by_hand() {
        assert_eq!(right_pairs(&[1, 2, 3], &[1, 2, 3]), (3.0, 3));
        assert_eq!(right_pairs(&[3, 2, 1], &[1, 2, 3]), (0.0, 3));
        assert_eq!(right_pairs(&[1, 1, 2], &[1, 2, 2]), (1.5, 2), "first against second is tied: half; first against third: right");
        assert_eq!(right_pairs(&[1, 2], &[1, 1]), (0.0, 0), "the truth orders nothing");
    }
}
