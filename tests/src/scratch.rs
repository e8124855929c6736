//! Directories for daemons: on a real disk, since a journal refuses memory, and gone when dropped.

use crate::binaries;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory on a real disk. It stays, and its place is printed, when its test panics.
pub struct Scratch {
    directory: Option<TempDir>,
    path: PathBuf,
}

/// What statfs calls a file system in memory (`linux/magic.h`: `TMPFS_MAGIC`).
const TMPFS_MAGIC: i64 = 0x0102_1994;

impl Scratch {
    /// Makes an empty directory below `MESHPAY_TEST_DIRECTORY`, or else below the target directory.
    ///
    /// # Errors
    /// If that lies in memory.
    pub fn new() -> Result<Self> {
        let base = match std::env::var_os("MESHPAY_TEST_DIRECTORY") {
            Some(named) => PathBuf::from(named),
            None => binaries::profile_directory()?.with_file_name("end-to-end"),
        };
        std::fs::create_dir_all(&base).with_context(|| format!("making {}", base.display()))?;
        let filesystem =
            rustix::fs::statfs(&base).with_context(|| format!("asking what {} lies on", base.display()))?;
        if filesystem.f_type as i64 == TMPFS_MAGIC {
            bail!("{} lies in memory, which a journal refuses; name a disk by MESHPAY_TEST_DIRECTORY", base.display());
        }
        let directory = tempfile::Builder::new().prefix("committee-").tempdir_in(&base)?;
        let path = directory.path().to_path_buf();
        Ok(Self { directory: Some(directory), path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        if std::thread::panicking() || std::env::var_os("MESHPAY_TEST_KEEP").is_some() {
            println!("left for inspection: {}", directory.keep().display());
        }
    }
}
