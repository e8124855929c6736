//! `cargo xtask tidy`: what must hold of the repository and no compiler checks. It also runs with the tests.
//!
//! Every check returns what it found as [`Finding`]s that name file and line; none changes anything.

mod dependencies;
mod documents;
mod manifests;
mod sources;

use crate::{build_ebpf, shell};
use anyhow::{Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that must be put right.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path below the root.
    file: PathBuf,
    /// Line from 1, where one can be named.
    line: Option<usize>,
    what: String,
}

impl Finding {
    fn new(file: impl Into<PathBuf>, line: impl Into<Option<usize>>, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: line.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.what),
            None => write!(f, "{}: {}", self.file.display(), self.what),
        }
    }
}

/// Runs all checks over this repository.
///
/// # Errors
/// If one of them finds something.
pub fn run() -> Result<()> {
    let findings = check(&shell::root())?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("tidy: {} to put right, listed above", findings.len()) }
}

fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = manifests::check(root)?;
    findings.extend(dependencies::check(root)?);
    findings.extend(sources::check(root)?);
    findings.extend(documents::check(root)?);
    let stale = build_ebpf::check(root)?;
    findings.extend(stale.into_iter().map(|(file, what)| Finding::new(file, None, what)));
    Ok(findings)
}

/// What git ignores here and nobody maintains.
const NOT_OURS: [&str; 4] = ["target", "devnet", "bench-report", ".git"];

/// All files with this extension below the root, as paths below the root, sorted.
pub fn files_with_extension(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let name = entry.file_name();
            let path = directory.join(&name);
            if entry.file_type()?.is_dir() {
                if !NOT_OURS.iter().any(|not_ours| name == *not_ours) {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let findings = check(&shell::root()).unwrap();
        let listed: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "\n{}", listed.join("\n"));
    }
}
