//! Labellers, the tokens in their links and the sessions in their cookies.
//!
//! A token is 256 random bits in hex, shown once, when it is made. The database holds its BLAKE3 hash. A visit with the token begins a session,
//! whose secret is another 256 bits in a cookie; of that the database holds the hash as well. Hashes are compared in constant time
//! (`blake3::Hash` does no other).

use super::db::{Db, random};
use crate::exit;
use anyhow::{Context, Result};
use rusqlite::{OptionalExtension, params};

/// The name of whoever runs the round.
pub const ADMIN: &str = "admin";
/// How long a session lasts; the link begins another.
pub const SESSION_MS: i64 = 60 * 24 * 3600 * 1000;
/// Longest name.
const NAME: usize = 64;

/// Someone with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Key in the database.
    pub id: i64,
    /// The name in exports.
    pub name: String,
    /// True for the one who sees the admin page.
    pub admin: bool,
    /// False where the admin has ended the access.
    pub enabled: bool,
}

/// Checks a name: it stands in tables and on pages.
pub fn check_name(name: &str) -> Result<&str, String> {
    let name = name.trim();
    match name {
        "" => Err("a labeller needs a name".to_string()),
        _ if name.eq_ignore_ascii_case(ADMIN) => Err(format!("{ADMIN:?} is the name of whoever runs the round: take another")),
        _ if name.chars().count() > NAME => Err(format!("the name is longer than {NAME} characters")),
        _ if name.chars().any(char::is_control) => Err("the name has control characters".to_string()),
        _ => Ok(name),
    }
}

/// Adds a person and gives the token of the link; none if the name is taken.
pub fn add(db: &mut Db, name: &str, admin: bool, now: i64) -> Result<Option<String>> {
    let token = secret()?;
    let role = if admin { "admin" } else { "labeller" };
    let added = db.conn().execute(
        "INSERT INTO labeller (name, role, token, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING",
        params![name, role, hash(&token).as_bytes(), now],
    )?;
    Ok((added == 1).then_some(token))
}

/// Gives a person a new token; the old one and all sessions end.
pub fn renew(db: &mut Db, name: &str) -> Result<String> {
    let token = secret()?;
    let tx = db.write()?;
    let id: Option<i64> = tx.query_row("SELECT id FROM labeller WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    let id = id.ok_or_else(|| exit::input(format!("there is no labeller {name:?} in the database")))?;
    tx.execute("UPDATE labeller SET token = ?2 WHERE id = ?1", params![id, hash(&token).as_bytes()])?;
    tx.execute("DELETE FROM session WHERE labeller = ?1", [id])?;
    tx.commit()?;
    Ok(token)
}

/// Ends a labeller's access, or opens it again. Leases of a disabled labeller are free at once. False if there is no such labeller.
pub fn enable(db: &mut Db, id: i64, enabled: bool) -> Result<bool> {
    let tx = db.write()?;
    let changed = tx.execute("UPDATE labeller SET enabled = ?2 WHERE id = ?1 AND role = 'labeller'", params![id, enabled])?;
    if changed == 1 && !enabled {
        tx.execute("DELETE FROM session WHERE labeller = ?1", [id])?;
        tx.execute("UPDATE task SET lease = 0 WHERE labeller = ?1 AND lease IS NOT NULL", [id])?;
    }
    tx.commit()?;
    Ok(changed == 1)
}

/// All labellers, in the order in which they came, the admin not among them.
pub fn all(db: &Db) -> Result<Vec<Person>> {
    let mut query =
        db.conn().prepare_cached("SELECT id, name, role = 'admin', enabled FROM labeller WHERE role = 'labeller' ORDER BY id")?;
    let people = query.query_map([], person)?.collect::<rusqlite::Result<_>>()?;
    Ok(people)
}

fn person(row: &rusqlite::Row) -> rusqlite::Result<Person> {
    Ok(Person { id: row.get(0)?, name: row.get(1)?, admin: row.get(2)?, enabled: row.get(3)? })
}

/// Begins a session for the owner of the token and gives the cookie's value; none if the token is nobody's.
pub fn enter(db: &mut Db, token: &str, now: i64) -> Result<Option<String>> {
    let given = hash(token);
    let tx = db.write()?;
    let mut owner = None;
    {
        let mut query = tx.prepare_cached("SELECT id, token FROM labeller WHERE enabled")?;
        let mut rows = query.query([])?;
        // Every hash is compared, none by the database: time says nothing about how near a guess was.
        while let Some(row) = rows.next()? {
            if same(given, row.get_ref(1)?.as_blob()?) {
                owner = Some(row.get::<_, i64>(0)?);
            }
        }
    }
    let Some(owner) = owner else { return Ok(None) };
    let value = secret()?;
    tx.execute("DELETE FROM session WHERE expires < ?1", [now])?;
    tx.execute(
        "INSERT INTO session (labeller, secret, expires) VALUES (?1, ?2, ?3)",
        params![owner, hash(&value).as_bytes(), now + SESSION_MS],
    )?;
    let id = tx.last_insert_rowid();
    tx.commit()?;
    Ok(Some(format!("{id}.{value}")))
}

/// Whose session the cookie's value is; none if nobody's, or no longer.
pub fn whose(db: &Db, cookie: &str, now: i64) -> Result<Option<Person>> {
    let Some((id, value)) = cookie.split_once('.').and_then(|(id, value)| Some((id.parse::<i64>().ok()?, value))) else { return Ok(None) };
    let mut query = db.conn().prepare_cached(
        "SELECT l.id, l.name, l.role = 'admin', l.enabled, s.secret FROM session s JOIN labeller l ON l.id = s.labeller
         WHERE s.id = ?1 AND s.expires > ?2 AND l.enabled",
    )?;
    let found = query.query_row(params![id, now], |row| Ok((person(row)?, row.get::<_, Vec<u8>>(4)?))).optional()?;
    Ok(found.filter(|(_, kept)| same(hash(value), kept)).map(|(person, _)| person))
}

/// Ends a session.
pub fn leave(db: &mut Db, cookie: &str) -> Result<()> {
    let id: i64 = cookie.split('.').next().and_then(|id| id.parse().ok()).context("no session")?;
    db.conn().execute("DELETE FROM session WHERE id = ?1", [id])?;
    Ok(())
}

/// The token that forms of this session carry: nobody knows it who does not know the cookie.
pub fn form_token(cookie: &str) -> String {
    blake3::derive_key("label serve 2026 form token", cookie.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares a form's token with the session's, in constant time.
pub fn is_form_token(cookie: &str, given: &str) -> bool {
    hash(given) == hash(&form_token(cookie))
}

fn secret() -> Result<String> {
    Ok(blake3::Hash::from(random()?).to_hex().to_string())
}

fn hash(secret: &str) -> blake3::Hash {
    blake3::hash(secret.as_bytes())
}

fn same(hash: blake3::Hash, kept: &[u8]) -> bool {
    <[u8; 32]>::try_from(kept).is_ok_and(|kept| hash == blake3::Hash::from(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_a_session_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Db::create(&dir.path().join("l.sqlite")).unwrap();
        let alice = add(&mut db, "alice", false, 1).unwrap().unwrap();
        assert_eq!(add(&mut db, "alice", false, 1).unwrap(), None, "the name is taken");
        let admin = add(&mut db, ADMIN, true, 1).unwrap().unwrap();
        assert_eq!(enter(&mut db, "", 1).unwrap(), None);
        assert_eq!(enter(&mut db, &alice[1..], 1).unwrap(), None);
        let cookie = enter(&mut db, &alice, 1).unwrap().unwrap();
        let person = whose(&db, &cookie, 2).unwrap().unwrap();
        assert_eq!((person.name.as_str(), person.admin), ("alice", false));
        let theirs = enter(&mut db, &admin, 1).unwrap().unwrap();
        assert!(whose(&db, &theirs, 2).unwrap().unwrap().admin);
        // Another session's secret under this session's number, a cut one, none at all, and a session that is over.
        for wrong in [format!("1.{alice}"), cookie[..cookie.len() - 1].to_string(), "1.".into(), "1".into(), "x.y".into(), String::new()] {
            assert_eq!(whose(&db, &wrong, 2).unwrap(), None, "{wrong}");
        }
        assert_eq!(whose(&db, &cookie, 1 + SESSION_MS).unwrap(), None);
        // Neither token nor cookie stands in the database.
        drop(db);
        let bytes: Vec<u8> =
            ["l.sqlite", "l.sqlite-wal"].iter().flat_map(|n| std::fs::read(dir.path().join(n)).unwrap_or_default()).collect();
        let inside = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(inside("alice") && !inside(&alice) && !inside(&cookie[2..]));
    }

    #[test]
    fn renewed_and_disabled() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Db::create(&dir.path().join("l.sqlite")).unwrap();
        let old = add(&mut db, "alice", false, 1).unwrap().unwrap();
        let cookie = enter(&mut db, &old, 1).unwrap().unwrap();
        let new = renew(&mut db, "alice").unwrap();
        assert_eq!((whose(&db, &cookie, 2).unwrap(), enter(&mut db, &old, 2).unwrap()), (None, None));
        let cookie = enter(&mut db, &new, 2).unwrap().unwrap();
        let id = whose(&db, &cookie, 2).unwrap().unwrap().id;
        assert!(enable(&mut db, id, false).unwrap());
        assert_eq!((whose(&db, &cookie, 2).unwrap(), enter(&mut db, &new, 2).unwrap()), (None, None));
        assert!(enable(&mut db, id, true).unwrap());
        assert!(enter(&mut db, &new, 2).unwrap().is_some());
        assert!(renew(&mut db, "bob").is_err());
    }

    #[test]
    fn form_tokens_belong_to_their_session() {
        let token = form_token("1.abc");
        assert!(is_form_token("1.abc", &token));
        assert!(!is_form_token("1.abd", &token) && !is_form_token("1.abc", "") && !is_form_token("1.abc", &token[1..]));
    }

    #[test]
    fn names() {
        assert_eq!(check_name(" 小明 "), Ok("小明"));
        for bad in ["", "  ", "Admin", "a\nb", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
