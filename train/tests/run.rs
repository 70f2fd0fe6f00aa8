//! Run folders, checkpoints, state and metrics, as a stage uses them.

use data::inputs::Inputs;
use std::fs;
use std::path::Path;
use train::{Error, Every, Metrics, RunDir, State, checkpoint, summary};

const CONFIG: &str = "seed = 1\n\n[optim]\nlr = 0.1\n";

fn lines(dir: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(dir.join("metrics.jsonl")).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn save(run: &RunDir, state: &mut State, log: &mut Metrics, step: u64) {
    checkpoint::commit(run, step, |tmp| {
        fs::write(tmp.join("model.safetensors"), step.to_string())?;
        state.save(tmp, step, &[], &mut [log])
    })
    .unwrap();
}

#[test]
fn a_run_folder_is_never_taken_by_accident() {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("runs/demo/sft");
    drop(RunDir::create(&out, CONFIG, false).unwrap());
    assert_eq!(fs::read_to_string(out.join("config.toml")).unwrap(), CONFIG);

    let again = RunDir::create(&out, CONFIG, false).unwrap_err();
    assert!(matches!(again, Error::Occupied(_)) && again.is_input());
    assert!(again.to_string().contains("--resume"), "{again}");

    let other = RunDir::create(&out, &CONFIG.replace("0.1", "0.2"), true).unwrap_err();
    assert!(other.is_input());
    assert!(other.to_string().contains("optim.lr was 0.1, now 0.2"), "{other}");
    drop(RunDir::create(&out, CONFIG, true).unwrap());

    let foreign = tmp.path().join("home");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "dear").unwrap();
    for resume in [false, true] {
        let error = RunDir::create(&foreign, CONFIG, resume).unwrap_err();
        assert!(matches!(error, Error::NotARun(_)) && error.is_input());
    }
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "a refused folder is left as it was");
}

/// A run that is refused on its way leaves the folder as it was; one that is accepted keeps the day on which it began.
#[test]
fn a_change_reaches_the_folder_when_the_run_is_accepted() {
    let tmp = tempfile::tempdir().unwrap();
    let config = |steps: u64| format!("{CONFIG}\n[train]\nsteps = {steps}\n");
    let mut run = RunDir::create(tmp.path(), &config(5), false).unwrap();
    run.accept(&Inputs::new(1)).unwrap();
    fs::create_dir(run.model()).unwrap();
    summary::write(&run, &serde_json::Map::new()).unwrap();
    assert!(summary::done(&run));
    drop(run);
    let read = |name: &str| fs::read_to_string(tmp.path().join(name)).ok();
    let kept: Inputs = serde_json::from_str(&read("inputs.json").unwrap()).unwrap();
    assert!(kept.began.is_some());
    fs::write(tmp.path().join("inputs.json"), serde_json::to_string(&Inputs { began: Some(7), ..kept }).unwrap()).unwrap();

    let names = ["config.toml", "inputs.json", "summary.json", "changes.json"];
    let before = names.map(read);
    let mut run = RunDir::create(tmp.path(), &config(9), true).unwrap();
    assert!(!summary::done(&run) && run.changes().len() == 1);
    assert_eq!(names.map(read), before);
    run.accept(&Inputs::new(1)).unwrap();
    assert_eq!((read("config.toml"), read("summary.json")), (Some(config(9)), None));
    assert!(read("changes.json").unwrap().contains("train.steps"));
    let kept: Inputs = serde_json::from_str(&read("inputs.json").unwrap()).unwrap();
    assert_eq!(kept.began, Some(7));
}

#[test]
fn resume_starts_what_is_not_there() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(&tmp.path().join("new"), CONFIG, true).unwrap();
    let state = State::open(&run).unwrap();
    assert_eq!((state.step, state.folder(), state.resumed_at()), (0, None, None));
}

#[test]
fn two_processes_never_write_one_folder() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(tmp.path(), CONFIG, false).unwrap();
    for resume in [false, true] {
        let second = RunDir::create(tmp.path(), CONFIG, resume).unwrap_err();
        assert!(matches!(second, Error::Locked { .. }) && second.is_input());
        assert!(second.to_string().contains(&format!("process {}", std::process::id())), "{second}");
    }
    drop(run);
    RunDir::create(tmp.path(), CONFIG, true).unwrap();
}

#[test]
fn checkpoints_come_back_and_old_ones_go() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(tmp.path(), CONFIG, false).unwrap();
    let mut state = State::open(&run).unwrap();
    let mut log = Metrics::open(&run, &state).unwrap();
    assert_eq!(checkpoint::latest(&run).unwrap(), None);
    for step in [2, 4, 6, 8, 10] {
        assert_eq!(state.consider(step, (step as f64 - 4.0).abs()), step <= 4);
        state.tokens += 100;
        state.set_counter("kl_coef", 0.1 * step as f64);
        save(&run, &mut state, &mut log, step);
        checkpoint::prune(&run, 2, state.best_step()).unwrap();
    }
    let steps: Vec<u64> = checkpoint::list(&run).unwrap().iter().map(|c| c.step).collect();
    assert_eq!(steps, [4, 8, 10]);
    assert_eq!(fs::read_dir(run.checkpoints()).unwrap().count(), 3, "no leftovers");

    let back = State::open(&run).unwrap();
    assert_eq!((back.step, back.tokens, back.best_step()), (10, 500, Some(4)));
    assert_eq!(back.counter("kl_coef"), Some(1.0));
    assert_eq!(back.folder(), Some(run.checkpoints().join("step-10").as_path()));
    // What was done at step 10 before the checkpoint is not done again.
    let eval = Every::eval(&data::config::Eval { every: 2, ..Default::default() }, 20, &back);
    assert!(!eval.due(10) && eval.due(12) && !Every::save(5, 10, &back).due(10));
}

#[test]
fn a_failed_save_leaves_the_last_checkpoint() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(tmp.path(), CONFIG, false).unwrap();
    let mut state = State::default();
    let mut log = Metrics::open(&run, &state).unwrap();
    save(&run, &mut state, &mut log, 1);
    let error = checkpoint::commit(&run, 2, |tmp| {
        fs::write(tmp.join("model.safetensors"), "half")?;
        Err("no space left on device".into())
    });
    let error = error.unwrap_err();
    assert!(error.to_string().contains("step-2") && error.to_string().contains("no space left"), "{error}");
    assert_eq!(checkpoint::latest(&run).unwrap().unwrap().step, 1);
    checkpoint::publish(&run, |tmp| Ok(fs::write(tmp.join("config.json"), "{}")?)).unwrap();
    assert!(run.model().join("config.json").exists());
}

#[test]
fn metrics_are_cut_back_to_the_checkpoint() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(tmp.path(), CONFIG, false).unwrap();
    let mut state = State::open(&run).unwrap();
    let mut log = Metrics::open(&run, &state).unwrap();
    for step in 0..6 {
        if step == 4 {
            save(&run, &mut state, &mut log, step);
        }
        log.line(step).set("loss", 1.0 / (step + 1) as f64).set("lr", 0.1).count("tokens", step * 10).write().unwrap();
    }
    // The process dies in the middle of a line.
    drop(log);
    fs::write(tmp.path().join("metrics.jsonl"), [fs::read(tmp.path().join("metrics.jsonl")).unwrap(), b"{\"step\":".into()].concat())
        .unwrap();
    drop(run);

    let run = RunDir::create(tmp.path(), CONFIG, true).unwrap();
    let state = State::open(&run).unwrap();
    let before = state.clone();
    let mut log = Metrics::open(&run, &state).unwrap();
    let steps = |dir: &Path| lines(dir).iter().map(|l| l["step"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(steps(tmp.path()), [0, 1, 2, 3]);
    for step in state.step..6 {
        log.line(step).set("loss", 0.5).write().unwrap();
    }
    assert_eq!(steps(tmp.path()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(before, state);
    let walls: Vec<f64> = lines(tmp.path()).iter().map(|l| l["wall_s"].as_f64().unwrap()).collect();
    assert!(walls.is_sorted(), "the clock goes on where it stood: {walls:?}");

    // A log shorter than the checkpoint counts is somebody's doing: say so.
    drop(log);
    fs::write(tmp.path().join("metrics.jsonl"), "").unwrap();
    assert!(Metrics::open(&run, &state).unwrap_err().to_string().contains("was it edited?"));
}

#[test]
fn numbers_that_json_cannot_hold_are_named() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(tmp.path(), CONFIG, false).unwrap();
    let mut log = Metrics::open(&run, &State::default()).unwrap();
    log.line(3).set("loss", f64::NAN).set_all([("lr", 0.1), ("grad_norm", f64::INFINITY)]).value("sample", "a \"b\"\n").write().unwrap();
    let line = &lines(tmp.path())[0];
    assert!(line["loss"].is_null() && line["grad_norm"].is_null());
    assert_eq!(line["not_finite"], serde_json::json!(["loss", "grad_norm"]));
    assert_eq!((line["step"].as_u64(), line["lr"].as_f64(), line["sample"].as_str()), (Some(3), Some(0.1), Some("a \"b\"\n")));
}

#[test]
fn a_state_file_that_is_not_ours_is_an_error() {
    let tmp = tempfile::tempdir().unwrap();
    let run = RunDir::create(tmp.path(), CONFIG, false).unwrap();
    let dir = run.checkpoints().join("step-3/state");
    fs::create_dir_all(&dir).unwrap();
    assert!(State::open(&run).unwrap_err().to_string().contains("state.json"));
    fs::write(dir.join("state.json"), "{\"step\": 3").unwrap();
    assert!(State::open(&run).unwrap_err().to_string().contains("EOF"));
    let mut log = Metrics::open(&run, &State::default()).unwrap();
    State::default().save(&run.checkpoints().join("step-3"), 5, &[], &mut [&mut log]).unwrap();
    assert!(State::open(&run).unwrap_err().to_string().contains("is of step 5"));
}

/// A program that has learnt a new key goes on with a run of one that had not, as long as the key is at its default; any other change is still another run.
#[test]
fn a_run_of_an_earlier_program_goes_on() {
    let tmp = tempfile::tempdir().unwrap();
    let mut config = data::config::PretrainConfig::default();
    let whole = data::config::to_toml(&config);
    let key = "masked_share = 0.15\n";
    assert!(whole.contains(key), "{whole}");
    drop(RunDir::create(tmp.path(), &whole.replace(key, ""), false).unwrap());
    let world = dist::World::single();
    assert!(RunDir::open(&world, tmp.path(), &config, true).unwrap().changes().is_empty());
    config.seed += 1;
    let other = RunDir::open(&world, tmp.path(), &config, true).unwrap_err().to_string();
    assert!(other.contains("seed was") && !other.contains("masked_share"), "{other}");
}
