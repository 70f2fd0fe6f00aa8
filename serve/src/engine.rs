//! One thread has the model; everybody else sends it requests and is sent tokens.
//!
//! A request waits in a queue of limited length (who finds it full is told so), enters the batch as soon as a slot is free, and leaves it when it ends or
//! when nobody listens any more. What it gets does not depend on the others: see `model::batcher`.

use crate::figures::Figures;
use anyhow::{Context, Result};
use model::batcher::{Batcher, Request};
use model::{Model, ModelError, Sampling};
use program::input;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as sync};
use std::thread::JoinHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// One answer to be written.
pub struct Job {
    /// Its place among the answers of a request.
    pub choice: usize,
    /// With the seed, what its random numbers come from.
    pub row: u64,
    /// Token ids.
    pub prompt: Vec<u32>,
    /// How to continue them.
    pub sampling: Arc<Sampling>,
    /// Where tokens go. When the other end is gone the answer is given up.
    pub events: mpsc::UnboundedSender<Event>,
    /// Set where this answer is no longer wanted though others of the request are.
    pub enough: Arc<AtomicBool>,
    /// Its place in the queue.
    pub _room: OwnedSemaphorePermit,
}

/// What becomes of a job.
#[derive(Debug)]
pub struct Event {
    /// Of which answer.
    pub choice: usize,
    /// What.
    pub what: What,
}

/// What becomes of a job.
#[derive(Debug)]
pub enum What {
    /// A token more. `finished`: it is an end token; `last`: none follows.
    Token {
        /// The token.
        id: u32,
        /// Its log-probability at the temperature (1 when greedy).
        log_prob: f32,
        /// It is an end token.
        finished: bool,
        /// None follows.
        last: bool,
    },
    /// The model failed; the reason is in the server's log.
    Failed,
}

/// The way to the thread.
#[derive(Debug)]
pub struct Engine {
    jobs: sync::Sender<Job>,
    thread: JoinHandle<()>,
    room: Arc<Semaphore>,
    limit: usize,
}

impl Engine {
    /// Starts the thread: `slots` answers at a time, of `context` tokens with what they answer, `queue` more may wait. It is ready when this returns.
    pub fn start(model: Model, slots: usize, context: usize, queue: usize, figures: Arc<Figures>) -> Result<Engine> {
        let (jobs, inbox) = sync::channel();
        let (ready, told) = sync::channel();
        let thread = std::thread::Builder::new().name("model".into()).spawn(move || {
            let mut batcher = match Batcher::new(&model, slots, context) {
                Ok(batcher) => batcher,
                Err(e) => return drop(ready.send(Err(e))),
            };
            drop(ready.send(Ok(())));
            if let Err(e) = work(&mut batcher, &inbox, &figures) {
                eprintln!("serve: error: the model failed, and all answers under way with it: {e}; start the server again");
            }
        })?;
        told.recv().context("the model's thread ended before it was ready")?.map_err(|e| match e {
            ModelError::NoRoom { .. } => input(format!("{e} (--slots, --context)")),
            other => other.into(),
        })?;
        let limit = slots + queue;
        Ok(Engine { jobs, thread, room: Arc::new(Semaphore::new(limit)), limit })
    }

    /// Places for `n` answers; none where too many wait already.
    pub fn room(&self, n: usize) -> Option<Vec<OwnedSemaphorePermit>> {
        (0..n).map(|_| Arc::clone(&self.room).try_acquire_owned().ok()).collect()
    }

    /// Answers that may be under way or wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The thread is there and takes jobs.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Sends a job. False where the thread has ended.
    pub fn send(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }
}

/// Works until nobody can send any more; an error where the model failed.
fn work(batcher: &mut Batcher<'_>, inbox: &sync::Receiver<Job>, figures: &Figures) -> Result<(), ModelError> {
    let mut jobs: HashMap<u64, Job> = HashMap::new();
    loop {
        let first = if batcher.is_idle() {
            match inbox.recv() {
                Ok(job) => Some(job),
                Err(_) => return Ok(()),
            }
        } else {
            None
        };
        for job in first.into_iter().chain(inbox.try_iter()) {
            let request = Request { prompt: job.prompt.clone(), sampling: Arc::clone(&job.sampling), row: job.row };
            match batcher.push(request) {
                Ok(ticket) => drop(jobs.insert(ticket, job)),
                Err(e) => {
                    eprintln!("serve: error: a request that was checked is refused: {e}");
                    let _ = job.events.send(Event { choice: job.choice, what: What::Failed });
                }
            }
        }
        let gone: Vec<u64> =
            jobs.iter().filter(|(_, j)| j.events.is_closed() || j.enough.load(Ordering::Relaxed)).map(|(t, _)| *t).collect();
        for ticket in gone {
            batcher.cancel(ticket);
            let job = jobs.remove(&ticket);
            // Of an answer that a stop string has ended its client may have heard already.
            let given_up = job.is_some_and(|j| j.events.is_closed() && !j.enough.load(Ordering::Relaxed));
            figures.cancelled.inc_by(u64::from(given_up));
        }
        figures.active.set(jobs.len() as i64);
        let chosen = match batcher.step() {
            Ok(chosen) => chosen,
            Err(e) => {
                jobs.into_values().for_each(|job| drop(job.events.send(Event { choice: job.choice, what: What::Failed })));
                return Err(e);
            }
        };
        figures.generated.inc_by(chosen.len() as u64);
        for c in chosen {
            // A complete answer makes room before its client knows: what it asks next finds the place free.
            let job = if c.last { jobs.remove(&c.ticket) } else { None };
            figures.active.set(jobs.len() as i64);
            let to = job.as_ref().or(jobs.get(&c.ticket)).map(|job| (job.events.clone(), job.choice));
            drop(job);
            if let Some((events, choice)) = to {
                let what = What::Token { id: c.id, log_prob: c.log_prob, finished: c.finished, last: c.last };
                let _ = events.send(Event { choice, what }); // a closed end is seen above
            }
        }
    }
}
