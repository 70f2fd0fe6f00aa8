//! Sending a growing file to the disk while more of it is being made, so that little is left to wait for at its end.

use crate::error::DataError;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// A thread that synchronises a file whenever it is told that there is more.
pub(super) struct Early {
    more: Option<SyncSender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Early {
    /// Begins; `file` is another handle of the file that is written.
    pub(super) fn begin(file: File) -> std::io::Result<Early> {
        let (more, inbox) = sync_channel::<()>(1);
        let work = move || inbox.iter().try_for_each(|()| file.sync_data());
        let thread = std::thread::Builder::new().name("sync".to_string()).spawn(work)?;
        Ok(Early { more: Some(more), thread: Some(thread) })
    }

    /// There is more to be sent. Does not wait: a thread that is still busy will find it too, or leaves it to the end.
    pub(super) fn more(&self) {
        let _ = self.more.as_ref().map(|more| more.try_send(()));
    }

    /// Ends. The system tells a failed write once only: what the thread was told counts, although a last synchronisation is still to come.
    pub(super) fn end(mut self, path: &Path) -> Result<(), DataError> {
        self.more = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map_err(DataError::io("write", path)),
            _ => Err(DataError::Worker(format!("nobody sends {} to the disk any more", path.display()))),
        }
    }
}
