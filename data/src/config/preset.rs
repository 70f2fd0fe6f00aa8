//! Named sets of choices: what other projects do, as defaults beneath the user's file. The fragments are TOML files in `presets/`.
//!
//! A preset holds the choices and constants of an algorithm, not sizes that depend on machine and data (episodes, batches, lengths).

use super::keys::{self, KeyTree};
use super::load::{defaults, parse};
use super::{PpoConfig, PretrainConfig, RewardConfig, SftConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use toml::{Table, Value};

/// Whose choices stand where the file says nothing. Keys of the file and of `--set` have the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Ours.
    #[default]
    None,
    /// lm-human-preferences (arXiv 1909.08593).
    #[serde(rename = "openai-2019")]
    Openai2019,
    /// summarize_from_feedback_details (arXiv 2009.01325, 2403.17031).
    #[serde(rename = "summarize-2020")]
    Summarize2020,
    /// TRL 1.9.0.
    Trl,
    /// OpenRLHF.
    Openrlhf,
}

/// The fragments of one stage by name.
type Fragments = &'static [(&'static str, &'static str)];

/// The configuration of a stage.
pub trait StageConfig: Default + Serialize + DeserializeOwned + JsonSchema {
    /// Its presets: name and TOML.
    const PRESETS: Fragments = &[];
}

impl StageConfig for PretrainConfig {}
impl StageConfig for SftConfig {}

impl StageConfig for RewardConfig {
    const PRESETS: Fragments = &[
        ("openai-2019", include_str!("presets/reward-openai-2019.toml")),
        ("summarize-2020", include_str!("presets/reward-summarize-2020.toml")),
        ("trl", include_str!("presets/reward-trl.toml")),
        ("openrlhf", include_str!("presets/reward-openrlhf.toml")),
    ];
}

impl StageConfig for PpoConfig {
    const PRESETS: Fragments = &[
        ("openai-2019", include_str!("presets/ppo-openai-2019.toml")),
        ("summarize-2020", include_str!("presets/ppo-summarize-2020.toml")),
        ("trl", include_str!("presets/ppo-trl.toml")),
        ("openrlhf", include_str!("presets/ppo-openrlhf.toml")),
    ];
}

/// What the preset that `file` names sets; nothing where it names none. A name that does not exist is found when the configuration is read.
pub(super) fn fragment<T: StageConfig>(file: &Table) -> Table {
    let name = file.get("preset").and_then(Value::as_str).unwrap_or_default();
    let found = T::PRESETS.iter().find(|(n, _)| *n == name);
    found.map(|(_, text)| toml::from_str(text).expect("presets are TOML: a test loads each")).unwrap_or_default()
}

/// The table option × preset of both stages, for `docs/departures.md`: every option that some preset sets, and its value in all of them.
pub fn markdown() -> String {
    let mut page = String::new();
    let ppo = keys::tree::<PpoConfig>();
    let reward = keys::tree::<RewardConfig>();
    stage::<PpoConfig>("ppo", &ppo, &mut page);
    stage::<RewardConfig>("reward", &reward, &mut page);
    page
}

fn stage<T: StageConfig>(name: &str, tree: &KeyTree, page: &mut String) {
    let resolved = |preset: &str| {
        let config: T = parse(&format!("preset = {preset:?}"), Path::new(preset), &[]).expect("presets load: a test loads each");
        Table::try_from(config).unwrap_or_default()
    };
    let mut touched = BTreeSet::new();
    for (_, text) in T::PRESETS {
        leaves("", &toml::from_str(text).unwrap_or_default(), &mut |key, _| _ = touched.insert(key.to_owned()));
    }
    let columns: Vec<Table> = std::iter::once(defaults::<T>()).chain(T::PRESETS.iter().map(|(n, _)| resolved(n))).collect();
    let names: Vec<String> = T::PRESETS.iter().map(|(n, _)| format!("`{n}`")).collect();
    let _ = writeln!(page, "\n| option of `{name}` | ours | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for key in tree.keys.iter().filter(|k| touched.contains(&k.path)) {
        let cells: Vec<String> = columns.iter().map(|c| value(c, &key.path)).collect();
        let _ = writeln!(page, "| `{}` | {} |", key.path, cells.join(" | "));
    }
}

/// Calls `each` with the dotted path of every value.
fn leaves(prefix: &str, table: &Table, each: &mut dyn FnMut(&str, &Value)) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(t) => leaves(&path, t, each),
            value => each(&path, value),
        }
    }
}

fn value(table: &Table, key: &str) -> String {
    let mut found = String::new();
    leaves("", table, &mut |path, value| {
        if path == key {
            found = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Decay, ScorePosition, ValueKind, to_toml};
    use super::*;

    fn ppo(text: &str, sets: &[&str]) -> PpoConfig {
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        parse(text, Path::new("ppo.toml"), &sets).unwrap()
    }

    fn every_key_is_known<T: StageConfig>() {
        let tree = keys::tree::<T>();
        for (name, text) in T::PRESETS {
            let table: Table = toml::from_str(text).unwrap();
            leaves("", &table, &mut |key, _| assert!(tree.knows(key), "{name}: {key}"));
            let config: T = parse(&format!("preset = {name:?}"), Path::new(name), &[]).unwrap();
            let all = Table::try_from(&config).unwrap();
            leaves("", &table, &mut |key, wanted| {
                let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
                assert_eq!(value(&all, key), wanted, "{name}: {key}");
            });
        }
    }

    #[test]
    fn every_preset_loads_and_sets_what_it_says() {
        every_key_is_known::<PpoConfig>();
        every_key_is_known::<RewardConfig>();
    }

    #[test]
    fn explicit_keys_override_the_preset_and_the_resolved_file_says_it_all() {
        let config = ppo("preset = \"trl\"\n[ppo]\nepochs = 2\n", &["optim.lr=1e-4"]);
        assert_eq!((config.ppo.epochs, config.optim.lr), (2, 1e-4), "the user's");
        assert_eq!(config.ppo.score_position, ScorePosition::AfterEnd, "the preset's");
        assert_eq!(config.rollout.episodes, PpoConfig::default().rollout.episodes, "ours");
        let written = to_toml(&config);
        assert!(written.contains("score_position = \"after-end\""), "{written}");
        assert_eq!(ppo(&written, &[]), config);
        // Written out, it no longer needs the preset.
        assert_eq!(ppo(&written, &["preset=none"]), PpoConfig { preset: Preset::None, ..config });
        let config = ppo("", &["preset=openai-2019"]);
        assert_eq!((config.value.kind, config.schedule.decay), (ValueKind::Shared, Decay::Linear));
    }

    #[test]
    fn an_unknown_preset_names_the_known_ones() {
        let error = parse::<PpoConfig>("preset = \"openai\"", Path::new("ppo.toml"), &[]).unwrap_err().to_string();
        assert!(error.contains("`openai`") && error.contains("`openai-2019`") && error.contains("`openrlhf`"), "{error}");
        let error = parse::<SftConfig>("preset = \"trl\"", Path::new("sft.toml"), &[]).unwrap_err().to_string();
        assert!(error.contains("unknown key `preset`"), "{error}");
    }
}
