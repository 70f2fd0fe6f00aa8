//! Weights of which each process keeps its part only, whole while they are needed. `dist` decides who keeps what; `model` says when a block begins and ends.

use crate::c10d::{Group, TensorPtr, ptrs};
use crate::{NativeError, Place, check};
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use tch::Tensor;

unsafe extern "C" {
    fn rlhf_units_new(
        group: *mut c_void,
        params: *const TensorPtr,
        buckets: *const usize,
        begins: *const i64,
        n: usize,
        parts: *const TensorPtr,
        sums: *const TensorPtr,
        n_buckets: usize,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_units_root(units: *mut c_void);
    fn rlhf_units_enter(units: *mut c_void, unit: usize, x: TensorPtr, out: *mut *mut c_void) -> *mut c_char;
    fn rlhf_units_leave(units: *mut c_void, unit: usize, x: TensorPtr, out: *mut *mut c_void) -> *mut c_char;
    fn rlhf_units_begin(units: *mut c_void) -> *mut c_char;
    fn rlhf_units_finish(units: *mut c_void) -> *mut c_char;
    fn rlhf_units_idle_forward(units: *mut c_void, learns: c_int);
    fn rlhf_units_idle_backward(units: *mut c_void) -> *mut c_char;
    fn rlhf_units_hold(units: *mut c_void, keep: c_int);
    fn rlhf_units_let_go(units: *mut c_void);
    fn rlhf_units_store(units: *mut c_void) -> *mut c_char;
    fn rlhf_units_fetch(units: *mut c_void, unit: usize, param: usize, out: *mut *mut c_void) -> *mut c_char;
    fn rlhf_units_free(units: *mut c_void);
}

/// Weights in parts (ZeRO-3, arXiv 1910.02054, section 5.3). Unit 0 is what stands outside the blocks, unit i the i-th block; a unit is whole from just before
/// its forward pass until just after it, and again for its backward pass, and unit 0 until the backward pass has ended.
///
/// All processes call the same functions in the same order. Forward passes tell no errors of an exchange: the next [`Units::begin`] or other exchange does.
#[derive(Debug)]
pub struct Units {
    raw: *mut c_void,
    /// Unit of each parameter.
    unit_of: Vec<usize>,
}

// SAFETY: what changes is behind a lock of the shim's.
unsafe impl Send for Units {}
// SAFETY: as above.
unsafe impl Sync for Units {}

impl Units {
    /// Takes over `params`, leaf tensors of float32 in `places`: bucket b is unit `parts.len() - 1 - b`. `parts[b]` and `sums[b]` have `[N]` values where the
    /// bucket has `[size · N]`; the parts become those of process 0's parameters. From then on parameters have no memory of their own.
    pub fn new(group: &Group, params: &[Tensor], places: &[Place], parts: &[Tensor], sums: &[Tensor]) -> Result<Units, NativeError> {
        for (what, got, want) in [("places", places.len(), params.len()), ("sums", sums.len(), parts.len())] {
            if got != want {
                return Err(NativeError::Length { what, got, want });
            }
        }
        let (list, part_list, sums) = (ptrs(params), ptrs(parts), ptrs(sums));
        let (buckets, begins): (Vec<usize>, Vec<i64>) = places.iter().map(|p| (p.bucket, p.begin)).unzip();
        let unit_of = buckets.iter().map(|b| parts.len() - 1 - b).collect();
        let mut units = Units { raw: null_mut(), unit_of };
        // SAFETY: a live group, arrays of the lengths told, pointers to live tensors; the shim copies the arrays and holds references to the tensors.
        check(unsafe {
            rlhf_units_new(
                group.0,
                list.as_ptr(),
                buckets.as_ptr(),
                begins.as_ptr(),
                params.len(),
                part_list.as_ptr(),
                sums.as_ptr(),
                sums.len(),
                &mut units.raw,
            )
        })?;
        Ok(units)
    }

    /// A forward pass begins: unit 0 is whole.
    pub fn root(&self) {
        // SAFETY: live units.
        unsafe { rlhf_units_root(self.raw) }
    }

    /// The forward pass of `unit` begins; what it is to read in the place of `x`.
    pub fn enter(&self, unit: usize, x: &Tensor) -> Result<Tensor, NativeError> {
        // SAFETY: live units and a live tensor.
        self.take(|out| unsafe { rlhf_units_enter(self.raw, unit, x.as_ptr() as TensorPtr, out) })
    }

    /// It has ended with `x`; what others are to read in its place.
    pub fn leave(&self, unit: usize, x: &Tensor) -> Result<Tensor, NativeError> {
        // SAFETY: live units and a live tensor.
        self.take(|out| unsafe { rlhf_units_leave(self.raw, unit, x.as_ptr() as TensorPtr, out) })
    }

    /// A backward pass begins; tells what failed since the last.
    pub fn begin(&self) -> Result<(), NativeError> {
        // SAFETY: live units.
        check(unsafe { rlhf_units_begin(self.raw) })
    }

    /// It has ended: waits for the sums and gives up what is whole.
    pub fn finish(&self) -> Result<(), NativeError> {
        // SAFETY: live units.
        check(unsafe { rlhf_units_finish(self.raw) })
    }

    /// Takes part in a forward pass of the others, without rows of one's own. `learns`: their backward pass follows.
    pub fn idle_forward(&self, learns: bool) {
        // SAFETY: live units.
        unsafe { rlhf_units_idle_forward(self.raw, c_int::from(learns)) }
    }

    /// Takes part in their backward pass, between [`Units::begin`] and [`Units::finish`].
    pub fn idle_backward(&self) -> Result<(), NativeError> {
        // SAFETY: live units.
        check(unsafe { rlhf_units_idle_backward(self.raw) })
    }

    /// Makes all units whole until [`Units::let_go`]; without `keep` only the others have them then, and this process must not use them.
    pub fn hold(&self, keep: bool) {
        // SAFETY: live units.
        unsafe { rlhf_units_hold(self.raw, c_int::from(keep)) }
    }

    /// Gives all units up. The parts have changed, or nobody needs the whole any longer.
    pub fn let_go(&self) {
        // SAFETY: live units.
        unsafe { rlhf_units_let_go(self.raw) }
    }

    /// Takes the values of weights that are held, and were changed alike in all processes, over into the parts.
    pub fn store(&self) -> Result<(), NativeError> {
        // SAFETY: live units.
        check(unsafe { rlhf_units_store(self.raw) })
    }

    /// Parameter `i`, whole and a copy; all processes ask for the same.
    pub fn fetch(&self, i: usize) -> Result<Tensor, NativeError> {
        // SAFETY: live units; the shim checks both numbers.
        self.take(|out| unsafe { rlhf_units_fetch(self.raw, self.unit_of[i], i, out) })
    }

    fn take(&self, call: impl FnOnce(*mut *mut c_void) -> *mut c_char) -> Result<Tensor, NativeError> {
        let mut out = null_mut();
        check(call(&mut out))?;
        // SAFETY: without an error the shim has stored a tensor of its own, which tch now owns.
        Ok(unsafe { Tensor::from_ptr(out.cast()) })
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by rlhf_units_new and freed here, once; graphs that still know the units hold references of their own.
            unsafe { rlhf_units_free(self.raw) }
        }
    }
}
