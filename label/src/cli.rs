//! Arguments. Each command keeps its own beside its code.

use clap::{Parser, Subcommand};
use label::{export, ingest, serve, stats, studio};
use std::ffi::OsString;

/// Bring people's judgments in, see how far they can be believed, and ask for more.
#[derive(Debug, Parser)]
#[command(name = "label", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
// There is one value in the life of the program: its size does not matter.
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// Reads whatever people have into one table of judgments.
    Ingest(ingest::Args),
    /// Writes a table of judgments for another program.
    Export(export::Args),
    /// Says how far the judges agree and can be believed.
    Stats(stats::Args),
    /// Draws answers from models and chooses what to ask people about.
    #[command(disable_help_flag = true)]
    Sample {
        /// See `label sample --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Serves a page on which people rank answers.
    Serve(serve::Args),
    /// Puts items into a running Label Studio.
    Push(studio::PushArgs),
    /// Reads judgments out of a running Label Studio.
    Pull(studio::PullArgs),
}
