//! Files that a command reads and writes: a result must not replace what it was computed from.

use std::path::{Path, PathBuf};

/// True if both names mean one file, or will once it is made; links are followed.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// Refuses to write `output` where that is `input`.
pub fn keep_input(input: &Path, output: &Path) -> anyhow::Result<()> {
    if is_same_file(input, output) {
        crate::refuse!("{} is to be read and to be written: give --out another name", output.display());
    }
    Ok(())
}

/// Where a file is, or will be in a folder that is there.
fn place(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().or_else(|| {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_many_names() {
        let same = |one: &str, other: &str| is_same_file(Path::new(one), Path::new(other));
        // A crate's tests run in its folder.
        assert!(same("Cargo.toml", "./src/../Cargo.toml") && same("absent", "./src/../absent") && same("no/such", "no/such"));
        assert!(!same("Cargo.toml", "src/lib.rs") && !same("absent", "src/absent") && !same("no/such", "no/other"));
        let refused = keep_input(Path::new("Cargo.toml"), Path::new("./Cargo.toml")).unwrap_err();
        assert!(refused.is::<crate::Input>() && refused.to_string().starts_with("./Cargo.toml is to be read"), "{refused}");
    }
}
