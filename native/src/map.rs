//! Read-only memory maps.

use crate::NativeError;
use std::fs::File;
use std::path::Path;

/// A whole file, mapped for reading. The pages are the system's cache: they cost no memory of the process's own.
///
/// Files of this project are replaced by renaming and never written in place. Somebody who truncates a mapped file from outside
/// ends the process with SIGBUS, as with any other reader that maps.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps `path`.
    pub fn open(path: &Path) -> Result<MappedFile, NativeError> {
        let fail = |source| NativeError::Map { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(fail)?;
        // SAFETY: see the type's documentation; nobody in this project writes to a file in place.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
        Ok(MappedFile(map))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
