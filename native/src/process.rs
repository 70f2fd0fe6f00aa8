//! Parents and children: the system calls that a launcher of processes needs.

use std::io::Write;

/// A signal that is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A request to leave.
    Terminate,
    /// A batch system's warning.
    User1,
    /// The end.
    Kill,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::User1 => libc::SIGUSR1,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// Sends `signal` to the process `pid`, a child that has not been waited for; one that is gone does not mind.
pub fn signal_process(pid: u32, signal: Signal) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    if pid > 1 {
        // SAFETY: takes two integers; no memory is shared.
        unsafe { libc::kill(pid, signal.number()) };
    }
}

/// From here on this process is killed when its parent ends, however that happens. Returns false where the parent `expected` is gone already.
pub fn die_with_parent(expected: u32) -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: takes integers and changes one attribute of this process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
    }
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::getppid() }) as u32 == expected
}

/// Ends the process once standard output is written, without exit handlers: libtorch's take up to a tenth of a second, and would wait for threads that wait for a dead
/// peer.
pub fn exit_now(code: u8) -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process; nothing that Rust relies on runs afterwards.
    unsafe { libc::_exit(libc::c_int::from(code)) }
}
