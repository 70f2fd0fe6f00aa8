//! The group of processes that trains one model.

use crate::pulse::{self, Pulse, Watch};
use crate::{Error, Place, meet};
use native::{Group, Joining, NativeError, Reduction, Store};
use std::cell::Cell;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tch::{Device, Kind, Tensor};

/// Longest wait of an exchange for the other processes, in seconds (`DIST_TIMEOUT_S`).
const TIMEOUT_S: u64 = 120;
/// Longest wait for all processes to come (`DIST_JOIN_TIMEOUT_S`): those of a cluster do not start at once.
const JOIN_TIMEOUT_S: u64 = 300;
/// Longest time without a sign of life from a process (`DIST_SILENCE_S`); then all end.
const SILENCE_S: u64 = 30;

/// How long a process waits for others.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In an exchange.
    pub exchange: Duration,
    /// Until all have come.
    pub arrival: Duration,
    /// For a sign of life, which every process gives once a second whatever it does; then the process ends.
    pub silence: Duration,
}

/// The group of processes that trains one model. In a world of one every sum is what it was, and nothing waits.
#[derive(Debug)]
pub struct World {
    place: Option<Place>,
    links: Option<Links>,
    /// Waits for rank 0 so far: each has a key of its own in the store.
    waits: Cell<u64>,
    /// An exchange has failed: every further one would, too.
    broken: Cell<bool>,
}

/// What connects the processes; dropped in this order.
#[derive(Debug)]
struct Links {
    _pulse: Pulse,
    group: Group,
    store: Arc<Store>,
    timeout: Duration,
}

impl World {
    /// This process alone.
    pub fn single() -> World {
        World { place: None, links: None, waits: Cell::new(0), broken: Cell::new(false) }
    }

    /// The world that the launcher announced ([`Place`]), or this process alone. Returns when all processes have come. `cuda`: tensors
    /// on GPUs are exchanged, which needs a build with NCCL.
    pub fn from_env(cuda: bool) -> Result<World, Error> {
        let var = |name: &str| std::env::var(name).ok();
        let seconds = |name: &'static str, default: u64| match var(name) {
            None => Ok(Duration::from_secs(default)),
            Some(value) => match value.trim().parse() {
                Ok(s) if s > 0 => Ok(Duration::from_secs(s)),
                _ => Err(Error::Variable { variable: name, value, wanted: "must be a number of seconds".into() }),
            },
        };
        let patience = Patience {
            exchange: seconds("DIST_TIMEOUT_S", TIMEOUT_S)?,
            arrival: seconds("DIST_JOIN_TIMEOUT_S", JOIN_TIMEOUT_S)?,
            silence: seconds("DIST_SILENCE_S", SILENCE_S)?,
        };
        match Place::from_vars(&var)? {
            Some(place) => World::join(place, patience, cuda),
            None => Ok(World::single()),
        }
    }

    /// Takes a place in a world of several.
    pub fn join(place: Place, patience: Patience, cuda: bool) -> Result<World, Error> {
        native::quiet_logging();
        let failed = |reason: String| Error::Meeting {
            rank: place.rank,
            size: place.size,
            address: format!("{}:{}", place.host, place.port),
            reason,
        };
        let serve = place.serves && place.rank == 0;
        let store = Store::open(&place.host, place.port, serve, patience.arrival, &format!("rlhf/{}", place.attempt));
        let store = Arc::new(store.map_err(|e| failed(e.to_string()))?);
        let (address, is_interface) = meet::address(&store, &place, patience.arrival)?;
        let how = Joining {
            rank: place.rank,
            size: place.size,
            timeout: patience.exchange,
            address: &address,
            is_interface,
            cuda: cuda && native::HAS_NCCL,
        };
        let group = Group::join(&store, &how)
            .map_err(|e| failed(format!("{e} (own address {address}; GLOO_SOCKET_IFNAME names another interface)")))?;
        let pulse = Pulse::start(store.clone(), Watch { rank: place.rank, size: place.size, silence: patience.silence });
        let links = Links { _pulse: pulse, group, store, timeout: patience.exchange };
        Ok(World { place: Some(place), links: Some(links), waits: Cell::new(0), broken: Cell::new(false) })
    }

    /// This process's number, 0 to `size() - 1`.
    pub fn rank(&self) -> usize {
        self.place.as_ref().map_or(0, |p| p.rank)
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.place.as_ref().map_or(1, |p| p.size)
    }

    /// This process's number on its machine: which GPU is its own.
    pub fn local_rank(&self) -> usize {
        self.place.as_ref().map_or(0, |p| p.local_rank)
    }

    /// Cores for this process: as many as its launcher gave to each, or its share of those that the processes of this machine have in sight. More threads than
    /// cores would wait for one another in busy loops.
    pub fn cores(&self) -> usize {
        let in_sight = std::thread::available_parallelism().map_or(1, |n| n.get());
        self.place.as_ref().map_or(in_sight, |p| p.share(in_sight))
    }

    /// Whether this process writes files and speaks to the user.
    pub fn is_main(&self) -> bool {
        self.rank() == 0
    }

    /// An exchange has failed: the group's threads may still wait for the dead, so the process should end without ceremony.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The pieces that are this process's: piece i is rank i mod size's. Each comes with its number and with whether it is this process's last. All ranks
    /// together have every piece once.
    pub fn share<T>(&self, pieces: impl IntoIterator<Item = T>) -> impl Iterator<Item = (usize, T, bool)> {
        let mut mine = pieces.into_iter().enumerate().skip(self.rank()).step_by(self.size()).peekable();
        std::iter::from_fn(move || {
            let (i, piece) = mine.next()?;
            Some((i, piece, mine.peek().is_none()))
        })
    }

    /// Of `n` pieces this process has one less than others.
    pub fn lacks_one_of(&self, n: usize) -> bool {
        !n.is_multiple_of(self.size()) && self.rank() >= n % self.size()
    }

    /// Replaces every tensor by its sum over ranks, in place, one exchange for each type. All ranks pass equal shapes in equal order.
    pub fn all_reduce_sum(&self, tensors: &[Tensor]) -> Result<(), Error> {
        let Some(links) = &self.links else { return Ok(()) };
        let mut kinds: Vec<Kind> = Vec::new();
        tensors.iter().map(Tensor::kind).for_each(|kind| {
            if !kinds.contains(&kind) {
                kinds.push(kind)
            }
        });
        for kind in kinds {
            let same: Vec<Tensor> = tensors.iter().filter(|t| t.kind() == kind).map(Tensor::shallow_clone).collect();
            links.group.all_reduce(&same, Reduction::Sum).map_err(|e| self.failed("a sum over ranks", e))?;
        }
        Ok(())
    }

    /// The sum of each number over ranks; for counts and losses, several in one exchange because a small one costs as much as a large one.
    pub fn sum<const N: usize>(&self, values: [f64; N]) -> Result<[f64; N], Error> {
        let mut values = values;
        self.sum_all(&mut values)?;
        Ok(values)
    }

    /// Replaces each number by its sum over ranks.
    pub fn sum_all(&self, values: &mut [f64]) -> Result<(), Error> {
        let Some(links) = &self.links else { return Ok(()) };
        let all = [Tensor::from_slice(values)];
        links.group.all_reduce(&all, Reduction::Sum).map_err(|e| self.failed("a sum over ranks", e))?;
        Ok(all[0].f_copy_data(values, values.len())?)
    }

    /// Replaces every tensor by that of rank `root`, in place.
    pub fn broadcast(&self, tensors: &[Tensor], root: usize) -> Result<(), Error> {
        if root >= self.size() {
            return Err(Error::NoSuchRank { rank: root, size: self.size() });
        }
        let Some(links) = &self.links else { return Ok(()) };
        tch::no_grad(|| links.group.broadcast(tensors, root)).map_err(|e| self.failed("a broadcast", e))
    }

    /// The bytes of every rank, in the order of ranks; for texts and token ids, not for weights.
    pub fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        if self.links.is_none() {
            return Ok(vec![mine.to_vec()]);
        }
        let gather = |tensor: Tensor| -> Result<Tensor, Error> {
            let out = Tensor::f_zeros([tensor.size()[0] * self.size() as i64], (tensor.kind(), Device::Cpu))?;
            self.all_gather(&out, &tensor)?;
            Ok(out)
        };
        let lengths = Vec::<i64>::try_from(gather(Tensor::from_slice(&[mine.len() as i64]))?)?;
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        if longest == 0 {
            return Ok(vec![vec![]; self.size()]);
        }
        let mut padded = mine.to_vec();
        padded.resize(longest, 0);
        let all = Vec::<u8>::try_from(gather(Tensor::from_slice(&padded))?)?;
        Ok(all.chunks(longest).zip(&lengths).map(|(bytes, &n)| bytes[..n as usize].to_vec()).collect())
    }

    /// Every rank's `tensor` `[N]` in `out` `[size · N]`, in the order of ranks.
    pub(crate) fn all_gather(&self, out: &Tensor, tensor: &Tensor) -> Result<(), Error> {
        let Some(links) = &self.links else { return Ok(()) };
        links.group.all_gather(out, tensor).map_err(|e| self.failed("a gathering", e))
    }

    /// Waits until all ranks are here.
    pub fn barrier(&self) -> Result<(), Error> {
        let Some(links) = &self.links else { return Ok(()) };
        links.group.barrier().map_err(|e| self.failed("a barrier", e))
    }

    /// Rank 0 works alone while the others wait, however long it takes, as long as it lives: for what only one may do, such as writing a checkpoint.
    pub fn on_main<E: From<Error>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.is_main() { self.report(work()) } else { Ok(self.wait_for_main()?) }
    }

    /// All but rank 0 do what its work needs of them, while it is at [`World::on_main`].
    pub fn beside_main<E: std::fmt::Display>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<(), Error> {
        if self.is_main() { Ok(()) } else { work().map_err(|e| self.failed("helping rank 0", e)) }
    }

    /// Rank 0 works first, and once it has succeeded the others do the same: for what leaves something behind that the others read, such as a cache.
    pub fn main_first<T, E: From<Error>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if self.is_main() {
            return self.report(work());
        }
        self.wait_for_main()?;
        work()
    }

    /// Tells the others how rank 0's work has ended.
    fn report<T, E: From<Error>>(&self, done: Result<T, E>) -> Result<T, E> {
        let key = self.next_wait();
        if let Some(links) = &self.links {
            let word: &[u8] = if done.is_ok() { b"done" } else { b"failed" };
            let told = links.store.set(&key, word).map_err(|e| self.failed("telling the others", e));
            if done.is_ok() {
                told?;
            }
        }
        done
    }

    fn next_wait(&self) -> String {
        self.waits.set(self.waits.get() + 1);
        format!("wait/{}", self.waits.get())
    }

    /// Asks the store again and again: as long as it answers, rank 0 lives and is at work.
    fn wait_for_main(&self) -> Result<(), Error> {
        let key = self.next_wait();
        let Some(links) = &self.links else { return Ok(()) };
        let (store, (tell, told)) = (links.store.clone(), mpsc::channel());
        // On a thread of its own: a question to a machine that is gone is never answered.
        std::thread::spawn(move || {
            let mut pause = Duration::from_millis(1);
            loop {
                let answer = match store.check(&key) {
                    Ok(true) => store.get(&key, Duration::from_secs(1)).map(Some),
                    Ok(false) => Ok(None),
                    Err(e) => Err(e),
                };
                let last = !matches!(answer, Ok(None));
                if tell.send(answer).is_err() || last {
                    return;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        });
        loop {
            match told.recv_timeout(links.timeout) {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(word))) if word == b"done" => return Ok(()),
                Ok(Ok(Some(_))) => return Err(Error::MainFailed),
                Ok(Err(e)) => return Err(self.failed("waiting for rank 0", e)),
                Err(_) => {
                    let reason = format!("no answer from the rendezvous for {} s", links.timeout.as_secs());
                    return Err(self.failed("waiting for rank 0", NativeError::Torch(reason)));
                }
            }
        }
    }

    /// An exchange has failed: finds out who is gone.
    pub(crate) fn failed(&self, what: &'static str, source: impl std::fmt::Display) -> Error {
        let first = !self.broken.replace(true);
        let blamed = self.links.as_ref().filter(|_| first).and_then(|l| pulse::blame(&l.store, self.rank(), self.size()));
        let source = source.to_string();
        let source = source.lines().next().unwrap_or_default();
        let source = source.split(" This is typically caused by").next().unwrap_or_default(); // Gloo's advice of a remote worker's logs
        let cause = blamed.map_or_else(|| source.to_owned(), |who| format!("{who}; {source}"));
        Error::Exchange { rank: self.rank(), size: self.size(), what, cause }
    }

    /// Leaves word of how this process ends, for the others to tell.
    /// `follows`: only because another one has ended.
    pub fn last_words(&self, message: &str, follows: bool) {
        if let Some(links) = &self.links {
            pulse::leave_word(&links.store, self.rank(), message, follows || self.is_broken());
        }
    }

    pub(crate) fn group(&self) -> Option<&Group> {
        self.links.as_ref().map(|l| &l.group)
    }
}
