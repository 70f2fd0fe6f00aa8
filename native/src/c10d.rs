//! c10d, libtorch's engine for several processes: store, group of processes, sum of gradients. `dist` makes a world of them.

use crate::{NativeError, check};
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;
use tch::Tensor;

pub(crate) type TensorPtr = *const c_void;
type Take = unsafe extern "C" fn(*mut c_void, *const u8, usize);

unsafe extern "C" {
    fn rlhf_init_logging();
    fn rlhf_store_open(
        host: *const c_char,
        port: u16,
        serve: c_int,
        timeout_ms: i64,
        prefix: *const c_char,
        out: *mut *mut c_void,
        port_out: *mut u16,
    ) -> *mut c_char;
    fn rlhf_store_free(store: *mut c_void);
    fn rlhf_store_set(store: *mut c_void, key: *const c_char, value: *const u8, n: usize) -> *mut c_char;
    fn rlhf_store_get(store: *mut c_void, key: *const c_char, timeout_ms: i64, take: Take, context: *mut c_void) -> *mut c_char;
    fn rlhf_store_check(store: *mut c_void, key: *const c_char, out: *mut c_int) -> *mut c_char;
    fn rlhf_group_join(
        store: *mut c_void,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        address: *const c_char,
        is_interface: c_int,
        cuda: c_int,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_group_free(group: *mut c_void);
    fn rlhf_group_all_reduce(group: *mut c_void, tensors: *const TensorPtr, n: usize, op: c_int) -> *mut c_char;
    fn rlhf_group_broadcast(group: *mut c_void, tensors: *const TensorPtr, n: usize, root: c_int) -> *mut c_char;
    fn rlhf_group_all_gather(group: *mut c_void, out: TensorPtr, tensor: TensorPtr) -> *mut c_char;
    fn rlhf_group_reduce_scatter(group: *mut c_void, out: TensorPtr, tensor: TensorPtr) -> *mut c_char;
    fn rlhf_group_barrier(group: *mut c_void) -> *mut c_char;
    fn rlhf_reducer_new(
        group: *mut c_void,
        params: *const TensorPtr,
        n: usize,
        bucket_bytes: i64,
        first_bytes: i64,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn rlhf_reducer_arm(reducer: *mut c_void) -> *mut c_char;
    fn rlhf_reducer_free(reducer: *mut c_void);
}

/// Whether this build can exchange tensors on GPUs.
pub const HAS_NCCL: bool = cfg!(feature = "nccl");

/// Lets libtorch's log follow `TORCH_CPP_LOG_LEVEL`, which is ERROR unless it is set. Call it before threads start.
pub fn quiet_logging() {
    // SAFETY: no arguments; sets an environment variable while there is one thread, and libtorch's log level.
    unsafe { rlhf_init_logging() }
}

fn text(what: &'static str, value: &str) -> Result<CString, NativeError> {
    CString::new(value).map_err(|e| NativeError::Argument { what, detail: e.to_string() })
}

fn millis(time: Duration) -> i64 {
    time.as_millis().min(i64::MAX as u128) as i64
}

pub(crate) fn ptrs(tensors: &[Tensor]) -> Vec<TensorPtr> {
    tensors.iter().map(|t| t.as_ptr() as TensorPtr).collect()
}

/// A small store of keys and values over TCP (`c10d::TCPStore`), in which processes find one another.
#[derive(Debug)]
pub struct Store {
    raw: *mut c_void,
    port: u16,
}

// SAFETY: TCPStore takes a lock of its own for every operation.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Serves a store on `port` (0: a free one), or connects to the one at `host`, trying again for up to `timeout`. Keys are kept under `prefix`.
    pub fn open(host: &str, port: u16, serve: bool, timeout: Duration, prefix: &str) -> Result<Store, NativeError> {
        let (host, prefix) = (text("host", host)?, text("prefix", prefix)?);
        let mut store = Store { raw: null_mut(), port: 0 };
        // SAFETY: strings and out-pointers live through the call.
        check(unsafe {
            rlhf_store_open(host.as_ptr(), port, c_int::from(serve), millis(timeout), prefix.as_ptr(), &mut store.raw, &mut store.port)
        })?;
        Ok(store)
    }

    /// The port in use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), NativeError> {
        let key = text("key", key)?;
        // SAFETY: a live store, a string and a slice that live through the call.
        check(unsafe { rlhf_store_set(self.raw, key.as_ptr(), value.as_ptr(), value.len()) })
    }

    /// Waits up to `timeout` until the key is there; its value.
    pub fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, NativeError> {
        let key = text("key", key)?;
        let mut value: Vec<u8> = Vec::new();
        // SAFETY: a live store, a string that lives through the call, and the vector that `take` expects.
        check(unsafe { rlhf_store_get(self.raw, key.as_ptr(), millis(timeout), take, (&raw mut value).cast()) })?;
        Ok(value)
    }

    /// Whether the key is there, answered at once.
    pub fn check(&self, key: &str) -> Result<bool, NativeError> {
        let key = text("key", key)?;
        let mut found = 0;
        // SAFETY: a live store, a string and an integer that live through the call.
        check(unsafe { rlhf_store_check(self.raw, key.as_ptr(), &mut found) })?;
        Ok(found != 0)
    }
}

unsafe extern "C" fn take(context: *mut c_void, bytes: *const u8, n: usize) {
    if n > 0 {
        // SAFETY: called by rlhf_store_get only, with the vector given there and n bytes that are valid through this call; of none the pointer may be null.
        let (value, bytes) = unsafe { (&mut *context.cast::<Vec<u8>>(), std::slice::from_raw_parts(bytes, n)) };
        value.extend_from_slice(bytes);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by rlhf_store_open and freed here, once.
            unsafe { rlhf_store_free(self.raw) }
        }
    }
}

/// How tensors of all processes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The largest of each element.
    Max,
}

/// How a process joins its group.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'a> {
    /// This process's number.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Longest wait of an exchange for the others.
    pub timeout: Duration,
    /// Address of this machine at which the others reach it, or the name of a network interface.
    pub address: &'a str,
    /// `address` is an interface.
    pub is_interface: bool,
    /// Tensors live on GPUs too: NCCL beside Gloo.
    pub cuda: bool,
}

/// The processes that exchange tensors (`c10d::ProcessGroup` over Gloo, and NCCL for GPUs). All of them call the same functions in the same order.
/// After an error every further call fails.
#[derive(Debug)]
pub struct Group(pub(crate) *mut c_void);

impl Group {
    /// Joins; returns when all are connected.
    pub fn join(store: &Store, how: &Joining<'_>) -> Result<Group, NativeError> {
        let address = text("address", how.address)?;
        let mut group = Group(null_mut());
        let (rank, size) = (how.rank as c_int, how.size as c_int);
        // SAFETY: a live store, a string and an out-pointer that live through the call.
        check(unsafe {
            rlhf_group_join(
                store.raw,
                rank,
                size,
                millis(how.timeout),
                address.as_ptr(),
                c_int::from(how.is_interface),
                c_int::from(how.cuda),
                &mut group.0,
            )
        })?;
        Ok(group)
    }

    /// Reduces tensors of one type and device in place, in one exchange.
    pub fn all_reduce(&self, tensors: &[Tensor], how: Reduction) -> Result<(), NativeError> {
        let list = ptrs(tensors);
        // SAFETY: a live group and pointers to live tensors.
        check(unsafe { rlhf_group_all_reduce(self.0, list.as_ptr(), list.len(), c_int::from(how == Reduction::Max)) })
    }

    /// Replaces tensors by those of rank `root`.
    pub fn broadcast(&self, tensors: &[Tensor], root: usize) -> Result<(), NativeError> {
        let list = ptrs(tensors);
        // SAFETY: as above.
        check(unsafe { rlhf_group_broadcast(self.0, list.as_ptr(), list.len(), root as c_int) })
    }

    /// Every process's `tensor` `[N]` in `out` `[size · N]`, in the order of ranks.
    pub fn all_gather(&self, out: &Tensor, tensor: &Tensor) -> Result<(), NativeError> {
        // SAFETY: as above; c10d checks sizes and types.
        check(unsafe { rlhf_group_all_gather(self.0, out.as_ptr() as TensorPtr, tensor.as_ptr() as TensorPtr) })
    }

    /// This process's part of the sum of `tensor` `[size · N]` in `out` `[N]`.
    pub fn reduce_scatter(&self, out: &Tensor, tensor: &Tensor) -> Result<(), NativeError> {
        // SAFETY: as above.
        check(unsafe { rlhf_group_reduce_scatter(self.0, out.as_ptr() as TensorPtr, tensor.as_ptr() as TensorPtr) })
    }

    /// Waits until all are here.
    pub fn barrier(&self) -> Result<(), NativeError> {
        // SAFETY: a live group.
        check(unsafe { rlhf_group_barrier(self.0) })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by rlhf_group_join and freed here, once.
            unsafe { rlhf_group_free(self.0) }
        }
    }
}

/// Sums gradients over the group during the backward pass (`c10d::Reducer` of DistributedDataParallel, arXiv 2006.15704): as soon as a bucket of them is
/// ready it is on its way, while earlier layers are still at work.
#[derive(Debug)]
pub struct Reducer(*mut c_void);

impl Reducer {
    /// Hooks onto `params`, leaf tensors of one device, equal in all processes. Buckets hold about `bucket_bytes`, the first to be ready `first_bytes`.
    pub fn new(group: &Group, params: &[Tensor], bucket_bytes: usize, first_bytes: usize) -> Result<Reducer, NativeError> {
        let list = ptrs(params);
        let mut reducer = Reducer(null_mut());
        // SAFETY: a live group, pointers to live tensors, an out-pointer; the reducer holds references to all it uses.
        check(unsafe { rlhf_reducer_new(group.0, list.as_ptr(), list.len(), bucket_bytes as i64, first_bytes as i64, &mut reducer.0) })?;
        Ok(reducer)
    }

    /// The next backward pass sums: after it every gradient is the sum over processes of what each had accumulated. It must reach every parameter.
    pub fn arm(&self) -> Result<(), NativeError> {
        // SAFETY: a live reducer.
        check(unsafe { rlhf_reducer_arm(self.0) })
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by rlhf_reducer_new and freed here, once.
            unsafe { rlhf_reducer_free(self.0) }
        }
    }
}
