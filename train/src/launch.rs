//! `--nproc N`: starts N processes of this program on this machine, which find one another as under any launcher, and lets them die as one.

use crate::progress::note;
use crate::stop::{self, Signal};
use anyhow::{Context, Result};
use native::{Store, signal_process};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Tells a child its parent, with whom it ends.
pub const PARENT: &str = "DIST_PARENT";
/// How often one looks whether a child has ended.
const LOOK: Duration = Duration::from_millis(20);
/// After the first failure the others find out by themselves, and say so; then they are killed.
const GRACE: Duration = Duration::from_secs(10);

/// In a child: ends with the parent that started it.
pub fn follow_parent() {
    let parent = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
    if parent.is_some_and(|pid| !native::die_with_parent(pid)) {
        native::exit_now(1);
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Code(u8),
    Signal(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> End {
        match status.code() {
            Some(code) => End::Code(code as u8),
            None => End::Signal(status.signal().unwrap_or(0)),
        }
    }
}

impl End {
    /// Done, or stopped as asked.
    fn is_well(self) -> bool {
        matches!(self, End::Code(0 | 75 | 130))
    }

    /// A signal that was handed on may end a child before it listens: then as if it had been heard.
    fn as_asked(self, handed_on: &[Signal]) -> End {
        let asked = handed_on.iter().find(|signal| self == End::Signal(signal.number()));
        asked.map_or(self, |signal| End::Code(signal.outcome().code()))
    }
}

/// Runs `n` processes to their end and returns the exit code of all: that of the first that failed.
pub fn local(program: &str, n: usize) -> Result<u8> {
    let (hear, heard) = mpsc::channel();
    stop::listen(move |signal| _ = hear.send(signal))?;
    // The rendezvous is served here, on a port that the system picks: no two runs can meet, and it outlives rank 0.
    native::quiet_logging();
    let store = Store::open("127.0.0.1", 0, true, Duration::from_secs(30), "launcher").context("serving the rendezvous")?;
    let binary = std::env::current_exe().context("this program's own path")?;
    let mut children: Vec<Option<Child>> = Vec::with_capacity(n);
    let mut ends: Vec<(usize, End)> = Vec::with_capacity(n);
    for rank in 0..n {
        let mut command = Command::new(&binary);
        command.args(std::env::args_os().skip(1)).stdin(Stdio::null());
        for (name, value) in [("RANK", rank), ("WORLD_SIZE", n), ("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", n)] {
            command.env(name, value.to_string());
        }
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", store.port().to_string());
        command.env("TORCHELASTIC_USE_AGENT_STORE", "True").env("TORCHELASTIC_RESTART_COUNT", "0");
        // A group of its own: Ctrl-C of a terminal comes here and is handed on, once.
        command.env(PARENT, std::process::id().to_string()).process_group(0);
        match command.spawn() {
            Ok(child) => children.push(Some(child)),
            Err(error) => {
                children.iter().flatten().for_each(|child| signal_process(child.id(), native::Signal::Kill));
                return Err(error).with_context(|| format!("starting rank {rank} of {n}"));
            }
        }
    }
    let mut failed: Option<Instant> = None;
    let mut handed_on = Vec::new();
    while ends.len() < n {
        match heard.recv_timeout(LOOK) {
            Ok(signal) => {
                children.iter().flatten().for_each(|child| signal_process(child.id(), onward(signal)));
                handed_on.push(signal);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        for (rank, slot) in children.iter_mut().enumerate() {
            let Some(status) = slot.as_mut().map(Child::try_wait).transpose()?.flatten() else { continue };
            *slot = None;
            let end = End::from(status);
            ends.push((rank, end));
            if !end.as_asked(&handed_on).is_well() {
                failed.get_or_insert_with(Instant::now);
            }
        }
        if failed.is_some_and(|since| since.elapsed() > GRACE) {
            children.iter().flatten().for_each(|child| signal_process(child.id(), native::Signal::Kill));
        }
    }
    ends.iter_mut().for_each(|(_, end)| *end = end.as_asked(&handed_on));
    let (code, said) = verdict(&ends);
    if let Some(said) = said {
        note(&format!("{program}: {said}"));
    }
    Ok(code)
}

fn onward(signal: Signal) -> native::Signal {
    match signal {
        Signal::Interrupt => native::Signal::Interrupt,
        Signal::Terminate => native::Signal::Terminate,
        Signal::User1 => native::Signal::User1,
    }
}

/// The exit code of all, and whose fault it is, given how each ended, in that order. A process that was killed, or that says the input is wrong, comes
/// before those that only lost it.
fn verdict(ends: &[(usize, End)]) -> (u8, Option<String>) {
    let of = ends.len();
    let cause = |end: &End| matches!(end, End::Signal(_) | End::Code(2));
    let bad = || ends.iter().filter(|(_, end)| !end.is_well());
    let Some((rank, end)) = bad().find(|(_, end)| cause(end)).or_else(|| bad().next()) else {
        return (ends.iter().map(|(_, end)| if let End::Code(code) = end { *code } else { 1 }).max().unwrap_or(0), None);
    };
    match end {
        End::Code(code) => (*code, Some(format!("rank {rank} of {of} ended with exit code {code}, and all the others with it"))),
        End::Signal(signal) => (1, Some(format!("rank {rank} of {of} was killed by signal {signal}, and all the others ended with it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_named_and_a_cause_before_its_consequences() {
        use End::{Code, Signal};
        assert_eq!(verdict(&[(1, Code(0)), (0, Code(0))]), (0, None));
        assert_eq!(verdict(&[(1, Code(75)), (0, Code(75))]), (75, None));
        let said = |ends: &[(usize, End)]| verdict(ends);
        assert_eq!(said(&[(1, Code(1)), (0, Code(2))]).0, 2);
        let (code, text) = said(&[(1, Code(1)), (2, Signal(9)), (0, Code(1))]);
        assert_eq!((code, text.as_deref()), (1, Some("rank 2 of 3 was killed by signal 9, and all the others ended with it")));
        assert_eq!(
            said(&[(2, Code(1)), (0, Code(101)), (1, Code(1))]).1.unwrap(),
            "rank 2 of 3 ended with exit code 1, and all the others with it"
        );
    }

    #[test]
    fn a_signal_that_was_handed_on_is_nobodys_fault() {
        let [interrupt, terminate] = [Signal::Interrupt, Signal::Terminate].map(|signal| End::Signal(signal.number()));
        let handed_on = [Signal::User1, Signal::Terminate];
        assert_eq!(terminate.as_asked(&handed_on), End::Code(75));
        assert_eq!(interrupt.as_asked(&[Signal::Interrupt]), End::Code(130));
        assert_eq!((interrupt.as_asked(&handed_on), terminate.as_asked(&[])), (interrupt, terminate));
        assert_eq!(End::Code(1).as_asked(&handed_on), End::Code(1));
        assert_eq!(verdict(&[(0, End::Code(75)), (1, terminate.as_asked(&handed_on))]), (75, None));
    }
}
