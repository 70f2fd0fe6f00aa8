//! The run folder: `config.toml`, `metrics.jsonl`, `checkpoints/step-N/`, `model/`, and a lock held while a process writes it.

use crate::{Error, checkpoint, durable, progress::note, summary};
use data::chat::clock;
use data::config::{self, Change, StageConfig};
use data::inputs::Inputs;
use data::lock::{Lock, LockError, Pace, is_lock};
use dist::World;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Harmless changes of the configuration since the run began.
const CHANGES: &str = "changes.json";
/// What the run reads, by content.
const INPUTS: &str = "inputs.json";

/// Keys that say how long a run is: a finished one is finished no longer when they change.
const LENGTH: [&str; 3] = ["train.steps", "train.epochs", "rollout.rounds"];

/// A run folder that this process owns until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    dir: PathBuf,
    /// When the run began, in seconds since 1970.
    began: i64,
    changes: Vec<Change>,
    /// How many of the changes, the last ones, are new, and the configuration that has them: in the folder once it is [`RunDir::accept`]ed.
    new: Option<(usize, String)>,
    /// None where another rank owns the folder.
    lock: Option<Lock>,
    /// What a process that does not own the folder writes on the way, it writes here.
    scratch: Option<TempDir>,
}

impl RunDir {
    /// [`RunDir::create`] for rank 0. The others read what it made, once it has, and write nothing into it: what they would write goes into a folder of
    /// their own that ends with them. The day on which the run began is from here on the present for the chat templates of this process.
    pub fn open<C: StageConfig>(world: &World, out: &Path, config: &C, resume: bool) -> Result<RunDir, Error> {
        let run = if world.is_main() {
            RunDir::create_over(out, &config::to_toml(config), resume, config::completed::<C>)?
        } else {
            let scratch = tempfile::Builder::new().prefix("rlhf-rank-").tempdir().map_err(Error::io(&std::env::temp_dir()))?;
            RunDir { dir: out.to_owned(), began: began(out)?, changes: vec![], new: None, lock: None, scratch: Some(scratch) }
        };
        clock::pin(run.began);
        Ok(run)
    }

    /// Whether this process writes the folder.
    pub fn is_ours(&self) -> bool {
        self.lock.is_some()
    }

    /// Opens `out` for writing: locks it, clears what a killed process left half-written, and puts the resolved configuration into a new one.
    ///
    /// Without `resume` the folder must be new or empty. With it, a run there is continued, and where there is none it is started. The
    /// configuration must then be the run's, but for keys that may change as it goes on ([`config::HARMLESS`]); the folder learns of those when nothing else
    /// refuses the run ([`RunDir::accept`]).
    pub fn create(out: &Path, config_toml: &str, resume: bool) -> Result<RunDir, Error> {
        RunDir::create_over(out, config_toml, resume, str::to_owned)
    }

    /// [`RunDir::create`], where `completed` brings the configuration of an earlier program up to this one's.
    fn create_over(out: &Path, config_toml: &str, resume: bool, completed: fn(&str) -> String) -> Result<RunDir, Error> {
        fs::create_dir_all(out).map_err(Error::io(out))?;
        let config = out.join("config.toml");
        let ours = |name: &std::ffi::OsStr| is_lock(name) || name == ".tmp-config.toml"; // left by a run killed as it started
        let foreign = fs::read_dir(out).map_err(Error::io(out))?.flatten().any(|e| !ours(&e.file_name()));
        if foreign && !config.exists() {
            return Err(Error::NotARun(out.to_owned()));
        }
        let lock = lock(out)?;
        if config.exists() {
            if !resume {
                return Err(Error::Occupied(out.to_owned()));
            }
            let before = fs::read_to_string(&config).map_err(Error::io(&config))?;
            let new = config::changes(&completed(&before), config_toml);
            if let Some(differences) = refused(&new) {
                return Err(Error::ConfigChanged { dir: out.to_owned(), differences });
            }
            durable::sweep(&out.join("checkpoints"))?;
            durable::sweep(out)?;
            let mut run = RunDir {
                dir: out.to_owned(),
                began: began(out)?,
                changes: read_json(&out.join(CHANGES))?.unwrap_or_default(),
                new: (!new.is_empty()).then(|| (new.len(), config_toml.to_owned())),
                lock: Some(lock),
                scratch: None,
            };
            let step = checkpoint::latest(&run)?.map_or(0, |c| c.step);
            run.changes.extend(new.into_iter().map(|change| Change { step, ..change }));
            return Ok(run);
        }
        durable::write_file(&config, config_toml.as_bytes())?;
        Ok(RunDir { dir: out.to_owned(), began: began(out)?, changes: vec![], new: None, lock: Some(lock), scratch: None })
    }

    /// Takes on what the run reads and what changed in its configuration: all that could refuse it has been asked. A finished run that was made longer is no longer
    /// finished.
    pub fn accept(&mut self, inputs: &Inputs) -> Result<(), Error> {
        if !self.is_ours() {
            return Ok(()); // rank 0 has
        }
        self.write_json(INPUTS, &Inputs { began: Some(self.began), ..inputs.clone() })?;
        self.new_changes().iter().for_each(|change| note(&format!("{}: {change}", self.dir.display())));
        if self.is_resized() {
            summary::remove(self)?;
        }
        let Some((_, config_toml)) = self.new.take() else { return Ok(()) };
        self.write_json(CHANGES, &self.changes)?;
        self.write("config.toml", config_toml.as_bytes()) // last: what was not recorded is asked for again
    }

    /// What changed in the configuration since the run began.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Of the changes those that the folder does not know of yet.
    fn new_changes(&self) -> &[Change] {
        &self.changes[self.changes.len() - self.new.as_ref().map_or(0, |(count, _)| *count)..]
    }

    /// Whether the run is to have another length than the folder knows of.
    pub(crate) fn is_resized(&self) -> bool {
        self.new_changes().iter().any(|change| LENGTH.contains(&change.key.as_str()))
    }

    /// Refuses to go on with a run that read something else.
    pub fn check_inputs(&self, now: &Inputs) -> Result<(), Error> {
        if !self.is_ours() {
            return Ok(()); // rank 0 has checked
        }
        if let Some(before) = read_json::<Inputs>(&self.join(INPUTS))? {
            let differences = before.differences(now);
            if !differences.is_empty() {
                return Err(Error::InputsChanged { dir: self.dir.clone(), differences });
            }
            if before.processes != now.processes {
                let (was, is) = (before.processes, now.processes);
                note(&format!("{}: it was run by {was} processes, now by {is}: the same steps, up to rounding", self.dir.display()));
            }
        }
        Ok(())
    }

    /// Refuses to write where another process has taken the folder over.
    pub(crate) fn check_lock(&self) -> Result<(), Error> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.check().map_err(|e| refused_lock(&self.dir, e)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A file or folder of the run to be written.
    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.as_ref().map_or(self.dir.as_path(), |scratch| scratch.path()).join(name)
    }

    /// Writes a file of the run whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        durable::write_file(&self.join(name), bytes)
    }

    fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(value).map_err(|e| Error::state(&self.join(name), e.to_string()))?;
        self.write(name, &text)
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// The finished model folder; it exists once the run is done.
    pub fn model(&self) -> PathBuf {
        self.dir.join("model")
    }
}

/// When the run in `dir` began; a new one, or one of a program that did not record it, begins now.
fn began(dir: &Path) -> Result<i64, Error> {
    Ok(read_json::<Inputs>(&dir.join(INPUTS))?.and_then(|inputs| inputs.began).unwrap_or_else(clock::now))
}

/// Takes the folder's lock or says who holds it.
fn lock(dir: &Path) -> Result<Lock, Error> {
    let pace = Pace::default();
    let waiting = |owner: &str| {
        note(&format!("{}: last written by {owner}; waiting {} s for a sign that it lives", dir.display(), pace.patience.as_secs()));
    };
    Lock::take(dir, pace, waiting).map_err(|e| refused_lock(dir, e))
}

fn refused_lock(dir: &Path, e: LockError) -> Error {
    match e {
        LockError::Held(owner) => Error::Locked { dir: dir.to_owned(), owner },
        LockError::Io(e) => Error::io(dir)(e),
    }
}

/// The changes that make it another run, as the user should read them; `None` where all may be.
fn refused(changes: &[Change]) -> Option<String> {
    const SHOWN: usize = 5;
    let bad: Vec<String> = changes.iter().filter(|c| !c.is_harmless()).map(ToString::to_string).collect();
    let more = bad.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!bad.is_empty()).then(|| bad.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ") + &rest)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| Error::state(path, e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path)(e)),
    }
}
