//! Signs of life: each process counts up a number in the store every second, so that after a failed exchange one can say who is gone.

use native::Store;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

const BEAT: Duration = Duration::from_secs(1);
/// Longer than two beats, and short enough that a job ends within seconds.
const LISTEN: Duration = Duration::from_millis(2500);

fn beat(rank: usize) -> String {
    format!("beat/{rank}")
}

fn last_words(rank: usize) -> String {
    format!("end/{rank}")
}

/// Begins a process's last words where its only reason was that another had failed.
const FOLLOWS: &str = "~";

/// The thread that beats; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Pulse {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    pub(crate) fn start(store: Arc<Store>, rank: usize) -> Pulse {
        let (stop, stopped) = mpsc::channel();
        let key = beat(rank);
        let work = move || {
            for count in 0u64.. {
                // A store that is gone shows in the next exchange; here it only ends the beat.
                if store.set(&key, count.to_string().as_bytes()).is_err() {
                    return;
                }
                if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        Pulse { stop: Some(stop), thread: std::thread::Builder::new().name("pulse".into()).spawn(work).ok() }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Leaves word of how this process ends; `follows` where another one's end is the reason.
pub(crate) fn leave_word(store: &Store, rank: usize, message: &str, follows: bool) {
    let mark = if follows { FOLLOWS } else { "" };
    let _ = store.set(&last_words(rank), format!("{mark}{message}").as_bytes()); // nobody may be left to read it
}

/// Who is at fault, in words: processes that left word, else those whose beat has stopped. `None` where nobody can be named.
pub(crate) fn blame(store: &Store, rank: usize, size: usize) -> Option<String> {
    let soon = Duration::from_millis(50);
    let read = |key: &str| match store.check(key) {
        Ok(true) => store.get(key, soon).map(|v| Some(String::from_utf8_lossy(&v).into_owned())),
        Ok(false) => Ok(None),
        Err(e) => Err(e),
    };
    let others = || (0..size).filter(|&r| r != rank);
    let look = |key: fn(usize) -> String| -> Result<Vec<(usize, Option<String>)>, native::NativeError> {
        others().map(|r| Ok((r, read(&key(r))?))).collect()
    };
    let said = || -> Result<Option<String>, native::NativeError> {
        let words = look(last_words)?;
        let first =
            words.into_iter().find_map(|(r, word)| word.filter(|w| !w.starts_with(FOLLOWS)).map(|w| format!("rank {r} ended: {w}")));
        Ok(first)
    };
    let find = || -> Result<Option<String>, native::NativeError> {
        if let Some(word) = said()? {
            return Ok(Some(word));
        }
        let before = look(beat)?;
        std::thread::sleep(LISTEN);
        if let Some(word) = said()? {
            return Ok(Some(word));
        }
        let (now, words) = (look(beat)?, look(last_words)?);
        let silent: Vec<String> = before
            .iter()
            .zip(&now)
            .zip(&words)
            .filter(|((was, is), word)| was.1 == is.1 && word.1.is_none())
            .map(|((was, _), _)| was.0.to_string())
            .collect();
        Ok((!silent.is_empty())
            .then(|| format!("no sign of life from rank {} (killed, stopped, or its machine is gone)", silent.join(", "))))
    };
    match find() {
        Ok(found) => found,
        Err(_) => Some("the process that serves the rendezvous is gone too (rank 0, or the launcher)".into()),
    }
}
