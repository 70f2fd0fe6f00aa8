//! Each alarm goes off on a curve made for it, once, and none on the curves of real healthy runs.

use data::config::{Alarm, Drift, Log};
use serde_json::{Map, Value, json};
use std::fs;
use train::{Alarms, Metrics, Progress, RunDir, State, checkpoint};

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// Steps and kinds of the alarms that these lines set off.
fn alarms(lines: impl IntoIterator<Item = Value>) -> Vec<(u64, &'static str)> {
    let mut alarms = Alarms::new(&Alarm::default()).with_drift(&Drift::default());
    let mut all = vec![];
    for line in lines {
        let line = map(line);
        all.extend(alarms.observe(&line).into_iter().map(|r| (line["step"].as_u64().expect("step"), r.kind)));
    }
    all
}

/// `key` over 40 rounds.
fn curve(key: &str, value: impl Fn(u64) -> f64) -> Vec<(u64, &'static str)> {
    alarms((1..=40).map(|step| json!({"step": step, key: value(step)})))
}

#[test]
fn a_healthy_run_raises_none() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/healthy");
    let mut runs = 0;
    for entry in fs::read_dir(folder).expect(folder) {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        assert_eq!(alarms(lines), [], "{}", path.display());
        runs += 1;
    }
    assert_eq!(runs, 4, "one run of each stage");
}

#[test]
fn kl_running_away() {
    assert_eq!(curve("objective/kl", |step| 2.0 * step as f64), [(26, "kl")], "above 50 nats");
    assert_eq!(curve("objective/kl", |step| if step < 20 { 5.0 } else { 16.0 }), [(20, "kl")], "threefold in a window");
    assert_eq!(curve("objective/kl", |step| 0.3 * step as f64), [], "as fast at first, but small");
    // Two episodes of trouble, a window of quiet rounds between them.
    assert_eq!(curve("objective/kl", |step| if step % 20 < 10 { 10.0 } else { 60.0 }), [(10, "kl"), (30, "kl")]);
    assert_eq!(curve("objective/kl", |step| if step % 2 == 0 { 45.0 } else { 60.0 }), [(1, "kl")], "flickering is one episode");
}

#[test]
fn collapse_of_entropy_and_length() {
    // Means of five: 2.0 · 0.8^n falls below a fifth of its first mean.
    let decaying = |step: u64| 2.0 * 0.8f64.powi(step as i32);
    for (key, kind, share) in [("objective/entropy", "entropy", 0.2), ("response_length", "length", 0.3)] {
        let first = (1..=5).map(decaying).sum::<f64>() / 5.0;
        let expected = (10..=40).find(|&s| (s - 4..=s).map(decaying).sum::<f64>() / 5.0 < share * first).unwrap();
        assert_eq!(curve(key, decaying), [(expected, kind)]);
        assert_eq!(curve(key, |step| 2.0 - 0.02 * step as f64), [], "{key}: a slow fall to 60%");
        assert_eq!(curve(key, |step| if step == 20 { 0.0 } else { 2.0 }), [], "{key}: one bad round");
    }
}

#[test]
fn end_tokens_becoming_rare() {
    assert_eq!(curve("eos_rate", |step| if step <= 10 { 0.9 } else { 0.45 }), [(14, "eos")]);
    assert_eq!(curve("eos_rate", |step| 0.9 - 0.005 * step as f64), []);
    assert_eq!(curve("eos_rate", |_| 0.05), [], "a model that never ended is no news");
}

/// `train` each step and `eval` every tenth; a bit of noise on both, the same each time.
fn pair(train: (&str, &dyn Fn(f64) -> f64), eval: (&str, &dyn Fn(f64) -> f64)) -> Vec<(u64, &'static str)> {
    let noise = |step: u64| 0.02 * (step as f64 * 1.7).sin();
    let mut lines = vec![];
    for step in 0..=100u64 {
        if step > 0 {
            lines.push(json!({"step": step, train.0: train.1(step as f64 / 100.0) + noise(step)}));
        }
        if step % 10 == 0 {
            lines.push(json!({"step": step, eval.0: eval.1(step as f64 / 100.0) + noise(step + 7)}));
        }
    }
    alarms(lines)
}

#[test]
fn the_proxy_rises_while_the_held_out_score_falls() {
    let hump = |x: f64| 4.0 * x * (1.0 - x); // best at the middle
    assert_eq!(pair(("objective/scores", &|x| 2.0 * x), ("eval/scores", &hump)), [(80, "held-out")]);
    assert_eq!(pair(("objective/scores", &|x| 2.0 * x), ("eval/scores", &|x| 1.5 * x)), [], "both rise");
    assert_eq!(pair(("objective/scores", &hump), ("eval/scores", &hump)), [], "both fall: bad, but no over-optimisation");
    assert_eq!(pair(("objective/scores", &|_| 1.0), ("eval/scores", &|_| 1.0)), [], "noise");
    assert_eq!(pair(("loss", &|x| 3.0 - 2.0 * x), ("eval/loss", &|x| 3.0 - hump(x))), [(80, "held-out")]);
    assert_eq!(pair(("accuracy", &|x| 0.5 + 0.5 * x), ("eval/accuracy", &|x| 0.5 + 0.25 * hump(x))), [(80, "held-out")]);
}

/// Lines of `steps` with these skipped.
fn skipping(log: &mut Metrics, steps: std::ops::RangeInclusive<u64>, bad: impl Fn(u64) -> bool) -> Result<(), train::Error> {
    let mut row = 0;
    for step in steps {
        row = if bad(step) { row + 1 } else { 0 };
        let loss = if row > 0 { f64::NAN } else { 1.0 };
        log.line(step).set("loss", loss).set("lr", 0.5).count("skipped_in_a_row", row).write()?;
    }
    Ok(())
}

#[test]
fn skipped_steps_are_told_once_and_then_end_the_run_with_the_last_good_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), "", false).unwrap();
    let mut state = State::default();
    let bar = Progress::steps("test", 0, 100);
    let watched = |state: &State| {
        let log = Metrics::open(&run, state).unwrap();
        log.watched(&run, &Log::default(), Alarms::new(&Alarm::default()), &bar).unwrap()
    };
    let mut log = watched(&state);
    let mut save = |log: &mut Metrics, step| checkpoint::commit(&run, step, |tmp| state.save(tmp, step, &[], &mut [log])).unwrap();
    skipping(&mut log, 1..=20, |step| step == 5 || step == 7).unwrap();
    save(&mut log, 20);
    skipping(&mut log, 21..=29, |step| step > 28).unwrap();
    save(&mut log, 28); // taken at the weights that first failed
    assert_eq!(log.alarms(), 2, "steps 5 and 7 are one episode, 29 begins another");

    // A process that goes on from here counts on.
    drop(log);
    let state = State::open(&run).unwrap();
    let mut log = watched(&state);
    assert_eq!(log.alarms(), 2);
    let mut row = 1;
    let error = (30..=60).find_map(|step| {
        row += 1;
        log.line(step).set("loss", f64::NAN).set("lr", 0.5).count("skipped_in_a_row", row).write().err().map(|e| (step, e))
    });
    let (step, error) = error.expect("it stops");
    assert_eq!(step, 38);
    assert!(!error.is_input(), "exit code 1");
    let text = error.to_string();
    for part in ["the last 10 optimiser steps", "lower optim.lr (now 0.5", "step-20"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let log = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let said: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).filter(|l: &Value| !l["alarm"].is_null()).collect();
    assert_eq!(said.iter().map(|l| l["step"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 29, 38]);
    assert!(said[0]["message"].as_str().unwrap().starts_with("step 5: loss is NaN or infinite; the step was left out"), "{}", said[0]);
}

#[test]
fn an_alarm_ends_the_run_where_that_is_asked_for() {
    let mut alarms = Alarms::new(&Alarm { stop: true, ..Alarm::default() }).with_drift(&Drift::default());
    let raised = alarms.observe(&map(json!({"step": 30, "objective/kl": 80.0, "kl_coef": 0.05})));
    assert!(raised[0].stop);
    assert_eq!(raised[0].good_until, 25);
    assert!(raised[0].message.contains("above drift.max_kl = 50") && raised[0].message.contains("(now 0.05"), "{}", raised[0].message);
}

#[test]
fn a_threshold_of_zero_switches_its_alarm_off() {
    let drift = Drift { max_kl: 0.0, kl_growth: 0.0, min_entropy: 0.0, min_length: 0.0, max_eos_drop: 0.0 };
    let mut alarms = Alarms::new(&Alarm { max_skipped: 0, held_out: 0.0, ..Alarm::default() }).with_drift(&drift);
    for step in 0..60 {
        let bad = f64::from(step > 20);
        let line = json!({"step": step, "objective/kl": 1e6 * bad, "objective/entropy": 1.0 - bad, "response_length": 9.0 - 9.0 * bad,
            "eos_rate": 1.0 - bad, "objective/scores": step, "eval/scores": -step});
        assert_eq!(alarms.observe(&map(line)), []);
    }
}
