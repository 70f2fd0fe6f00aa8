//! The file itself.

use crate::blocks::Format;
use anyhow::{Context, Result};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Tensors begin at multiples of this many bytes.
const ALIGNMENT: usize = 32;

/// A value of the header.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    fn type_id(&self) -> u32 {
        match self {
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::Text(_) => 8,
            Value::List(_) => 9,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Value::U32(x) => out.extend(x.to_le_bytes()),
            Value::I32(x) => out.extend(x.to_le_bytes()),
            Value::F32(x) => out.extend(x.to_le_bytes()),
            Value::Bool(x) => out.push(u8::from(*x)),
            Value::Text(x) => text(x, out),
            Value::List(list) => {
                out.extend(list.first().map_or(8, Value::type_id).to_le_bytes());
                out.extend((list.len() as u64).to_le_bytes());
                list.iter().for_each(|value| value.put(out));
            }
        }
    }
}

fn text(x: &str, out: &mut Vec<u8>) {
    out.extend((x.len() as u64).to_le_bytes());
    out.extend(x.as_bytes());
}

/// A line of the header.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    key: String,
    value: Value,
}

impl Entry {
    pub fn new(key: &str, value: Value) -> Entry {
        Entry { key: key.to_string(), value }
    }

    pub fn number(key: &str, n: u32) -> Entry {
        Entry::new(key, Value::U32(n))
    }

    pub fn texts(key: &str, list: Vec<String>) -> Entry {
        Entry::new(key, Value::List(list.into_iter().map(Value::Text).collect()))
    }
}

/// The head of a file, to which tensors are announced before any is written.
pub(super) struct Writer {
    entries: Vec<Entry>,
    tensors: Vec<u8>,
    sizes: Vec<usize>,
    offset: usize,
}

impl Writer {
    pub fn new(architecture: &str, more: Vec<Entry>) -> Writer {
        let mut entries = vec![Entry::new("general.architecture", Value::Text(architecture.to_string()))];
        entries.extend(more);
        Writer { entries, tensors: vec![], sizes: vec![], offset: 0 }
    }

    /// The next tensor: sizes from the outermost to the rows' length, as everywhere but in the file.
    pub fn tensor(&mut self, name: &str, size: &[i64], format: Format) {
        text(name, &mut self.tensors);
        self.tensors.extend((size.len() as u32).to_le_bytes());
        size.iter().rev().for_each(|n| self.tensors.extend(n.to_le_bytes()));
        self.tensors.extend(format.type_id().to_le_bytes());
        self.tensors.extend((self.offset as u64).to_le_bytes());
        let bytes = format.bytes(size.iter().product::<i64>() as usize);
        self.sizes.push(bytes);
        self.offset += bytes.next_multiple_of(ALIGNMENT);
    }

    /// Writes everything, the tensors' bytes in the order of their announcement; the file is there whole or not at all. Returns its size.
    pub fn finish(self, path: &Path, bytes: impl Iterator<Item = Vec<u8>>) -> Result<u64> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let at = || path.display().to_string();
        std::fs::create_dir_all(folder).with_context(at)?;
        let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(folder).with_context(at)?);
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((self.sizes.len() as u64).to_le_bytes());
        head.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            text(&entry.key, &mut head);
            head.extend(entry.value.type_id().to_le_bytes());
            entry.value.put(&mut head);
        }
        head.extend(&self.tensors);
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        file.write_all(&head).with_context(at)?;
        for (size, bytes) in self.sizes.iter().zip(bytes) {
            assert_eq!(bytes.len(), *size, "a tensor's bytes are as many as announced");
            file.write_all(&bytes).with_context(at)?;
            file.write_all(&vec![0; size.next_multiple_of(ALIGNMENT) - size]).with_context(at)?;
        }
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(at)?;
        file.as_file().sync_all().with_context(at)?;
        file.persist(path).with_context(at)?;
        Ok((head.len() + self.offset) as u64)
    }
}
