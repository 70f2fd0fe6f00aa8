//! `label sample`.

/// Arguments of `label sample`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `label sample`.
pub fn run(_: &Args) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}
