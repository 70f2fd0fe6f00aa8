//! What a run reads, by content: recorded in `lineage.json`, and compared when a run goes on, so that nobody resumes on other data unawares.

use crate::chat::ChatTemplate;
use crate::config::Source;
use crate::error::DataError;
use crate::source;
use crate::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::SystemTime;

/// Keys of what is no file: its hash is of something made from what stands at its path.
pub const MADE: [&str; 4] = ["tokenizer", "data.template", "data.pictures", "reward.reading"];

/// One thing that a run reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The key of the configuration that names it, such as `data.sources` or `model.init`.
    pub key: String,
    /// File or folder as it was found.
    pub path: String,
    /// BLAKE3 of its content, in hex: of a file, of a model folder's weights, of a tokenizer.
    pub hash: String,
}

/// All that a run reads, and by how many processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// Processes that share the work (the world size), each a part: another number of them takes the same steps, up to rounding.
    pub processes: usize,
    /// When the run began, in seconds since 1970, which is the present for its templates ([`crate::chat::clock`]) as long as it goes on. In a run folder alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    /// In the order of the configuration; the files of a folder by name.
    pub items: Vec<Input>,
}

impl Inputs {
    /// Nothing read yet.
    pub fn new(processes: usize) -> Inputs {
        Inputs { processes, ..Inputs::default() }
    }

    /// Adds every file of `sources`.
    pub fn sources(mut self, key: &str, sources: &[Source]) -> Result<Inputs, DataError> {
        for source in sources {
            for (path, _) in source::files(source)? {
                self = self.file(key, &path)?;
            }
        }
        Ok(self)
    }

    /// Adds a tokenizer.
    pub fn tokenizer(self, folder: &Path, tokenizer: &Tokenizer) -> Inputs {
        self.folder("tokenizer", folder, tokenizer.hash().to_owned())
    }

    /// Adds a chat template.
    pub fn template(self, template: &ChatTemplate) -> Inputs {
        self.folder("data.template", Path::new(template.origin()), template.hash())
    }

    /// Adds one file.
    pub fn file(self, key: &str, path: &Path) -> Result<Inputs, DataError> {
        let hash = hash_file(path)?.to_hex().to_string();
        Ok(self.folder(key, path, hash))
    }

    /// Adds a folder whose content has the hash `hash`.
    pub fn folder(mut self, key: &str, path: &Path, hash: String) -> Inputs {
        self.items.push(Input { key: key.into(), path: path.display().to_string(), hash });
        self
    }

    /// What differs between the inputs that a run began with (`self`) and those it finds `now`, one sentence each. Files that only have moved
    /// do not differ, nor does what an earlier program did not record.
    pub fn differences(&self, now: &Inputs) -> Vec<String> {
        let mut found = Vec::new();
        let (before, after) = (self.by_key(), now.by_key());
        for (key, was) in before {
            let is = after.get(key).map_or(&[][..], Vec::as_slice);
            if was.iter().map(|i| &i.hash).eq(is.iter().map(|i| &i.hash)) {
                continue;
            }
            if was.len() != is.len() {
                found.push(format!("{key} had {} files, now {}", was.len(), is.len()));
                continue;
            }
            for (a, b) in was.iter().zip(is).filter(|(a, b)| a.hash != b.hash) {
                let short = |i: &Input| i.hash.chars().take(8).collect::<String>();
                found.push(format!("{key}: {} has other contents ({} then, {} now)", b.path, short(a), short(b)));
            }
        }
        found
    }

    fn by_key(&self) -> BTreeMap<&str, Vec<&Input>> {
        let mut by_key: BTreeMap<&str, Vec<&Input>> = BTreeMap::new();
        for item in &self.items {
            by_key.entry(&item.key).or_default().push(item);
        }
        by_key
    }
}

/// A file as it was when it was hashed: path, length, time of change.
type Stamp = (PathBuf, u64, Option<SystemTime>);

/// BLAKE3 of a file's content. Within one process a file that has not been touched is read once: the corpus asks for the same hashes.
pub fn hash_file(path: &Path) -> Result<blake3::Hash, DataError> {
    static KNOWN: LazyLock<Mutex<HashMap<Stamp, blake3::Hash>>> = LazyLock::new(Mutex::default);
    let file = std::fs::File::open(path).map_err(DataError::io("open", path))?;
    let meta = file.metadata().map_err(DataError::io("read", path))?;
    let stamp = (path.to_path_buf(), meta.len(), meta.modified().ok());
    let known = || KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(hash) = known().get(&stamp) {
        return Ok(*hash);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(DataError::io("read", path))?;
    let hash = hasher.finalize();
    known().insert(stamp, hash);
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(items: &[(&str, &str, &str)], processes: usize) -> Inputs {
        let item = |(key, path, hash): &(&str, &str, &str)| Input { key: (*key).into(), path: (*path).into(), hash: (*hash).into() };
        Inputs { items: items.iter().map(item).collect(), ..Inputs::new(processes) }
    }

    #[test]
    fn what_differs_is_said_and_moving_is_no_difference() {
        let was = inputs(&[("data.sources", "a.csv", "1111111111"), ("data.sources", "b.csv", "22"), ("tokenizer", "t", "33")], 1);
        assert!(was.differences(&was).is_empty());
        let moved = inputs(&[("data.sources", "x/a.csv", "1111111111"), ("data.sources", "x/b.csv", "22"), ("tokenizer", "t", "33")], 1);
        assert!(was.differences(&moved).is_empty());
        let changed = inputs(&[("data.sources", "a.csv", "9999999999"), ("data.sources", "b.csv", "22"), ("tokenizer", "t", "33")], 1);
        assert_eq!(was.differences(&changed), ["data.sources: a.csv has other contents (11111111 then, 99999999 now)"]);
        let fewer = inputs(&[("data.sources", "a.csv", "1111111111")], 2);
        let said = was.differences(&fewer);
        assert_eq!(said, ["data.sources had 2 files, now 1", "tokenizer had 1 files, now 0"]);
        let more = [("data.template", "t", "44"), ("data.sources", "a.csv", "1111111111")];
        assert!(fewer.differences(&inputs(&more, 2)).is_empty(), "an earlier program did not record templates");
    }

    #[test]
    fn a_touched_file_is_hashed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let first = hash_file(&path).unwrap();
        assert_eq!(first, blake3::hash(b"one"));
        std::fs::write(&path, "three").unwrap();
        assert_eq!(hash_file(&path).unwrap(), blake3::hash(b"three"));
        assert!(hash_file(&dir.path().join("b")).is_err());
    }
}
