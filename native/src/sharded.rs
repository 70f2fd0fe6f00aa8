//! Sums of gradients of which each process keeps its part only. `dist` decides who keeps what.

use crate::c10d::{Group, TensorPtr, ptrs};
use crate::{NativeError, check};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;
use tch::Tensor;

unsafe extern "C" {
    fn rlhf_sharded_new(
        group: *mut c_void,
        params: *const TensorPtr,
        buckets: *const usize,
        begins: *const i64,
        n: usize,
        sums: *const TensorPtr,
        n_buckets: usize,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_sharded_begin(sharded: *mut c_void) -> *mut c_char;
    fn rlhf_sharded_finish(sharded: *mut c_void) -> *mut c_char;
    fn rlhf_sharded_free(sharded: *mut c_void);
}

/// Where a parameter's values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of its bucket.
    pub bucket: usize,
    /// Its first value's number there.
    pub begin: i64,
}

/// Adds gradients up at their owners during the backward pass: each process has the sums of its part of every bucket. Gradients (`Tensor::grad`) are given
/// up as soon as they are on their way.
#[derive(Debug)]
pub struct ShardedReducer(*mut c_void);

impl ShardedReducer {
    /// Hooks onto `params`, leaf tensors of float32 in `places`, the same in all processes. `sums[b]` has `[N]` values where bucket b has `[size · N]`.
    /// Buckets should be numbered in the order in which their gradients come.
    pub fn new(group: &Group, params: &[Tensor], places: &[Place], sums: &[Tensor]) -> Result<ShardedReducer, NativeError> {
        if places.len() != params.len() {
            return Err(NativeError::Length { what: "places", got: places.len(), want: params.len() });
        }
        let (list, sums) = (ptrs(params), ptrs(sums));
        let (buckets, begins): (Vec<usize>, Vec<i64>) = places.iter().map(|p| (p.bucket, p.begin)).unzip();
        let mut sharded = ShardedReducer(null_mut());
        // SAFETY: a live group, arrays of the lengths told, pointers to live tensors; the shim copies the arrays and holds references to the tensors.
        check(unsafe {
            rlhf_sharded_new(
                group.0,
                list.as_ptr(),
                buckets.as_ptr(),
                begins.as_ptr(),
                params.len(),
                sums.as_ptr(),
                sums.len(),
                &mut sharded.0,
            )
        })?;
        Ok(sharded)
    }

    /// The next backward pass sends its gradients to their owners, and with them what was accumulated before. [`ShardedReducer::finish`] ends it.
    pub fn begin(&self) -> Result<(), NativeError> {
        // SAFETY: a live reducer.
        check(unsafe { rlhf_sharded_begin(self.0) })
    }

    /// Waits for the sums; gradients that the pass did not reach count as zero.
    pub fn finish(&self) -> Result<(), NativeError> {
        // SAFETY: a live reducer.
        check(unsafe { rlhf_sharded_finish(self.0) })
    }
}

impl Drop for ShardedReducer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by rlhf_sharded_new and freed here, once; its hooks end with it.
            unsafe { rlhf_sharded_free(self.0) }
        }
    }
}
