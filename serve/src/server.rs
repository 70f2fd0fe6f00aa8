//! The socket: from the first line printed to the last answer sent.

use crate::engine::Engine;
use crate::feedback::Feedback;
use crate::figures::Figures;
use crate::http::{self, App};
use crate::open::{ModelArgs, Opened};
use anyhow::{Context, Result};
use program::{mention, refuse};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model and the machine.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the model is called [default: the folder's name].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Address to listen on. Anything but a loopback address needs API keys, and a proxy that does the encryption.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    pub bind: SocketAddr,
    /// A file with API keys, a line each. Without, everybody who can reach the address may ask.
    #[arg(long, value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Answers written at a time.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub slots: u32,
    /// Further answers that may wait; beyond, requests are refused with status 429.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub queue: u32,
    /// Seconds that an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub patience: u64,
    /// Largest body of a request, in KiB.
    #[arg(long, value_name = "KIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub body: u32,
    /// Seconds for answers under way once the program is told to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub grace: u64,
    /// Append what people say of answers on the page to this file; `label ingest` reads it.
    #[arg(long, value_name = "FILE")]
    pub feedback: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM.
pub fn run(args: &Args) -> Result<()> {
    let keys = args.api_keys.as_deref().map(read_keys).transpose()?.unwrap_or_default();
    let local = args.bind.ip().is_loopback();
    if !local && keys.is_empty() {
        refuse!("--bind {}: other machines could ask without a key: give --api-keys FILE, or listen on a loopback address", args.bind);
    }
    let feedback = args
        .feedback
        .as_deref()
        .map(|path| Feedback::open(path).with_context(|| format!("cannot append to {}", path.display())))
        .transpose()?;
    // Before the weights are read: a port that is taken should be known at once.
    let listener = TcpListener::bind(args.bind).with_context(|| format!("cannot listen on {}", args.bind))?;
    let (opened, model) = Opened::new(&args.model)?;
    let folder = if opened.folder.ends_with("model") { opened.folder.parent().unwrap_or(&opened.folder) } else { &opened.folder };
    let folder_name = folder.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    let name = args.name.clone().or(folder_name).unwrap_or("model".into());
    let figures = Arc::new(Figures::new()?);
    let engine = Engine::start(model, args.slots as usize, opened.config.context, args.queue as usize, Arc::clone(&figures))?;
    let app = App {
        opened,
        name,
        engine,
        figures,
        keys,
        patience: Duration::from_secs(args.patience),
        body: args.body as usize * 1024,
        local,
        feedback,
        stopping: AtomicBool::new(false),
        began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        count: AtomicU64::new(0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(serve(Arc::new(app), listener, Duration::from_secs(args.grace)))
}

async fn serve(app: Arc<App>, listener: TcpListener, grace: Duration) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let told = app.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        told.stopping.store(true, Ordering::Relaxed);
        let _ = stop.send(true);
    });
    mention!("{}: listening on http://{}", app.name, listener.local_addr()?);
    let wait = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let server = axum::serve(listener, http::router(app)).with_graceful_shutdown(wait(stopped.clone()));
    let too_slow = async {
        wait(stopped).await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        served = server => served.context("the server failed")?,
        () = too_slow => eprintln!("serve: answers that took more than {} s to end were cut off", grace.as_secs()),
    }
    mention!("stopped");
    Ok(())
}

/// Keys as hashes. Empty lines and lines that begin with # are none.
fn read_keys(path: &Path) -> Result<Vec<blake3::Hash>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the API keys in {}", path.display()))?;
    let keys: Vec<_> =
        text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(|l| blake3::hash(l.as_bytes())).collect();
    if keys.is_empty() {
        refuse!("{}: no API key in this file: a line each", path.display());
    }
    Ok(keys)
}
