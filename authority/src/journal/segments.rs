//! Making segment files: complete and synced under a name of their own first, so that a file with a segment's name is always whole.

use super::blocks::Block;
use super::disk::{Disk, DiskFile};
use super::format::{BLOCK_BYTES, Identity, SegmentHeader, UNFINISHED_SUFFIX, segment_name};
use std::io;
use zerocopy::IntoBytes;

/// Zeros are written in pieces of this size, and beside commits synced. A commit waits behind one such piece at worst.
const ZERO_PIECE_BYTES: usize = 1 << 20;
/// The same where room is short. On a core that has no time left each write and sync waits some milliseconds for its turn, so there must be few.
const HASTY_PIECE_BYTES: usize = 4 << 20;
static ZEROS: [Block; HASTY_PIECE_BYTES / BLOCK_BYTES] = [Block::ZERO; HASTY_PIECE_BYTES / BLOCK_BYTES];

/// How the zeros of a segment are written.
pub(super) enum Zeros<'a> {
    /// As fast as the disk takes them, and synced once at their end: nobody waits for a commit yet.
    AtOnce,
    /// While commits wait for the same disk: as this says, asked before each piece.
    BesideCommits(&'a dyn Fn() -> Haste),
}

/// How much time there is for the next zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// They are written with rests in between.
    No,
    /// They are written without rests.
    Some,
    /// They are written in few, large pieces: votes would be refused soon for want of room.
    Great,
}

/// Makes segment `index` holding `frames` (what follows the header) and zeros up to its full size, synced, in place of any file of its
/// name. The caller syncs the directory. On failure nothing of it remains, if the disk still lets itself be cleaned.
pub(super) fn make_segment(
    disk: &dyn Disk,
    identity: &Identity,
    index: u64,
    segment_bytes: u64,
    frames: &[u8],
    zeros: &Zeros<'_>,
) -> io::Result<Box<dyn DiskFile>> {
    let name = segment_name(index);
    let unfinished = format!("{name}{UNFINISHED_SUFFIX}");
    let made = fill_segment(disk, &unfinished, identity, index, segment_bytes, frames, zeros)
        .and_then(|file| disk.rename(&unfinished, &name).map(|()| file));
    if made.is_err() {
        let _ = disk.remove(&unfinished);
    }
    made
}

fn fill_segment(
    disk: &dyn Disk,
    name: &str,
    identity: &Identity,
    index: u64,
    segment_bytes: u64,
    frames: &[u8],
    zeros: &Zeros<'_>,
) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.create(name)?;
    file.reserve(segment_bytes)?;
    file.write_at(SegmentHeader::new(identity, index, segment_bytes).as_bytes(), 0)?;
    if !frames.is_empty() {
        file.write_at(frames, BLOCK_BYTES as u64)?;
    }
    // Blocks that were written once need no metadata at the next write, which makes its sync cheaper (docs/journal.md has the figures).
    let mut at = (BLOCK_BYTES + frames.len()) as u64;
    while at < segment_bytes {
        let left = usize::try_from(segment_bytes - at).unwrap_or(usize::MAX);
        let haste = match zeros {
            Zeros::AtOnce => Haste::Great,
            Zeros::BesideCommits(haste) => haste(),
        };
        let piece = left.min(if haste == Haste::Great { HASTY_PIECE_BYTES } else { ZERO_PIECE_BYTES });
        let bytes = &ZEROS.as_bytes()[..piece];
        match haste {
            Haste::No => file.write_zeros_patiently(bytes, at)?,
            Haste::Some | Haste::Great => file.write_at(bytes, at)?,
        }
        if matches!(zeros, Zeros::BesideCommits(_)) {
            // So that a commit never waits behind a whole segment of them.
            file.sync_data()?;
        }
        at += piece as u64;
    }
    file.sync_data()?;
    Ok(file)
}
