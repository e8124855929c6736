//! A disk for work that can wait: it leaves the real one to others for most of the time.
//!
//! What always holds: whatever goes through here does so in small pieces, with the rests of a [`Pace`] between them. So a checkpoint, which reads a
//! gigabyte of journal and writes a table, delays a commit by one piece at worst, not by a queue of them; and a disk whose bytes a second are limited
//! (those of virtual machines are) keeps its allowance for commits.

use super::disk::{Disk, DiskFile, Medium};
use crate::pace::Pace;
use std::io;
use std::sync::Arc;

/// Read or written at once: a commit waits for less than half a millisecond of it.
const PIECE_BYTES: usize = 128 << 10;
/// Synced at once. Larger, because each sync of a file that grows is one of the file system's own journal too.
const SYNC_PIECE_BYTES: usize = 1 << 20;

/// [`Disk`] over another one, see the file's head.
pub struct PacedDisk {
    disk: Arc<dyn Disk>,
    pace: Arc<Pace>,
}

impl PacedDisk {
    /// Leaves `disk` to others in the rests of `pace`.
    pub fn new(disk: Arc<dyn Disk>, pace: Arc<Pace>) -> Self {
        Self { disk, pace }
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        file.read_no_further_than_asked();
        Box::new(PacedFile { file, pace: Arc::clone(&self.pace) })
    }
}

impl Disk for PacedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn medium(&self) -> io::Result<Medium> {
        self.disk.medium()
    }

    fn home(&self) -> io::Result<[u8; 32]> {
        self.disk.home()
    }

    fn boot(&self) -> io::Result<[u8; 16]> {
        self.disk.boot()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

struct PacedFile {
    file: Box<dyn DiskFile>,
    pace: Arc<Pace>,
}

impl DiskFile for PacedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        in_pieces_with_rests(&self.pace, buffer.chunks_mut(PIECE_BYTES), offset, |piece, at| {
            self.file.read_at(piece, at)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        for (bytes, at) in bytes.chunks(SYNC_PIECE_BYTES).zip((offset..).step_by(SYNC_PIECE_BYTES)) {
            in_pieces_with_rests(&self.pace, bytes.chunks(PIECE_BYTES), at, |piece, at| self.file.write_at(piece, at))?;
            // Else the page cache would take all of it now, and the disk at the end.
            self.file.sync_data()?;
            self.pace.rest_if_due();
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Does `work` with each piece and the place of its first byte, the first piece at `offset`, and rests between them by `pace`.
pub(super) fn in_pieces_with_rests<P: AsRef<[u8]>>(
    pace: &Pace,
    pieces: impl Iterator<Item = P>,
    offset: u64,
    mut work: impl FnMut(P, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = offset;
    for piece in pieces {
        let next = at + piece.as_ref().len() as u64;
        work(piece, at)?;
        pace.rest_if_due();
        at = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{CrashFault, FaultDisk};

    #[test]
    fn pieces_make_the_whole_and_are_durable() {
        let below = FaultDisk::new();
        let disk = PacedDisk::new(Arc::new(below.clone()), Arc::new(Pace::gentle()));
        let bytes: Vec<u8> = (0..2 * SYNC_PIECE_BYTES + 12_345).map(|at| (at % 251) as u8).collect();
        let file = disk.create("file").expect("room");
        file.write_at(&bytes, 77).expect("room");
        disk.sync_directory().expect("a disk that works");
        // Each piece was synced, the last one too.
        below.crash(CrashFault::Lost, 1);
        let mut again = vec![0; bytes.len()];
        disk.open("file").expect("it is there").read_at(&mut again, 77).expect("all of it");
        assert!(again == bytes);
        let mut beyond = [0; 2];
        let end = 77 + bytes.len() as u64 - 1;
        assert!(disk.open("file").expect("it is there").read_at(&mut beyond, end).is_err(), "never a short read");
    }
}
