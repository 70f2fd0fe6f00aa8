//! What changed between two resolved configurations of one run, and whether the run may go on with the new one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Keys that may change while a run goes on: how long it is, how often it is watched and saved, and on what machine it runs. A section stands for
/// all of its keys. Everything else would make the run another one.
pub const HARMLESS: &[&str] = &[
    "train.steps",
    "train.epochs",
    "train.log_every",
    "train.activation_checkpointing",
    "ppo.activation_checkpointing",
    "rollout.rounds",
    "eval.every",
    "eval.at_start",
    "eval.sample_prompt",
    "eval.sample_tokens",
    "checkpoint",
    "log",
    "alarm",
    "drift",
    "device",
    "threads",
    "distributed",
];

/// A key whose value changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Steps done when it changed.
    #[serde(default)]
    pub step: u64,
    /// Dotted path.
    pub key: String,
    /// Value before, as TOML; empty where there was none.
    pub before: String,
    /// Value now, as TOML; empty where there is none.
    pub now: String,
}

impl Change {
    /// Whether a run may go on with it.
    pub fn is_harmless(&self) -> bool {
        let within = |section: &&str| self.key.strip_prefix(*section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        HARMLESS.iter().any(within)
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_nothing = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        write!(f, "{} was {}, now {}", self.key, or_nothing(&self.before), or_nothing(&self.now))
    }
}

/// All keys whose values differ between two configurations as [`super::to_toml`] writes them. A text that is no TOML counts as one without keys.
pub fn changes(before: &str, now: &str) -> Vec<Change> {
    let leaves = |text: &str| {
        let mut out = BTreeMap::new();
        collect("", &Value::Table(toml::from_str::<Table>(text).unwrap_or_default()), &mut out);
        out
    };
    let (mut was, is) = (leaves(before), leaves(now));
    let mut found = Vec::new();
    for (key, now) in is {
        let before = was.remove(&key).unwrap_or_default();
        if before != now {
            found.push(Change { step: 0, key, before, now });
        }
    }
    found.extend(was.into_iter().map(|(key, before)| Change { step: 0, key, before, now: String::new() }));
    found
}

/// Leaves by dotted path; the entries of a list of tables are numbered.
fn collect(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    let join = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(k, v)| collect(&join(k), v, out)),
        Value::Array(list) if list.iter().any(Value::is_table) => {
            list.iter().enumerate().for_each(|(i, v)| collect(&join(&i.to_string()), v, out))
        }
        leaf => _ = out.insert(path.to_owned(), leaf.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn changes_are_found_by_their_dotted_path() {
        let before = "seed = 1\n[optim]\nlr = 0.1\n[[data.sources]]\npath = \"a\"\n[train]\nsteps = 10\n";
        let now = "seed = 1\n[optim]\nlr = 0.2\n[[data.sources]]\npath = \"a\"\n[[data.sources]]\npath = \"b\"\n[train]\nsteps = 20\n";
        let found: Vec<String> = changes(before, now).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["data.sources.1.path was nothing, now \"b\"", "optim.lr was 0.1, now 0.2", "train.steps was 10, now 20"]);
        assert!(changes(before, before).is_empty());
    }

    #[test]
    fn longer_and_other_logging_is_harmless_another_rate_is_not() {
        let harmless = |key: &str| Change { step: 0, key: key.into(), before: String::new(), now: String::new() }.is_harmless();
        assert!(harmless("train.steps") && harmless("checkpoint.keep_last") && harmless("rollout.rounds"));
        assert!(harmless("eval.sample_tokens"), "a sample is shown and not learnt");
        assert!(!harmless("optim.lr") && !harmless("train.batch") && !harmless("data.sources.0.path") && !harmless("checkpoints"));
    }

    #[test]
    fn every_harmless_key_is_a_key_of_some_stage() {
        let trees = [keys::tree::<crate::config::PretrainConfig>(), keys::tree::<crate::config::PpoConfig>()];
        for key in HARMLESS {
            assert!(trees.iter().any(|tree| tree.knows(key)), "{key}");
        }
    }
}
