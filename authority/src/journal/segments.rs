//! Making segment files: complete and synced under a name of their own first, so that a file with a segment's name is always whole.

use super::blocks::Block;
use super::disk::{Disk, DiskFile};
use super::format::{BLOCK_BYTES, Identity, SegmentHeader, UNFINISHED_SUFFIX, segment_name};
use std::io;
use zerocopy::IntoBytes;

/// Zeros are written in pieces of this size. On a core that has no time left each piece waits some milliseconds for its turn, so there are few.
const ZERO_PIECE_BYTES: usize = 4 << 20;
/// While there is time, zeros are written and synced in pieces of this size.
const PATIENT_PIECE_BYTES: usize = 1 << 20;
static ZEROS: [Block; ZERO_PIECE_BYTES / BLOCK_BYTES] = [Block::ZERO; ZERO_PIECE_BYTES / BLOCK_BYTES];

/// How the zeros of a segment are written.
pub(super) enum Zeros<'a> {
    /// As fast as the disk takes them, and synced once at their end: nobody waits for a commit yet.
    AtOnce,
    /// While commits wait for the same disk: in small pieces, each synced, with rests between them, as long as this says that there is time for that.
    BesideCommits(&'a dyn Fn() -> bool),
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
        let is_patient = matches!(zeros, Zeros::BesideCommits(has_time) if has_time());
        let piece = left.min(if is_patient { PATIENT_PIECE_BYTES } else { ZERO_PIECE_BYTES });
        let bytes = &ZEROS.as_bytes()[..piece];
        if is_patient {
            file.write_zeros_patiently(bytes, at)?;
            // So that a commit never waits behind a whole segment of them.
            file.sync_data()?;
        } else {
            file.write_at(bytes, at)?;
        }
        at += piece as u64;
    }
    file.sync_data()?;
    Ok(file)
}
