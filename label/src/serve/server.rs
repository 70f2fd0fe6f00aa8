//! The socket: from the links printed at the start to the last answer sent.

use super::app::{self, App};
use super::assign::Rules;
use super::db::Db;
use crate::exit;
use anyhow::{Context, Result};
use program::mention;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long requests under way may take once the program is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What is served.
#[derive(Debug)]
pub struct Round {
    /// The open database.
    pub db: Db,
    /// Its file.
    pub path: PathBuf,
    /// How the round is run.
    pub rules: Rules,
    /// Title of the pages.
    pub title: String,
    /// Instructions as HTML.
    pub instructions: String,
    /// New links: name and token.
    pub links: Vec<(String, String)>,
}

/// Serves until SIGINT or SIGTERM.
pub fn run(round: Round, listener: std::net::TcpListener, base: Option<String>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(serve(round, listener, base))
}

async fn serve(round: Round, listener: std::net::TcpListener, base: Option<String>) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let here = if address.ip().is_unspecified() { format!("http://localhost:{}", address.port()) } else { format!("http://{address}") };
    if !address.ip().is_loopback() {
        eprintln!("warning: {address} can be reached from other machines, and what goes there is not encrypted, links included.");
        eprintln!("         Let a proxy with TLS stand before a loopback address, and name it with --public-url.");
    }
    let base = base.unwrap_or(here);
    let Round { db, path, rules, title, instructions, links } = round;
    let app = Arc::new(App::new(db, path, rules, &title, instructions, base)?);
    let announced = announce(&app, &links, address).context("cannot print the links");
    if !links.is_empty() {
        announced?; // links are shown this once: nobody could answer; without new ones nothing is lost
    }

    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        let _ = stop.send(true);
    });
    let told = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let server = axum::serve(listener, app::router(app.clone())).with_graceful_shutdown(told(stopped.clone()));
    let too_slow = async {
        told(stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => served.context("the server failed")?,
        () = too_slow => eprintln!("requests that took more than {} s to end were cut off", GRACE.as_secs()),
    }
    app.close().map_err(|e| exit::input(format!("the database cannot be closed: {e}")))?;
    mention!("stopped; every submitted answer is in {}", app.path.display());
    Ok(())
}

/// Prints the new links and where the page is.
fn announce(app: &App, links: &[(String, String)], address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, token) in links {
        writeln!(out, "{name}: {}/t/{token}", app.base)?;
    }
    if links.is_empty() {
        writeln!(out, "everybody has a link from before (`--renew NAME` makes a new one)")?;
    } else {
        writeln!(out, "Links are shown this once. Who has a link answers under its name.")?;
    }
    let Rules { overlap, gold_every, lease } = app.rules;
    writeln!(out, "{overlap} labellers an item, a gold item in {gold_every}, {} minutes to answer", lease / 60_000)?;
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}
