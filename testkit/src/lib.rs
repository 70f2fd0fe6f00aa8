//! What the stages' tests share: tiny model folders, driving a binary as a user would, stopping and killing it, comparing runs.

pub mod ranks;
pub mod suite;

use data::lock::is_lock;
use data::tokenizer::Tokenizer;
use model::{Config, HeadKind, Model};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Keys of metrics that tell the time, not the training.
const CLOCKS: [&str; 4] = ["wall_s", "tokens_per_s", "answers_per_s", "episodes_per_s"];

/// Writes a model folder with random weights and a byte tokenizer: 2 blocks, 2 heads, 32 wide, context 96.
pub fn tiny_folder(dir: &Path, head: HeadKind, seed: u64) {
    let tokenizer = Tokenizer::byte().expect("byte tokenizer");
    let mut config = Config::gpt2(tokenizer.vocab_size(), 96, 2, 2, 32, 0.0).expect("shape");
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    std::fs::create_dir_all(dir).expect("folder");
    Model::new(config, head, tch::Device::Cpu, seed).expect("model").save(dir).expect("weights");
    tokenizer.save(dir).expect("tokenizer");
}

/// One stage with a configuration of its own in a folder of its own.
#[derive(Debug)]
pub struct Stage {
    bin: PathBuf,
    config: PathBuf,
    /// Arguments of every run.
    always: Vec<String>,
    /// Environment variables of every run.
    env: Vec<(String, String)>,
    /// Holds configuration, data and runs.
    pub dir: tempfile::TempDir,
}

impl Stage {
    /// The binary at `bin` with the configuration `toml`, in which `{dir}` stands for the test's folder; `prepare` fills that folder first.
    pub fn new(bin: &str, toml: &str, prepare: impl FnOnce(&Path)) -> Stage {
        let dir = tempfile::tempdir().expect("temporary folder");
        prepare(dir.path());
        let config = dir.path().join("stage.toml");
        std::fs::write(&config, toml.replace("{dir}", &dir.path().display().to_string())).expect("configuration");
        Stage { bin: bin.into(), config, always: vec![], env: vec![], dir }
    }

    /// The same stage, run by so many processes.
    pub fn with_ranks(mut self, n: usize) -> Stage {
        self.always = vec!["--nproc".into(), n.to_string()];
        self
    }

    /// The same stage, each process with its share of the training state (`distributed.shard`).
    pub fn with_shard(mut self, shard: &str) -> Stage {
        self.always.extend(["--set".into(), format!("distributed.shard={shard}")]);
        self
    }

    /// The same stage with `key=value` in every run.
    pub fn with_set(mut self, set: &str) -> Stage {
        self.always.extend(["--set".into(), set.replace("{dir}", &self.dir.path().display().to_string())]);
        self
    }

    /// The same stage with this environment variable in every run.
    pub fn with_env(mut self, name: &str, value: &str) -> Stage {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The run folder of this name.
    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg("--config").arg(&self.config).arg("--out").arg(self.out(out)).args(&self.always).args(more);
        command.current_dir(self.dir.path()).stdin(Stdio::null()).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end.
    pub fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more).output().expect("the binary starts")
    }

    /// Runs to the end, which must be good.
    pub fn run_ok(&self, out: &str, more: &[&str]) -> Output {
        let output = self.run(out, more);
        assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Runs with `--resume` and sends `signal` (`TERM`, `INT`) once metrics.jsonl has `lines` lines; returns how it ended.
    pub fn signal_at(&self, out: &str, lines: usize, signal: &str) -> ExitStatus {
        let mut child = self.command(out, &["--resume"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the binary starts");
        let metrics = self.out(out).join("metrics.jsonl");
        let deadline = Instant::now() + Duration::from_secs(120);
        let written = || std::fs::read_to_string(&metrics).map_or(0, |t| t.lines().count());
        while written() < lines && child.try_wait().expect("child").is_none() {
            assert!(Instant::now() < deadline, "no {lines} lines of metrics within two minutes");
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status(); // it may just have ended by itself
        child.wait().expect("child")
    }

    /// Starts with `--resume`, kills it after a random time up to `longest`, again and again, at most `kills` times; then runs to the end.
    /// Every folder below `checkpoints/` must be whole whenever the process is gone. Returns how many starts were killed.
    pub fn kill_at_random(&self, out: &str, kills: usize, longest: Duration, seed: u64) -> usize {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut killed = 0;
        for _ in 0..kills {
            let mut child =
                self.command(out, &["--resume"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the binary starts");
            std::thread::sleep(longest.mul_f64(dice.random::<f64>()));
            let ended = child.try_wait().expect("child").is_some();
            let _ = child.kill();
            let status = child.wait().expect("child");
            killed += usize::from(!ended);
            assert!(!ended || status.success(), "{status}");
            self.assert_whole_checkpoints(out);
        }
        self.run_ok(out, &["--resume"]);
        killed
    }

    /// Every checkpoint that has its final name can be loaded.
    pub fn assert_whole_checkpoints(&self, out: &str) {
        for entry in std::fs::read_dir(self.out(out).join("checkpoints")).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("step-") {
                Model::load(&entry.path(), tch::Device::Cpu).unwrap_or_else(|e| panic!("{} is torn: {e}", entry.path().display()));
                assert!(entry.path().join("state/state.json").is_file(), "{} has no state", entry.path().display());
            }
        }
    }

    /// Both runs ended with the same bytes of weights and, clocks apart, the same metrics.
    pub fn assert_same(&self, a: &str, b: &str) {
        let weights = |out: &str| std::fs::read(self.out(out).join("model/model.safetensors")).expect("weights");
        assert!(weights(a) == weights(b), "weights of {a} and {b} differ");
        let (left, right) = (metrics(&self.out(a)), metrics(&self.out(b)));
        for (x, y) in left.iter().zip(&right) {
            assert_eq!(x, y, "metrics of {a} and {b} differ");
        }
        assert_eq!(left.len(), right.len(), "{a} and {b} have different numbers of metrics");
    }

    /// What `--help` prints.
    pub fn help(&self) -> String {
        let output = Command::new(&self.bin).arg("--help").output().expect("the binary starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Both runs took the same steps up to rounding: losses, norms and weights differ by no more than `tolerance`.
    pub fn assert_near(&self, a: &str, b: &str, tolerance: f64) {
        let (ours, theirs) = (weights(&self.out(a)), weights(&self.out(b)));
        assert_eq!(ours.len(), theirs.len());
        for ((name, x), (other, y)) in ours.iter().zip(&theirs) {
            assert_eq!(name, other);
            let gap = (x - y).abs().max().double_value(&[]);
            assert!(gap <= tolerance, "{name}: {a} and {b} are {gap:e} apart");
        }
        let (left, right) = (metrics(&self.out(a)), metrics(&self.out(b)));
        assert_eq!(left.len(), right.len());
        for (x, y) in left.iter().zip(&right) {
            for (key, value) in x.as_object().expect("a line of metrics") {
                let (p, q) = (value.as_f64().unwrap_or_default(), y[key].as_f64().unwrap_or_default());
                assert!((p - q).abs() <= tolerance * (1.0 + p.abs()), "{key}: {a} has {p}, {b} {q}");
            }
        }
    }

    /// Standard error with the test's folder and the program's version taken out, for snapshots.
    pub fn stderr(&self, output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).replace(&self.dir.path().display().to_string(), "DIR")
    }
}

/// All files below a run folder with their contents, but for its lock, which tells who had it last.
pub fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(run).expect("folder").flatten().filter(|entry| !is_lock(&entry.file_name())) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("file"));
        }
    }
    found
}

/// The weights of a run's finished model, whatever network it is, in the order of their names.
pub fn weights(run: &Path) -> Vec<(String, tch::Tensor)> {
    let mut all = tch::Tensor::read_safetensors(run.join("model/model.safetensors")).expect("weights");
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Copies the files of a folder (not its folders) to a new one.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder").flatten().filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

/// The steps' losses and gradient norms are those of another program's run. `curve` holds its `loss` and `grad_norm`, and `loss_float64`, the same run in
/// double precision: their distance tells how far rounding alone has carried the two apart at each step. Two float32 programs that round in
/// different places may differ by as much; ten times the largest distance so far is allowed, and 1e-5 for the rounding of a single step.
pub fn assert_follows(metrics: &[Value], curve: &Value, steps: usize) {
    let rows: Vec<&Value> = metrics.iter().filter(|row| row["grad_norm"].is_f64()).collect();
    let list = |key: &str| -> Vec<f64> { curve[key].as_array().expect(key).iter().map(|v| v.as_f64().expect("number")).collect() };
    let (loss, double, norm) = (list("loss"), list("loss_float64"), list("grad_norm"));
    assert_eq!((rows.len(), loss.len(), norm.len()), (steps, steps, steps));
    let (mut drift, mut worst) = (0f64, 0f64);
    for (i, row) in rows.iter().enumerate() {
        drift = drift.max((loss[i] - double[i]).abs());
        let (got, got_norm) = (row["loss"].as_f64().expect("loss"), row["grad_norm"].as_f64().expect("norm"));
        worst = worst.max((got - loss[i]).abs());
        assert!((got - loss[i]).abs() <= 1e-5 + 10.0 * drift, "step {}: loss {got}, expected {}", i + 1, loss[i]);
        // A norm sums the squares of all gradients: its relative distance is that of the weights, a few hundred roundings.
        assert!((got_norm - norm[i]).abs() <= 1e-3 * norm[i], "step {}: norm {got_norm}, expected {}", i + 1, norm[i]);
    }
    println!("{steps} steps, largest distance of a loss {worst:.1e}");
}

/// `metrics.jsonl` without the clocks.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics.jsonl");
    let parse = |line: &str| {
        let mut row: Value = serde_json::from_str(line).expect("a line of JSON");
        if let Some(map) = row.as_object_mut() {
            CLOCKS.iter().for_each(|key| _ = map.remove(*key));
        }
        row
    };
    text.lines().map(parse).collect()
}
