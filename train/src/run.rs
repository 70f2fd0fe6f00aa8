//! The run folder: `config.toml`, `metrics.jsonl`, `checkpoints/step-N/`, `model/`, and a lock held while a process writes it.

use crate::{Error, durable};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = ".lock";

/// A run folder that this process owns until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    dir: PathBuf,
    /// Holds the kernel's lock, which ends with the process however it dies: a dead owner never blocks the next run.
    _lock: File,
}

impl RunDir {
    /// Opens `out` for writing: locks it, clears what a killed process left half-written, and keeps the resolved configuration in it.
    ///
    /// Without `resume` the folder must be new or empty. With it, a run there is continued (its configuration must be this one), and
    /// where there is none it is started.
    pub fn create(out: &Path, config_toml: &str, resume: bool) -> Result<RunDir, Error> {
        fs::create_dir_all(out).map_err(Error::io(out))?;
        let config = out.join("config.toml");
        let ours = |name: &std::ffi::OsStr| name == LOCK || name == ".tmp-config.toml"; // left by a run killed as it started
        let foreign = fs::read_dir(out).map_err(Error::io(out))?.flatten().any(|e| !ours(&e.file_name()));
        if foreign && !config.exists() {
            return Err(Error::NotARun(out.to_owned()));
        }
        let lock = lock(out)?;
        if config.exists() {
            if !resume {
                return Err(Error::Occupied(out.to_owned()));
            }
            let before = fs::read_to_string(&config).map_err(Error::io(&config))?;
            if before != config_toml {
                return Err(Error::ConfigChanged { dir: out.to_owned(), difference: difference(&before, config_toml) });
            }
            durable::sweep(&out.join("checkpoints"))?;
            durable::sweep(out)?;
        } else {
            durable::write_file(&config, config_toml.as_bytes())?;
        }
        Ok(RunDir { dir: out.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A file or folder of the run.
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file of the run whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        durable::write_file(&self.join(name), bytes)
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// The finished model folder; it exists once the run is done.
    pub fn model(&self) -> PathBuf {
        self.dir.join("model")
    }
}

/// Takes the folder's lock or says who holds it.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
    let mut owner = String::new();
    file.read_to_string(&mut owner).map_err(Error::io(&path))?;
    let owner = owner.trim().to_owned();
    let refuse = || Error::Locked { dir: dir.to_owned(), owner: if owner.is_empty() { "another process".into() } else { owner.clone() } };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(refuse()),
        // Some cluster file systems have no locks: then the process named in the file decides, as far as this host can see it.
        Err(_) if alive_here(&owner) => return Err(refuse()),
        Err(_) => {}
    }
    let write = |file: &mut File| {
        file.rewind()?;
        file.set_len(0)?;
        writeln!(file, "process {} on {}", std::process::id(), host())
    };
    write(&mut file).map_err(Error::io(&path))?;
    Ok(file)
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "this host".into(), |h| h.trim().to_owned())
}

/// Whether `owner` ("process 12 on host") is a living process of this host other than ourselves.
fn alive_here(owner: &str) -> bool {
    let mut words = owner.split_whitespace();
    let (Some("process"), Some(pid), Some("on"), Some(at)) = (words.next(), words.next(), words.next(), words.next()) else {
        return false;
    };
    at == host() && pid != std::process::id().to_string() && Path::new("/proc").join(pid).exists()
}

/// The first line of the stored configuration that differs, and its new form.
fn difference(before: &str, now: &str) -> String {
    let (mut b, mut n, mut section) = (before.lines(), now.lines(), String::new());
    loop {
        match (b.next(), n.next()) {
            (Some(x), Some(y)) if x == y => {
                if x.starts_with('[') {
                    section = format!("{x} ");
                }
            }
            (None, None) => return "only its line ends differ".into(),
            (x, y) => return format!("there {section}{}, now {}", x.unwrap_or("(nothing)").trim(), y.unwrap_or("(nothing)").trim()),
        }
    }
}
