//! A disk for work that can wait: it leaves the real one to others for most of the time.
//!
//! What always holds: whatever goes through here does so in small pieces, and after each that kept the disk busy it rests several times as long. So a
//! checkpoint, which reads a gigabyte of journal and writes a table, delays a commit by one piece at worst, not by a queue of them; and a disk whose
//! bytes a second are limited (those of virtual machines are) keeps its allowance for commits.

use super::disk::{Disk, DiskFile, Medium};
use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Read at once.
const READ_PIECE_BYTES: usize = 256 << 10;
/// Written and synced at once. Larger, because each sync of a file that grows is one of the file system's own journal too.
const WRITE_PIECE_BYTES: usize = 1 << 20;
/// Rests are so many times as long as the piece before took.
const REST_TIMES: u32 = 3;
/// A piece that took less came from memory.
const FROM_MEMORY: Duration = Duration::from_micros(150);
/// Longest rest, so that one hiccup of the disk does not stop the work for good.
const REST_MAX: Duration = Duration::from_millis(100);

/// [`Disk`] over another one, see the file's head.
pub struct PacedDisk(pub Arc<dyn Disk>);

impl Disk for PacedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(PacedFile(self.0.create(name)?)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(PacedFile(self.0.open(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }

    fn medium(&self) -> io::Result<Medium> {
        self.0.medium()
    }

    fn home(&self) -> io::Result<[u8; 32]> {
        self.0.home()
    }

    fn boot(&self) -> io::Result<[u8; 16]> {
        self.0.boot()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

struct PacedFile(Box<dyn DiskFile>);

impl DiskFile for PacedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        in_pieces_with_rests(buffer.chunks_mut(READ_PIECE_BYTES), offset, |piece, at| self.0.read_at(piece, at))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        in_pieces_with_rests(bytes.chunks(WRITE_PIECE_BYTES), offset, |piece, at| {
            self.0.write_at(piece, at)?;
            // Else the page cache would take all of it now, and the disk at the end.
            self.0.sync_data()
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.0.reserve(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

/// Does `work` with each piece and the place of its first byte, the first piece at `offset`, and rests after each that kept the disk busy.
pub(super) fn in_pieces_with_rests<P: AsRef<[u8]>>(
    pieces: impl Iterator<Item = P>,
    offset: u64,
    mut work: impl FnMut(P, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = offset;
    for piece in pieces {
        let next = at + piece.as_ref().len() as u64;
        let begun = Instant::now();
        work(piece, at)?;
        let taken = begun.elapsed();
        if taken > FROM_MEMORY {
            sleep((taken * REST_TIMES).min(REST_MAX));
        }
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
        let disk = PacedDisk(Arc::new(below.clone()));
        let bytes: Vec<u8> = (0..2 * WRITE_PIECE_BYTES + 12_345).map(|at| (at % 251) as u8).collect();
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
