//! What can go wrong between processes, and what the user can do about it.

use native::NativeError;

/// Why processes cannot work together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The launcher's variables do not fit together.
    #[error("{variable} = {value:?}: {wanted}")]
    Variable {
        /// Environment variable.
        variable: &'static str,
        /// Its value; empty where it is missing.
        value: String,
        /// What it should be.
        wanted: String,
    },
    /// Not all processes came.
    #[error("rank {rank} of {size} could not meet the others at {address}: {reason}")]
    Meeting {
        /// This process.
        rank: usize,
        /// Processes that were to meet.
        size: usize,
        /// Host and port of the rendezvous.
        address: String,
        /// What was missing.
        reason: String,
    },
    /// An exchange between the processes failed.
    #[error("rank {rank} of {size}: {what} failed: {cause}")]
    Exchange {
        /// This process.
        rank: usize,
        /// Processes of the world.
        size: usize,
        /// Which exchange.
        what: &'static str,
        /// Who is missing, as far as can be told, and the engine's own words.
        cause: String,
    },
    /// Rank 0 failed at what the others waited for; it tells why itself.
    #[error("rank 0 has failed; its own message says why")]
    MainFailed,
    /// The root of a broadcast is outside the world.
    #[error("rank {rank} is outside a world of {size}")]
    NoSuchRank {
        /// Rank asked for.
        rank: usize,
        /// Size of the world.
        size: usize,
    },
    /// A step whose passes have looked no token up.
    #[error("no token was looked up in this step")]
    NoRows,
    /// libtorch refused an operation that involves no other process.
    #[error(transparent)]
    Native(#[from] NativeError),
    /// libtorch refused an operation on a tensor.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// Another process is at fault, or the way to it: this one has nothing to add.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Error::MainFailed)
    }
}
