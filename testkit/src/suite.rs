//! The tests that every stage must pass, as one macro: [`stage_tests!`](crate::stage_tests).

use crate::{Stage, files, metrics};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tch::{Device, Kind};

/// Kills of one stage. Most come before its end: each start is given a random share of an undisturbed run's time.
const KILLS: usize = 12;

/// SIGTERM and SIGINT end with a checkpoint, and going on gives the bytes of a run that was never stopped.
pub fn stopped(stage: &Stage) {
    stage.run_ok("whole", &[]);
    let status = stage.signal_at("stopped", 4, "TERM");
    assert_eq!(status.code(), Some(75), "SIGTERM ends with a checkpoint, to be queued again");
    let status = stage.signal_at("stopped", 8, "INT");
    assert_eq!(status.code(), Some(130), "SIGINT ends with a checkpoint");
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
}

/// SIGKILL at random moments never leaves a torn checkpoint, and going on gives the bytes of a run that was never killed.
pub fn killed(stage: &Stage) {
    let begun = Instant::now();
    stage.run_ok("whole", &[]);
    let killed = stage.kill_at_random("killed", KILLS, begun.elapsed(), 11);
    println!("{killed} of {KILLS} starts were killed before their end");
    assert!(killed > KILLS / 4, "only {killed} of {KILLS} kills came in time");
    stage.assert_same("whole", "killed");
}

/// A finished run is left alone, but for a page that a kill kept it from writing; an occupied folder and another configuration are refused. Returns what
/// was said.
pub fn occupied(stage: &Stage) -> String {
    stage.run_ok("run", &[]);
    let before = std::fs::read(stage.out("run").join("metrics.jsonl")).expect("metrics");
    let page = stage.out("run").join("report.html");
    std::fs::remove_file(&page).expect("a page");
    stage.run_ok("run", &["--resume"]);
    assert!(page.is_file(), "the page is not written again");
    assert_eq!(std::fs::read(stage.out("run").join("metrics.jsonl")).expect("metrics"), before);
    let refused = stage.run("run", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let changed = stage.run("run", &["--resume", "--set", "seed=9"]);
    assert_eq!(changed.status.code(), Some(2));
    format!("{}{}", stage.stderr(&refused), stage.stderr(&changed))
}

/// A run stopped half-way does not go on when a file it reads has changed, and goes on when that file is as it was.
pub fn other_inputs(stage: &Stage, file: &str) {
    let keys = ["data.sources", "data.template", "data.augment.synonyms", "init", "reward.model", "teacher"];
    let key = |said: &str| keys.iter().any(|key| said.contains(key));
    assert_eq!(stage.signal_at("run", 4, "TERM").code(), Some(75));
    let path = stage.dir.path().join(file);
    let before = std::fs::read(&path).expect("input");
    std::fs::write(&path, changed(&path, &before)).expect("input");
    let refused = stage.run("run", &["--resume"]);
    let said = stage.stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("has other contents") && key(&said), "{said}");
    std::fs::write(&path, before).expect("input");
    stage.run_ok("run", &["--resume"]);
}

/// The same kind of file with other contents: one line fewer, or another last weight.
fn changed(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if path.extension().is_some_and(|e| e == "safetensors") {
        *bytes.last_mut().expect("weights") ^= 1;
        return bytes;
    }
    let cut = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').expect("lines");
    bytes.truncate(cut + 1);
    bytes
}

/// A finished run goes on when it is made longer by `key`, which its lineage then tells; it is never made shorter, and stays finished when that is asked.
pub fn longer(stage: &Stage, key: &str, from: u64, to: u64) {
    stage.run_ok("run", &[]);
    let set = |n: u64| format!("{key}={n}");
    stage.run_ok("run", &["--resume", "--set", &set(to)]);
    let last = metrics(&stage.out("run")).iter().filter_map(|row| row["step"].as_u64()).max();
    assert_eq!(last, Some(to));
    let text = std::fs::read_to_string(stage.out("run").join("model/lineage.json")).expect("lineage");
    let lineage: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let change = &lineage["changes"][0];
    assert_eq!((change["key"].as_str(), change["step"].as_u64()), (Some(key), Some(from)), "{change}");
    let before = files(&stage.out("run"));
    let shorter = stage.run("run", &["--resume", "--set", &set(from)]);
    assert_eq!(shorter.status.code(), Some(2), "{}", stage.stderr(&shorter));
    let after = files(&stage.out("run"));
    assert!(before.keys().eq(after.keys()), "{:?} was, {:?} is", before.keys(), after.keys());
    before.iter().for_each(|(path, bytes)| assert!(after[path] == *bytes, "{} was changed by a run that was refused", path.display()));
    assert!(stage.stderr(&shorter).contains(&format!("has done {to} steps")), "{}", stage.stderr(&shorter));
}

/// A signal while the stage sets up, waiting for what the source named by `key` never says, ends it at once with the signal's exit code.
pub fn left_while_setting_up(stage: &Stage, key: &str) {
    for (signal, code) in [("TERM", 75), ("USR1", 75), ("INT", 130)] {
        let fifo = stage.dir.path().join(format!("{signal}.txt"));
        assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
        let set = format!("{key}={}", fifo.display());
        let mut command = stage.command(signal, &["--set", &set]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (tell, opened) = mpsc::channel();
        std::thread::spawn(move || tell.send(File::options().write(true).open(fifo))); // opens once somebody reads
        let writer = opened.recv_timeout(Duration::from_secs(120)).expect("the source is read").expect("the writing end");
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill").success());
        let output = child.wait_with_output().expect("child");
        drop(writer);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{signal}: {said}");
        assert!(said.contains("stopped before the first step; nothing to save") && !said.contains("killed"), "{signal}: {said}");
    }
}

/// Each of `wrong` (`key=value`, `{dir}` being the test's folder) ends with exit code 2. Returns what was said.
pub fn wrong_input(stage: &Stage, wrong: &[&str]) -> String {
    let mut said = String::new();
    for set in wrong {
        let set = set.replace("{dir}", &stage.dir.path().display().to_string());
        let output = stage.run("wrong", &["--set", &set]);
        assert_eq!(output.status.code(), Some(2), "{set}: {}", stage.stderr(&output));
        said += &stage.stderr(&output);
        let _ = std::fs::remove_dir_all(stage.out("wrong"));
    }
    said
}

/// What a step of the test's run may cost with our kernels in float32, whatever the clock says: a guard against work that creeps in. Raise it only for a reason.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Calls of libtorch's operators.
    pub calls: f64,
    /// Mebibytes of tensor memory taken.
    pub mib: f64,
    /// Most mebibytes of tensor memory held at once.
    pub peak_mib: f64,
}

/// `--profile` leaves a trace and a summary with these phases, and a step keeps to its budget: not above it, and not so far below that the budget says
/// nothing any more. Packed matrices are of whole tiles, whose size depends on the processor: that is up to a tenth of what so small a model holds (SFT: 0.41 MiB with AVX2, 0.45 with AVX-512).
pub fn profiled(stage: &Stage, phases: &[&str], budget: Budget) {
    stage.run_ok("run", &["--profile=4"]);
    let read = |name: &str| std::fs::read_to_string(stage.out("run").join("profile").join(name)).expect("profile");
    let trace: serde_json::Value = serde_json::from_str(&read("trace.json")).expect("a Chrome trace");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| !events.is_empty()));
    let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).expect("JSON");
    let seen: Vec<&String> = summary["phases"].as_object().expect("phases").keys().collect();
    phases.iter().for_each(|p| assert!(seen.iter().any(|s| s == p), "{p} is not among {seen:?}"));
    let found = |key: &str| summary[key].as_f64().expect("a number");
    if model::has_kernels(Kind::Float, Device::Cpu) {
        let costs = [("operator_calls", budget.calls), ("mib", budget.mib), ("peak_mib", budget.peak_mib)];
        let costs = costs.map(|(key, most)| (key, found(key), most));
        let kept = costs.iter().all(|&(_, found, most)| found <= most && found > 0.85 * most);
        assert!(kept, "(cost, of a step, budget): {costs:?}\n{}", read("summary.txt"));
    } else {
        eprintln!("SKIPPED: what a step costs, without kernels for float32 on this processor");
    }
    stage.run_ok("plain", &[]);
    stage.assert_same("run", "plain"); // looking changes nothing
}

/// With adapters of rank 4 (and of the dropout that the stage has) a stopped run goes on to the same bytes, of the adapters too; the base stays as it is. A run can start from the adapters that another
/// has made, to train them further or with all weights; `adapter` is the key that names them.
pub fn adapted(stage: Stage, adapter: &str) {
    let stage = stage.with_set("lora.rank=4");
    stopped(&stage);
    let bytes = |out: &str| std::fs::read(stage.out(out).join("model/adapter/adapter_model.safetensors")).expect("adapters");
    assert!(bytes("whole") == bytes("stopped"), "adapters differ");
    let config =
        |out: &str| std::fs::read_to_string(stage.out(out).join("model/adapter/adapter_config.json")).expect("adapter_config.json");
    assert!(config("whole").contains("\"r\": 4"));
    let from = format!("{adapter}={}", stage.out("whole").display());
    stage.run_ok("further", &["--set", &from]);
    assert!(bytes("further") != bytes("whole"));
    let lineage = std::fs::read_to_string(stage.out("further").join("model/lineage.json")).expect("lineage");
    assert!(lineage.contains(adapter), "an adapter is a parent: {lineage}");
    stage.run_ok("all weights", &["--set", &from, "--set", "lora.rank=0"]);
    assert!(!stage.out("all weights").join("model/adapter").exists());
    let other = stage.run("other", &["--set", &from, "--set", "lora.rank=8"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stage.stderr(&other).contains("has rank 4"), "{}", stage.stderr(&other));
}

/// Blocks that are worked out again in the backward pass give the very same run; `key` switches that on.
pub fn recomputed(stage: &Stage, key: &str) {
    stage.run_ok("kept", &[]);
    let again = format!("{key}.activation_checkpointing=true");
    stage.run_ok("recomputed", &["--set", &again]);
    stage.assert_same("kept", "recomputed");
}

/// The tests of a stage: `stage` makes a [`Stage`] whose run has `length` steps by the key `key`; `reads` are files below its folder that it
/// reads; `wrong` are overrides that must be refused; `profile` are the phases of a step and its [`Budget`].
#[macro_export]
macro_rules! stage_tests {
    ($stage:expr, $key:literal = $length:literal, reads: $reads:expr, wrong: $wrong:expr, profile: $phases:expr, $budget:expr) => {
        #[test]
        fn a_stopped_run_goes_on_to_the_same_bytes() {
            $crate::suite::stopped(&$stage);
        }

        #[test]
        fn a_killed_run_leaves_no_torn_checkpoint_and_goes_on_to_the_same_bytes() {
            $crate::suite::killed(&$stage);
        }

        #[test]
        fn a_finished_run_is_left_alone_and_an_occupied_folder_refused() {
            insta::assert_snapshot!($crate::suite::occupied(&$stage));
        }

        #[test]
        fn a_run_does_not_go_on_with_other_inputs() {
            for file in $reads {
                $crate::suite::other_inputs(&$stage, file);
            }
        }

        #[test]
        fn a_finished_run_goes_on_when_it_is_made_longer() {
            $crate::suite::longer(&$stage, $key, $length, $length + 4);
        }

        #[test]
        fn wrong_input_is_one_clear_error_and_exit_code_2() {
            insta::assert_snapshot!($crate::suite::wrong_input(&$stage, &$wrong));
        }

        #[test]
        fn a_profile_shows_the_phases_of_a_step_which_keeps_to_its_budget() {
            $crate::suite::profiled(&$stage, &$phases, $budget);
        }

        #[test]
        fn help() {
            insta::assert_snapshot!($stage.help());
        }
    };
}
