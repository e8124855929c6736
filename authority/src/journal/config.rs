//! How a journal is set up, with its bounds.

use super::JournalError;
use super::format::{BLOCK_BYTES, ROTATE_BELOW_BYTES};
use super::{FRAME_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX};

/// What kind of record; only the owner of the journal gives it a meaning.
pub type Kind = u8;

/// A set of record kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds([u64; 4]);

impl Kinds {
    /// Every kind there can be, for tools that only look at the frame of things.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// The set of these kinds.
    pub const fn of(kinds: &[Kind]) -> Self {
        let mut bits = [0; 4];
        let mut i = 0;
        while i < kinds.len() {
            bits[(kinds[i] >> 6) as usize] |= 1 << (kinds[i] & 63);
            i += 1;
        }
        Self(bits)
    }

    /// Whether a kind is in the set.
    pub const fn contains(&self, kind: Kind) -> bool {
        self.0[(kind >> 6) as usize] & 1 << (kind & 63) != 0
    }
}

/// What 'durable' survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: every frame is synced. The default.
    PowerLoss,
    /// A killed process only: nothing is synced. After the machine went down such a journal refuses to start.
    Process,
}

impl Durability {
    /// The name in configuration and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::Process => "process",
        }
    }
}

/// Size and behaviour of a journal.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Size of each segment file, a multiple of 4096, from [`SEGMENT_BYTES_MIN`](Self::SEGMENT_BYTES_MIN). Counts when the journal is
    /// made; afterwards the size in its files holds, because positions depend on it.
    pub segment_bytes: u64,
    /// Size of each of the two frame buffers, which bounds what is written and synced at once, a multiple of 4096.
    pub frame_bytes: usize,
    /// Segments that are kept ready ahead of the one being written: one that is next, one that is the reserve, and the last, which is never
    /// written, since a start on a full disk needs its room. A larger reserve raises it.
    pub segments_ahead: u64,
    /// When no more than this is left in allocated segments, `room` says that only certificates may be appended. None: one segment.
    pub reserve_bytes: Option<u64>,
    /// What 'durable' survives.
    pub durability: Durability,
    /// Kinds that the owner understands; a record of any other kind refuses the start.
    pub known_kinds: Kinds,
    /// Shortest time between two commits, in microseconds. 0 commits as soon as the disk is free. A longer time makes commits fewer and
    /// larger, so they cost less CPU, and answers that much later.
    pub commit_spacing_us: u64,
}

impl JournalConfig {
    /// Smallest segment.
    pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
    /// Largest segment: recovery holds one in memory.
    pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
    /// Smallest frame buffer: the largest record fits.
    pub const FRAME_BYTES_MIN: usize = ROTATE_BELOW_BYTES as usize;
    /// Largest frame buffer.
    pub const FRAME_BYTES_MAX: usize = 64 << 20;
    /// Fewest segments ahead: the next, and the one that is never written.
    pub const SEGMENTS_AHEAD_MIN: u64 = 2;
    /// Most segments ahead: a start reads them all.
    pub const SEGMENTS_AHEAD_MAX: u64 = 64;
    /// Longest spacing of commits: beyond it every wallet would retry before its first answer.
    pub const COMMIT_SPACING_US_MAX: u64 = 20_000;

    /// A configuration with the default sizes, for an owner who understands `known_kinds`.
    pub fn new(known_kinds: Kinds) -> Self {
        Self {
            segment_bytes: 64 << 20,
            frame_bytes: 4 << 20,
            segments_ahead: 3,
            reserve_bytes: None,
            durability: Durability::PowerLoss,
            known_kinds,
            commit_spacing_us: 0,
        }
    }

    /// Checks every bound.
    pub fn validate(&self) -> Result<(), JournalError> {
        let block = BLOCK_BYTES as u64;
        let fault = if !(Self::SEGMENT_BYTES_MIN..=Self::SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(block)
        {
            format!(
                "segment_bytes is {}, must be a multiple of {block} from {} to {}",
                self.segment_bytes,
                Self::SEGMENT_BYTES_MIN,
                Self::SEGMENT_BYTES_MAX
            )
        } else if !(Self::FRAME_BYTES_MIN..=Self::FRAME_BYTES_MAX).contains(&self.frame_bytes)
            || !self.frame_bytes.is_multiple_of(BLOCK_BYTES)
        {
            format!(
                "frame_bytes is {}, must be a multiple of {block} from {} to {}",
                self.frame_bytes,
                Self::FRAME_BYTES_MIN,
                Self::FRAME_BYTES_MAX
            )
        } else if !(Self::SEGMENTS_AHEAD_MIN..=Self::SEGMENTS_AHEAD_MAX).contains(&self.segments_ahead) {
            format!(
                "segments_ahead is {}, must be from {} to {}",
                self.segments_ahead,
                Self::SEGMENTS_AHEAD_MIN,
                Self::SEGMENTS_AHEAD_MAX
            )
        } else if self.reserve_bytes.is_some_and(|bytes| bytes > self.segment_bytes * (Self::SEGMENTS_AHEAD_MAX - 2)) {
            format!("reserve_bytes must be at most {} segments", Self::SEGMENTS_AHEAD_MAX - 2)
        } else if self.commit_spacing_us > Self::COMMIT_SPACING_US_MAX {
            format!("commit_spacing_us is {}, must be at most {}", self.commit_spacing_us, Self::COMMIT_SPACING_US_MAX)
        } else {
            return Ok(());
        };
        Err(JournalError::Config(fault))
    }
}

// A frame that could be placed takes the largest record.
const _: () = assert!(FRAME_HEADER_BYTES + padded_record_bytes_max() <= ROTATE_BELOW_BYTES as usize);
const fn padded_record_bytes_max() -> usize {
    RECORD_PAYLOAD_BYTES_MAX + 24
}

#[cfg(test)]
mod tests {
    use super::super::format::padded_record_bytes;
    use super::*;

    #[test]
    fn the_largest_record_fits_where_a_frame_is_placed() {
        assert!(padded_record_bytes(RECORD_PAYLOAD_BYTES_MAX) <= padded_record_bytes_max());
    }

    #[test]
    fn kinds_are_a_set() {
        const KINDS: Kinds = Kinds::of(&[0, 7, 64, 255]);
        for kind in 0..=255u8 {
            assert_eq!(KINDS.contains(kind), matches!(kind, 0 | 7 | 64 | 255));
        }
    }

    #[test]
    fn bounds_are_checked() {
        let good = JournalConfig::new(Kinds::ALL);
        assert!(good.validate().is_ok());
        assert!(JournalConfig { segment_bytes: 4096, ..good.clone() }.validate().is_err());
        assert!(JournalConfig { segment_bytes: (64 << 20) + 1, ..good.clone() }.validate().is_err());
        assert!(JournalConfig { frame_bytes: 4096, ..good.clone() }.validate().is_err());
        assert!(JournalConfig { segments_ahead: 0, ..good }.validate().is_err());
    }
}
