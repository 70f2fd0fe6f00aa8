//! Leaving cleanly: SIGINT, SIGTERM and SIGUSR1 ask the loop to save and stop after the step it is in. Before there is a loop they end the process at once, with
//! the exit code that they have later: every file that matters is written whole or not at all.
//!
//! Waiting for a signal is tokio's work, on a thread of its own; the loop only reads a flag.

use crate::Error;
use crate::exit::Outcome;
use crate::progress::note;
use dist::World;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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

/// Whether signals end the process at once: see [`leave_at_once`].
static LEAVING_AT_ONCE: AtomicBool = AtomicBool::new(false);

impl Signal {
    const ALL: [Signal; 3] = [Signal::Interrupt, Signal::Terminate, Signal::User1];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn kind(self) -> SignalKind {
        match self {
            Signal::Interrupt => SignalKind::interrupt(),
            Signal::Terminate => SignalKind::terminate(),
            Signal::User1 => SignalKind::user_defined1(),
        }
    }

    /// The system's number of it.
    pub(crate) fn number(self) -> i32 {
        self.kind().as_raw_value()
    }

    fn of(code: u8) -> Option<Signal> {
        Signal::ALL.into_iter().find(|s| s.code() == code)
    }
}

/// Calls `heard` for every signal from here on, on a thread of its own. They no longer end the process.
pub(crate) fn listen(heard: impl Fn(Signal) + Send + 'static) -> Result<(), Error> {
    let failed = || Error::io(Path::new("signal handlers"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
    let (mut interrupt, mut terminate, mut user1) = {
        let _inside = runtime.enter();
        let listen = |to: Signal| signal(to.kind()).map_err(failed());
        (listen(Signal::Interrupt)?, listen(Signal::Terminate)?, listen(Signal::User1)?)
    };
    let wait = move || {
        runtime.block_on(async {
            loop {
                heard(tokio::select! {
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = terminate.recv() => Signal::Terminate,
                    _ = user1.recv() => Signal::User1,
                });
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed())?;
    Ok(())
}

/// From here on, until a loop listens ([`Stop::install`]), a signal ends the process.
pub(crate) fn leave_at_once(program: &'static str) -> Result<(), Error> {
    LEAVING_AT_ONCE.store(true, Ordering::SeqCst);
    listen(move |signal| {
        if LEAVING_AT_ONCE.load(Ordering::SeqCst) {
            note(&format!("{program}: stopped before the first step; nothing to save"));
            native::exit_now(signal.outcome().code());
        }
    })
}

/// Whether to stop. In a world of several processes any of them may be asked to, and all stop after the same step: see [`Stop::sum`].
#[derive(Debug, Clone)]
pub struct Stop {
    /// What this process has heard.
    flag: Arc<AtomicU8>,
    /// What all know, in a world of several.
    agreed: Option<Arc<AtomicU8>>,
}

impl Stop {
    /// Starts to listen, once all ranks are here: none leaves before its first step while another is in a loop. From here on the signals no longer end the
    /// process, but a second SIGINT does.
    pub fn install(world: &World) -> Result<Stop, Error> {
        world.barrier()?;
        let flag = Arc::new(AtomicU8::new(0));
        let shared = flag.clone();
        listen(move |signal| {
            let earlier = shared.swap(signal.code(), Ordering::SeqCst);
            if signal == Signal::Interrupt && earlier == signal.code() {
                quit();
            }
            let again = if signal == Signal::Interrupt { " (Ctrl-C again quits at once)" } else { "" };
            note(&format!("stopping after this step with a checkpoint{again}"));
        })?;
        LEAVING_AT_ONCE.store(false, Ordering::SeqCst);
        Ok(Stop { flag, agreed: (world.size() > 1).then(|| Arc::new(AtomicU8::new(0))) })
    }

    /// The request to stop, if there is one: in a world of several, the one that all knew of at the end of the last step. It stays.
    pub fn requested(&self) -> Option<Signal> {
        Signal::of(self.agreed.as_ref().unwrap_or(&self.flag).load(Ordering::SeqCst))
    }

    /// Sums a step's figures over ranks; in the same exchange the ranks tell one another whether they are to stop. All call it at the end of each step.
    pub fn sum<const N: usize>(&self, world: &World, figures: [f64; N]) -> Result<[f64; N], dist::Error> {
        let heard = self.flag.load(Ordering::SeqCst);
        let asked = Signal::ALL.map(|signal| f64::from(u8::from(signal.code() == heard)));
        let mut all: Vec<f64> = figures.into_iter().chain(asked).collect();
        world.sum_all(&mut all)?;
        let wanted = Signal::ALL.into_iter().zip(&all[N..]).find(|(_, ranks)| **ranks > 0.0);
        if let (Some(agreed), Some((signal, _))) = (&self.agreed, wanted) {
            agreed.store(signal.code(), Ordering::SeqCst);
        }
        Ok(std::array::from_fn(|i| all[i]))
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
