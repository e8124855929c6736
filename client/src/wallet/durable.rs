//! Files that are there whole or not at all, also after a power cut.
//!
//! A file is written under a temporary name, synced, renamed, and its directory is synced; only then does [`write_durably`] return.
//! Whoever is killed before the rename leaves a temporary file, which [`sweep`] removes at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// End of the names of unfinished files.
const UNFINISHED: &str = ".unfinished";

/// Writes a file of mode 0600 that is either the old one or the new one, whole, whenever power fails, and is the new one once
/// this returns.
///
/// # Errors
/// Where the disk refuses. The old file is then still there, or the new one; the caller must not rely on either.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(UNFINISHED);
    let unfinished = directory.join(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    crate::fault::reached("before-rename");
    fs::rename(&unfinished, path)?;
    sync_directory(directory)
}

/// Moves a file within one file system, durably.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory(directory_of(to)?)?;
    sync_directory(directory_of(from)?)
}

/// Removes a file, durably; it need not be there.
pub(super) fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(directory_of(path)?),
    }
}

/// Makes a directory of mode 0700, and its parents, unless it is there.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_directory(directory_of(path)?)
}

/// Removes what a killed process left unfinished. None of it was ever relied on.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_durably(&path, b"one").unwrap();
        fs::write(directory.path().join("file.unfinished"), b"torn").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn sweeping_removes_unfinished_files_only() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("order.unfinished"), b"torn").unwrap();
        fs::write(directory.path().join("order"), b"whole").unwrap();
        sweep(directory.path()).unwrap();
        assert!(directory.path().join("order").exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_and_directories_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        make_directory(&inner).unwrap();
        let path = inner.join("file");
        write_durably(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
