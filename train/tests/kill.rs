//! SIGKILL at random moments, and the signals that ask for a clean end. The test binary starts itself as the process to be killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};
use train::optim::{Optimizer, Param};
use train::{Metrics, RunDir, State, Stop, checkpoint};

const FOLDER: &str = "TRAIN_TEST_CHILD_FOLDER";
/// Tells the child to write straight into the final folder, as a careless program would.
const CARELESS: &str = "TRAIN_TEST_CHILD_CARELESS";
/// A child whose parent died without killing it leaves after this long.
const ORPHANED: Duration = Duration::from_secs(120);
const CONFIG: &str = "seed = 1\n";
const FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

fn command(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What file number `file` of step `step` holds: a few hundred kilobytes that no other step has.
fn content(step: u64, file: usize) -> Vec<u8> {
    let n = 40_000 + 20_000 * file;
    (0..n as u64).flat_map(|i| (step * 1_000_003 + i * 7 + file as u64).to_le_bytes()).collect()
}

fn optimiser() -> Optimizer {
    let tensor = Tensor::zeros([3000], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    Optimizer::new(vec![Param { name: "w".into(), tensor, decay: false, unit: 0 }], &data::config::Optim::default()).unwrap()
}

/// The process to be killed: a stage that does nothing but save. In an ordinary test run it ends at once.
#[test]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let run = RunDir::create(Path::new(&folder), CONFIG, true).unwrap();
    let mut state = State::open(&run).unwrap();
    let mut optim = optimiser();
    state.restore("optim", &mut optim).unwrap();
    let mut log = Metrics::open(&run, &state).unwrap();
    let begun = Instant::now();
    for step in state.step.. {
        if begun.elapsed() > ORPHANED {
            return;
        }
        if state.resumed_at() != Some(step) && step > 0 {
            let mut write = |tmp: &Path| {
                for (i, name) in FILES.iter().enumerate() {
                    fs::write(tmp.join(name), content(step, i))?;
                }
                state.save(tmp, step, &[("optim", &optim)], &mut [&mut log])
            };
            if std::env::var_os(CARELESS).is_some() {
                let folder = run.checkpoints().join(format!("step-{step}"));
                fs::create_dir_all(&folder).unwrap();
                write(&folder).unwrap();
            } else {
                checkpoint::commit(&run, step, write).unwrap();
            }
            checkpoint::prune(&run, 2, None).unwrap();
            checkpoint::publish(&run, |tmp| Ok(fs::write(tmp.join(FILES[0]), content(step, 0))?)).unwrap();
        }
        log.line(step).set("loss", 1.0).write().unwrap();
    }
}

/// The number of checkpoints under a final name, all of them whole, or the first torn file.
fn whole(folder: &Path) -> Result<usize, String> {
    let Ok(entries) = fs::read_dir(folder.join("checkpoints")) else { return Ok(0) };
    let mut whole = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(step) = name.strip_prefix("step-").map(|s| s.parse().unwrap()) else {
            assert!(name.starts_with('.'), "{name}");
            continue;
        };
        for (i, file) in FILES.iter().enumerate() {
            if fs::read(path.join(file)).unwrap_or_default() != content(step, i) {
                return Err(format!("{name}/{file} is torn"));
            }
        }
        optimiser().load(&path.join("state/optim.safetensors")).map_err(|e| e.to_string())?;
        serde_json::from_slice::<serde_json::Value>(&fs::read(path.join("state/state.json")).unwrap_or_default())
            .map_err(|e| e.to_string())?;
        whole += 1;
    }
    match fs::read(folder.join("model").join(FILES[0])) {
        Ok(model) if (0..10_000).all(|step| model != content(step, 0)) => Err("model/ is torn".into()),
        _ => Ok(whole),
    }
}

/// Lets the process get past step `newest`, kills it a moment later that differs from round to round.
fn kill_at_random(mut process: Child, folder: &Path, newest: u64, round: u64) {
    let begun = Instant::now();
    let count = || checkpoint_steps(folder).into_iter().max().unwrap_or(0);
    while count() <= newest && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_micros(train::seed::mix(round, 0, 0) as u64 % 30_000));
    process.kill().unwrap(); // SIGKILL
    process.wait().unwrap();
}

/// The test below must be able to fail: a writer without the rename is caught.
#[test]
fn a_careless_writer_is_caught() {
    let caught = (0..40).any(|round| {
        let tmp = tempfile::tempdir().unwrap();
        let process = command("kill::writes_until_killed", tmp.path()).env(CARELESS, "1").spawn().unwrap();
        kill_at_random(process, tmp.path(), 0, round);
        whole(tmp.path()).is_err()
    });
    assert!(caught);
}

#[test]
fn sigkill_at_a_random_moment_leaves_no_torn_checkpoint() {
    let tmp = tempfile::tempdir().unwrap();
    let folder = tmp.path().join("run");
    let mut newest = 0;
    for round in 0..15u64 {
        kill_at_random(command("kill::writes_until_killed", &folder).spawn().unwrap(), &folder, newest, round);
        whole(&folder).unwrap();
        // The dead owner's lock does not stand in the way, and the sweep leaves whole checkpoints only.
        let run = RunDir::create(&folder, CONFIG, true).unwrap();
        assert!(whole(&folder).unwrap() >= 1);
        for dir in [&folder, &run.checkpoints()] {
            let left = fs::read_dir(dir).unwrap().filter(|e| {
                let name = e.as_ref().unwrap().file_name().into_string().unwrap();
                name.starts_with('.') && name != ".lock"
            });
            assert_eq!(left.count(), 0, "leftovers in {}", dir.display());
        }
        let state = State::open(&run).unwrap();
        assert!(state.step > newest, "round {round} got no further than step {newest}");
        newest = state.step;
        let mut restored = optimiser();
        state.restore("optim", &mut restored).unwrap();
        drop(Metrics::open(&run, &state).unwrap());
        let steps: Vec<u64> = fs::read_to_string(folder.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert!(steps.iter().copied().eq(0..newest), "metrics know each step once");
    }
}

fn checkpoint_steps(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder.join("checkpoints")) else { return vec![] };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()).collect()
}

/// The process to be signalled: a loop that never ends unless asked to. Says "listening" first.
#[test]
fn loops_until_asked() {
    if std::env::var_os(FOLDER).is_none() {
        return;
    }
    let stop = Stop::install(&dist::World::single()).unwrap();
    assert_eq!(stop.requested(), None);
    println!("listening");
    let begun = Instant::now();
    while stop.requested().is_none() && begun.elapsed() < ORPHANED {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("asked {:?}", stop.outcome());
    // Busy with its last checkpoint until the test says so; a second Ctrl-C must not wait for it.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("left");
    std::process::exit(match stop.outcome() {
        train::exit::Outcome::Requeue => 75,
        train::exit::Outcome::Interrupted => 130,
        train::exit::Outcome::Done => 0,
    });
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn signals_ask_and_a_second_ctrl_c_insists() {
    let tmp = tempfile::tempdir().unwrap();
    for (signals, code, leaves) in [
        (&["TERM"][..], 75, true),
        (&["USR1"], 75, true),
        (&["INT"], 130, true),
        (&["TERM", "TERM"], 75, true),
        (&["INT", "INT"], 130, false),
    ] {
        let mut process = command("kill::loops_until_asked", tmp.path()).stdin(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line.ends_with("listening")));
        signal(&process, signals[0]);
        assert!(said.any(|line| line.starts_with("asked")), "{signals:?}");
        for name in &signals[1..] {
            signal(&process, name);
        }
        if leaves {
            process.stdin.as_mut().unwrap().write_all(b"done\n").unwrap();
        }
        assert_eq!(said.any(|line| line == "left"), leaves, "{signals:?}");
        assert_eq!(process.wait().unwrap().code(), Some(code), "{signals:?}");
    }
}
