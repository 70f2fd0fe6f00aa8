//! Continuous batching: a fixed number of sequences grow by a token at a time; whenever one ends, a waiting prompt takes its place.
//!
//! What a request gets depends on its prompt, its sampling and its row number, not on what else is written meanwhile. A prompt that several requests share
//! goes through the network once, as long as one of them is still being written.

use crate::engine::Engine;
use crate::error::ModelError;
use crate::generate::{Sampling, check};
use crate::model::Model;
use crate::sample::{self, Filter};
use native::RUN;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tch::no_grad;

/// A prompt to continue.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids.
    pub prompt: Vec<u32>,
    /// How; `first_row` and `batch` are not looked at.
    pub sampling: Arc<Sampling>,
    /// With the seed, what its random numbers come from.
    pub row: u64,
}

/// A token of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// Whose: what [`Batcher::push`] gave.
    pub ticket: u64,
    /// The token.
    pub id: u32,
    /// Its log-probability: see `Generation::log_probs`.
    pub log_prob: f32,
    /// It is a stop token, and the answer's last.
    pub finished: bool,
    /// It is the answer's last.
    pub last: bool,
}

/// A request, its prompt shared with others that have the same.
#[derive(Debug)]
struct Task {
    ticket: u64,
    prompt: Rc<[u32]>,
    sampling: Arc<Sampling>,
    row: u64,
}

/// One that is being written, in the slot of its index.
#[derive(Debug)]
struct Live {
    task: Task,
    /// Tokens written.
    written: usize,
    /// The newest of them, which is fed next.
    token: u32,
    /// Logits of the first token, while others wait with the same prompt.
    first: Option<Rc<[f32]>>,
}

impl Live {
    /// Tokens in the cache.
    fn places(&self) -> usize {
        self.task.prompt.len() + self.written.saturating_sub(1)
    }
}

/// A model, its cache and its requests. The weights are as they were when it was made.
#[derive(Debug)]
pub struct Batcher<'a> {
    model: &'a Model,
    engine: Engine<'a>,
    slots: usize,
    columns: usize,
    waiting: VecDeque<Task>,
    live: Vec<Live>,
    tickets: u64,
    /// Logits, then weights, of the rows that choose.
    numbers: Vec<f32>,
    /// Sums of the weights.
    runs: Vec<f32>,
    scratch: Vec<u32>,
}

impl<'a> Batcher<'a> {
    /// At most `slots` sequences at a time, each of at most `columns` tokens with its prompt.
    pub fn new(model: &'a Model, slots: usize, columns: usize) -> Result<Batcher<'a>, ModelError> {
        let engine = Engine::new(model, slots, columns)?;
        let (waiting, live) = (VecDeque::new(), Vec::with_capacity(slots));
        Ok(Batcher { model, engine, slots, columns, waiting, live, tickets: 0, numbers: vec![], runs: vec![], scratch: vec![] })
    }

    /// Queues a request; tickets count up from 0.
    pub fn push(&mut self, request: Request) -> Result<u64, ModelError> {
        let Request { prompt, sampling, row } = request;
        check(self.model, &prompt, &sampling, self.tickets as usize)?;
        let length = prompt.len() + sampling.max_new;
        if length > self.columns || sampling.max_new == 0 {
            let reason = format!("prompt and answer have {length} tokens: 1 to {} new ones fit", self.columns.saturating_sub(prompt.len()));
            return Err(ModelError::Input(reason));
        }
        // Requests that share a prompt come one after another, or while the first is written.
        let near = self.waiting.back().into_iter().chain(self.live.iter().map(|l| &l.task));
        let prompt = near.map(|t| &t.prompt).find(|p| ***p == *prompt).map_or_else(|| Rc::from(prompt), Rc::clone);
        let ticket = self.tickets;
        self.tickets += 1;
        self.waiting.push_back(Task { ticket, prompt, sampling, row });
        Ok(ticket)
    }

    /// Forgets a request, written or waiting; nothing where there is none of that ticket.
    pub fn cancel(&mut self, ticket: u64) {
        self.waiting.retain(|t| t.ticket != ticket);
        if let Some(slot) = self.live.iter().position(|l| l.task.ticket == ticket) {
            self.leave(slot);
        }
    }

    /// Nothing is waiting or being written.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.live.is_empty()
    }

    /// Lets waiting prompts in as far as there is room, and writes one more token of every answer.
    pub fn step(&mut self) -> Result<Vec<Chosen>, ModelError> {
        let mut chosen = Vec::new();
        while self.live.len() < self.slots && !self.waiting.is_empty() {
            let before = self.live.len();
            no_grad(|| self.admit())?;
            self.choose(before, &mut chosen);
        }
        if !self.live.is_empty() {
            let ids: Vec<i64> = self.live.iter().map(|l| i64::from(l.token)).collect();
            let places: Vec<i64> = self.live.iter().map(|l| l.places() as i64).collect();
            no_grad(|| self.engine.step(&ids, &places, &mut self.numbers))?;
            self.choose(0, &mut chosen);
        }
        Ok(chosen)
    }

    /// Fills the free slots. Leaves the new rows' logits in `numbers`.
    fn admit(&mut self) -> Result<(), ModelError> {
        let before = self.live.len();
        let count = (self.slots - before).min(self.waiting.len());
        // Where each new row's prompt stands already: slot of the row that has it or will have it.
        let mut sources = Vec::with_capacity(count);
        for task in self.waiting.drain(..count) {
            let same = |(slot, l): &(usize, &Live)| Rc::ptr_eq(&l.task.prompt, &task.prompt) && (*slot >= before || l.first.is_some());
            sources.push(self.live.iter().enumerate().find(same).map(|(slot, _)| slot));
            self.live.push(Live { task, written: 0, token: 0, first: None });
        }
        let fresh: Vec<(usize, &[u32])> = (before..)
            .zip(&sources)
            .filter(|(_, source)| source.is_none())
            .map(|(slot, _)| (slot, &*self.live[slot].task.prompt))
            .collect();
        let mut logits = Vec::new();
        self.engine.begin(&fresh, &mut logits)?;
        let vocabulary = self.model.config().vocab_size;
        let mut new = logits.chunks(vocabulary);
        self.numbers.clear();
        for (slot, source) in (before..).zip(sources) {
            let own = match source {
                None => new.next().unwrap_or_default(),
                Some(from) if from >= before => &self.numbers[(from - before) * vocabulary..][..vocabulary],
                Some(from) => self.live[from].first.as_deref().unwrap_or_default(),
            };
            let own: Rc<[f32]> = Rc::from(own);
            self.numbers.extend_from_slice(&own);
            let task = &self.live[slot].task;
            if let Some(from) = source {
                self.engine.copy(from, slot, task.prompt.len());
            }
            let asked_again = self.waiting.front().is_some_and(|t| Rc::ptr_eq(&t.prompt, &task.prompt));
            self.live[slot].first = asked_again.then_some(own);
        }
        Ok(())
    }

    /// Chooses the next token of the rows from `first` on by `numbers`; rows that end leave.
    fn choose(&mut self, first: usize, chosen: &mut Vec<Chosen>) {
        let vocabulary = self.model.config().vocab_size;
        // Greedy compares logits themselves: a softmax could round two of them together.
        let greedy: Vec<Option<u32>> = self.live[first..]
            .iter()
            .zip(self.numbers.chunks(vocabulary))
            .map(|(live, row)| (live.task.sampling.temperature == 0.0).then(|| sample::greedy(row, live.banned())))
            .collect();
        self.weigh(first);
        let all = vocabulary.div_ceil(RUN);
        for (i, live) in self.live[first..].iter_mut().enumerate() {
            let (s, row, runs) = (&live.task.sampling, &mut self.numbers[i * vocabulary..][..vocabulary], &self.runs[i * all..][..all]);
            let id = greedy[i].unwrap_or_else(|| {
                let u = sample::uniform(s.seed, live.task.row, live.written as u64);
                match live.banned() {
                    [] if s.top_k == 0 && s.top_p == 1.0 => sample::draw_any(row, runs, u),
                    banned => sample::draw(row, Filter { top_k: s.top_k, top_p: s.top_p }, banned, u, &mut self.scratch),
                }
            });
            let total: f64 = runs.iter().map(|&r| f64::from(r)).sum();
            let log_prob = (f64::from(row[id as usize]) / total).ln() as f32;
            live.written += 1;
            live.token = id;
            let finished = s.stop.contains(&id);
            let last = finished || live.written == s.max_new;
            chosen.push(Chosen { ticket: live.task.ticket, id, log_prob, finished, last });
        }
        // From the back, so that the row moved into a gap has been looked at already.
        let ended = chosen[chosen.len() - (self.live.len() - first)..].iter().map(|c| c.last).collect::<Vec<_>>();
        for slot in (first..self.live.len()).rev().filter(|slot| ended[slot - first]).collect::<Vec<_>>() {
            self.leave(slot);
        }
    }

    /// Logits to weights e^(logit / temperature), as far as a constant factor of each row; greedy rows have the temperature 1.
    fn weigh(&mut self, first: usize) {
        let vocabulary = self.model.config().vocab_size;
        let factor = |l: &Live| if l.task.sampling.temperature == 0.0 { 1.0 } else { 1.0 / l.task.sampling.temperature };
        let mut rest = &mut self.numbers[..];
        self.runs.clear();
        for alike in self.live[first..].chunk_by(|a, b| factor(a) == factor(b)) {
            let (rows, after) = rest.split_at_mut(alike.len() * vocabulary);
            native::exponentials(rows, vocabulary, factor(&alike[0]), &mut self.runs);
            rest = after;
        }
    }

    /// Takes a row out: the last moves into its slot.
    fn leave(&mut self, slot: usize) {
        self.live.swap_remove(slot);
        if let Some(moved) = self.live.get(slot) {
            self.engine.copy(self.live.len(), slot, moved.places());
        }
    }
}

impl Live {
    /// Tokens that may not be chosen now.
    fn banned(&self) -> &[u32] {
        if self.written < self.task.sampling.min_new { &self.task.sampling.stop } else { &[] }
    }
}
