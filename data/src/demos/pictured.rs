//! Rows with a picture: `columns.image` names a PNG or JPEG file, relative to the file that the row is in.

use super::Conversation;
use crate::chat::{ChatTemplate, Message};
use crate::config::{Columns, DemoData};
use crate::error::DataError;
use crate::fields::{self, Fault};
use crate::inputs::hash_file;
use crate::pictures::Picture;
use crate::quarantine::Reason;
use crate::source::Row;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the pictures of rows, each file once.
pub(super) struct Pictures {
    side: usize,
    known: HashMap<PathBuf, Arc<Picture>>,
}

impl Pictures {
    /// Of `side` × `side` pixels.
    pub fn new(side: usize) -> Pictures {
        Pictures { side, known: HashMap::new() }
    }

    /// The row's picture; one that cannot be read is the row's fault.
    pub fn of(&mut self, row: &Row, columns: &Columns) -> Result<Arc<Picture>, Fault> {
        let path = path(row, columns)?;
        if let Some(picture) = self.known.get(&path) {
            return Ok(Arc::clone(picture));
        }
        let picture = Arc::new(Picture::open(&path, self.side).map_err(|e| (Reason::BadPicture, in_full(&e)))?);
        self.known.insert(path, Arc::clone(&picture));
        Ok(picture)
    }
}

/// An error with its cause.
fn in_full(error: &DataError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn path(row: &Row, columns: &Columns) -> Result<PathBuf, Fault> {
    let name = fields::visible(row, &columns.image)?;
    Ok(row.file.parent().unwrap_or(Path::new("")).join(name))
}

/// The row as a conversation about its picture, to be written by `template`. The prompt may be empty or absent; without `columns.group` rows of one picture belong together.
pub(super) fn conversation(row: &Row, columns: &Columns, template: Option<&ChatTemplate>) -> Result<Conversation, Fault> {
    let image = fields::visible(row, &columns.image)?;
    let mut conversation = if fields::present(row, &columns.messages).is_some() {
        Conversation::of(row, columns, false, template)?
    } else {
        let prompt = if fields::present(row, &columns.prompt).is_some() { fields::text(row, &columns.prompt)? } else { "" };
        let response = fields::visible(row, &columns.response)?;
        let messages = vec![Message::new("user", prompt), Message::new("assistant", response)];
        let (group, prompt, response) = (fields::group(row, &columns.group, image)?, prompt.to_string(), response.to_string());
        Conversation { messages, group, prompt, response, second: None, choices: Vec::new() }
    };
    if columns.group.is_empty() {
        conversation.group = image.trim().to_string();
    }
    Ok(conversation)
}

/// BLAKE3, in hex, of the contents of all files that the rows of all sources name as pictures, in their order: what a run that learns from them reads besides
/// the rows. A file that is not there counts by its absence.
pub fn hash_pictures(config: &DemoData, quarantine: &Path) -> Result<String, DataError> {
    let sources: Vec<_> = config.heldout.iter().chain(&config.sources).cloned().collect();
    let mut all = blake3::Hasher::new();
    fields::read_rows(&sources, &config.quarantine, quarantine, "demonstrations", &mut |i, row, _| {
        let hash = path(row, &sources[i].columns).map(|path| hash_file(&path).map(|hash| *hash.as_bytes()).unwrap_or_default());
        all.update(&hash.unwrap_or_default());
        Ok(Ok(()))
    })?;
    Ok(all.finalize().to_hex().to_string())
}
