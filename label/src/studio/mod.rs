//! `label push` and `label pull`: a running Label Studio is filled with items and read back.

pub mod client;
pub mod project;
pub mod pull;
pub mod push;
pub mod tasks;

use crate::exit::input;
use anyhow::Context;
use client::{Client, Patience, StudioError};
use std::path::PathBuf;
use tasks::Form;

/// Where the Label Studio is, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// Address of the Label Studio.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// File with a personal access token or a legacy token [default: the environment variable LABEL_STUDIO_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `label push`.
#[derive(Debug, Clone, clap::Args)]
pub struct PushArgs {
    /// A table with open items, as `label sample` writes it.
    #[arg(value_name = "ITEMS")]
    pub items: PathBuf,
    /// Where it is.
    #[command(flatten)]
    pub server: Server,
    /// Number or name of the project; a name that no project has makes a new one.
    #[arg(long, value_name = "NAME|ID")]
    pub project: String,
    /// How labellers are asked.
    #[arg(long, value_enum, default_value_t = Form::Ranker)]
    pub kind: Form,
    /// Places of the ranker in which answers may be tied; 0 asks for a strict order. For a new project.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub buckets: usize,
    /// Annotations wanted for each task. For a new project.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub overlap: u32,
    /// A file with instructions (HTML or text) that labellers see first. For a new project.
    #[arg(long, value_name = "FILE")]
    pub instructions: Option<PathBuf>,
    /// Tasks a request.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub batch: usize,
}

/// Arguments of `label pull`.
#[derive(Debug, Clone, clap::Args)]
pub struct PullArgs {
    /// Where it is.
    #[command(flatten)]
    pub server: Server,
    /// Number or name of the project.
    #[arg(long, value_name = "NAME|ID")]
    pub project: String,
    /// The table to write (Arrow IPC).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The table that was pushed: gives authors, groups and the order of the answers back to the judgments.
    #[arg(long, value_name = "FILE")]
    pub items: Option<PathBuf>,
    /// Buckets of the ranker from best to worst, where their names do not say it.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub buckets: Vec<String>,
    /// Tasks a request.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub page_size: usize,
    /// Where units go that are no judgments [default: OUT with the ending .quarantine.jsonl].
    #[arg(long, value_name = "FILE")]
    pub quarantine: Option<PathBuf>,
}

/// Runs `label push`.
pub fn push(args: &PushArgs) -> anyhow::Result<()> {
    if args.buckets == 1 {
        return Err(input("--buckets 1: everything would be tied; give 0 or at least 2"));
    }
    let client = connect(&args.server)?;
    wait(push::push(args, &client)).map(|_| ())
}

/// Runs `label pull`.
pub fn pull(args: &PullArgs) -> anyhow::Result<()> {
    let client = connect(&args.server)?;
    wait(pull::pull(args, &client)).map(|_| ())
}

fn connect(server: &Server) -> anyhow::Result<Client> {
    let token = client::token(server.token_file.as_deref()).map_err(outward)?;
    Client::new(&server.url, token, Patience::default()).map_err(outward)
}

/// Runs to the end on this thread; what is the user's to mend ends with exit code 2.
fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    runtime.block_on(work).map_err(|error| match error.downcast::<StudioError>() {
        Ok(error) => outward(error),
        Err(other) => other,
    })
}

fn outward(error: StudioError) -> anyhow::Error {
    if error.is_input() { input(error.to_string()) } else { error.into() }
}
