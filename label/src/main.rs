//! `label`: ingest, export, stats, sample, serve, push, pull.

mod cli;

use clap::Parser;
use cli::{Cli, Command};
use label::{exit, export, ingest, serve, stats, studio};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

/// A judgment is some thirty small pieces of text and lists, made by one thread and freed by another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit::code(match Cli::parse().command {
        Command::Ingest(args) => ingest::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Sample { args } => Err(sample(&args)),
        Command::Serve(args) => serve::run(&args),
        Command::Push(args) => studio::push(&args),
        Command::Pull(args) => studio::pull(&args),
    })
}

/// Becomes `label-sample`, which stands beside this program; returns only if that fails.
fn sample(args: &[OsString]) -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(own) => own.with_file_name("label-sample"),
        Err(error) => return error.into(),
    };
    let error = std::process::Command::new(&program).args(args).exec();
    anyhow::Error::new(error).context(format!("{} cannot be run; it is built and installed together with label", program.display()))
}
