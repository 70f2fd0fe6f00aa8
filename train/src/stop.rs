//! Leaving cleanly: SIGINT, SIGTERM and SIGUSR1 ask the loop to save and stop after the step it is in.
//!
//! Waiting for a signal is tokio's work, on a thread of its own; the loop only reads a flag.

use crate::Error;
use crate::exit::Outcome;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// A request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C. A second one ends the process at once.
    Interrupt,
    /// Somebody, or a batch system at the job's end, asks us to leave.
    Terminate,
    /// A batch system's warning that time is nearly up (`--signal=USR1@60`).
    User1,
}

impl Signal {
    /// How a run that heeded it ends.
    pub fn outcome(self) -> Outcome {
        match self {
            Signal::Interrupt => Outcome::Interrupted,
            Signal::Terminate | Signal::User1 => Outcome::Requeue,
        }
    }
}

/// The flag.
#[derive(Debug, Clone)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Starts to listen. From here on the signals no longer kill the process, but a second SIGINT does.
    pub fn install() -> Result<Stop, Error> {
        let failed = || Error::io(Path::new("signal handlers"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let flag = Arc::new(AtomicU8::new(0));
        let (mut interrupt, mut terminate, mut user1) = {
            let _inside = runtime.enter();
            let listen = |kind| signal(kind).map_err(failed());
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::user_defined1())?)
        };
        let shared = flag.clone();
        let wait = move || {
            runtime.block_on(async {
                loop {
                    let code = tokio::select! {
                        _ = interrupt.recv() => 1,
                        _ = terminate.recv() => 2,
                        _ = user1.recv() => 3,
                    };
                    let earlier = shared.swap(code, Ordering::SeqCst);
                    if code == 1 && earlier == 1 {
                        quit();
                    }
                    let again = if code == 1 { " (Ctrl-C again quits at once)" } else { "" };
                    eprintln!("stopping after this step with a checkpoint{again}");
                }
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed())?;
        Ok(Stop(flag))
    }

    /// The request to stop, if there is one. It stays.
    pub fn requested(&self) -> Option<Signal> {
        match self.0.load(Ordering::SeqCst) {
            1 => Some(Signal::Interrupt),
            2 => Some(Signal::Terminate),
            3 => Some(Signal::User1),
            _ => None,
        }
    }

    /// How the run ends: as the signal says, or done.
    pub fn outcome(&self) -> Outcome {
        self.requested().map_or(Outcome::Done, Signal::outcome)
    }
}

/// Ends the process. Exit handlers of libraries may wait for threads that are busy computing, so a watchdog follows.
fn quit() -> ! {
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(2));
        std::process::abort();
    });
    std::process::exit(130)
}
