//! `evaluate runs` over folders in each state.

use data::lock::{Lock, Pace};
use evaluate::runs::{self, State};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A finished base model, an SFT run that stopped, a PPO run that goes on, and one whose configuration is broken.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join("recipe").join(name);
    write(&at("pretrain/config.toml"), "[tokenizer]\n[train]\nsteps = 300\n");
    write(&at("pretrain/metrics.jsonl"), "{\"step\":300,\"loss\":1.5,\"tokens_per_s\":12345.6}\n");
    write(&at("pretrain/summary.json"), "{\"bits_per_byte\":1.25}");
    fs::create_dir_all(at("pretrain/model")).unwrap();
    write(&at("sft/config.toml"), &format!("[model]\ninit = {:?}\n[train]\nepochs = 1\n", at("pretrain")));
    write(&at("sft/metrics.jsonl"), "{\"step\":40,\"eval/loss\":2.5}\n{\"step\":41,\"loss\":2.4,\"tokens_per_s\":99.5}\n{\"step\":42,\"lo");
    fs::create_dir_all(at("sft/checkpoints/step-40")).unwrap();
    fs::create_dir_all(at("sft/checkpoints/step-8")).unwrap();
    let ppo = "[policy]\ninit = \"elsewhere/sft\"\n[reward]\nmodel = \"elsewhere/rm\"\n[[reward.more]]\nmodel = \"elsewhere/rm2\"\n[rollout]\nrounds = 24\n";
    write(&at("ppo/config.toml"), ppo);
    write(
        &at("ppo/metrics.jsonl"),
        "{\"step\":8,\"eval/scores\":0.5,\"eval/win_rate\":0.625,\"eval/kl\":3}\n{\"step\":8,\"alarm\":\"kl\",\"message\":\"m\"}\n",
    );
    write(&root.path().join("broken/config.toml"), "[model\n");
    write(&root.path().join("no-run/readme.txt"), "");
    root
}

#[test]
fn every_state_is_told() {
    let root = folder();
    let lock = Lock::take(&root.path().join("recipe/ppo"), Pace::default(), |_| ()).unwrap();
    let found = runs::scan(root.path()).unwrap();
    let names: Vec<&str> = found.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["broken", "recipe/ppo", "recipe/pretrain", "recipe/sft"]);
    let [broken, ppo, pretrain, sft] = &found[..] else { panic!("four runs") };
    assert!(broken.damage.as_ref().is_some_and(|d| d.contains("config.toml")) && broken.state == State::Begun);
    assert!(matches!(&ppo.state, State::Running(owner) if owner.starts_with("process ")));
    assert_eq!((ppo.step, ppo.steps, ppo.alarms), (Some(8), Some(24), 1));
    assert_eq!(ppo.evaluation, [("reward", 0.5), ("win rate", 0.625), ("KL", 3.0)]);
    assert_eq!(ppo.from, ["elsewhere/sft", "elsewhere/rm", "elsewhere/rm2"]);
    assert_eq!((&pretrain.state, pretrain.rate), (&State::Done, Some((12345.6, "tokens/s"))));
    assert_eq!((pretrain.stage, &pretrain.evaluation[..]), ("pretrain", &[("bits a byte", 1.25)][..]));
    assert_eq!((&sft.state, sft.step, &sft.evaluation[..]), (&State::Stopped(40), Some(41), &[("nats a token", 2.5)][..]));
    assert_eq!(sft.from, ["recipe/pretrain"], "a run of this folder goes by its name");
    drop(lock);
    assert_eq!(runs::scan(&root.path().join("recipe/ppo")).unwrap()[0].state, State::Begun, "and once its process is gone");
}

#[test]
fn as_the_reader_sees_it() {
    let root = folder();
    let mut found = runs::scan(root.path()).unwrap();
    let now = SystemTime::now();
    for (run, age) in found.iter_mut().zip([0, 30, 3 * 3600, 100 * 3600]) {
        run.written = Some(now - Duration::from_secs(age));
        run.damage = run.damage.as_ref().map(|_| "broken/config.toml: what is wrong".into());
    }
    insta::assert_snapshot!(runs::table(&found, now));
    found[0].name = "<script>".into();
    let page = root.path().join("runs.html");
    runs::write_page(root.path(), &found, &page, now).unwrap();
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script>") && html.contains("12,346 tokens/s"));
}

#[test]
fn a_folder_without_runs_is_an_input_error() {
    let root = tempfile::tempdir().unwrap();
    assert!(runs::scan(root.path()).unwrap_err().is_input());
    assert!(runs::scan(&root.path().join("absent")).unwrap_err().is_input());
}
