//! Signs of life: each process counts up a number in the store every second, and watches that of its neighbour. So a machine that is gone ends all within
//! half a minute, where an exchange would wait for it much longer; and after a failed exchange one can say who is missing.

use native::Store;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_secs(1);
/// Longer than two beats, and short enough that a job ends within seconds.
const LISTEN: Duration = Duration::from_millis(2500);
/// Names a process that its neighbour has missed for too long.
const LOST: &str = "lost";

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

/// Whom a process watches, and how long it is patient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    pub rank: usize,
    pub size: usize,
    /// A neighbour, or the store itself, may be silent for so long.
    pub silence: Duration,
}

impl Pulse {
    pub(crate) fn start(store: Arc<Store>, watch: Watch) -> Pulse {
        let (stop, stopped) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(work).ok();
        // A question to a machine that is gone is never answered, so somebody else looks at the clock.
        spawn("watch", Box::new(move || listen(&told, watch)));
        Pulse { stop: Some(stop), thread: spawn("pulse", Box::new(move || beats(&store, watch, &stopped, &tell))) }
    }
}

/// The neighbour's beat, and who is said to be lost, as they stand in the store.
type Looked = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Beats until told to stop; tells the watching thread after every beat that the store lives, and who is lost.
fn beats(store: &Store, watch: Watch, stopped: &Receiver<()>, tell: &Sender<Option<String>>) {
    let (key, neighbour) = (beat(watch.rank), (watch.rank + 1) % watch.size);
    // Missed beats are counted by this process's own: where both are starved, or have been stopped, neither takes the other for dead.
    let (mut last, mut missed, mut before) = (None, 0, Instant::now());
    for count in 0u64.. {
        if before.elapsed() > 5 * BEAT {
            missed = 0;
        }
        before = Instant::now();
        let look = || -> Result<Looked, native::NativeError> {
            store.set(&key, count.to_string().as_bytes())?;
            let read = |key: &str| if store.check(key)? { store.get(key, BEAT).map(Some) } else { Ok(None) };
            Ok((read(&beat(neighbour))?, read(LOST)?))
        };
        // A store that is gone shows in the next exchange; here it only ends the beat.
        let Ok((now, lost)) = look() else { return };
        missed = if now == last { missed + 1 } else { 0 };
        last = now;
        let missing = (missed > watch.silence.as_secs()).then(|| {
            let seconds = watch.silence.as_secs();
            format!("no sign of life from rank {neighbour} for {seconds} s (killed, stopped, or its machine is gone)")
        });
        if let (Some(word), None) = (&missing, &lost) {
            let _ = store.set(LOST, word.as_bytes()); // the others read it with their next beat
        }
        let lost = lost.map(|word| String::from_utf8_lossy(&word).into_owned()).or(missing);
        if tell.send(lost).is_err() || stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Ends the process when somebody is lost: whatever exchange it waits in would wait in vain, and there is no way to call it off.
fn listen(told: &Receiver<Option<String>>, watch: Watch) {
    let patience = watch.silence.as_secs() + 2;
    let mut missed = 0;
    loop {
        let lost = match told.recv_timeout(BEAT) {
            Ok(None) => {
                missed = 0;
                continue;
            }
            Ok(Some(lost)) => lost,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if missed < patience => {
                missed += 1;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                format!("no answer from the rendezvous for {patience} s (rank 0 or the launcher, its machine, or the way to it)")
            }
        };
        eprintln!("rank {} of {}: error: {lost}; start again with --resume", watch.rank, watch.size);
        native::exit_now(1);
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
