//! Reading on all cores: one thread cuts the file into blocks of records, several make judgments of a block and columns of the judgments, and the
//! results go into the table in the order of the file.
//!
//! ```text
//! cutter -> block 0 -> worker 0 -> part 0 -> table, quarantine, counts
//!        -> block 1 -> worker 1 -> part 1 ->   (in turn, so in order)
//!        -> block 2 -> worker 0 -> ...
//! ```
//!
//! Blocks are cut by their size alone, so what is written does not depend on the number of threads. Every queue is bounded: memory is flat.

use super::part::Part;
use super::rows::{Each, Records};
use super::store::Store;
use data::config::Format;
use data::error::SourceError;
use data::labels::table::Rows;
use data::source::{self, Block};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Blocks that wait for a worker, and parts that wait to be written, for each of the workers.
const WAITING: usize = 2;

/// A part and its judgments as columns.
type Made = Result<(Part, Option<Rows>), SourceError>;

/// Reads a file into the store. Of several errors the one that stands first in the file counts.
pub(super) fn read(store: &mut Store, file: &Path, format: Format, each: &Each) -> Result<(), SourceError> {
    let empty = store.part();
    std::thread::scope(|scope| {
        let (back, spare) = channel();
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for _ in 0..store.threads() {
            let (blocks, inbox) = sync_channel(WAITING);
            let (outbox, parts) = sync_channel(WAITING);
            let (back, part) = (back.clone(), empty.clone());
            scope.spawn(move || work(inbox, outbox, back, part, each));
            to.push(blocks);
            from.push(parts);
        }
        let cutter = scope.spawn(move || cut(file, format, &to, &spare));
        // The first that has nothing more is the one whose turn it was at the end.
        for parts in from.iter().cycle() {
            let Ok(made) = parts.recv() else { break };
            let (part, rows) = made?;
            store.take(part, rows)?;
        }
        cutter.join().map_err(|_| SourceError::Internal(format!("reading {} broke off", file.display())))?
    })
}

/// Cuts the file and deals the blocks out.
fn cut(file: &Path, format: Format, to: &[SyncSender<Block>], spare: &Receiver<Block>) -> Result<(), SourceError> {
    let mut turn = to.iter().cycle();
    source::read_blocks(file, format, &source::every_column(), &mut |block| {
        let taken = turn.next().is_some_and(|worker| worker.send(block).is_ok());
        let gone = || SourceError::Internal(format!("nobody reads {} any more", file.display()));
        if taken { Ok(spare.try_recv().unwrap_or_default()) } else { Err(gone()) }
    })
}

/// Makes parts of blocks until there are no more, or nobody wants them.
fn work(inbox: Receiver<Block>, outbox: SyncSender<Made>, back: Sender<Block>, mut part: Part, each: &Each) {
    for mut block in inbox {
        let made = block.each(&mut Records { sink: &mut part, each }).and_then(|()| part.finish());
        // The cutter may be done.
        let _ = back.send(block);
        if outbox.send(made).is_err() {
            return;
        }
    }
}
