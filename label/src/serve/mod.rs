//! `label serve`.

/// Arguments of `label serve`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `label serve`.
pub fn run(_: &Args) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}
