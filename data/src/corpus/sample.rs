//! A sample of a corpus, to train a tokenizer on.

use super::documents::{self, Input};
use crate::config::TextData;
use crate::error::DataError;
use crate::quarantine::Quarantine;
use crate::split::unit_hash;
use std::sync::mpsc;

/// Other than the train/validation split's, so that the two choices are independent.
const SAMPLE_SEED: u64 = 1;
/// Documents on their way from the reader to the consumer.
const ON_THE_WAY: usize = 16;

/// Hands about `limit` bytes of the corpus, whole documents drawn evenly by a hash of their text, to `consume`, which runs on a thread
/// of its own while the caller's thread reads. Bad rows are passed over here: opening the corpus counts and lists them.
pub(crate) fn sample<R: Send>(
    cfg: &TextData,
    limit: u64,
    on_progress: &mut dyn FnMut(u64, u64),
    consume: impl FnOnce(&mut (dyn Iterator<Item = String> + Send)) -> Result<R, DataError> + Send,
) -> Result<R, DataError> {
    let inputs = documents::inputs(cfg)?;
    let total: u64 = inputs.iter().map(Input::weight).sum();
    let share = limit as f64 / total.max(1) as f64;
    let (sender, receiver) = mpsc::sync_channel::<String>(ON_THE_WAY);
    std::thread::scope(|scope| {
        let consumer = scope.spawn(move || consume(&mut receiver.into_iter()));
        let mut bad = Quarantine::new(std::env::temp_dir().join("quarantine.jsonl"));
        let (mut taken, mut first) = (0, None);
        let read = documents::read(&inputs, &mut bad, on_progress, &mut |document| {
            let Some(document) = document else { return Ok(()) };
            if share < 1.0 && unit_hash(&document.text, SAMPLE_SEED) >= share {
                first.get_or_insert(document.text);
                return Ok(());
            }
            taken += document.text.len() as u64;
            // An error ends the reading: either the consumer has failed and says why below, or it has enough.
            let gone = sender.send(document.text).is_err();
            if gone || taken >= limit { Err(DataError::Worker("enough".into())) } else { Ok(()) }
        });
        // A few large documents, and chance took none of them: better one than none.
        if let (0, Some(text)) = (taken, first) {
            let _ = sender.send(text);
        }
        drop(sender);
        let consumed = consumer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match read {
            Err(DataError::Worker(_)) | Ok(_) => consumed,
            Err(error) => Err(error),
        }
    })
}
