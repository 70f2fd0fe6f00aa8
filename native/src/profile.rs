//! libtorch's own profiler: where a step's time, memory and arithmetic go.

use crate::{NativeError, check};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;

#[repr(C)]
struct RawEvent {
    name: *const c_char,
    start_ns: u64,
    duration_ns: u64,
    thread: u64,
    flops: u64,
    bytes: i64,
    kind: c_int,
}

type Each = unsafe extern "C" fn(*mut c_void, *const RawEvent);

unsafe extern "C" {
    fn rlhf_profile_start(cuda: c_int) -> *mut c_char;
    fn rlhf_profile_stop(trace: *const c_char, each: Each, context: *mut c_void) -> *mut c_char;
    fn rlhf_range_begin(name: *const c_char, as_operator: c_int) -> *mut c_void;
    fn rlhf_range_end(range: *mut c_void);
}

/// What an [`Event`] is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A call of one of libtorch's operators, or of a step of its backward pass.
    Operator,
    /// A range that [`Range::new`] named.
    Range,
    /// Memory taken (`bytes` > 0) or given back (`bytes` < 0).
    Memory,
}

/// One thing that the profiler saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The operator (`aten::mm`) or the range's name.
    pub name: String,
    /// What it is of.
    pub kind: EventKind,
    /// Begin in nanoseconds; only differences mean anything.
    pub start_ns: u64,
    /// Duration in nanoseconds, calls within it included.
    pub duration_ns: u64,
    /// The thread.
    pub thread: u64,
    /// Floating-point operations, where libtorch has a formula (matrix products); else 0.
    pub flops: u64,
    /// Bytes of a memory event.
    pub bytes: i64,
}

/// A running profile. There is one in a process at a time, and it sees the thread that started it and the backward passes it calls.
#[derive(Debug)]
pub struct Profiler {
    /// libtorch keeps the profile with the thread.
    thread: PhantomData<*const ()>,
}

impl Profiler {
    /// Starts recording; `cuda` records kernels on GPUs too.
    pub fn start(cuda: bool) -> Result<Profiler, NativeError> {
        // SAFETY: takes no pointers; errors come back as messages.
        check(unsafe { rlhf_profile_start(c_int::from(cuda)) })?;
        Ok(Profiler { thread: PhantomData })
    }

    /// Stops; writes a Chrome trace to `trace` (`chrome://tracing`, ui.perfetto.dev), if asked to, and returns all events in no particular order.
    pub fn stop(self, trace: Option<&Path>) -> Result<Vec<Event>, NativeError> {
        let path = trace.map(|p| CString::new(p.as_os_str().as_encoded_bytes())).transpose();
        let path = path.map_err(|e| NativeError::Argument { what: "trace", detail: e.to_string() })?;
        let mut events: Vec<Event> = Vec::new();
        let context = (&raw mut events).cast::<c_void>();
        // SAFETY: `path` is NULL or a string that outlives the call, `context` is the vector that `collect` expects.
        check(unsafe { rlhf_profile_stop(path.as_ref().map_or(std::ptr::null(), |p| p.as_ptr()), collect, context) })?;
        Ok(events)
    }
}

unsafe extern "C" fn collect(context: *mut c_void, event: *const RawEvent) {
    // SAFETY: called by rlhf_profile_stop only, with the vector given there and an event that is valid through this call.
    let (events, event) = unsafe { (&mut *context.cast::<Vec<Event>>(), &*event) };
    // SAFETY: a C++ string's c_str().
    let name = unsafe { CStr::from_ptr(event.name) }.to_string_lossy().into_owned();
    let kind = [EventKind::Operator, EventKind::Range, EventKind::Memory][event.kind.clamp(0, 2) as usize];
    let RawEvent { start_ns, duration_ns, thread, flops, bytes, .. } = *event;
    events.push(Event { name, kind, start_ns, duration_ns, thread, flops, bytes });
}

/// A named range in the profile, from its making to its end of life. Costs next to nothing while no profile runs.
#[derive(Debug)]
pub struct Range(*mut c_void);

impl Range {
    /// Begins it.
    pub fn new(name: &CStr) -> Range {
        // SAFETY: a C string that lives through the call.
        Range(unsafe { rlhf_range_begin(name.as_ptr(), 0) })
    }

    /// Begins one that stands in the profile as a call of the operator `name`, which is not one of libtorch's.
    pub(crate) fn operator(name: &CStr) -> Range {
        // SAFETY: as in `new`.
        Range(unsafe { rlhf_range_begin(name.as_ptr(), 1) })
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: made by rlhf_range_begin and not ended yet; deleting NULL does nothing.
        unsafe { rlhf_range_end(self.0) }
    }
}
