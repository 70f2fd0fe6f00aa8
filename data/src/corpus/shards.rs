//! Token streams on disk: Arrow IPC files with one column of ids, two bytes each where the vocabulary allows it.

use crate::error::DataError;
use crate::mapped;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt16Array, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tokens of a record batch; all but a stream's last have exactly so many.
const BATCH_TOKENS: usize = 1 << 18;
/// Record batches of a shard: 128 or 256 MiB, so that a corpus is a handful of files that can be copied one by one.
const SHARD_BATCHES: usize = 256;

/// Writes one side of the split as `<name>-00000.arrow`, `<name>-00001.arrow`... Every file is synchronised to the disk.
pub(super) struct ShardWriter {
    folder: PathBuf,
    name: &'static str,
    schema: SchemaRef,
    buffer: Vec<u32>,
    open: Option<(PathBuf, FileWriter<BufWriter<File>>, usize)>,
    files: Vec<String>,
    tokens: u64,
}

impl ShardWriter {
    pub(super) fn new(folder: &Path, name: &'static str, vocab_size: usize) -> ShardWriter {
        let kind = if vocab_size <= 1 << 16 { DataType::UInt16 } else { DataType::UInt32 };
        let schema = Arc::new(Schema::new(vec![Field::new("token", kind, false)]));
        ShardWriter { folder: folder.to_path_buf(), name, schema, buffer: Vec::new(), open: None, files: Vec::new(), tokens: 0 }
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(super) fn push(&mut self, mut ids: &[u32]) -> Result<(), DataError> {
        self.tokens += ids.len() as u64;
        while self.buffer.len() + ids.len() >= BATCH_TOKENS {
            let (now, later) = ids.split_at(BATCH_TOKENS - self.buffer.len());
            self.buffer.extend_from_slice(now);
            ids = later;
            self.flush()?;
        }
        self.buffer.extend_from_slice(ids);
        Ok(())
    }

    /// Writes what is left. Returns the names of the files, in order.
    pub(super) fn finish(mut self) -> Result<Vec<String>, DataError> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        self.close()?;
        Ok(self.files)
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let column: ArrayRef = match self.schema.field(0).data_type() {
            // Below 2^16, since the vocabulary is.
            DataType::UInt16 => Arc::new(UInt16Array::from_iter_values(self.buffer.iter().map(|&id| id as u16))),
            _ => Arc::new(UInt32Array::from_iter_values(self.buffer.iter().copied())),
        };
        self.buffer.clear();
        let (path, writer, batches) = match &mut self.open {
            Some(open) => open,
            none => {
                let name = format!("{}-{:05}.arrow", self.name, self.files.len());
                let path = self.folder.join(&name);
                self.files.push(name);
                let file = File::create(&path).map_err(DataError::io("create", &path))?;
                let writer = FileWriter::try_new(BufWriter::new(file), &self.schema).map_err(|e| unwritable(&path, e))?;
                none.insert((path, writer, 0))
            }
        };
        let batch = RecordBatch::try_new(self.schema.clone(), vec![column]).map_err(|e| unwritable(path, e))?;
        writer.write(&batch).map_err(|e| unwritable(path, e))?;
        *batches += 1;
        if *batches == SHARD_BATCHES {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), DataError> {
        let Some((path, writer, _)) = self.open.take() else { return Ok(()) };
        let buffer = { writer }.into_inner().map_err(|e| unwritable(&path, e))?;
        let file = buffer.into_inner().map_err(|e| DataError::io("write", &path)(e.into_error()))?;
        file.sync_all().map_err(DataError::io("write", &path))
    }
}

fn unwritable(path: &Path, error: ArrowError) -> DataError {
    match error {
        ArrowError::IoError(_, source) => DataError::io("write", path)(source),
        other => DataError::Table { path: path.to_path_buf(), detail: format!("cannot be written: {other}") },
    }
}

/// One side of a corpus: the tokens of all its documents one after the other, each document ended by the end token. The tokens stay in
/// the memory-mapped shards; cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct TokenStream {
    /// Place of each batch's first token, and the batch.
    chunks: Vec<(u64, Chunk)>,
    len: u64,
    bytes: u64,
    documents: u64,
}

#[derive(Debug, Clone)]
enum Chunk {
    Narrow(UInt16Array),
    Wide(UInt32Array),
}

impl TokenStream {
    /// Maps shards. `bytes` and `documents` are what was counted when they were built.
    pub(super) fn open(folder: &Path, files: &[String], bytes: u64, documents: u64) -> Result<TokenStream, DataError> {
        let mut stream = TokenStream { bytes, documents, ..TokenStream::default() };
        for file in files {
            let path = folder.join(file);
            for batch in mapped::open(&path)?.1 {
                let column = (batch.num_columns() == 1).then(|| batch.column(0));
                let chunk = column.and_then(|c| match c.data_type() {
                    DataType::UInt16 => Some(Chunk::Narrow(c.as_primitive::<UInt16Type>().clone())),
                    DataType::UInt32 => Some(Chunk::Wide(c.as_primitive::<UInt32Type>().clone())),
                    _ => None,
                });
                let Some(chunk) = chunk else {
                    return Err(DataError::Table { path, detail: "is not a shard of tokens".into() });
                };
                stream.chunks.push((stream.len, chunk));
                stream.len += batch.num_rows() as u64;
            }
        }
        Ok(stream)
    }

    /// Tokens, end tokens included.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of UTF-8 text that the tokens spell, for bits per byte. End tokens spell none.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Documents, or passages of long ones.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Windows of `len` inputs with their targets that do not overlap in what they predict: window k is
    /// `window(k * len, len + 1)`. The rest at the end that fills no window is not counted.
    pub fn windows(&self, len: usize) -> u64 {
        if len == 0 { 0 } else { self.len.saturating_sub(1) / len as u64 }
    }

    /// `len` tokens from place `start`. Panics beyond the end, as a slice does: see [`TokenStream::windows`].
    pub fn window(&self, start: u64, len: usize) -> Vec<u32> {
        let end = start.checked_add(len as u64).filter(|&end| end <= self.len);
        assert!(end.is_some(), "tokens {start} to {start} + {len} of a stream of {}", self.len);
        let mut out = Vec::with_capacity(len);
        let mut next = self.chunks.partition_point(|(first, _)| *first <= start).saturating_sub(1);
        let mut offset = start - self.chunks.get(next).map_or(0, |(first, _)| *first);
        while out.len() < len {
            let from = offset as usize;
            match &self.chunks[next].1 {
                Chunk::Narrow(ids) => {
                    let to = ids.len().min(from + len - out.len());
                    out.extend(ids.values()[from..to].iter().map(|&id| u32::from(id)));
                }
                Chunk::Wide(ids) => {
                    let to = ids.len().min(from + len - out.len());
                    out.extend_from_slice(&ids.values()[from..to]);
                }
            }
            (next, offset) = (next + 1, 0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(vocab: usize, ids: &[u32], step: usize) -> (tempfile::TempDir, TokenStream) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::new(dir.path(), "train", vocab);
        ids.chunks(step).for_each(|c| writer.push(c).unwrap());
        assert_eq!(writer.tokens(), ids.len() as u64);
        let files = writer.finish().unwrap();
        let stream = TokenStream::open(dir.path(), &files, 1, 1).unwrap();
        (dir, stream)
    }

    #[test]
    fn windows_cross_batches_in_both_widths() {
        let n = 2 * BATCH_TOKENS + 1234;
        for vocab in [1 << 16, 1 << 17] {
            let ids: Vec<u32> = (0..n).map(|i| ((i * 7919) % vocab) as u32).collect();
            let (_dir, stream) = write(vocab, &ids, 10_007);
            assert_eq!(stream.len(), n as u64);
            for (start, len) in [(0, 5), (0, n), (BATCH_TOKENS - 1, 2), (BATCH_TOKENS - 3, BATCH_TOKENS + 6), (n - 1, 1), (n, 0)] {
                assert_eq!(stream.window(start as u64, len), ids[start..start + len], "{vocab} {start} {len}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn windows_cover_what_can_be_predicted(n in 0usize..200, len in 1usize..40) {
            let ids: Vec<u32> = (0..n as u32).collect();
            let (_dir, stream) = write(1000, &ids, 17);
            let targets: Vec<u32> =
                (0..stream.windows(len)).flat_map(|k| stream.window(k * len as u64, len + 1)[1..].to_vec()).collect();
            prop_assert_eq!(&targets[..], ids.get(1..1 + targets.len()).unwrap_or(&[]));
            prop_assert!(n.saturating_sub(1) - targets.len() < len);
        }
    }

    #[test]
    #[should_panic(expected = "of a stream of 3")]
    fn beyond_the_end_is_a_panic() {
        write(10, &[1, 2, 3], 3).1.window(2, 2);
    }

    #[test]
    fn damaged_shards_are_errors() {
        let (dir, stream) = write(10, &[1, 2, 3], 3);
        drop(stream);
        let path = dir.path().join("train-00000.arrow");
        let whole = std::fs::read(&path).unwrap();
        for torn in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..torn]).unwrap();
            let error = TokenStream::open(dir.path(), &["train-00000.arrow".into()], 0, 0).unwrap_err().to_string();
            assert!(error.contains("train-00000.arrow") && error.contains("damaged"), "{error}");
        }
    }
}
