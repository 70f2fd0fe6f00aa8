//! `label stats`.

/// Arguments of `label stats`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `label stats`.
pub fn run(_: &Args) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}
