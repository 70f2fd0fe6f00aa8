//! Checkpoints: `checkpoints/step-N/` holds a model folder and `state/`. One appears by one rename, whole or not at all.

use crate::{BoxError, Error, Optimizer, RunDir, durable};
use dist::World;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A whole checkpoint on the disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// Optimiser steps (PPO: rounds) done when it was written.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

/// Writes `checkpoints/step-N`: `write` fills a temporary folder, which is flushed to the disk and renamed. Returns its path.
pub fn commit(run: &RunDir, step: u64, write: impl FnOnce(&Path) -> Result<(), BoxError>) -> Result<PathBuf, Error> {
    let path = run.checkpoints().join(format!("step-{step}"));
    run.check_lock()?;
    durable::write_dir(&path, write)?;
    Ok(path)
}

/// Beside the checkpoint being made: what other ranks add to it.
const SHARES: &str = ".tmp-shares";

/// All ranks write their shares of these optimisers' moments to where [`crate::State::save`] of rank 0 takes them from; nothing where moments are whole.
pub fn write_shares(run: &RunDir, world: &World, optims: &[(&str, &Optimizer)]) -> Result<(), Error> {
    if optims.iter().all(|(_, optim)| optim.partition().share().1 == 1) {
        return Ok(());
    }
    let dir = run.checkpoints().join(SHARES);
    fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    for (name, optim) in optims {
        let file = optim.save(&dir.join(format!("{name}.safetensors")))?;
        File::open(&file).and_then(|f| f.sync_all()).map_err(Error::io(&file))?;
    }
    Ok(world.barrier()?)
}

/// Puts an optimiser's moments into `state/` of a checkpoint being made: writes them, or takes all ranks' shares.
pub(crate) fn add_moments(checkpoint: &Path, state: &Path, name: &str, optim: &Optimizer) -> Result<(), Error> {
    let into = state.join(format!("{name}.safetensors"));
    if optim.partition().share().1 == 1 {
        optim.save(&into)?;
        return Ok(());
    }
    let from = checkpoint.with_file_name(SHARES).join(format!("{name}.safetensors"));
    for (from, into) in optim.files(&from).iter().zip(optim.files(&into)) {
        fs::rename(from, &into).map_err(Error::io(from))?;
    }
    Ok(())
}

/// Writes the finished model to `DIR/model` in the same way.
pub fn publish(run: &RunDir, write: impl FnOnce(&Path) -> Result<(), BoxError>) -> Result<PathBuf, Error> {
    let path = run.model();
    run.check_lock()?;
    durable::write_dir(&path, write)?;
    Ok(path)
}

/// All checkpoints, oldest first.
pub fn list(run: &RunDir) -> Result<Vec<Checkpoint>, Error> {
    list_in(&run.checkpoints())
}

/// All checkpoints of a folder, oldest first.
pub(crate) fn list_in(dir: &Path) -> Result<Vec<Checkpoint>, Error> {
    if !dir.is_dir() {
        return Ok(vec![]);
    }
    let mut found = vec![];
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let step = path.file_name().and_then(|n| n.to_str()?.strip_prefix("step-")?.parse().ok());
        found.extend(step.filter(|_| path.is_dir()).map(|step| Checkpoint { step, path }));
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint.
pub fn latest(run: &RunDir) -> Result<Option<Checkpoint>, Error> {
    Ok(list(run)?.pop())
}

/// Deletes all but the newest `keep_last` (at least one) checkpoints and that of step `best`.
pub fn prune(run: &RunDir, keep_last: usize, best: Option<u64>) -> Result<(), Error> {
    let all = list(run)?;
    let older = all.len().saturating_sub(keep_last.max(1));
    for old in all[..older].iter().filter(|c| Some(c.step) != best) {
        durable::remove_dir(&old.path)?;
    }
    Ok(())
}
