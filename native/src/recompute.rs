//! Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a part of a network that keeps its input and is worked out again in the backward pass.

use crate::dense::{ptr, take};
use crate::{NativeError, Range};
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::Tensor;

type Ptr = *const c_void;
type Closure = Box<dyn Fn(&Tensor) -> Tensor + Send>;

unsafe extern "C" {
    fn rlhf_recompute(
        x: Ptr,
        leaves: *const Ptr,
        n: usize,
        draws: c_int,
        closure: *mut c_void,
        call: unsafe extern "C" fn(*mut c_void, Ptr, *mut *mut c_void) -> c_int,
        drop: unsafe extern "C" fn(*mut c_void),
        out: *mut *mut c_void,
    ) -> *mut c_char;
}

/// `part(x)`, of which nothing but `x` is kept until the backward pass calls `part` again: the same values and the same gradients for less memory and one more
/// forward pass. `leaves` are all tensors that `part` uses and that learn. Where it `draws` random numbers, the second time it draws the same.
///
/// The backward pass may run on a thread of libtorch's.
pub fn recompute(
    x: &Tensor,
    leaves: &[Tensor],
    draws: bool,
    part: impl Fn(&Tensor) -> Tensor + Send + 'static,
) -> Result<Tensor, NativeError> {
    let _call = Range::operator(c"rlhf::recompute");
    let list: Vec<Ptr> = leaves.iter().map(ptr).collect();
    let closure: Box<Closure> = Box::new(Box::new(part));
    let closure = Box::into_raw(closure).cast();
    // SAFETY: `list` holds pointers of live tensors. The shim takes the closure over: it calls it by `call`, one call at a time, and ends it by `end`, once.
    take(|out| unsafe { rlhf_recompute(ptr(x), list.as_ptr(), list.len(), c_int::from(draws), closure, call, end, out) })
}

unsafe extern "C" fn call(closure: *mut c_void, x: Ptr, out: *mut *mut c_void) -> c_int {
    let made = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `closure` is what `recompute` made, and not ended yet; `x` is a live tensor of the shim's, of which a handle of our own is taken.
        let (part, x) = unsafe { (&*closure.cast::<Closure>(), Tensor::clone_from_ptr(x.cast_mut().cast())) };
        part(&x)
    }));
    let Ok(made) = made else { return 1 };
    let made = std::mem::ManuallyDrop::new(made);
    // SAFETY: `out` is a place of the shim's, which takes the tensor over.
    unsafe { *out = made.as_ptr().cast_mut().cast() };
    0
}

unsafe extern "C" fn end(closure: *mut c_void) {
    // SAFETY: the shim calls this once, with what `recompute` made.
    drop(unsafe { Box::from_raw(closure.cast::<Closure>()) });
}
