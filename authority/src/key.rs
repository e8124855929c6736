//! The authority's secret key file, and the identity that ties it to one journal (DESIGN 5.4).
//!
//! The file is text: a line that names the format, `seed = HEX`, and, once a journal was made, `journal = HEX`. It is refused when anybody
//! but its owner can read it. Secrets are erased from memory when dropped and are never logged.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use meshpay_crypto::SigningKey;
use zeroize::Zeroizing;

const FORMAT: &str = "meshpay-authority-key 1";

/// A key as its file holds it.
pub struct KeyFile {
    seed: Zeroizing<[u8; 32]>,
    /// Identity of the journal that was made for this key, if one was.
    pub journal: Option<[u8; 32]>,
}

impl KeyFile {
    /// Makes a new key from the kernel's entropy.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| anyhow::anyhow!("the kernel gave no random bytes: {error}"))?;
        Ok(Self { seed, journal: None })
    }

    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).with_context(|| format!("cannot open the key file {}", path.display()))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "the key file {} has mode {mode:04o}, so others may read or change it; if you trust that nobody has, run `chmod 600 {}`",
                path.display(),
                path.display()
            );
        }
        let text = Zeroizing::new(
            fs::read_to_string(path).with_context(|| format!("cannot read the key file {}", path.display()))?,
        );
        let damaged =
            || anyhow::anyhow!("the key file {} is damaged; restore it from your backup of the key", path.display());
        Self::parse(&text).ok_or_else(damaged)
    }

    /// Reads the text of a key file. Nothing where it is damaged.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(FORMAT) {
            return None;
        }
        let (mut seed, mut journal) = (None, None);
        for line in lines {
            let (name, value) = line.split_once(" = ")?;
            let mut bytes = Zeroizing::new([0; 32]);
            hex::decode_to_slice(value, &mut *bytes).ok()?;
            match name {
                "seed" => seed = Some(bytes),
                "journal" => journal = Some(*bytes),
                _ => return None,
            }
        }
        Some(Self { seed: seed?, journal })
    }

    /// The text of the file.
    pub fn text(&self) -> Zeroizing<String> {
        // Made in one piece: what grows leaves copies of the secret behind.
        let seed = Zeroizing::new(hex::encode(*self.seed));
        let journal =
            self.journal.as_ref().map_or_else(String::new, |journal| format!("journal = {}\n", hex::encode(journal)));
        Zeroizing::new([FORMAT, "\nseed = ", &seed, "\n", &journal].concat())
    }

    /// Writes the file, mode 0600, so that a crash leaves either the old one or the new one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.text();
        let unfinished = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            crate::directory::sync_parent(path)
        };
        write().with_context(|| format!("cannot write the key file {}", path.display()))
    }

    /// The signing key.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.seed)
    }
}
