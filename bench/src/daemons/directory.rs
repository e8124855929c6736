//! An authority's directory, made by the daemon itself: `init` twice, first for the key, then, once the genesis names all keys, for
//! the journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use meshpay_crypto::SigningKey;

/// One authority's directory.
#[derive(Clone, Debug)]
pub struct AuthorityDirectory {
    binary: PathBuf,
    path: PathBuf,
}

impl AuthorityDirectory {
    /// The directory at `path`, to be used with the daemon `binary`.
    pub fn new(binary: &Path, path: &Path) -> Self {
        Self { binary: binary.to_owned(), path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command of the daemon on this directory.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(name).arg("--directory").arg(&self.path);
        command
    }

    /// What the running daemon says of its filter, as JSON.
    ///
    /// # Errors
    /// If it has none (the error says why) or does not answer.
    pub fn filter_status(&self) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(["filter", "status", "--json", "--directory"]).arg(&self.path);
        output_of(command)
    }

    /// Lets the daemon make its key, and reads it: the bench must know which votes to expect.
    ///
    /// # Errors
    /// If the daemon refuses, or its key file is of a form that is not known here.
    pub fn make_key(&self) -> Result<SigningKey> {
        let printed = output_of(self.command("init"))?;
        let path = self.path.join("key");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let seed = text.lines().find_map(|line| line.trim().strip_prefix("seed = "));
        let mut bytes = [0; 32];
        seed.and_then(|seed| hex::decode_to_slice(seed.trim(), &mut bytes).ok())
            .with_context(|| format!("{} holds no `seed = ` with 64 hex digits", path.display()))?;
        let key = SigningKey::from_seed(&bytes);
        let public = hex::encode(key.public_key());
        ensure!(
            printed.trim() == public,
            "`init` printed {:?}, but the key in {} is {public}",
            printed.trim(),
            path.display()
        );
        Ok(key)
    }

    /// Lets the daemon make its journal, for a durability by the name that the daemon has for it.
    ///
    /// # Errors
    /// If it refuses.
    pub fn make_journal(&self, genesis: &Path, allocations: &Path, durability: &str) -> Result<()> {
        self.make_journal_with(genesis, allocations, durability, &[])
    }

    /// As [`AuthorityDirectory::make_journal`], with further flags, which go into the settings file.
    ///
    /// # Errors
    /// If it refuses.
    pub fn make_journal_with(
        &self,
        genesis: &Path,
        allocations: &Path,
        durability: &str,
        flags: &[&str],
    ) -> Result<()> {
        let mut command = self.command("init");
        command.arg("--genesis").arg(genesis).arg("--allocations").arg(allocations).args(["--durability", durability]);
        command.args(flags);
        output_of(command).map(drop)
    }
}

/// Runs a command to its end and returns what it printed.
pub(super) fn output_of(mut command: Command) -> Result<String> {
    let name = || {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        format!("{} {}", command.get_program().to_string_lossy(), arguments.join(" "))
    };
    let name = name();
    let output = command.output().with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` printed no text"))
}
