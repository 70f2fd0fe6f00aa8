//! What tch does not bind of libtorch, and the few system calls that need `unsafe`. The only crate where `unsafe` is allowed.
//!
//! - [`fused_adamw`], [`global_grad_norm`], [`clip`], [`scale`], [`drop_gradients`]: multi-tensor optimiser kernels, through a C++ shim whose
//!   exceptions become [`NativeError`].
//! - [`adamw_in_bytes`]: AdamW with moments of eight bits.
//! - [`cross_entropy_in_place`], [`token_log_probs`], [`exponentials`]: kernels of our own on rows of logits.
//! - [`dense`]: linear maps, MLP and attention in bfloat16 and float32, forward and backward.
//! - [`lora`]: linear maps and MLP with low-rank adapters; [`recompute`](fn@recompute): activation checkpointing.
//! - [`decode`]: a transformer's forward pass for generation, all blocks in one call.
//! - [`quantised`]: products with weights of eight or four bits.
//! - [`Profiler`], [`Range`]: libtorch's profiler.
//! - [`MappedFile`]: a read-only memory map.
//! - [`Store`], [`Group`], [`Reducer`]: libtorch's engine for several processes, c10d. [`ShardedReducer`]: sums of gradients, each rank's part only.
//!   [`Units`]: weights in parts, whole while they are needed.
//! - [`signal_process`], [`die_with_parent`], [`exit_now`]: what a launcher of processes needs.
//! - [`keep_freed_pages`]: an allocator setting that spares training steps the cost of page faults; [`release_freed_pages`]: what set-up freed goes back, once.

mod alloc;
mod c10d;
mod carry;
#[cfg(target_arch = "x86_64")]
mod cpu;
pub mod decode;
pub mod dense;
mod kernels;
pub mod lora;
mod map;
mod optim;
mod process;
mod profile;
pub mod quantised;
mod recompute;
mod sharded;
mod units;

pub use alloc::{keep_freed_pages, release_freed_pages};
pub use c10d::{Group, HAS_NCCL, Joining, Reducer, Reduction, Store, quiet_logging};
pub use carry::carry;
pub use kernels::{RUN, cross_entropy_in_place, exponentials, token_log_probs};
pub use map::MappedFile;
pub use optim::{
    AdamWStep, BYTES_BLOCK, Bytes, adamw_in_bytes, byte_numbers, byte_zero, clip, drop_gradients, fused_adamw, global_grad_norm,
    lasting_zeros, scale,
};
pub use process::{Signal, die_with_parent, exit_now, signal_process};
pub use profile::{Event, EventKind, Profiler, Range};
pub use recompute::recompute;
pub use sharded::{Place, ShardedReducer};
pub use units::Units;

use std::ffi::{CStr, c_char};

/// Why a native call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NativeError {
    /// libtorch threw an exception.
    #[error("libtorch: {0}")]
    Torch(String),
    /// Lists that must be equally long are not.
    #[error("{what} has {got} tensors, but there are {want} parameters")]
    Length {
        /// Which list.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The number of parameters.
        want: usize,
    },
    /// A tensor of a list is undefined (a gradient that was never computed).
    #[error("{what}[{index}] is undefined: no gradient flowed into this parameter")]
    Undefined {
        /// Which list.
        what: &'static str,
        /// Position in the list.
        index: usize,
    },
    /// A tensor that a kernel cannot work on.
    #[error("{what}: {detail}")]
    Argument {
        /// Which tensor.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A file could not be opened or mapped.
    #[error("cannot map {path}: {source}")]
    Map {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Takes over what a function of the shim returned: NULL, or the message of an exception.
pub(crate) fn check(message: *mut c_char) -> Result<(), NativeError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns a NUL-terminated string allocated with malloc and forgets it; it is freed here, once.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        libc::free(message.cast());
        text
    };
    Err(NativeError::Torch(text))
}
