//! Batches made ready while the model works: a synchronous loop takes them in order, tokio's blocking threads make them.

use crate::error::DataError;
use std::any::Any;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

type Make<T> = dyn Fn(u64) -> Result<T, DataError> + Send + Sync;

/// Calls `make(k)` for every k of a range on background threads and hands the results over in the order of k. At most `depth` results
/// are ready or in the making; the others are not begun, so memory is bounded.
pub struct Prefetch<T> {
    make: Arc<Make<T>>,
    /// Begun, in order.
    begun: VecDeque<JoinHandle<Result<T, DataError>>>,
    /// Not begun.
    rest: Range<u64>,
    /// Kept to the end: `None` only while dropping.
    runtime: Option<Runtime>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Begins with the first `depth` (at least one) numbers of the range at once. `depth` is also the largest number of threads.
    /// An endless loop passes `k..u64::MAX`; a resumed one begins at its own k.
    pub fn new(
        range: Range<u64>,
        depth: usize,
        make: impl Fn(u64) -> Result<T, DataError> + Send + Sync + 'static,
    ) -> Result<Prefetch<T>, DataError> {
        let depth = depth.max(1);
        // Tasks run on the blocking pool; the caller's own thread drives the runtime while it waits in `next`.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(depth)
            .thread_name("prefetch")
            .build()
            .map_err(|e| DataError::Worker(format!("cannot start: {e}")))?;
        let mut prefetch = Prefetch { make: Arc::new(make), begun: VecDeque::with_capacity(depth), rest: range, runtime: Some(runtime) };
        for _ in 0..depth {
            prefetch.begin();
        }
        Ok(prefetch)
    }

    /// The next result, waiting for it if need be; `None` after the last. An error or a panic of `make(k)` comes out here in k's
    /// place; the numbers after it can still be taken. Must not be called from asynchronous code.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<T>, DataError> {
        let (Some(handle), Some(runtime)) = (self.begun.pop_front(), &self.runtime) else { return Ok(None) };
        let result = runtime.block_on(handle);
        self.begin();
        match result {
            Ok(made) => made.map(Some),
            Err(e) if e.is_panic() => Err(DataError::Worker(format!("panicked: {}", message(e.into_panic())))),
            Err(e) => Err(DataError::Worker(e.to_string())),
        }
    }

    fn begin(&mut self) {
        let (Some(k), Some(runtime)) = (self.rest.next(), &self.runtime) else { return };
        let make = self.make.clone();
        self.begun.push_back(runtime.spawn_blocking(move || make(k)));
    }
}

impl<T> Drop for Prefetch<T> {
    /// Does not wait: what is running ends by itself, what has not begun never does.
    fn drop(&mut self) {
        self.begun.iter().for_each(JoinHandle::abort);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a panic said.
fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    fn all<T: Send + 'static>(mut prefetch: Prefetch<T>) -> Vec<Result<T, String>> {
        std::iter::from_fn(|| prefetch.next().map_err(|e| e.to_string()).transpose()).collect()
    }

    #[test]
    fn order_is_kept_when_later_ones_are_ready_first() {
        let slow_first = |k: u64| {
            std::thread::sleep(Duration::from_millis(if k.is_multiple_of(4) { 20 } else { 0 }));
            Ok(k)
        };
        let got: Vec<u64> = all(Prefetch::new(3..40, 4, slow_first).unwrap()).into_iter().map(Result::unwrap).collect();
        assert_eq!(got, (3..40).collect::<Vec<_>>());
        assert_eq!(all(Prefetch::new(5..5, 4, Ok).unwrap()), []);
    }

    #[test]
    fn errors_and_panics_come_out_in_their_place() {
        let make = |k: u64| match k {
            1 => Err(DataError::Worker("no row 1".into())),
            2 => panic!("row {k} is cursed"),
            _ => Ok(k),
        };
        let got = all(Prefetch::new(0..4, 2, make).unwrap());
        assert_eq!(got[0], Ok(0));
        assert!(got[1].as_ref().unwrap_err().contains("no row 1"));
        assert!(got[2].as_ref().unwrap_err().contains("panicked: row 2 is cursed"));
        assert_eq!(got[3], Ok(3));
    }

    #[test]
    fn no_more_than_depth_are_begun() {
        let begun = Arc::new(AtomicU64::new(0));
        let count = begun.clone();
        let mut prefetch = Prefetch::new(0..u64::MAX, 3, move |k| {
            count.fetch_add(1, SeqCst);
            Ok(k)
        })
        .unwrap();
        for k in 0..10 {
            assert_eq!(prefetch.next().unwrap(), Some(k));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(begun.load(SeqCst) <= 13, "{begun:?}");
    }

    #[test]
    fn dropping_waits_for_nobody() {
        let (release, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let prefetch = Prefetch::new(0..100, 2, move |k| {
            // Blocks until the test ends.
            let _ = wait.lock().map(|w| w.recv());
            Ok(k)
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let start = Instant::now();
        drop(prefetch);
        assert!(start.elapsed() < Duration::from_secs(2), "drop took {:?}", start.elapsed());
        drop(release);
    }
}
