//! The database: one SQLite file with items, labellers, leases and every answer that was ever submitted.
//!
//! Write-ahead log with `synchronous = FULL`: a commit is on the disk when it returns, so an answer that the page acknowledged outlives a
//! kill and a power cut.

use crate::exit;
use anyhow::{Context, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `PRAGMA application_id`: "RLHF".
const APPLICATION: i32 = 0x524c_4846;
/// `PRAGMA user_version`: the version of `assets/schema.sql`.
const VERSION: i32 = 1;
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// The open database.
#[derive(Debug)]
pub struct Db {
    conn: Connection,
    secret: Secret,
}

/// The key of draws that nobody can foresee and the same database always repeats.
#[derive(Debug, Clone, Copy)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A number that is a function of the secret, the purpose and `parts`.
    pub fn draw(&self, purpose: &str, parts: &[i64]) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.keyed(purpose, parts).as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }

    /// The hash behind [`Secret::draw`].
    pub fn keyed(&self, purpose: &str, parts: &[i64]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose.as_bytes());
        for part in parts {
            hasher.update(&part.to_le_bytes());
        }
        hasher.finalize()
    }
}

impl Db {
    /// Opens the database at `path`, and makes it where there is none.
    pub fn create(path: &Path) -> Result<Db> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens a database that is there.
    pub fn open(path: &Path) -> Result<Db> {
        if !path.is_file() {
            return Err(exit::input(format!("there is no database {}: `label serve --items ... --db` makes it", path.display())));
        }
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn with(path: &Path, flags: OpenFlags) -> Result<Db> {
        Self::connect(path, flags).map_err(|error| explain(path, error))
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Db> {
        let mut conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY)?;
        let id = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (id("application_id")?, id("user_version")?);
        let tables: i64 = conn.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
        match (application, version) {
            (APPLICATION, VERSION) => {}
            (0, 0) if tables == 0 => {}
            (APPLICATION, other) => {
                return Err(exit::input(format!("{} has version {other}, this program knows {VERSION}", path.display())));
            }
            _ => return Err(exit::input(format!("{} is another program's database", path.display()))),
        }
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "foreign_keys", true)?;
        let secret = Secret(prepare(&mut conn)?);
        Ok(Db { conn, secret })
    }

    /// For reading, outside a transaction.
    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Begins a transaction that writes. It takes the lock at once, so that what it reads stays true until it commits.
    pub fn write(&mut self) -> Result<Transaction<'_>> {
        Ok(self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Writes the log back into the database file: at a clean end nothing is left beside it.
    pub fn checkpoint(&self) -> Result<()> {
        Ok(self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// The key of this database's draws.
    pub fn secret(&self) -> Secret {
        self.secret
    }

    /// A setting that an earlier run stored.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        Ok(self.conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?)
    }

    /// Stores a setting.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.conn.execute("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", [key, value])?;
        Ok(())
    }
}

/// What SQLite said when the database was opened, and what can be done about it; other errors stay as they are.
fn explain(path: &Path, error: anyhow::Error) -> anyhow::Error {
    let Some(of_sqlite) = error.downcast_ref::<rusqlite::Error>() else { return error };
    let (path, code) = (path.display(), of_sqlite.sqlite_error_code());
    match code {
        Some(ErrorCode::NotADatabase) => exit::input(format!("{path} is not a database of `label serve`: {of_sqlite}")),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            exit::input(format!("cannot open {path}: {of_sqlite}: another process holds it"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            exit::input(format!("cannot open {path}: {of_sqlite}: the file and its folder must be writable"))
        }
        _ => error.context(format!("cannot open {path}")),
    }
}

/// Makes the tables of a new database and its secret, in one transaction; gives the secret.
fn prepare(conn: &mut Connection) -> Result<[u8; 32]> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        tx.execute_batch(include_str!("assets/schema.sql"))?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.execute("INSERT INTO meta VALUES ('secret', ?1)", [blake3::Hash::from(random()?).to_hex().as_str()])?;
    }
    let hex: String = tx.query_row("SELECT value FROM meta WHERE key = 'secret'", [], |row| row.get(0))?;
    tx.commit()?;
    Ok(*blake3::Hash::from_hex(hex).map_err(|e| exit::input(format!("the database's secret is damaged: {e}")))?.as_bytes())
}

/// 32 bytes of the operating system's randomness.
pub fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the system gives no random bytes: {e}"))?;
    Ok(bytes)
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_kept_and_a_stranger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/labels.sqlite");
        assert!(Db::open(&path).unwrap_err().to_string().contains("there is no database"));
        let first = Db::create(&path).unwrap();
        first.set_meta("overlap", "2").unwrap();
        first.set_meta("overlap", "3").unwrap();
        let drawn = first.secret().draw("x", &[1, 2]);
        assert_ne!(drawn, first.secret().draw("x", &[2, 1]));
        assert_ne!(drawn, first.secret().draw("y", &[1, 2]));
        drop(first);
        let again = Db::open(&path).unwrap();
        assert_eq!(again.meta("overlap").unwrap().as_deref(), Some("3"));
        assert_eq!(again.secret().draw("x", &[1, 2]), drawn, "the secret stays");
        let (mode, sync): (String, i64) = (
            again.conn().pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap(),
            again.conn().pragma_query_value(None, "synchronous", |r| r.get(0)).unwrap(),
        );
        assert_eq!((mode.as_str(), sync), ("wal", 2), "2 is FULL");

        let other = dir.path().join("other.sqlite");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(Db::create(&other).unwrap_err().to_string().contains("another program's"));
        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "not a database, but long enough to be looked at. ".repeat(40)).unwrap();
        assert!(Db::create(&text).unwrap_err().to_string().contains("not a database of"));
    }

    #[test]
    fn a_database_that_cannot_be_had_is_not_called_a_strangers() {
        use rusqlite::ffi;
        for (code, what, is_input) in [
            (ffi::SQLITE_BUSY, "another process holds it", true),
            (ffi::SQLITE_LOCKED, "another process holds it", true),
            (ffi::SQLITE_READONLY, "the file and its folder must be writable", true),
            (ffi::SQLITE_CANTOPEN, "the file and its folder must be writable", true),
            (ffi::SQLITE_IOERR, "", false),
        ] {
            let error = explain(Path::new("l.sqlite"), rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into());
            let said = error.to_string();
            assert!(said.starts_with("cannot open l.sqlite") && said.ends_with(what), "{said}");
            assert_eq!(error.is::<exit::Input>(), is_input, "{said}");
        }
        // A folder is no file that can be opened.
        let dir = tempfile::tempdir().unwrap();
        assert!(Db::create(dir.path()).unwrap_err().to_string().contains("must be writable"));
    }
}
