//! `label`: ingest, export, stats, sample, serve, push, pull.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().command {}
}
