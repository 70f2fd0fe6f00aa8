//! The event files as the real TensorBoard reads them: with RLHF_PYTHON naming a Python that has it.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use train::{Alarms, Metrics, Progress, RunDir, State, checkpoint};

const CONFIG: &str = "seed = 1\n";

fn open(run: &RunDir, state: &State) -> Metrics {
    let bar = Progress::steps("test", 0, 10);
    Metrics::open(run, state).unwrap().watched(run, &data::config::Log::default(), Alarms::new(&Default::default()), &bar).unwrap()
}

fn event_files(run: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(run.join("tensorboard")).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A run killed in the middle of a line of both files after step 7; its newest checkpoint is of step 4.
fn killed(dir: &Path) {
    let run = RunDir::create(dir, CONFIG, true).unwrap();
    let mut state = State::open(&run).unwrap();
    let mut log = open(&run, &state);
    log.line(0).set("eval/loss", 9.5).value("eval/sample", "one\ntwo").write().unwrap();
    for step in 1..=7 {
        log.line(step).set("loss", step as f64).set("lr", if step == 2 { f64::NAN } else { 0.1 }).write().unwrap();
        if step == 4 {
            checkpoint::commit(&run, step, |tmp| state.save(tmp, step, &[], &mut [&mut log])).unwrap();
        }
    }
    drop(log);
    let events = dir.join("tensorboard").join(&event_files(dir)[0]);
    for path in [dir.join("metrics.jsonl"), events] {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    }
}

/// The same run gone on from step 4 to step 8 with other losses.
fn resumed(dir: &Path) {
    let run = RunDir::create(dir, CONFIG, true).unwrap();
    let state = State::open(&run).unwrap();
    let mut log = open(&run, &state);
    (state.step + 1..=8).for_each(|step| log.line(step).set("loss", 100.0 + step as f64).write().unwrap());
}

#[test]
fn it_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), CONFIG, true).unwrap();
    let (bar, off) = (Progress::steps("test", 0, 10), data::config::Log { tensorboard: false });
    let mut log = Metrics::open(&run, &State::default()).unwrap().watched(&run, &off, Alarms::new(&Default::default()), &bar).unwrap();
    log.line(1).set("loss", 1.0).write().unwrap();
    assert!(!dir.path().join("tensorboard").exists());
}

struct Reader(Child);

impl Reader {
    fn start(python: &std::ffi::OsStr, dir: &Path, how: &str) -> Reader {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_events.py");
        let mut command = Command::new(python);
        command.arg(script).arg(dir.join("tensorboard")).arg(how).stdin(Stdio::piped()).stdout(Stdio::piped());
        Reader(command.spawn().expect("RLHF_PYTHON starts"))
    }

    fn read(&mut self) -> Value {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the reader prints JSON")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // end of input ends it
        let _ = self.0.wait();
    }
}

/// One test, not two: a child that another thread is just starting would hold a copy of the run folder's lock for a moment.
#[test]
fn each_step_stands_in_one_file_and_the_real_tensorboard_shows_it_once() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path());
    let before = event_files(dir.path());
    resumed(dir.path());
    let after = event_files(dir.path());
    assert_eq!((before.len(), after.len()), (1, 2));
    assert_eq!(before[0], after[0], "the newer name comes last");
    let size = |name: &String| fs::metadata(dir.path().join("tensorboard").join(name)).unwrap().len();
    assert!(size(&after[0]) == 0 && size(&after[1]) > 0, "the older one says nothing");
    the_real_tensorboard("each_step_stands_in_one_file_and_the_real_tensorboard_shows_it_once");
}

fn the_real_tensorboard(name: &str) {
    let Some(python) = std::env::var_os("RLHF_PYTHON") else {
        return println!("SKIPPED: part of {name} because RLHF_PYTHON names no Python with tensorboard");
    };
    if !Command::new(&python).args(["-c", "import tensorboard"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        return println!("SKIPPED: part of {name} because the Python of RLHF_PYTHON has no tensorboard (pip install tensorboard)");
    }
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path());
    let (mut live, mut cold) = (Reader::start(&python, dir.path(), "live"), Reader::start(&python, dir.path(), "cold"));
    // The last record is torn: readers stop before it.
    let points = |values: &[(u64, f64)]| json!(values.iter().map(|(step, y)| json!([step, y])).collect::<Vec<_>>());
    let early = points(&[(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0), (6, 6.0)]);
    for seen in [live.read(), cold.read()] {
        assert_eq!(seen["loss"], early);
        assert_eq!(seen["lr"].as_array().unwrap().len(), 5, "NaN is left out");
        assert_eq!(seen["eval/sample"], json!([[0, "    one\n    two"]]));
    }
    resumed(dir.path());
    let late = points(&[(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 105.0), (6, 106.0), (7, 107.0), (8, 108.0)]);
    for seen in [live.read(), cold.read()] {
        assert_eq!(seen["loss"], late);
        assert_eq!(seen["eval/loss"], json!([[0, 9.5]]));
        assert_eq!(seen["eval/sample"], json!([[0, "    one\n    two"]]));
    }
}
