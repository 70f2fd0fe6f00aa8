//! `label-sample`: what `label sample` runs. It alone of `label`'s commands has to do with models, and so with libtorch, the loading of which takes longer than
//! many a table: the others begin without it.

mod draw;
mod pool;
mod run;
mod score;

use clap::Parser;
use std::process::ExitCode;

/// Draws answers from models and chooses what to ask people about.
#[derive(Debug, Parser)]
#[command(name = "label-sample", bin_name = "label sample", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    args: run::Args,
}

fn main() -> ExitCode {
    label::exit::code_of(run::run(&Cli::parse().args), model::is_input)
}
