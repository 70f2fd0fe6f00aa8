//! Arrow IPC files read through a memory map: their columns are windows into the file, nothing is copied, and the operating system
//! drops and re-reads pages as it likes, so that memory stays flat however large the files are.

use crate::error::DataError;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, convert::try_fb_to_schema, root_as_footer};
use polars_utils::mmap::MMapSemaphore;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Bytes at the end of an Arrow file: the footer's length and `ARROW1`.
const TRAILER: usize = 10;

/// The schema and the record batches of an uncompressed Arrow IPC file (Feather V2) without dictionaries, as a memory map. The file
/// must not be changed in place while it is in use: replace it by a rename.
pub fn open(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>), DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let damaged = |detail: String| DataError::Table { path: path.to_path_buf(), detail: format!("is damaged: {detail}") };
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    if length < TRAILER as u64 {
        return Err(damaged(format!("{length} bytes are too few for an Arrow file")));
    }
    let map = MMapSemaphore::new_from_file(&file).map_err(|e| damaged(format!("cannot be mapped into memory: {e}")))?;
    decode(Buffer::from(bytes::Bytes::from_owner(map))).map_err(|e| damaged(e.to_string()))
}

fn decode(buffer: Buffer) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let invalid = |what: &str| ArrowError::ParseError(what.to_owned());
    let trailer = buffer.len() - TRAILER;
    let mut last = [0; TRAILER];
    last.copy_from_slice(&buffer[trailer..]);
    let start = trailer.checked_sub(read_footer_length(last)?).ok_or_else(|| invalid("the footer is longer than the file"))?;
    let footer = root_as_footer(&buffer[start..trailer]).map_err(|e| invalid(&e.to_string()))?;
    let schema = footer.schema().ok_or_else(|| invalid("there is no schema"))?;
    let schema = Arc::new(try_fb_to_schema(schema)?);
    // Zero copy or an error: a file of ours is aligned.
    let decoder = FileDecoder::new(schema.clone(), footer.version()).with_require_alignment(true);
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let data = slice(&buffer, block).ok_or_else(|| invalid("a batch lies outside the file"))?;
        batches.extend(decoder.read_record_batch(block, &data)?);
    }
    Ok((schema, batches))
}

fn slice(buffer: &Buffer, block: &Block) -> Option<Buffer> {
    let offset = usize::try_from(block.offset()).ok()?;
    let length = usize::try_from(block.bodyLength()).ok()?.checked_add(usize::try_from(block.metaDataLength()).ok()?)?;
    (offset.checked_add(length)? <= buffer.len()).then(|| buffer.slice_with_length(offset, length))
}
