//! What can go wrong in the toolbox, and what the user can do about it.

use std::path::{Path, PathBuf};

/// An error of the caller's, passed through a closure.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error of run folders, checkpoints, metrics, optimiser state or devices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run folder holds a run and `--resume` was not given.
    #[error("{} already holds a run: add --resume to go on with it, or give another --out", .0.display())]
    Occupied(PathBuf),
    /// The folder holds files that are not a run's.
    #[error("{} is not empty and not a run folder (it has no config.toml): give another --out", .0.display())]
    NotARun(PathBuf),
    /// `--resume` with a configuration other than the run's.
    #[error("{} was started with another configuration ({differences}): use the same one, or give another --out", dir.display())]
    ConfigChanged {
        /// Run folder.
        dir: PathBuf,
        /// The keys that differ.
        differences: String,
    },
    /// `--resume` with other data, another tokenizer or other parents.
    #[error("{} was started with other inputs ({}): restore them, or start anew with another --out", dir.display(), .differences.join("; "))]
    InputsChanged {
        /// Run folder.
        dir: PathBuf,
        /// One sentence each.
        differences: Vec<String>,
    },
    /// A run that has gone further than it is now asked to.
    #[error("the run has done {done} steps already, more than the {total} asked for: ask for at least as many, or give another --out")]
    Shortened {
        /// Steps done.
        done: u64,
        /// Steps of the run as configured now.
        total: u64,
    },
    /// Another live process writes this folder.
    #[error("{} is in use by {owner}: two runs must not write one folder; wait for it, stop it, or give another --out", dir.display())]
    Locked {
        /// Run folder.
        dir: PathBuf,
        /// Process and host, as written in the lock file.
        owner: String,
    },
    /// No CUDA device where the configuration asks for one.
    #[error("device = \"cuda\", but libtorch sees no CUDA device: set device = \"cpu\" or \"auto\"")]
    NoCuda,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A state file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    State {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The closure that fills a checkpoint or model folder failed; nothing was published.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// Folder that would have appeared.
        path: PathBuf,
        /// Cause.
        source: BoxError,
    },
    /// libtorch refused an operation.
    #[error("{what}: {source}")]
    Torch {
        /// Operation or tensor.
        what: String,
        /// Cause.
        source: tch::TchError,
    },
    /// Processes could not work together.
    #[error(transparent)]
    Dist(#[from] dist::Error),
    /// Muon asks for whole matrices.
    #[error(
        "optim.kind = \"muon\" steps whole matrices, which no process has with distributed.shard: set shard = \"none\" or take another kind"
    )]
    MuonInParts,
    /// Moments of bytes are the CPU's, and whole.
    #[error(
        "optim.kind = \"adamw-8bit\" steps whole parameters on the CPU: set device = \"cpu\" and distributed.shard = \"none\", or take \"adamw\""
    )]
    BytesElsewhere,
    /// The native optimiser step failed.
    #[error("optimiser step: {0}")]
    Native(#[from] native::NativeError),
    /// An alarm that ends the run.
    #[error("{message}\n  {}", match checkpoint {
        Some(path) => format!("the last good checkpoint is {}: a new run can start from it, it is a model folder", path.display()),
        None => "no checkpoint was written before the trouble began".to_owned(),
    })]
    Alarm {
        /// What was seen, why it matters, what to try.
        message: String,
        /// The newest checkpoint from before the trouble.
        checkpoint: Option<PathBuf>,
    },
}

impl Error {
    /// Whether the user's input is at fault (exit code 2).
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Error::Occupied(_)
                | Error::NotARun(_)
                | Error::ConfigChanged { .. }
                | Error::InputsChanged { .. }
                | Error::Shortened { .. }
                | Error::Locked { .. }
                | Error::NoCuda
                | Error::MuonInParts
                | Error::BytesElsewhere
        )
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.to_owned(), source }
    }

    pub(crate) fn state(path: &Path, reason: impl Into<String>) -> Error {
        Error::State { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn torch(what: impl Into<String>) -> impl FnOnce(tch::TchError) -> Error {
        let what = what.into();
        move |source| Error::Torch { what, source }
    }
}
