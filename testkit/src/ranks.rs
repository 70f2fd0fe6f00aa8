//! The tests that every stage must pass when several processes share its work, as one macro: [`rank_tests!`](crate::rank_tests).

use crate::{Stage, metrics, suite};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Two, three and four ranks take the steps of one: `sets` make steps of four micro-batches, which are the same whoever works on them, dropout included.
/// Only the order of sums differs.
pub fn same_steps(stage: &Stage, sets: &[&str], tolerance: f64) {
    let sets: Vec<&str> = sets.iter().flat_map(|s| ["--set", *s]).collect();
    stage.run_ok("1", &sets);
    for ranks in ["2", "3", "4"] {
        let output = stage.run_ok(ranks, &[&sets[..], &["--nproc", ranks]].concat());
        println!("{ranks} ranks: largest distance of a weight {:.1e}, of a metric {:.1e}", weights(stage, ranks), figures(stage, ranks));
        stage.assert_near("1", ranks, tolerance);
        let said = stage.stderr(&output);
        let last = said.lines().filter(|line| line.contains("(100%)")).count();
        assert!(last <= 2, "one process speaks, and ends with one line: {said}");
    }
}

/// What ranks may keep their shares of: optimiser states, gradients too, weights too.
pub const SHARDS: [&str; 3] = ["optimizer", "gradients", "parameters"];

/// Numbers of ranks for each kind of shares: two share evenly, three do not, and of four some have no part of a small tensor. (Without shares, all three are
/// tried with every stage: [`same_steps`].)
fn ranks_of(shard: &str) -> &'static [&'static str] {
    match shard {
        "optimizer" => &["3"],
        "gradients" => &["4"],
        _ => &["2", "3"],
    }
}

/// Ranks that keep their shares of these take the steps of one that has all.
pub fn same_steps_in_shares(stage: &Stage, shards: &[&str], sets: &[&str], tolerance: f64) {
    let sets: Vec<&str> = sets.iter().flat_map(|s| ["--set", *s]).collect();
    stage.run_ok("1", &sets);
    for shard in shards {
        for ranks in ranks_of(shard) {
            let (out, set) = (format!("{shard} {ranks}"), format!("distributed.shard={shard}"));
            stage.run_ok(&out, &[&sets[..], &["--nproc", ranks, "--set", &set]].concat());
            let (weights, figures) = (weights(stage, &out), figures(stage, &out));
            println!("{shard}, {ranks} ranks: largest distance of a weight {weights:.1e}, of a metric {figures:.1e}");
            stage.assert_near("1", &out, tolerance);
        }
    }
}

/// A run goes on with other shares and another number of ranks: its checkpoints hold shares, which any number reads. `steps` is the key of its length.
pub fn other_shares(stage: &Stage, sets: &[&str], steps: &str, tolerance: f64) {
    let length = |n: usize| format!("{steps}={n}");
    let common = ["schedule.decay=constant", "eval.every=1", "checkpoint.every=1"]; // the length changes nothing else then
    let sets: Vec<&str> = sets.iter().chain(&common).flat_map(|s| ["--set", *s]).collect();
    let run = |out: &str, done: usize, ranks: &str, shard: &str| {
        let (length, shard) = (length(done), format!("distributed.shard={shard}"));
        stage.run_ok(out, &[&sets[..], &["--set", &length, "--set", &shard, "--nproc", ranks, "--resume"]].concat());
    };
    run("1", 5, "1", "none");
    let turns = [("3", "gradients"), ("3", "parameters"), ("2", "optimizer"), ("2", "none"), ("4", "parameters")];
    for (done, (ranks, shard)) in turns.into_iter().enumerate() {
        run("changing", done + 1, ranks, shard);
        let moments = stage.out("changing").join(format!("checkpoints/step-{}/state", done + 1));
        let files = std::fs::read_dir(moments).expect("state").flatten();
        let shares = files.filter(|f| f.file_name().to_string_lossy().contains(&format!("-of-0000{ranks}"))).count();
        assert_eq!(shares > 0, shard != "none", "{shares} shares in a checkpoint of {ranks} ranks, {shard}");
    }
    stage.assert_near("1", "changing", tolerance);
}

fn weights(stage: &Stage, out: &str) -> f64 {
    let pairs = crate::weights(&stage.out("1")).into_iter().zip(crate::weights(&stage.out(out)));
    pairs.map(|((_, a), (_, b))| (a - b).abs().max().double_value(&[])).fold(0.0, f64::max)
}

fn figures(stage: &Stage, out: &str) -> f64 {
    let (left, right) = (metrics(&stage.out("1")), metrics(&stage.out(out)));
    let gap = |(x, y): (&serde_json::Value, &serde_json::Value)| {
        let keys = x.as_object().expect("a line of metrics").keys();
        keys.map(|k| (x[k].as_f64().unwrap_or(0.0) - y[k].as_f64().unwrap_or(0.0)).abs()).fold(0.0, f64::max)
    };
    left.iter().zip(&right).map(gap).fold(0.0, f64::max)
}

/// Three ranks (of two, a sum has but one order) stop together with a checkpoint, whoever was asked to, and go on to the bytes of a run that was never stopped.
pub fn stopped(stage: Stage) {
    suite::stopped(&stage.with_ranks(3));
}

/// So they do with shares of gradients and moments, or of weights too.
pub fn stopped_in_shares(stage: Stage, shard: &str) {
    suite::stopped(&stage.with_ranks(3).with_shard(shard));
}

/// A rank that is killed ends all of them; the launcher names it; the run goes on to the same bytes. So it does when the launcher itself is killed.
pub fn killed(stage: Stage) {
    let stage = stage.with_ranks(2);
    stage.run_ok("whole", &[]);
    for (lines, rank) in [(3, Some("1")), (6, Some("0")), (9, None)] {
        let mut child = start(&stage, "killed");
        wait_for_lines(&stage, &mut child, lines);
        let ranks = ["0", "1"].map(|rank| pid_of(child.id(), rank));
        match rank {
            Some(rank) => signal("KILL", pid_of(child.id(), rank).expect("a running rank")),
            None => signal("KILL", child.id()),
        }
        let output = child.wait_with_output().expect("child");
        let said = String::from_utf8_lossy(&output.stderr);
        if let Some(rank) = rank {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("rank {rank} of 2 was killed by signal 9")), "{said}");
        }
        ranks.into_iter().flatten().for_each(wait_until_gone);
        stage.assert_whole_checkpoints("killed");
    }
    stage.run_ok("killed", &["--resume"]);
    stage.assert_same("whole", "killed");
}

/// The user's mistake is said once, whichever way it shows, and the exit code is that of one process.
pub fn wrong_input(stage: Stage, too_few: &str) {
    let stage = stage.with_ranks(3);
    for (set, part) in
        [("data.sources.0.path=nowhere.jsonl".to_owned(), "nowhere.jsonl"), (too_few.to_owned(), "3 processes cannot share it")]
    {
        let output = stage.run("wrong", &["--set", &set]);
        let said = stage.stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.contains("error:")).collect();
        assert!(errors.len() == 1 && said.contains(part), "{said}");
        let _ = std::fs::remove_dir_all(stage.out("wrong"));
    }
}

fn start(stage: &Stage, out: &str) -> Child {
    stage.command(out, &["--resume"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

fn wait_for_lines(stage: &Stage, child: &mut Child, lines: usize) {
    let path = stage.out("killed").join("metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(120);
    while std::fs::read_to_string(&path).map_or(0, |t| t.lines().count()) < lines {
        assert!(child.try_wait().expect("child").is_none(), "the run ended before its line {lines}");
        assert!(Instant::now() < deadline, "no {lines} lines of metrics within two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The process of a rank below the launcher `parent`, by what its environment says.
fn pid_of(parent: u32, rank: &str) -> Option<u32> {
    let wanted = [format!("DIST_PARENT={parent}"), format!("RANK={rank}")];
    let is_it = |pid: &u32| {
        let vars = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        wanted.iter().all(|w| vars.split(|b| *b == 0).any(|var| var == w.as_bytes()))
    };
    std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).find(is_it)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill");
    assert!(sent.success(), "process {pid} is gone already");
}

fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let gone = || std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).map_or(true, |stat| stat.contains(") Z "));
    while !gone() {
        assert!(Instant::now() < deadline, "process {pid} outlives its run");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The tests of a stage that several processes share: `sets` make a short run of four micro-batches a step; `too_few` leaves
/// two rows a step; `steps` is the key of a run's length.
#[macro_export]
macro_rules! rank_tests {
    ($stage:expr, sets: $sets:expr, too_few: $too_few:literal, steps: $steps:literal, tolerance: $tolerance:literal) => {
        #[test]
        fn several_ranks_take_the_steps_of_one() {
            $crate::ranks::same_steps(&$stage, &$sets, $tolerance);
        }

        #[test]
        fn several_ranks_with_shares_take_the_steps_of_one() {
            $crate::ranks::same_steps_in_shares(&$stage, &$crate::ranks::SHARDS, &$sets, $tolerance);
        }

        #[test]
        fn a_run_goes_on_with_other_shares_and_ranks() {
            $crate::ranks::other_shares(&$stage, &$sets, $steps, $tolerance);
        }

        #[test]
        fn a_stopped_run_with_shares_goes_on_to_the_same_bytes() {
            $crate::ranks::stopped_in_shares($stage, "gradients");
        }

        #[test]
        fn a_stopped_run_with_shared_weights_goes_on_to_the_same_bytes() {
            $crate::ranks::stopped_in_shares($stage, "parameters");
        }

        #[test]
        fn a_stopped_run_of_three_ranks_goes_on_to_the_same_bytes() {
            $crate::ranks::stopped($stage);
        }

        #[test]
        fn a_killed_rank_ends_all_and_the_run_goes_on_to_the_same_bytes() {
            $crate::ranks::killed($stage);
        }

        #[test]
        fn the_mistake_of_several_ranks_is_said_once() {
            $crate::ranks::wrong_input($stage, $too_few);
        }
    };
}
