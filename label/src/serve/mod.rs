//! `label serve`: a page on which several people at once rank answers.
//!
//! | file | what it is |
//! |---|---|
//! | `db`, `items`, `people` | the SQLite database, its items, its labellers with their tokens and sessions |
//! | `assign`, `judge` | who gets which item; what is said about it |
//! | `export`, `agreement` | the way out; how the round stands |
//! | `app`, `visitor`, `work`, `admin` | the requests |
//! | `pages`, `text`, `markdown`, `assets/` | the pages, in two languages |
//! | `server` | the socket, from the first line printed to the last answer sent |

mod admin;
mod agreement;
mod app;
mod assign;
mod db;
mod export;
mod items;
mod judge;
mod markdown;
mod pages;
mod people;
mod server;
mod text;
mod visitor;
mod work;

use crate::exit;
use anyhow::{Context, Result};
use assign::Rules;
use db::{Db, now};
use program::{mention, say};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Arguments of `label serve`. What is given once is kept in the database: later runs need only `--db`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The SQLite database with items, labellers and answers; made if it is not there.
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,
    /// Tables with items to be ranked (rows of kind `open`, as `label sample` and `label ingest` write them) and gold items (rows with the
    /// flag `gold` and ranks). Items that are in the database already are left as they are.
    #[arg(long, value_name = "TABLE", num_args = 1..)]
    pub items: Vec<PathBuf>,
    /// Names of labellers, separated by commas. Each new one gets a link, printed once.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub labellers: Vec<String>,
    /// Prints new links for these names (`admin` too); their old links end.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub renew: Vec<String>,
    /// Labellers an item [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub overlap: Option<u32>,
    /// One item in so many is a gold item, at places that nobody can foresee; 0 for none [default: 10].
    #[arg(long, value_name = "N")]
    pub gold_every: Option<u32>,
    /// Minutes for which an item is kept for a labeller who does nothing [default: 30].
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub lease: Option<u32>,
    /// Instructions in Markdown, shown above the first item and in the help.
    #[arg(long, value_name = "FILE")]
    pub instructions: Option<PathBuf>,
    /// Title of the page [default: Which answer is better?].
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Address to listen on. Anything but a loopback address can be reached from other machines, without encryption.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8484")]
    pub bind: SocketAddr,
    /// How labellers reach the page, such as https://label.example.org behind a proxy that does the encryption.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Writes what was said so far to a table (or JSON Lines, if the name ends in .jsonl) and serves nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["items", "labellers", "renew", "overlap", "gold_every", "lease", "instructions",
        "title", "public_url"])]
    pub export: Option<PathBuf>,
}

/// Runs `label serve`.
pub fn run(args: &Args) -> Result<()> {
    if let Some(path) = &args.export {
        return export(&args.db, path);
    }
    let base = args.public_url.as_deref().map(check_url).transpose()?;
    if args.gold_every == Some(1) {
        return Err(exit::input("--gold-every 1 would show gold items only: take 2 or more, or 0 for none"));
    }
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read the instructions {}", path.display()));
    let given = args.instructions.as_ref().map(read).transpose()?;
    let mut db = Db::create(&args.db)?;
    if !args.items.is_empty() {
        let loaded = items::load(&mut db, &args.items)?;
        mention!(
            "items: {} new, {} of them gold; {} rows about items that were there; {} rows are judgments, left aside",
            loaded.items + loaded.gold,
            loaded.gold,
            loaded.known,
            loaded.judgments
        );
    }
    let any: bool = db.conn().query_row("SELECT EXISTS (SELECT 1 FROM item WHERE gold IS NULL)", [], |row| row.get(0))?;
    if !any {
        return Err(exit::input(
            "there is nothing to rank: give a table with rows of kind `open`, such as `label sample` writes, as --items",
        ));
    }
    let rules = Rules {
        overlap: setting(&db, "overlap", args.overlap)?.unwrap_or(1),
        gold_every: setting(&db, "gold-every", args.gold_every)?.unwrap_or(10),
        lease: i64::from(setting(&db, "lease", args.lease)?.unwrap_or(30)) * 60_000,
    };
    let instructions = setting(&db, "instructions", given)?.unwrap_or_default();
    let title = setting(&db, "title", args.title.clone())?.unwrap_or("Which answer is better?".to_string());
    // Before the links are made: they are printed once, and should not be lost to a port that is taken.
    let listener = TcpListener::bind(args.bind).with_context(|| format!("cannot listen on {}", args.bind))?;
    let links = links(&mut db, &args.labellers, &args.renew)?;
    let round = server::Round { db, path: args.db.clone(), rules, title, instructions: markdown::to_html(&instructions), links };
    server::run(round, listener, base)
}

/// The setting as given, and then kept, or as an earlier run kept it.
fn setting<T: std::str::FromStr + ToString>(db: &Db, key: &str, given: Option<T>) -> Result<Option<T>> {
    match given {
        Some(value) => {
            db.set_meta(key, &value.to_string())?;
            Ok(Some(value))
        }
        None => Ok(db.meta(key)?.and_then(|text| text.parse().ok())),
    }
}

/// Names with the tokens that were made now; a person who has a link already is not among them.
fn links(db: &mut Db, labellers: &[String], renew: &[String]) -> Result<Vec<(String, String)>> {
    let names: Vec<&str> = labellers.iter().map(|name| people::check_name(name).map_err(exit::input)).collect::<Result<_>>()?;
    // All that may be wrong is looked for before the first link is made: links are printed once.
    let there: Vec<String> = people::all(db)?.into_iter().map(|person| person.name).collect();
    if names.is_empty() && there.is_empty() {
        return Err(exit::input("there are no labellers yet: name them, as in --labellers alice,bob"));
    }
    let known = |name: &str| name == people::ADMIN || names.contains(&name) || there.iter().any(|other| other == name);
    if let Some(name) = renew.iter().find(|name| !known(name.trim())) {
        return Err(exit::input(format!("--renew: there is no labeller {name:?} in the database")));
    }
    let mut links = Vec::new();
    for (name, admin) in std::iter::once((people::ADMIN, true)).chain(names.iter().map(|name| (*name, false))) {
        links.extend(people::add(db, name, admin, now())?.map(|token| (name.to_string(), token)));
    }
    for name in renew {
        let token = people::renew(db, name.trim())?;
        links.retain(|(other, _)| other != name.trim());
        links.push((name.trim().to_string(), token));
    }
    Ok(links)
}

/// `--public-url` without a slash at its end: scheme and host, as browsers write an origin.
fn check_url(url: &str) -> Result<String> {
    let wrong = || exit::input(format!("--public-url {url:?} should be scheme and host alone, such as https://label.example.org"));
    let base = url.trim_end_matches('/');
    let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://")).ok_or_else(wrong)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(plain) { Err(wrong()) } else { Ok(base.to_ascii_lowercase()) }
}

fn export(database: &Path, path: &Path) -> Result<()> {
    let db = Db::open(database)?;
    // The export takes the place of what was there.
    if path.canonicalize().is_ok_and(|path| database.canonicalize().is_ok_and(|database| path == database)) {
        return Err(exit::input("--export names the database itself"));
    }
    let exported = export::write(&db, database, path)?;
    say!("{}: {exported}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn public_urls() {
        assert_eq!(check_url("https://Label.example.org/").unwrap(), "https://label.example.org");
        assert_eq!(check_url("http://[::1]:80").unwrap(), "http://[::1]:80");
        for bad in ["label.example.org", "https://", "https://a/b", "ftp://a", "https://a\" onclick=\"x"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
