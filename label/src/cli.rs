//! Arguments.

use clap::{Parser, Subcommand};

/// Bring people's judgments in, see how far they can be believed, and ask for more.
#[derive(Debug, Parser)]
#[command(name = "label", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do. Each command keeps its arguments in its own module.
#[derive(Debug, Subcommand)]
pub enum Command {}
