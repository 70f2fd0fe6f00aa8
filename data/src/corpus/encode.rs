//! Tokenising on several threads, in order: the reader hands over texts, threads turn them into ids, the shards take them up in the order of the texts.

use super::shards::ShardWriter;
use crate::error::DataError;
use crate::tokenizer::{Encoder, Tokenizer, pieces};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::Scope;

/// Text that a thread tokenises at once: enough that handing it over costs nothing, few enough to bound the memory.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches under way for each thread: one in work, one that waits.
const UNDER_WAY: usize = 2;

/// Texts and ends of documents, each with its side of the split.
pub(super) enum Step {
    Text(usize, String),
    End(usize),
}

/// The ids of each side.
type Ids = [Vec<u32>; 2];
/// Steps, and where their ids are awaited.
type Job = (Vec<Step>, SyncSender<Result<Ids, DataError>>);

/// Threads that tokenise, and the shards that take what they make. The shards do not depend on the number of threads.
pub(super) struct Pipeline {
    writers: [ShardWriter; 2],
    /// To the threads; they end when it is dropped.
    jobs: Sender<Job>,
    /// Ids to come, in order.
    results: VecDeque<Receiver<Result<Ids, DataError>>>,
    steps: Vec<Step>,
    waiting: usize,
    most: usize,
}

impl Pipeline {
    /// Starts `threads` threads in a scope.
    pub(super) fn start<'s>(scope: &'s Scope<'s, '_>, tok: &'s Tokenizer, threads: usize, writers: [ShardWriter; 2]) -> Pipeline {
        let (jobs, receiver) = channel();
        let queue = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let queue = queue.clone();
            scope.spawn(move || work(&queue, tok));
        }
        Pipeline { writers, jobs, results: VecDeque::new(), steps: Vec::new(), waiting: 0, most: threads * UNDER_WAY }
    }

    /// Takes the next text or end.
    pub(super) fn push(&mut self, step: Step) -> Result<(), DataError> {
        if let Step::Text(_, text) = &step {
            self.waiting += text.len();
        }
        self.steps.push(step);
        if self.waiting < BATCH_BYTES {
            return Ok(());
        }
        self.hand_over();
        if self.results.len() > self.most { self.write() } else { Ok(()) }
    }

    /// Waits for all ids and gives back the shards, to be finished.
    pub(super) fn finish(mut self) -> Result<[ShardWriter; 2], DataError> {
        self.hand_over();
        while !self.results.is_empty() {
            self.write()?;
        }
        Ok(self.writers)
    }

    fn hand_over(&mut self) {
        let (sender, receiver) = sync_channel(1);
        self.waiting = 0;
        // Fails only when no thread is left, which the receiver then says.
        let _ = self.jobs.send((std::mem::take(&mut self.steps), sender));
        self.results.push_back(receiver);
    }

    /// Writes the ids that were handed over first.
    fn write(&mut self) -> Result<(), DataError> {
        let Some(result) = self.results.pop_front() else { return Ok(()) };
        let ids = result.recv().map_err(|_| DataError::Worker("panicked while tokenising".into()))??;
        self.writers.iter_mut().zip(ids).try_for_each(|(writer, ids)| writer.push(&ids))
    }
}

fn work(queue: &Mutex<Receiver<Job>>, tok: &Tokenizer) {
    let mut encoder = tok.encoder();
    loop {
        let job = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok((steps, result)) = job else { return };
        // Nobody waits for it once the reading has failed.
        let _ = result.send(encode(&steps, &mut encoder, tok.eos()));
    }
}

fn encode(steps: &[Step], encoder: &mut Encoder, eos: u32) -> Result<Ids, DataError> {
    let mut ids = Ids::default();
    for step in steps {
        match step {
            Step::Text(side, text) => pieces(text).try_for_each(|piece| encoder.encode(piece, &mut ids[*side]))?,
            Step::End(side) => ids[*side].push(eos),
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shards' bytes, whatever the number of threads.
    #[test]
    fn threads_change_nothing() {
        let tok = Tokenizer::byte().unwrap();
        let build = |threads: usize| {
            let dir = tempfile::tempdir().unwrap();
            let writers = ["train", "valid"].map(|name| ShardWriter::new(dir.path(), name, tok.vocab_size()));
            let files = std::thread::scope(|scope| {
                let mut pipeline = Pipeline::start(scope, &tok, threads, writers);
                for i in 0..400 {
                    // Batches of very different work, so that they are done in another order.
                    let text = format!("document {i} ").repeat(if i % 7 == 0 { 9000 } else { 1 + i });
                    pipeline.push(Step::Text(usize::from(i % 5 == 0), text)).unwrap();
                    pipeline.push(Step::End(usize::from(i % 5 == 0))).unwrap();
                }
                let writers = pipeline.finish().unwrap();
                writers.map(|writer| (writer.tokens(), writer.finish().unwrap()))
            });
            files
                .map(|(tokens, names)| (tokens, names.iter().map(|name| std::fs::read(dir.path().join(name)).unwrap()).collect::<Vec<_>>()))
        };
        let one = build(1);
        assert!(one.iter().all(|(tokens, files)| *tokens > 100_000 && files.len() == 1));
        assert!([2, 3, 8].into_iter().all(|threads| build(threads) == one));
    }
}
