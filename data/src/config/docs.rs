//! `docs/config.md` and the key list of `--help`, from the structs.

use super::keys::{self, Key, KeyTree};
use super::{PpoConfig, PretrainConfig, RewardConfig, SftConfig, TaskConfig, preset};
use schemars::JsonSchema;
use std::fmt::Write;

/// The whole reference page. `cargo xtask docs` writes it, a test compares it.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated from the structs in `data/src/config` by `cargo xtask docs`; do not edit.\n\n\
         Each stage, and each task of `evaluate tasks`, reads one TOML file. Unknown keys are errors. `--set section.key=value` overrides any of them\n\
         (`--set data.sources.0.path=x` reaches into lists), and `${NAME:-default}` in a string takes an environment variable.\n",
    );
    for (name, tree) in stages() {
        let _ = write!(page, "\n## `{name}`\n\n{}\n", tree.doc);
        section(&mut page, &tree.keys, "");
    }
    page
}

/// The table of presets for `docs/departures.md`.
pub fn presets() -> String {
    preset::markdown()
}

/// Name and keys of the four stages, and of a task for `evaluate tasks`.
pub fn stages() -> [(&'static str, KeyTree); 5] {
    [
        ("pretrain", keys::tree::<PretrainConfig>()),
        ("sft", keys::tree::<SftConfig>()),
        ("reward", keys::tree::<RewardConfig>()),
        ("ppo", keys::tree::<PpoConfig>()),
        ("evaluate tasks --task", keys::tree::<TaskConfig>()),
    ]
}

/// The keys with kind and default, one a line: shown below `--help`.
pub fn help<T: JsonSchema>() -> String {
    let tree = keys::tree::<T>();
    let mut out = String::from("Configuration keys (docs/config.md explains them; set any with --set KEY=VALUE):\n");
    for key in tree.keys.iter().filter(|k| !k.section) {
        let kind = key.kind.replace('`', "");
        let _ = writeln!(out, "  {:<34} {}{}", key.path, kind, default_of(key).map(|d| format!(" [default: {d}]")).unwrap_or_default());
    }
    out
}

fn default_of(key: &Key) -> Option<String> {
    key.default.as_ref().filter(|d| !d.is_null()).map(|d| d.to_string())
}

fn section(page: &mut String, keys: &[Key], prefix: &str) {
    let child = |k: &&Key| match k.path.strip_prefix(prefix) {
        Some(rest) => !rest.trim_start_matches('.').contains('.') && (prefix.is_empty() || rest.starts_with('.')),
        None => false,
    };
    let children: Vec<&Key> = keys.iter().filter(child).collect();
    if children.iter().any(|k| !k.section) {
        page.push_str("\n| key | kind | default | meaning |\n|---|---|---|---|\n");
    }
    for key in children.iter().filter(|k| !k.section) {
        let default = default_of(key).map(|d| format!("`{d}`")).unwrap_or_default();
        let _ = writeln!(page, "| `{}` | {} | {} | {} |", key.path, key.kind, default, key.doc);
    }
    for key in children.iter().filter(|k| k.section) {
        let list = if key.kind == "list of tables" { " (a list: `[[…]]`)" } else { "" };
        let _ = write!(page, "\n### `[{}]`{list}\n\n{}\n", key.path, key.doc);
        section(page, keys, &key.path);
    }
}
