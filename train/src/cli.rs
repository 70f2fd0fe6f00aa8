//! The arguments that all four stages share, and the frame of their `main`.

use crate::exit::{self, Outcome};
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use data::config::{self, StageConfig};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of a stage.
#[derive(Debug, Clone, Args)]
pub struct StageArgs {
    /// The stage's TOML file; docs/config.md lists its keys.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Override a key of the file by its dotted path, such as --set optim.lr=1e-4.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Run folder [default: runs/RECIPE/STAGE, where RECIPE is the name of the config's folder].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the newest checkpoint of the run folder; a finished run is left as it is, a missing one is started.
    #[arg(long)]
    pub resume: bool,
    /// Record where the time and memory of some steps go [default: 3 steps]: a Chrome trace and a summary in DIR/profile.
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "3", require_equals = true)]
    pub profile: Option<u64>,
}

#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
}

impl StageArgs {
    /// `--out`, or `runs/<recipe>/<stage>`.
    pub fn out_dir(&self, stage: &str) -> PathBuf {
        let recipe = || {
            let folder = self.config.canonicalize().ok()?.parent()?.file_name()?.to_owned();
            Some(PathBuf::from("runs").join(folder).join(stage))
        };
        self.out.clone().or_else(recipe).unwrap_or_else(|| PathBuf::from("runs").join(stage))
    }
}

/// `main` of a stage: arguments, configuration, `run`, exit code.
pub fn main<C: StageConfig>(stage: &'static str, about: &'static str, run: fn(C, &StageArgs) -> anyhow::Result<Outcome>) -> ExitCode {
    native::keep_freed_pages();
    let command = Cli::command().name(stage).about(about).after_long_help(config::docs::help::<C>());
    let args = match command.try_get_matches().and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli.stage,
        Err(e) => e.exit(), // clap prints help to stdout (0) and mistakes to stderr (2)
    };
    let result = config::load::<C>(&args.config, &args.sets).map_err(exit::input).and_then(|c| run(c, &args));
    exit::code(stage, result)
}
