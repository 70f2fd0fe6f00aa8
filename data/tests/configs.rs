//! Every configuration that we ship loads, is valid, and names stages in the order in which the pipeline runs them.

use data::config::{self, PpoConfig, PretrainConfig, RewardConfig, SftConfig, TaskConfig, plan};
use std::path::{Path, PathBuf};

/// Folders that hold no recipe: mappings for `label ingest`, which a test of `label` loads, and tasks for `evaluate tasks`.
const NO_RECIPES: [&str; 2] = ["labels", TASKS];
const TASKS: &str = "tasks";

fn recipes() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let is_recipe = |p: &PathBuf| p.is_dir() && !NO_RECIPES.iter().any(|name| p.ends_with(name));
    let mut all: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(is_recipe).collect();
    all.sort();
    all
}

#[test]
fn every_shipped_configuration_is_valid() {
    let mut seen = 0;
    for recipe in recipes() {
        for entry in std::fs::read_dir(&recipe).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".toml") {
                continue;
            }
            let stage = name.trim_end_matches(".toml").split('-').next().unwrap();
            let checked = match stage {
                "pretrain" => config::load::<PretrainConfig>(&path, &[]).and_then(|c| plan::pretrain(&c).map(|_| ())),
                "sft" => config::load::<SftConfig>(&path, &[]).and_then(|c| plan::sft(&c).map(|_| ())),
                "reward" => config::load::<RewardConfig>(&path, &[]).and_then(|c| plan::reward(&c).map(|_| ())),
                "ppo" => config::load::<PpoConfig>(&path, &[]).and_then(|c| plan::ppo(&c).map(|_| ())),
                other => panic!("{}: no stage is called {other}", path.display()),
            };
            checked.unwrap_or_else(|e| panic!("{e}"));
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} configurations found");
}

/// Recipes of fewer stages: a published learning curve to be compared with, and chapters of docs/family.md.
const CHAPTERS: &[(&str, &[&str])] = &[
    ("shakespeare-char", &["pretrain"]),
    ("family-transformer", &["sft"]),
    ("family-bert", &["pretrain", "pretrain-long", "sft"]),
    ("family-gpt1", &["pretrain", "sft"]),
    ("family-in-context", &["pretrain"]),
    ("family-images", &["pretrain", "sft"]),
    ("family-gpt2", &["pretrain"]),
    ("family-llama", &["pretrain"]),
    ("family-scaling", &["pretrain"]),
    ("family-distill", &["pretrain", "sft"]),
    ("family-transfer", &["pretrain"]),
    ("family-safety", &["pretrain"]),
];

#[test]
fn every_recipe_has_its_four_stages() {
    for recipe in recipes() {
        let stages = CHAPTERS.iter().find(|(name, _)| recipe.ends_with(name)).map_or(&["pretrain", "sft", "reward", "ppo"][..], |c| c.1);
        for stage in stages {
            assert!(recipe.join(format!("{stage}.toml")).is_file(), "{} has no {stage}.toml", recipe.display());
        }
    }
}

#[test]
fn every_task_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(TASKS);
    let files: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() >= 5);
    for path in files {
        let config = config::load::<TaskConfig>(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        // The rows may be absent, the templates must compile: what is said is about the rows, not about a key.
        if let Err(e) = data::tasks::Task::load("task", config, 1) {
            assert!(!matches!(e, data::error::DataError::Config { .. }), "{}: {e}", path.display());
        }
    }
}

/// A key of the corpus that another stage does not heed is refused there.
#[test]
fn rows_of_the_mixed_in_text_have_one_length() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo/ppo.toml");
    let config = config::load::<PpoConfig>(&path, &["ptx.data.row=5".into()]).unwrap();
    let refused = plan::ppo(&config).unwrap_err().to_string();
    assert!(refused.starts_with("ptx.data.row = 5: is for pretrain"), "{refused}");
}
