//! What can go wrong with the user's data. Every variant names the path, line or key concerned and says what to do about it.

use std::path::{Path, PathBuf};

/// An error of this crate. All of them are about input that the user gave (files, configuration, templates, tokenizers),
/// except [`DataError::Io`], [`DataError::Worker`] and [`DataError::Internal`], which may also be the machine's fault: see [`DataError::is_input`].
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried: "read", "write", "rename"...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A source's path names nothing that exists.
    #[error("no data at {path:?}: {detail}")]
    NoFiles {
        /// The path as configured, variables expanded.
        path: String,
        /// What was looked for.
        detail: String,
    },
    /// A path needs an environment variable that is not set.
    #[error("the path {path:?} needs the environment variable {name}: set it, or give a default as ${{{name}:-folder}}")]
    Variable {
        /// The path as configured.
        path: String,
        /// The variable.
        name: String,
    },
    /// The file name does not tell its format.
    #[error("cannot tell the format of {} from its name: set `format` (text, jsonl, csv, tsv, parquet or arrow) in this source", .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A whole file cannot be read as what it should be (torn archive, no header, damaged Parquet...).
    #[error("{}, line {line}: {detail}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// 1-based line or row at which reading stopped (0: before the first).
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// A configured column is in none of the rows, or columns contradict one another.
    #[error("{}: {detail}", .path.display())]
    Columns {
        /// The file in which it was noticed.
        path: PathBuf,
        /// Which column, which there are.
        detail: String,
    },
    /// More bad rows than the configuration allows.
    #[error("{rejected} of {read} rows are bad, more than {allowed} are not allowed; each is listed with its file, line and reason in {} (most frequent: {reason}). \
             Mend the rows{}", .quarantine.display(), .limits.map_or_else(String::new, |limits| format!(", or raise {limits}")))]
    TooManyBad {
        /// Bad rows.
        rejected: u64,
        /// All rows met.
        read: u64,
        /// How many may be bad.
        allowed: u64,
        /// The list of bad rows.
        quarantine: PathBuf,
        /// The reason met most often, with its count.
        reason: String,
        /// What the limits are called where they are set; `None` where they are fixed.
        limits: Option<&'static str>,
    },
    /// Nothing is left to work with.
    #[error("{what}: no usable row in {sources}; {detail}")]
    Empty {
        /// What was wanted: "demonstrations", "rankings", "prompts", "documents".
        what: &'static str,
        /// The sources' paths.
        sources: String,
        /// Counts and what to do.
        detail: String,
    },
    /// A configuration value is wrong.
    #[error("configuration key `{key}`: {detail}")]
    Config {
        /// Dotted key.
        key: String,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// A chat template is missing, broken, or does not let the assistant's tokens be found.
    #[error("chat template of {origin}: {detail}")]
    Template {
        /// Folder, file or name of the template.
        origin: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A tokenizer is missing or broken.
    #[error("tokenizer {origin}: {detail}")]
    Tokenizer {
        /// Folder, file or name of the tokenizer.
        origin: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A file is no picture that can be read.
    #[error("picture {}: {detail}", .path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A table or shard of ours is damaged or of another version.
    #[error("table {}: {detail}", .path.display())]
    Table {
        /// The Arrow file.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A background worker (prefetching) failed or panicked.
    #[error("background worker: {0}")]
    Worker(String),
    /// This program broke a promise of its own.
    #[error("internal error: {0}")]
    Internal(String),
}

impl DataError {
    /// An [`DataError::Io`] in one line: `.map_err(DataError::io("read", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
        let path = path.to_path_buf();
        move |source| DataError::Io { action, path, source }
    }

    /// The same error where the limits of bad rows are not the keys `data.quarantine`, but called `limits`, or fixed (`None`).
    pub fn with_limits(self, limits: Option<&'static str>) -> DataError {
        match self {
            DataError::TooManyBad { rejected, read, allowed, quarantine, reason, .. } => {
                DataError::TooManyBad { rejected, read, allowed, quarantine, reason, limits }
            }
            other => other,
        }
    }

    /// True when the user's input is wrong (exit code 2) rather than the machine or this program (exit code 1).
    pub fn is_input(&self) -> bool {
        match self {
            DataError::Io { source, .. } => {
                matches!(
                    source.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::IsADirectory
                )
            }
            DataError::Worker(_) | DataError::Internal(_) => false,
            _ => true,
        }
    }
}

/// What reading a source may return; the same enum as everywhere in this crate.
pub type SourceError = DataError;
