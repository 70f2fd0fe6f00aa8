//! `label export`.

/// Arguments of `label export`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `label export`.
pub fn run(_: &Args) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}
