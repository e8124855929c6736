//! The manifest beside the objects: from which sources and by which programs they were made.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Its name in the directory of the objects.
pub const FILE: &str = "manifest.toml";

const HEAD: &str = "# Written by `cargo xtask build-ebpf`, checked by `cargo xtask tidy` and in CI. All hashes are SHA-256, as `sha256sum` prints them.\n\n";

/// What an object is made from. Hashes are in hexadecimal digits.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the compiler with its LLVM's.
    pub compiler: String,
    /// Version of the linker with its LLVM's: it generates the code.
    pub linker: String,
    /// Hashes of the objects by file name.
    pub objects: BTreeMap<String, String>,
    /// Hashes of all that goes in, by path below the root.
    pub sources: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads it.
    ///
    /// # Errors
    /// If it is not there or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).context("the manifest cannot be written as TOML")?;
        std::fs::write(path, format!("{HEAD}{text}")).with_context(|| format!("cannot write {}", path.display()))
    }
}
