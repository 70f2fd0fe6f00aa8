//! The lock of a run folder: one writer, on this host or any other that shares the folder, and none once the writer is dead.
//!
//! Two things guard the folder. The kernel's lock on `.lock` ends with its process however that dies, and file systems that carry it between hosts (NFS,
//! Lustre with `flock`) need nothing else. Others keep it to the host (`local_lock`, `localflock`) or have none. So the owner also writes its name into the
//! file and changes the file's time every [`Pace::beat`]. Who finds the name of another host's process watches for [`Pace::patience`]: a beat means that
//! the owner lives; without one the folder is taken over. No two clocks are compared. A writer that ends in peace erases its name, so nobody waits.

use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

const FILE: &str = ".lock";

/// The lock's file in a run folder.
pub fn is_lock(name: &std::ffi::OsStr) -> bool {
    name == FILE
}

/// Why a folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another live process writes it.
    #[error("held by {0}")]
    Held(String),
    /// The operating system refused.
    #[error("the lock file")]
    Io(#[from] io::Error),
}

/// How often an owner shows that it lives, and how long another host waits to see it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two signs of life.
    pub beat: Duration,
    /// Without a sign for so long the owner is dead. File servers' caches may hide a sign for some seconds: several beats.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { beat: Duration::from_secs(5), patience: Duration::from_secs(30) }
    }
}

/// A process that writes a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Process id on its host.
    pub pid: u32,
    /// The host's name.
    pub host: String,
}

impl Owner {
    /// This process.
    fn this() -> Owner {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "this-host".into(), |h| h.trim().to_owned());
        Owner { pid: std::process::id(), host }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Owner, ()> {
        let mut words = text.split_whitespace();
        let (Some("process"), Some(pid), Some("on"), Some(host), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(());
        };
        Ok(Owner { pid: pid.parse().map_err(|_| ())?, host: host.into() })
    }
}

/// A folder's lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    owner: Owner,
    /// Holds the kernel's lock.
    _file: File,
    /// Dropping the sender ends the beating.
    beat: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Lock {
    /// Takes the lock of `dir`, or says who holds it. `waiting` is called with the owner's name where it takes [`Pace::patience`] to see whether it lives.
    pub fn take(dir: &Path, pace: Pace, waiting: impl FnOnce(&str)) -> Result<Lock, LockError> {
        Lock::take_as(Owner::this(), dir, pace, waiting)
    }

    fn take_as(owner: Owner, dir: &Path, pace: Pace, waiting: impl FnOnce(&str)) -> Result<Lock, LockError> {
        let path = dir.join(FILE);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let (before, _) = look(&path)?;
        let held = |by: &str| Err(LockError::Held(if by.is_empty() { "another process".into() } else { by.to_owned() }));
        let by_kernel = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            Err(rustix::io::Errno::WOULDBLOCK) => return held(&before),
            Err(_) => false, // this file system has no locks
        };
        match before.parse::<Owner>() {
            Ok(other) if other.host != owner.host => {
                waiting(&before);
                if lives(&path, pace)? {
                    return held(&before);
                }
            }
            Ok(other) if !by_kernel && other != owner && Path::new("/proc").join(other.pid.to_string()).exists() => return held(&before),
            _ => {}
        }
        write(&mut file, &format!("{owner}\n"))?;
        let (end, ended) = mpsc::channel::<()>();
        let (beating, name) = (path.clone(), owner.to_string());
        let beat = std::thread::Builder::new().name("lock".into()).spawn(move || {
            while ended.recv_timeout(pace.beat) == Err(RecvTimeoutError::Timeout) {
                // A missed beat is made up by the next one; a name that is no longer ours is the new owner's to keep alive.
                if let Ok((now, _)) = look(&beating)
                    && now == name
                    && let Ok(file) = File::options().write(true).open(&beating)
                {
                    let _ = file.set_modified(SystemTime::now());
                }
            }
        })?;
        Ok(Lock { path, owner, _file: file, beat: Some((end, beat)) })
    }

    /// Errors where another has taken the folder over: after a pause longer than [`Pace::patience`], on a file system whose locks stay on their host.
    pub fn check(&self) -> Result<(), LockError> {
        let (now, _) = look(&self.path)?;
        if now == self.owner.to_string() { Ok(()) } else { Err(LockError::Held(now)) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((end, beat)) = self.beat.take() {
            drop(end);
            let _ = beat.join(); // it never panics
        }
        if self.check().is_ok()
            && let Ok(mut file) = File::options().write(true).open(&self.path)
        {
            let _ = write(&mut file, ""); // what is left behind makes another host wait, no more
        }
    }
}

/// Who writes the folder `dir` now, as far as can be seen without waiting: a kernel lock, or another host's name with a sign of life within
/// [`Pace::patience`] by this host's clock.
pub fn owner(dir: &Path) -> io::Result<Option<String>> {
    let path = dir.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let (name, changed) = look(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK) {
        return Ok(Some(name));
    }
    let elsewhere = name.parse::<Owner>().is_ok_and(|o| o.host != Owner::this().host);
    let recent = changed.elapsed().is_ok_and(|age| age < Pace::default().patience);
    Ok((elsewhere && recent).then_some(name))
}

/// Whether the file changes within the patience. It is opened anew each time: that is when a network file system asks its server.
fn lives(path: &Path, pace: Pace) -> io::Result<bool> {
    let first = look(path)?;
    let looks = 1 + (pace.patience.as_millis() / pace.beat.as_millis().max(1)) as u32;
    for _ in 0..looks {
        std::thread::sleep(pace.patience / looks);
        if look(path)? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name in the file, and when the file changed last.
fn look(path: &Path) -> io::Result<(String, SystemTime)> {
    let mut file = File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text.trim().to_owned(), file.metadata()?.modified()?))
}

fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { beat: Duration::from_millis(20), patience: Duration::from_millis(400) };

    fn elsewhere() -> Owner {
        Owner { pid: 1, host: "elsewhere".into() }
    }

    #[test]
    fn one_holds_it_until_the_end_and_leaves_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path(), PACE, |_| ()).unwrap();
        let name = Owner::this().to_string();
        assert_eq!(owner(dir.path()).unwrap().as_ref(), Some(&name));
        assert!(matches!(Lock::take(dir.path(), PACE, |_| ()), Err(LockError::Held(by)) if by == name));
        lock.check().unwrap();
        drop(lock);
        assert_eq!((owner(dir.path()).unwrap(), look(&dir.path().join(FILE)).unwrap().0), (None, String::new()));
        Lock::take(dir.path(), PACE, |_| panic!("nobody to wait for")).unwrap();
    }

    /// The kernel's lock stays on its host: what is left is the name and its beat.
    #[test]
    fn another_hosts_owner_keeps_it_as_long_as_it_beats() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = Lock::take_as(elsewhere(), dir.path(), PACE, |_| ()).unwrap();
        flock(&theirs._file, FlockOperation::Unlock).unwrap();
        let mut waited = false;
        assert!(matches!(Lock::take(dir.path(), PACE, |_| waited = true), Err(LockError::Held(by)) if by == "process 1 on elsewhere"));
        assert!(waited);
        assert_eq!(owner(dir.path()).unwrap().as_deref(), Some("process 1 on elsewhere"));
    }

    #[test]
    fn a_dead_one_does_not_and_learns_of_it_should_it_wake() {
        let dir = tempfile::tempdir().unwrap();
        let asleep = Pace { beat: Duration::from_secs(3600), ..PACE };
        let theirs = Lock::take_as(elsewhere(), dir.path(), asleep, |_| ()).unwrap();
        flock(&theirs._file, FlockOperation::Unlock).unwrap();
        let mine = Lock::take(dir.path(), PACE, |_| ()).unwrap();
        assert!(matches!(theirs.check(), Err(LockError::Held(by)) if by == Owner::this().to_string()));
        drop(theirs); // erases nothing
        mine.check().unwrap();
    }

    #[test]
    fn a_dead_one_of_this_host_makes_nobody_wait() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), format!("process 4000000 on {}\n", Owner::this().host)).unwrap();
        assert_eq!(owner(dir.path()).unwrap(), None);
        Lock::take(dir.path(), PACE, |_| panic!("the kernel knows")).unwrap();
        fs::write(dir.path().join(FILE), "torn").unwrap();
        Lock::take(dir.path(), PACE, |_| panic!("no name")).unwrap();
    }
}
