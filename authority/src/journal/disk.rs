//! The port through which the journal touches storage: one directory of named files.
//!
//! What always holds: the journal's logic reaches a disk only through these two traits, so that the very same code runs over
//! [`RealDisk`](super::RealDisk) in production and over [`FaultDisk`](super::FaultDisk) in tests and simulations. Calls are made
//! once per group commit, not once per record, so dynamic dispatch costs nothing that can be measured.

use std::io;

/// One directory that holds files of a journal, or its mark.
pub trait Disk: Send + Sync + 'static {
    /// Names of all files in the directory, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file for reading and writing; one that exists already is emptied.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, atomically, in place of what bore that name before.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes every creation, renaming and removal so far survive a power cut.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that may still be allocated in this file system.
    fn free_bytes(&self) -> io::Result<u64>;
    /// What the storage under the directory is.
    fn medium(&self) -> io::Result<Medium>;
    /// A number that a copy of this directory does not share, and that survives restarts (on Linux: inode and birth time of the
    /// directory). It tells a journal from its copy.
    fn home(&self) -> io::Result<[u8; 32]>;
    /// A number that changes whenever unsynced bytes may have been lost, that is at every boot of the machine.
    fn boot(&self) -> io::Result<[u8; 16]>;
    /// The directory as an operator would name it in a message.
    fn describe(&self) -> String;
}

/// One open file of a [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset`, or fails; never a short read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, or fails; never a short write. Durable only after [`sync_data`](Self::sync_data).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once everything written before survives a power cut. After an error nothing may be assumed about the file, and a
    /// second call proves nothing (the kernel reports a lost write once).
    fn sync_data(&self) -> io::Result<()>;
    /// Sets room aside for `bytes` from the start of the file, so that a full disk shows itself before anything is written. A
    /// file system without such a call answers `Ok`.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Writes zeros, as [`write_at`](Self::write_at) does, but as work that can wait: a disk that others use meanwhile is left to them for most of the time.
    fn write_zeros_patiently(&self, zeros: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(zeros, offset)
    }
    /// Says that this file will be read in pieces with rests, so that the disk shall not be kept busy with more than each piece asks for.
    fn read_no_further_than_asked(&self) {}
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// What a directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Name of the file system, for messages and reports ("ext4").
    pub filesystem: String,
    /// True where a power cut takes everything (tmpfs, ramfs).
    pub volatile: bool,
}

/// Whether an error says that there is no room, which passes when somebody makes room; every other error of a disk stays.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
