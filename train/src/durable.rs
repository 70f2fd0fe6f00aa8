//! Folders and files that appear whole or not at all: written beside their place, flushed to the disk, renamed.
//!
//! Names with a leading dot are work in progress. `.tmp-X` is half-written, `.old-X` was X until its successor took the place, and `.gone-X`
//! is being deleted. A process may die between any two system calls; [`sweep`] brings the folder back to a clean state.

use crate::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

fn sibling(target: &Path, prefix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{prefix}-{name}"))
}

/// Flushes a folder's entries, so that a rename survives a power cut.
fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir))
}

/// Flushes every file and folder below `path`.
fn sync_tree(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io(path))? {
            sync_tree(&entry.map_err(Error::io(path))?.path())?;
        }
        return sync_dir(path);
    }
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io(path))
}

fn remove(path: &Path) -> Result<(), Error> {
    let done = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match done {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path: path.to_owned(), source: e }),
        _ => Ok(()),
    }
}

/// Makes the folder `target` from what `write` puts into a temporary one beside it. An older `target` is replaced.
pub(crate) fn write_dir(target: &Path, write: impl FnOnce(&Path) -> Result<(), crate::BoxError>) -> Result<(), Error> {
    let parent = target.parent().unwrap_or(Path::new("."));
    let (tmp, old) = (sibling(target, "tmp"), sibling(target, "old"));
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    remove(&tmp)?;
    fs::create_dir(&tmp).map_err(Error::io(&tmp))?;
    if let Err(source) = write(&tmp) {
        let _ = remove(&tmp); // the first error is the one to tell
        return Err(Error::Write { path: target.to_owned(), source });
    }
    sync_tree(&tmp)?;
    if target.exists() {
        // A folder cannot be renamed over a full one: between these two renames `.old` stands for the target (see sweep).
        remove(&old)?;
        fs::rename(target, &old).map_err(Error::io(target))?;
    }
    fs::rename(&tmp, target).map_err(Error::io(target))?;
    sync_dir(parent)?;
    remove_dir(&old)
}

/// Writes the file `target` at once.
pub(crate) fn write_file(target: &Path, bytes: &[u8]) -> Result<(), Error> {
    let tmp = sibling(target, "tmp");
    fs::write(&tmp, bytes).map_err(Error::io(&tmp))?;
    sync_tree(&tmp)?;
    fs::rename(&tmp, target).map_err(Error::io(target))?;
    sync_dir(target.parent().unwrap_or(Path::new(".")))
}

/// Deletes a folder so that nobody ever sees half of it under its own name.
pub(crate) fn remove_dir(target: &Path) -> Result<(), Error> {
    if !target.exists() {
        return Ok(());
    }
    let gone = sibling(target, "gone");
    remove(&gone)?;
    fs::rename(target, &gone).map_err(Error::io(target))?;
    remove(&gone)
}

/// Clears what a killed process left in `dir`; puts `.old-X` back where X is missing.
pub(crate) fn sweep(dir: &Path) -> Result<(), Error> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(kept) = name.strip_prefix(".old-") {
            let target = dir.join(kept);
            if target.exists() {
                remove(&path)?;
            } else {
                fs::rename(&path, &target).map_err(Error::io(&path))?;
            }
        } else if name.starts_with(".tmp-") || name.starts_with(".gone-") {
            remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &'static str) -> impl FnOnce(&Path) -> Result<(), crate::BoxError> {
        move |tmp| Ok(fs::write(tmp.join("a"), text)?)
    }

    #[test]
    fn replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        write_dir(&target, put("1")).unwrap();
        write_dir(&target, put("2")).unwrap();
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "2");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_publishes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        write_dir(&target, put("1")).unwrap();
        let error = write_dir(&target, |tmp| {
            fs::write(tmp.join("a"), "half")?;
            Err("disk full".into())
        });
        assert!(error.unwrap_err().to_string().contains("disk full"));
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn sweep_restores_the_old_folder_when_its_successor_never_came() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".old-step-1", ".tmp-step-1", ".gone-step-0", ".old-step-2", "step-2"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("a"), name).unwrap();
        }
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("step-1/a")).unwrap(), ".old-step-1");
        assert_eq!(fs::read_to_string(dir.path().join("step-2/a")).unwrap(), "step-2");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
