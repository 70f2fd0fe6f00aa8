//! `--profile`: where the time, memory and arithmetic of a few steps go, as libtorch's own profiler sees it.
//!
//! `DIR/profile/trace.json` is a Chrome trace (`chrome://tracing`, ui.perfetto.dev), `summary.txt` a table by phase and by operator, `summary.json` the
//! same for programs. Recording costs some microseconds an operator call: shares are to be trusted, rates are those of a run without it.

mod summary;

use crate::{Error, RunDir, durable};
use native::{Profiler, Range};
use std::ffi::CStr;
use std::path::PathBuf;
pub use summary::{Group, Summary};
use tch::Device;

/// Steps before the profile: the first ones allocate, and page memory in.
const WARM_UP: u64 = 2;

/// The profile of a run; does nothing unless asked for.
#[derive(Debug)]
pub struct Profile {
    dir: PathBuf,
    /// The first step and the one after the last.
    window: Option<(u64, u64)>,
    running: Option<Profiler>,
    cuda: bool,
}

impl Profile {
    /// Of `wanted` steps of the ones from `first` to `total`, after two of warming up where there are enough.
    pub fn new(run: &RunDir, wanted: Option<u64>, (first, total): (u64, u64), device: Device) -> Profile {
        let window = wanted.filter(|&n| n > 0 && first < total && run.is_ours()).map(|n| {
            let n = n.min(total - first);
            let begin = (first + WARM_UP).min(total - n);
            (begin, begin + n)
        });
        Profile { dir: run.join("profile"), window, running: None, cuda: device.is_cuda() }
    }

    /// Called as the loop comes to `step`, before it trains: starts or ends the profile. Returns the summary when it ends.
    pub fn at(&mut self, step: u64) -> Result<Option<Summary>, Error> {
        let Some((begin, end)) = self.window else { return Ok(None) };
        if step == begin {
            self.running = Some(Profiler::start(self.cuda)?);
        }
        if step != end {
            return Ok(None);
        }
        let Some(profiler) = self.running.take() else { return Ok(None) };
        std::fs::create_dir_all(&self.dir).map_err(Error::io(&self.dir))?;
        let events = profiler.stop(Some(&self.dir.join("trace.json")))?;
        let summary = Summary::new(&events, end - begin);
        durable::write_file(&self.dir.join("summary.txt"), summary.to_string().as_bytes())?;
        let path = self.dir.join("summary.json");
        let json = serde_json::to_vec_pretty(&summary).map_err(|e| Error::state(&path, e.to_string()))?;
        durable::write_file(&path, &json)?;
        Ok(Some(summary))
    }
}

/// Does `work` as the phase `name` of a step.
pub fn phase<T>(name: &'static CStr, work: impl FnOnce() -> T) -> T {
    let _range = Range::new(name);
    work()
}
