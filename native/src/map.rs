//! Read-only memory maps.

use crate::NativeError;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use tch::{Device, Kind, TchError, Tensor};

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

    /// The values of this kind and shape that lie at `bytes`, copied into a tensor of float32 on the CPU by all threads.
    ///
    /// # Panics
    /// Where the range is not within the file or has another length than the shape asks for.
    pub fn float32(&self, bytes: Range<usize>, shape: &[i64], kind: Kind) -> Result<Tensor, TchError> {
        let bytes = &self.0[bytes];
        let width = kind.elt_size_in_bytes();
        assert_eq!(bytes.len(), shape.iter().product::<i64>() as usize * width, "bytes of a tensor of shape {shape:?}");
        if bytes.as_ptr().align_offset(width) != 0 {
            return Tensor::f_from_data_size(bytes, shape, kind)?.f_to_kind(Kind::Float);
        }
        // SAFETY: the memory holds as many values as the shape has, contiguous (no strides) and aligned; the tensor on it is dropped before this returns,
        // while `self` lives.
        let mapped = unsafe { Tensor::f_from_blob(bytes.as_ptr(), shape, &[], kind, Device::Cpu) }?;
        let mut copy = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
        copy.f_copy_(&mapped)?;
        Ok(copy)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
