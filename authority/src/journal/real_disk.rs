//! The disk of production: a directory of a Linux file system, held by a lock so that no second process writes into it.
//!
//! What always holds: a file is read and synced through one descriptor; a second one, if there is one, only writes whole blocks past the page
//! cache, and the kernel drops the cached pages that such a write makes stale (`iomap_dio_rw`), so a read sees every write that returned.

use super::Durability;
use super::disk::{Disk, DiskFile, Medium};
use super::error::JournalError;
use super::format::BLOCK_BYTES;
use super::paced_disk::in_pieces_with_rests;
use crate::pace::Pace;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

/// Zeros that are written at once while commits wait for the same disk: a commit waits for less than half a millisecond of them.
const ZERO_PIECE_BYTES: usize = 128 << 10;
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
    writes_directly: bool,
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
        Ok(Self { directory: directory.to_owned(), _lock: Some(lock), read_only: false, writes_directly: false })
    }

    /// As [`open`](Self::open), for a journal's segments. Where each commit is synced, whole blocks go past the page cache as far as the file
    /// system can do that: it saves the copy and the search for dirty pages at each sync, and zeros written ahead cost next to no CPU. Who never
    /// syncs would wait for the disk at each write instead of never, so there they do not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for(directory: &Path, durability: Durability) -> Result<Self, JournalError> {
        Ok(Self { writes_directly: durability == Durability::PowerLoss, ..Self::open(directory)? })
    }

    /// Opens a directory for [`inspect`](super::inspect): takes no lock and changes nothing.
    pub fn open_read_only(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), _lock: None, read_only: true, writes_directly: false }
    }

    fn refuse_if_read_only(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this directory was opened for reading only"));
        }
        Ok(())
    }

    fn file(&self, buffered: File, path: &Path) -> RealFile {
        let open = || OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
        // A file system without O_DIRECT refuses it here (EINVAL); one that refuses for another reason shows it at the first write.
        let direct = self.writes_directly.then(|| open().ok()).flatten();
        RealFile { buffered, direct, refused: AtomicBool::new(false) }
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
        let buffered = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Box::new(self.file(buffered, &path)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.directory.join(name);
        let buffered = OpenOptions::new().read(true).write(!self.read_only).open(&path)?;
        Ok(Box::new(self.file(buffered, &path)))
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

/// A file of the directory.
struct RealFile {
    buffered: File,
    /// The same file, opened with O_DIRECT.
    direct: Option<File>,
    /// The file system took the flag, but not a write with it.
    refused: AtomicBool,
}

impl RealFile {
    /// Writes past the page cache. False if nothing was written, because these bytes or this file system do not suit that.
    fn write_directly(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        let suits = bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && offset.is_multiple_of(BLOCK_BYTES as u64);
        if !suits || self.refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match direct.write_all_at(bytes, offset) {
            Ok(()) => Ok(true),
            // A disk with larger blocks than ours.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.buffered.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.write_directly(bytes, offset)? {
            return Ok(());
        }
        self.buffered.write_all_at(bytes, offset)
    }

    fn write_zeros_patiently(&self, zeros: &[u8], offset: u64) -> io::Result<()> {
        in_pieces_with_rests(&Pace::gentle(), zeros.chunks(ZERO_PIECE_BYTES), offset, |piece, at| {
            self.write_at(piece, at)
        })
    }

    fn read_no_further_than_asked(&self) {
        // Where the kernel does not take the advice, it reads ahead, and that is only worse for others.
        let _ = rustix::fs::fadvise(&self.buffered, 0, None, rustix::fs::Advice::Random);
    }

    fn sync_data(&self) -> io::Result<()> {
        self.buffered.sync_data()
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.buffered, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.buffered.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::BlockBuffer;
    use super::*;

    fn blocks(count: usize, byte: u8) -> BlockBuffer {
        let mut buffer = BlockBuffer::zeroed(count * BLOCK_BYTES);
        buffer.fill(byte);
        buffer
    }

    /// Whole blocks and odd bytes take different ways to one file; whoever reads sees the newest of both, also where the page cache held older ones.
    #[test]
    fn a_read_sees_what_was_written_whichever_way_it_went() {
        for durability in [Durability::PowerLoss, Durability::Process] {
            // Beside this program, since /tmp may be memory.
            let program = std::env::current_exe().expect("a path");
            let folder = tempfile::tempdir_in(program.parent().expect("a folder")).expect("a folder");
            let disk = RealDisk::open_for(folder.path(), durability).expect("a folder");
            let file = disk.create("file").expect("room");
            file.reserve(64 * BLOCK_BYTES as u64).expect("room");
            let read = |offset: usize, length: usize| {
                let mut bytes = vec![0; length];
                file.read_at(&mut bytes, offset as u64).expect("it is there");
                bytes
            };
            assert_eq!(read(0, 64 * BLOCK_BYTES), vec![0; 64 * BLOCK_BYTES]);
            file.write_at(&blocks(2, 1), BLOCK_BYTES as u64).expect("room");
            // Two bytes that belong to a block of the former.
            file.write_at(&[2, 2], 2 * BLOCK_BYTES as u64 + 5).expect("room");
            file.write_at(&blocks(1, 3), 3 * BLOCK_BYTES as u64).expect("room");
            // An address and a place that no disk takes directly.
            file.write_at(&blocks(1, 4)[1..], 5 * BLOCK_BYTES as u64).expect("room");
            file.write_at(&blocks(1, 5), 7 * BLOCK_BYTES as u64 + 512).expect("room");
            file.write_zeros_patiently(&blocks(40, 0), 20 * BLOCK_BYTES as u64).expect("room");
            file.sync_data().expect("a disk that works");
            let mut expected = vec![0; 64 * BLOCK_BYTES];
            expected[BLOCK_BYTES..3 * BLOCK_BYTES].fill(1);
            expected[2 * BLOCK_BYTES + 5..][..2].fill(2);
            expected[3 * BLOCK_BYTES..4 * BLOCK_BYTES].fill(3);
            expected[5 * BLOCK_BYTES..6 * BLOCK_BYTES - 1].fill(4);
            expected[7 * BLOCK_BYTES + 512..8 * BLOCK_BYTES + 512].fill(5);
            assert!(read(0, 64 * BLOCK_BYTES) == expected, "{durability:?}");
            let again = disk.open("file").expect("it is there");
            again.write_at(&blocks(1, 6), 0).expect("room");
            assert!(read(0, BLOCK_BYTES) == vec![6; BLOCK_BYTES], "written through another descriptor");
            assert_eq!(file.len().expect("a length"), 64 * BLOCK_BYTES as u64, "no write made it longer");
        }
    }

    /// A file system that knows no direct writes, or a disk with larger blocks, gets the bytes the ordinary way.
    #[test]
    fn a_refused_direct_write_goes_the_ordinary_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let buffered = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("room");
        // The kernel answers EINVAL here, whatever is written that is no number; nothing changes.
        let refusing = OpenOptions::new().write(true).open("/proc/self/oom_score_adj").expect("on every Linux");
        let file = RealFile { buffered, direct: Some(refusing), refused: AtomicBool::new(false) };
        file.write_at(&blocks(1, 7), 0).expect("room");
        assert!(file.refused.load(Ordering::Relaxed), "it is not asked again");
        assert_eq!(std::fs::read(&path).expect("it is there"), vec![7; BLOCK_BYTES]);
    }
}
