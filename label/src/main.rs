//! `label`: ingest, export, stats, sample, serve, push, pull.

mod cli;

use clap::Parser;
use cli::{Cli, Command};
use label::{exit, export, ingest, sample, serve, stats, studio};
use std::process::ExitCode;

/// A judgment is some thirty small pieces of text and lists, made by one thread and freed by another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit::code(match Cli::parse().command {
        Command::Ingest(args) => ingest::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Push(args) => studio::push(&args),
        Command::Pull(args) => studio::pull(&args),
    })
}
