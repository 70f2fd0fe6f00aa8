//! Developer chores: `cargo xtask docs` writes the generated pages, `cargo xtask tidy` checks the house rules (tests run it too).

mod tidy;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let root = root();
    match std::env::args().nth(1).as_deref() {
        Some("docs") => {
            std::fs::create_dir_all(root.join("docs"))?;
            std::fs::write(root.join("docs/config.md"), data::config::docs::markdown()).context("docs/config.md")
        }
        Some("tidy") => {
            let complaints = tidy::check(&root)?;
            complaints.iter().for_each(|c| eprintln!("tidy: {c}"));
            if complaints.is_empty() { Ok(()) } else { bail!("{} complaints", complaints.len()) }
        }
        _ => bail!("usage: cargo xtask docs | tidy"),
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask sits in the workspace").to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn house_rules_hold() {
        let complaints = tidy::check(&root()).unwrap();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn generated_pages_are_current() {
        let page = std::fs::read_to_string(root().join("docs/config.md")).unwrap_or_default();
        assert!(page == data::config::docs::markdown(), "docs/config.md is stale: run `cargo xtask docs`");
    }
}
