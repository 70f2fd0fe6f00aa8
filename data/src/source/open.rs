//! Opening files, compressed or not, and cutting them into lines of bounded length.

use crate::error::DataError;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes asked from the disk at a time.
const BLOCK: usize = 1 << 18;

/// Longest line that is taken for a line; a longer one (64 MiB) is skipped and rejected, so that memory stays flat.
pub(super) const LONGEST_LINE: usize = 64 << 20;

/// Opens a file for reading. Gzip and Zstandard are told by their first bytes, whatever the name says.
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut plain = BufReader::with_capacity(BLOCK, Counted(file));
    // Reading a folder fails here, not at `open`.
    let first = plain.fill_buf().map_err(DataError::io("read", path))?;
    if first.starts_with(&[0x1f, 0x8b]) {
        // Several gzip members in one file are one stream, as gzip itself has it.
        Ok(Box::new(BufReader::with_capacity(BLOCK, MultiGzDecoder::new(plain))))
    } else if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(plain).map_err(DataError::io("decompress", path))?;
        Ok(Box::new(BufReader::with_capacity(BLOCK, decoder)))
    } else {
        Ok(Box::new(plain))
    }
}

/// Bytes that this process has read from the disk through [`open`], before decompression: what a progress bar wants.
pub fn bytes_read() -> u64 {
    BYTES_READ.load(Ordering::Relaxed)
}

static BYTES_READ: AtomicU64 = AtomicU64::new(0);

/// A file whose bytes are counted.
struct Counted(File);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        BYTES_READ.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Appends `wanted` bytes, straight from the reader to where they stay; fewer, and true, at its end.
pub(super) fn fill(reader: &mut dyn Read, bytes: &mut Vec<u8>, wanted: usize) -> std::io::Result<bool> {
    let mut at = bytes.len();
    bytes.resize(at + wanted, 0);
    while at < bytes.len() {
        match reader.read(&mut bytes[at..]) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                bytes.truncate(at);
                return Err(error);
            }
        }
    }
    let ended = at < bytes.len();
    bytes.truncate(at);
    Ok(ended)
}

/// What [`read_line`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A line is in the buffer, without its end.
    Read,
    /// A line longer than the limit was skipped; the buffer holds its beginning.
    TooLong,
    /// The file has ended.
    End,
}

/// Reads the next line, without `\n` or `\r\n`, into `buffer`.
pub(super) fn read_line(reader: &mut dyn BufRead, buffer: &mut Vec<u8>, limit: usize) -> std::io::Result<Line> {
    buffer.clear();
    if reader.take(limit as u64 + 1).read_until(b'\n', buffer)? == 0 {
        return Ok(Line::End);
    }
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
        if buffer.last() == Some(&b'\r') {
            buffer.pop();
        }
        return Ok(Line::Read);
    }
    if buffer.len() <= limit {
        return Ok(Line::Read); // the last line has no end
    }
    buffer.truncate(1024);
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(Line::TooLong);
        }
        match block.iter().position(|b| *b == b'\n') {
            Some(at) => {
                reader.consume(at + 1);
                return Ok(Line::TooLong);
            }
            None => {
                let all = block.len();
                reader.consume(all);
            }
        }
    }
}

/// The bytes without a UTF-8 byte order mark, which Windows programs put before the first line.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_line_is_skipped_and_the_next_one_read() {
        let text = [b"x".repeat(5000), b"\nnext\r\nlast".to_vec()].concat();
        let mut reader = BufReader::with_capacity(64, &text[..]);
        let mut buffer = Vec::new();
        assert_eq!(read_line(&mut reader, &mut buffer, 2000).unwrap(), Line::TooLong);
        assert_eq!(read_line(&mut reader, &mut buffer, 2000).unwrap(), Line::Read);
        assert_eq!(buffer, b"next");
        assert_eq!(read_line(&mut reader, &mut buffer, 2000).unwrap(), Line::Read);
        assert_eq!(buffer, b"last");
        assert_eq!(read_line(&mut reader, &mut buffer, 2000).unwrap(), Line::End);
    }
}
