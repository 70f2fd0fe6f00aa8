//! `evaluate`: generate, translate, fill-mask, classify, caption, score, tasks, metrics, scaling, reward, reward-tokens, attribute, report, runs, lineage, convert.

mod attribute;
mod caption;
mod classifier;
mod classify;
mod cli;
mod convert;
mod exit;
mod fill_mask;
mod foretell;
mod generate;
mod lineage;
mod measure;
mod open;
mod reward;
mod reward_view;
mod rows;
mod score;
mod solve;
mod translate;

use clap::Parser;
use cli::{Cli, Command};
use evaluate::report::Report;
use program::say;
use std::path::Path;
use std::time::SystemTime;

fn main() {
    let result = match Cli::parse().command {
        Command::Generate(args) => generate::run(&args),
        Command::Translate(args) => translate::run(&args),
        Command::FillMask(args) => fill_mask::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Caption(args) => caption::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Tasks(args) => solve::run(&args),
        Command::Metrics(args) => measure::run(&args),
        Command::Reward(args) => reward::run(&args),
        Command::RewardTokens(args) => reward_view::run(&args),
        Command::Attribute(args) => attribute::run(&args),
        Command::Scaling(args) => foretell::run(&args),
        Command::Report(args) => report(&args),
        Command::Runs(args) => runs(&args),
        Command::Lineage(args) => lineage::run(&args),
        Command::Convert(args) => convert::run(&args),
    };
    exit::end(result)
}

fn report(args: &cli::ReportArgs) -> anyhow::Result<()> {
    let (report, written) = match (&args.run, &args.runs) {
        (Some(run), _) => (Report::build_run(run)?, vec![evaluate::report::write_run(run)?]),
        (None, runs) => {
            let runs = runs.as_deref().unwrap_or(Path::new("."));
            let report = Report::build(runs)?;
            let written = report.write(runs)?.to_vec();
            (report, written)
        }
    };
    program::text(report.table());
    say!();
    written.iter().for_each(|path| say!("  {}", path.display()));
    Ok(())
}

fn runs(args: &cli::RunsArgs) -> anyhow::Result<()> {
    let (found, now) = (evaluate::runs::scan(&args.dir)?, SystemTime::now());
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        program::text(evaluate::runs::table(&found, now));
    }
    if let Some(path) = &args.html {
        evaluate::runs::write_page(&args.dir, &found, path, now)?;
    }
    Ok(())
}
