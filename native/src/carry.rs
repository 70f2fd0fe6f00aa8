//! Gradients that were worked out outside of autograd, brought into its graph.

use crate::NativeError;
use crate::dense::{ptr, take};
use std::ffi::{c_char, c_void};
use tch::Tensor;

type Ptr = *const c_void;

unsafe extern "C" {
    fn rlhf_carry(to: *const Ptr, gradients: *const Ptr, n: usize, out: *mut *mut c_void) -> *mut c_char;
}

/// A scalar 0, float32, whose backward pass gives each tensor its gradient, of its shape, times the scalar's own. It can be gone through once: a leaf takes the gradient's
/// memory over.
pub fn carry(gradients: Vec<(&Tensor, Tensor)>) -> Result<Tensor, NativeError> {
    let to: Vec<Ptr> = gradients.iter().map(|(tensor, _)| ptr(tensor)).collect();
    let list: Vec<Ptr> = gradients.iter().map(|(_, gradient)| ptr(gradient)).collect();
    // SAFETY: both lists hold pointers of live tensors; the shim takes handles of its own.
    take(|out| unsafe { rlhf_carry(to.as_ptr(), list.as_ptr(), to.len(), out) })
}
