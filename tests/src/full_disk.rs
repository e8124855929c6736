//! A small file system of its own: an ext4 image, mounted through a loop device.

use crate::process::finish;
use crate::scratch::Scratch;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when dropped.
pub struct SmallDisk {
    mounted_at: PathBuf,
    // Last, so that its image is not in use any more when it goes.
    _scratch: Scratch,
}

impl SmallDisk {
    /// Makes and mounts an ext4 of that size. Needs root.
    ///
    /// # Errors
    /// If that is not possible here.
    pub fn new(mebibytes: u64) -> Result<Self> {
        let scratch = Scratch::new()?;
        let (image, mounted_at) = (scratch.path().join("disk.img"), scratch.path().join("disk"));
        File::create(&image)?.set_len(mebibytes << 20)?;
        std::fs::create_dir(&mounted_at)?;
        // No blocks set aside for root, so that 'full' is full for the daemon too.
        let mut make = system_program("mkfs.ext4");
        finish(with_arguments(&mut make, &["-q", "-m", "0", "-O", "^has_journal"], &[&image]))?.success()?;
        let mut mount = system_program("mount");
        finish(with_arguments(&mut mount, &["-o", "loop"], &[&image, &mounted_at]))?.success()?;
        Ok(Self { mounted_at, _scratch: scratch })
    }

    /// Mounts a file system in memory. Needs root.
    ///
    /// # Errors
    /// If that is not possible here.
    pub fn in_memory(mebibytes: u64) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mounted_at = scratch.path().join("memory");
        std::fs::create_dir(&mounted_at)?;
        let size = format!("size={mebibytes}m");
        let mut mount = system_program("mount");
        finish(with_arguments(&mut mount, &["-t", "tmpfs", "-o", &size, "tmpfs"], &[&mounted_at]))?.success()?;
        Ok(Self { mounted_at, _scratch: scratch })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted_at
    }

    /// Fills it with a file until less than `leave` bytes are free.
    ///
    /// # Errors
    /// If it cannot be written for another reason than that it is full.
    pub fn fill(&self, leave: u64) -> Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.filler())?;
        let mut chunk = vec![0xa5u8; 1 << 20];
        loop {
            let statistics = rustix::fs::statvfs(&self.mounted_at)?;
            let free = statistics.f_bavail * statistics.f_frsize;
            if free <= leave {
                break;
            }
            chunk.truncate((free - leave).min(1 << 20) as usize);
            match filler.write(&chunk) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("filling the disk"),
            }
        }
        filler
            .sync_all()
            .or_else(|error| if error.kind() == std::io::ErrorKind::StorageFull { Ok(()) } else { Err(error) })?;
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// If nothing was filled.
    pub fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("making room")
    }

    fn filler(&self) -> PathBuf {
        self.mounted_at.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a process which still holds a file cannot keep the mount in everybody's way.
        let mut umount = system_program("umount");
        let _ = finish(with_arguments(&mut umount, &["-l"], &[&self.mounted_at]));
    }
}

/// A program that may lie where an ordinary user's PATH does not look.
fn system_program(name: &str) -> Command {
    let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().map(|directory| Path::new(directory).join(name));
    Command::new(found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name)))
}

fn with_arguments(command: &mut Command, flags: &[&str], paths: &[&Path]) -> Command {
    let mut whole = Command::new(command.get_program());
    whole.args(flags).args(paths);
    whole
}
