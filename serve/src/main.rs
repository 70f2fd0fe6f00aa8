//! `serve`: a model behind the OpenAI-compatible API; `serve chat`: in the terminal.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Serve a model over the OpenAI-compatible HTTP API, with a page to chat on at /, or chat in the terminal.
#[derive(Debug, Parser)]
#[command(name = "serve", version, max_term_width = 100, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: serve::server::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Chat in the terminal.
    Chat(serve::chat::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Some(Command::Chat(args)) => serve::chat::run(args),
        None => serve::server::run(&cli.server),
    };
    program::code("serve", result, |error| {
        model::is_input(error).or_else(|| error.downcast_ref::<train::Error>().map(train::Error::is_input))
    })
}
