//! The disk of production: a directory of a Linux file system, held by a lock so that no second process writes into it.

use super::disk::{Disk, DiskFile, Medium};
use super::error::JournalError;
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Name of the file that carries the lock; it holds the process id of its holder.
const LOCK_FILE: &str = "meshpay.lock";
/// File systems by the magic numbers of linux/magic.h; others are named by their number.
const FILE_SYSTEMS: [(u32, &str); 12] = [
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0xf2f5_2010, "f2fs"),
    (0x794c_7630, "overlayfs"),
    (0x6969, "nfs"),
    (0x2405_1905, "ubifs"),
    (0x2fc1_2fc1, "zfs"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
];
/// Those that a power cut empties.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

/// One directory, opened for use by this process alone or for reading only.
pub struct RealDisk {
    directory: PathBuf,
    /// Open while this process holds the directory; the kernel lets go of the lock when the process ends, however it ends.
    _lock: Option<File>,
    read_only: bool,
}

impl RealDisk {
    /// Opens a directory that exists and locks it: a second process that tries gets [`JournalError::InUse`]. If mark and journal lie in
    /// one directory, they share one `RealDisk`.
    ///
    /// # Errors
    /// If another process holds the directory, or the storage fails.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(LOCK_FILE);
        let failed = || JournalError::io(format!("locking {}", path.display()));
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The number is for the message only; the lock is what decides.
                let _ = (&mut lock).take(20).read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(pid) => format!("process {pid}"),
                    Err(_) => "another process".into(),
                };
                return Err(JournalError::InUse { directory: directory.display().to_string(), holder });
            }
            Err(error) => return Err(failed()(error.into())),
        }
        lock.set_len(0).map_err(failed())?;
        lock.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed())?;
        Ok(Self { directory: directory.to_owned(), _lock: Some(lock), read_only: false })
    }

    /// Opens a directory for [`inspect`](super::inspect): takes no lock and changes nothing.
    pub fn open_read_only(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), _lock: None, read_only: true }
    }

    fn refuse_if_read_only(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this directory was opened for reading only"));
        }
        Ok(())
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.refuse_if_read_only()?;
        let path = self.directory.join(name);
        Ok(Box::new(OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(!self.read_only).open(self.directory.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.refuse_if_read_only()?;
        std::fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.refuse_if_read_only()?;
        std::fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::statvfs(&self.directory)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn medium(&self) -> io::Result<Medium> {
        let status = rustix::fs::statfs(&self.directory)?;
        // The kernel's numbers have 32 bits, the type of the field depends on the machine.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let magic = status.f_type as u32;
        let filesystem = FILE_SYSTEMS
            .iter()
            .find(|(number, _)| *number == magic)
            .map_or_else(|| format!("file system {magic:#x}"), |(_, name)| (*name).into());
        let volatile = VOLATILE.contains(&filesystem.as_str());
        Ok(Medium { filesystem, volatile })
    }

    fn home(&self) -> io::Result<[u8; 32]> {
        let metadata = std::fs::metadata(&self.directory)?;
        let mut home = [0; 32];
        home[..8].copy_from_slice(&metadata.ino().to_le_bytes());
        // A file system that keeps no birth time leaves the inode alone to tell copies apart.
        if let Some(birth) = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
            home[8..24].copy_from_slice(&birth.as_nanos().to_le_bytes());
        }
        Ok(home)
    }

    fn boot(&self) -> io::Result<[u8; 16]> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let digits = text.trim().replace('-', "");
        let number = u128::from_str_radix(&digits, 16)
            .map_err(|_| io::Error::other("/proc/sys/kernel/random/boot_id is not a UUID"))?;
        Ok(number.to_be_bytes())
    }

    fn describe(&self) -> String {
        self.directory.display().to_string()
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
