//! PNG files of 8-bit RGB (W3C Recommendation "Portable Network Graphics"): one data chunk, every row as it is.

use crate::error::DataError;
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write;
use std::path::Path;

/// Writes `width` × `height` pixels, three bytes each, row by row from the top. Equal pixels give equal bytes.
///
/// # Panics
/// Another number of bytes.
pub fn write_png(path: &Path, width: usize, height: usize, rgb: &[u8]) -> Result<(), DataError> {
    assert_eq!(rgb.len(), width * height * 3, "three bytes a pixel");
    let bytes = encode(width as u32, height as u32, rgb).map_err(DataError::io("write", path))?;
    std::fs::write(path, bytes).map_err(DataError::io("write", path))
}

fn encode(width: u32, height: u32, rgb: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::new(6));
    for row in rgb.chunks_exact(width as usize * 3) {
        rows.write_all(&[0])?; // filter: none
        rows.write_all(row)?;
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    // Eight bits a channel, RGB, the only compression and filtering there is, not interlaced.
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"IDAT", &rows.finish()?);
    chunk(&mut out, b"IEND", &[]);
    Ok(out)
}

/// Length, name, content, checksum of name and content.
fn chunk(out: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    out.extend((content.len() as u32).to_be_bytes());
    let start = out.len();
    out.extend(name);
    out.extend(content);
    let sum = crc32fast::hash(&out[start..]);
    out.extend(sum.to_be_bytes());
}
