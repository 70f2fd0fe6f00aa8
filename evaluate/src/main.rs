//! `evaluate`: generate, score, reward, report, lineage.

mod cli;
mod exit;
mod generate;
mod lineage;
mod open;
mod reward;
mod score;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Generate(args) => generate::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Reward(args) => reward::run(&args),
        Command::Report(args) => report(&args),
        Command::Lineage(args) => lineage::run(&args),
    };
    exit::code(result)
}

fn report(args: &cli::ReportArgs) -> anyhow::Result<()> {
    let report = evaluate::report::Report::build(&args.runs)?;
    let [json, html] = report.write(&args.runs)?;
    print!("{}", report.table());
    println!("\n  {}\n  {}", json.display(), html.display());
    Ok(())
}
