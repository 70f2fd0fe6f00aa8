//! `label push` and `label pull`: a running Label Studio.

/// Arguments of `label push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {}

/// Arguments of `label pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {}

/// Runs `label push`.
pub fn push(_: &PushArgs) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}

/// Runs `label pull`.
pub fn pull(_: &PullArgs) -> anyhow::Result<()> {
    Err(crate::exit::input("not here yet"))
}
