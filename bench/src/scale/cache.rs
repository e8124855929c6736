//! Files taken out of the page cache, so that a start reads from the disk as after a boot, and nothing else on the machine is disturbed.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, fadvise};

/// Writes what is dirty of all files below a directory to the disk, and drops their pages. No process may have them mapped.
///
/// # Errors
/// If a file cannot be opened or written.
pub fn drop_pages_below(directory: &Path) -> Result<()> {
    let failed = || format!("cannot take {} out of the page cache", directory.display());
    for entry in fs::read_dir(directory).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let kind = entry.file_type().with_context(failed)?;
        if kind.is_dir() {
            drop_pages_below(&entry.path())?;
        }
        if !kind.is_file() {
            continue;
        }
        let file = File::open(entry.path()).with_context(failed)?;
        file.sync_all().with_context(failed)?;
        fadvise(&file, 0, None, Advice::DontNeed).with_context(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("below")).expect("a folder");
        let file = folder.path().join("below/file");
        fs::write(&file, [7; 10_000]).expect("room");
        // As the daemon's control socket, which cannot be opened.
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("room");
        drop_pages_below(folder.path()).expect("on any file system");
        assert_eq!(fs::read(&file).expect("it is there"), [7; 10_000]);
        assert!(drop_pages_below(&folder.path().join("nowhere")).is_err());
    }
}
