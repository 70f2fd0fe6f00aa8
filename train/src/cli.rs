//! The arguments that all four stages share, and the frame of their `main`.

use crate::exit::{self, Outcome};
use crate::{launch, progress, stop};
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use data::config::{self, StageConfig};
use dist::World;
use std::path::PathBuf;

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
    /// Start so many processes here, which train together; leave it out under torchrun, Slurm and the like.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub nproc: Option<u16>,
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

/// `main` of a stage: arguments, configuration, the other processes, `run`, exit code. The process then ends at once: taking down libtorch's tables at exit
/// would cost up to a tenth of a second.
pub fn main<C: StageConfig>(stage: &'static str, about: &'static str, run: fn(C, &StageArgs, &World) -> anyhow::Result<Outcome>) -> ! {
    native::exit_now(code(stage, about, run))
}

fn code<C: StageConfig>(stage: &'static str, about: &'static str, run: fn(C, &StageArgs, &World) -> anyhow::Result<Outcome>) -> u8 {
    native::keep_freed_pages();
    launch::follow_parent();
    let command = Cli::command().name(stage).about(about).after_long_help(config::docs::help::<C>());
    let args = match command.try_get_matches().and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli.stage,
        Err(e) => {
            let _ = e.print(); // help to stdout, mistakes to stderr
            return if e.use_stderr() { 2 } else { 0 };
        }
    };
    let config = match config::load::<C>(&args.config, &args.sets) {
        Ok(config) => config,
        Err(e) => return exit::code(stage, Err(exit::input(e))),
    };
    match args.nproc {
        Some(n) if n > 1 && std::env::var_os(launch::PARENT).is_none() => {
            if std::env::var_os("RANK").is_some() {
                let both = anyhow::anyhow!("--nproc {n}: RANK is set, a launcher has started this process already: leave out --nproc");
                return exit::code(stage, Err(exit::input(both)));
            }
            return launch::local(stage, usize::from(n)).unwrap_or_else(|e| exit::code(stage, Err(e)));
        }
        _ => {}
    }
    if let Err(e) = stop::leave_at_once(stage) {
        return exit::code(stage, Err(e.into()));
    }
    let world = match World::from_env(tch::Cuda::is_available()) {
        Ok(world) => world,
        Err(e @ dist::Error::Variable { .. }) => return exit::code(stage, Err(exit::input(e))),
        Err(e) => return exit::code(stage, Err(e.into())),
    };
    if !world.is_main() {
        progress::mute();
    }
    let result = run(config, &args, &world);
    if world.size() == 1 {
        return exit::code(stage, result);
    }
    let Err(error) = result else {
        // Nobody leaves before all have read what rank 0 said last; its store ends with it. The work is done, whatever becomes of this.
        let _ = world.barrier();
        return exit::code(stage, result);
    };
    world.last_words(&exit::causes(&error).join(": "), exit::follows(&error));
    let code = exit::code(&format!("{stage} (rank {})", world.rank()), Err(error));
    native::exit_now(code) // threads of the engine may wait for the dead; nothing of ours is left to do
}
