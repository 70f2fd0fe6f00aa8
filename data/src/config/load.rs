//! From a TOML file and `--set` overrides to a typed configuration, with errors that say what to do.

use super::keys::{self, KeyTree};
use super::preset::{self, StageConfig};
use serde::Serialize;
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::{Table, Value};

/// What can be wrong with a configuration. All of it is the user's input: exit code 2.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{path}: not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// toml's own message, with line and column.
        message: String,
    },
    /// A key that no stage knows.
    #[error("{at}: unknown key `{key}`{}", hint(.nearest))]
    UnknownKey {
        /// File and line, or the `--set` argument.
        at: String,
        /// Dotted path.
        key: String,
        /// The nearest known key.
        nearest: Option<String>,
    },
    /// A value of the wrong kind.
    #[error("{path}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// `--set` without `=`, or into something that is no section.
    #[error("--set {argument}: {message}")]
    Set {
        /// The argument.
        argument: String,
        /// What is wrong.
        message: String,
    },
    /// A value outside its range, or values that do not go together.
    #[error("{key} = {value}: {message}")]
    Range {
        /// Dotted path.
        key: String,
        /// What was given.
        value: String,
        /// What was expected and what to do.
        message: String,
    },
    /// An environment variable without a default.
    #[error("{key}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}")]
    Variable {
        /// Dotted path of the string that uses it.
        key: String,
        /// The variable.
        name: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|k| format!("; did you mean `{k}`?")).unwrap_or_default()
}

/// Reads `path`, applies each `key=value` of `sets`, refuses unknown keys and fills in the preset, if one is named, and the defaults.
pub fn load<T: StageConfig>(path: &Path, sets: &[String]) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse(&text, path, sets)
}

/// As [`load`], from text; `path` is only named in errors.
pub fn parse<T: StageConfig>(text: &str, path: &Path, sets: &[String]) -> Result<T, ConfigError> {
    let mut table: Table = toml::from_str(text).map_err(|e| ConfigError::Syntax { path: path.into(), message: e.to_string() })?;
    let tree = keys::tree::<T>();
    refuse_unknown(&table, &tree, &mut |key| format!("{}:{}", path.display(), line_of(text, key)))?;
    for argument in sets {
        set(&mut table, &tree, argument)?;
    }
    expand_variables(&mut table, "")?;
    let table = over(over(defaults::<T>(), preset::fragment::<T>(&table)), table);
    Value::Table(table)
        .try_into()
        .map_err(|e: toml::de::Error| ConfigError::Value { path: path.into(), message: e.to_string().trim_end().replace('\n', " ") })
}

/// The stage's defaults. Those of a section differ between stages, and a section given in part must not fall back to another stage's.
pub(super) fn defaults<T: Default + Serialize>() -> Table {
    Table::try_from(T::default()).unwrap_or_default()
}

/// `top` laid over `base`, section by section.
fn over(mut base: Table, top: Table) -> Table {
    for (key, value) in top {
        let value = match (base.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => Value::Table(over(below, above)),
            (_, value) => value,
        };
        base.insert(key, value);
    }
    base
}

/// The resolved configuration as TOML: what `DIR/config.toml` holds.
pub fn to_toml<T: Serialize>(config: &T) -> String {
    toml::to_string_pretty(config).expect("configuration structs are plain tables")
}

/// A run's `config.toml` with the keys that it lacks at their defaults: it may be of a program that did not have them yet, and a new key's default is what was
/// done before there was the key (a preset's value need not be). A text that cannot be read as `T` is returned as it is.
pub fn completed<T: StageConfig>(text: &str) -> String {
    let whole = |table: Table| Value::Table(over(defaults::<T>(), table)).try_into::<T>().ok();
    toml::from_str(text).ok().and_then(whole).map_or_else(|| text.to_owned(), |config| to_toml(&config))
}

fn refuse_unknown(table: &Table, tree: &KeyTree, at: &mut dyn FnMut(&str) -> String) -> Result<(), ConfigError> {
    let mut found = Vec::new();
    collect_paths("", &Value::Table(table.clone()), &mut found);
    match found.into_iter().find(|key| !tree.knows(key)) {
        None => Ok(()),
        Some(key) => Err(ConfigError::UnknownKey { at: at(&key), nearest: tree.nearest(&key), key }),
    }
}

/// Dotted paths of all leaves; the entries of a list of tables share their path with the list.
fn collect_paths(prefix: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Table(t) if !t.is_empty() || prefix.is_empty() => {
            for (k, v) in t {
                let path = if prefix.is_empty() { k.clone() } else { format!("{prefix}.{k}") };
                collect_paths(&path, v, out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().for_each(|v| collect_paths(prefix, v, out));
        }
        _ => out.push(prefix.to_string()),
    }
}

/// The 1-based line where the last part of a dotted key is written (good enough to click on; 1 when it is not found).
fn line_of(text: &str, key: &str) -> usize {
    let (section, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut here = String::new();
    let mut fallback = None;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            here = line.trim_matches(|c| "[] ".contains(c)).to_string();
            if here == key {
                return i + 1;
            }
        }
        let named = line.split('=').next().unwrap_or("").trim().trim_matches('"');
        if line.contains('=') && (named == last || named == key || line.contains(&format!("{last} ="))) {
            if here == section {
                return i + 1;
            }
            fallback.get_or_insert(i + 1);
        }
    }
    fallback.unwrap_or(1)
}

/// Applies one `a.b=c`. The value is read as TOML where that works, else as a string.
fn set(table: &mut Table, tree: &KeyTree, argument: &str) -> Result<(), ConfigError> {
    let wrong = |message: &str| ConfigError::Set { argument: argument.into(), message: message.into() };
    let (key, text) = argument.split_once('=').ok_or_else(|| wrong("expected key=value, such as optim.lr=1e-4"))?;
    let key = key.trim();
    let plain: Vec<&str> = key.split('.').filter(|p| p.parse::<usize>().is_err()).collect();
    let plain = plain.join(".");
    if !tree.knows(&plain) {
        return Err(ConfigError::UnknownKey { at: format!("--set {argument}"), nearest: tree.nearest(&plain), key: key.into() });
    }
    let parts: Vec<&str> = key.split('.').collect();
    for i in 1..parts.len() {
        if tree.is_list(&parts[..i].join(".")) && parts[i].parse::<usize>().is_err() {
            return Err(wrong("a list needs an index, such as data.sources.0.path"));
        }
    }
    let value =
        toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(text.into()));
    let value = match (value, tree.is_float(&plain)) {
        (Value::Integer(i), true) => Value::Float(i as f64),
        (v, _) => v,
    };
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or(key);
    let mut here = table;
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        let entry = here.entry(part).or_insert_with(|| match parts.peek().map(|p| p.parse::<usize>()) {
            Some(Ok(_)) => Value::Array(vec![]),
            _ => Value::Table(Table::new()),
        });
        here = match entry {
            Value::Table(t) => t,
            Value::Array(items) => {
                let index = parts
                    .next()
                    .and_then(|p| p.parse::<usize>().ok())
                    .ok_or_else(|| wrong("a list needs an index, such as data.sources.0.path"))?;
                if index == items.len() {
                    items.push(Value::Table(Table::new()));
                }
                match items.get_mut(index) {
                    Some(Value::Table(t)) => t,
                    _ => return Err(wrong("no such list entry")),
                }
            }
            _ => return Err(wrong("a part of the key is a value, not a section")),
        };
    }
    here.insert(last.to_string(), value);
    Ok(())
}

/// Replaces `${NAME}` and `${NAME:-default}` in every string.
fn expand_variables(table: &mut Table, prefix: &str) -> Result<(), ConfigError> {
    for (k, v) in table.iter_mut() {
        let key = if prefix.is_empty() { k.clone() } else { format!("{prefix}.{k}") };
        expand_value(v, &key)?;
    }
    Ok(())
}

fn expand_value(value: &mut Value, key: &str) -> Result<(), ConfigError> {
    match value {
        Value::String(s) => *s = expand(s, key)?,
        Value::Table(t) => expand_variables(t, key)?,
        Value::Array(items) => items.iter_mut().try_for_each(|v| expand_value(v, key))?,
        _ => {}
    }
    Ok(())
}

fn expand(text: &str, key: &str) -> Result<String, ConfigError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(len) = rest[start..].find('}') else { break };
        let inside = &rest[start + 2..start + len];
        let (name, default) = match inside.split_once(":-") {
            Some((n, d)) => (n, Some(d)),
            None => (inside, None),
        };
        out.push_str(&rest[..start]);
        match (std::env::var(name).ok().filter(|v| !v.is_empty()), default) {
            (Some(v), _) => out.push_str(&v),
            (None, Some(d)) => out.push_str(d),
            (None, None) => return Err(ConfigError::Variable { key: key.into(), name: name.into() }),
        }
        rest = &rest[start + len + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Decay, Eval, PretrainConfig, RewardConfig, SftConfig};
    use super::*;

    fn pretrain(text: &str, sets: &[&str]) -> Result<PretrainConfig, ConfigError> {
        let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
        parse(text, Path::new("a/pretrain.toml"), &sets)
    }

    #[test]
    fn empty_file_is_all_defaults_and_survives_a_round_trip() {
        let config = pretrain("", &[]).unwrap();
        assert_eq!(config, PretrainConfig::default());
        assert_eq!(pretrain(&to_toml(&config), &[]).unwrap(), config);
    }

    #[test]
    fn unknown_keys_name_line_and_neighbour() {
        let error = pretrain("seed = 2\n[optim]\nlearning_rte = 1\n", &[]).unwrap_err().to_string();
        assert!(error.starts_with("a/pretrain.toml:3: unknown key `optim.learning_rte`"), "{error}");
        let error = pretrain("[optim]\nbeta_1 = 0.9\n", &[]).unwrap_err().to_string();
        assert_eq!(error, "a/pretrain.toml:2: unknown key `optim.beta_1`; did you mean `optim.beta1`?");
        let error = pretrain("[[data.sources]]\npth = \"x\"\n", &[]).unwrap_err().to_string();
        assert_eq!(error, "a/pretrain.toml:2: unknown key `data.sources.pth`; did you mean `data.sources.path`?");
        let error = pretrain("", &["optm.lr=1"]).unwrap_err().to_string();
        assert_eq!(error, "--set optm.lr=1: unknown key `optm.lr`; did you mean `optim.lr`?");
    }

    #[test]
    fn set_overrides_and_adds() {
        let config = pretrain("[optim]\nlr = 0.5\n", &["optim.lr=1", "schedule.decay=linear", "data.sources.0.path=x y"]).unwrap();
        assert_eq!(config.optim.lr, 1.0);
        assert_eq!(config.schedule.decay, Decay::Linear);
        assert_eq!(config.data.sources[0].path, "x y");
        assert!(matches!(pretrain("", &["optim.lr"]), Err(ConfigError::Set { .. })));
        assert!(matches!(pretrain("", &["data.sources.path=x"]), Err(ConfigError::Set { .. })));
    }

    #[test]
    fn a_section_given_in_part_keeps_its_stages_defaults() {
        let config: RewardConfig = parse("[eval]\nevery = 7\n", Path::new("r.toml"), &[]).unwrap();
        assert_eq!(config.eval, Eval { every: 7, ..RewardConfig::default().eval });
        assert_ne!(config.eval.valid_fraction, Eval::default().valid_fraction);
    }

    #[test]
    fn wrong_kinds_are_named() {
        let error = pretrain("[train]\nbatch = \"eight\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("invalid type") && error.contains("batch"), "{error}");
        let error = pretrain("[train\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn variables_take_their_default_or_are_asked_for() {
        let text = "[model]\ninit = \"${RLHF_TEST_UNSET:-../shared}/x\"\n";
        let config: SftConfig = parse(text, Path::new("s.toml"), &[]).unwrap();
        assert_eq!(config.model.init, "../shared/x");
        let error = parse::<SftConfig>("[model]\ninit = \"${RLHF_TEST_UNSET}\"\n", Path::new("s.toml"), &[]).unwrap_err();
        assert!(error.to_string().contains("RLHF_TEST_UNSET is not set"), "{error}");
    }
}
