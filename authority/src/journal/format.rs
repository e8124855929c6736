//! Every byte of the journal's files: segment header, frame header, record header, mark sector.
//!
//! What always holds: all integers are little-endian, sizes are checked at compile time, and every byte of a file is covered by
//! exactly one check (or must be zero). `docs/journal.md` draws the same layouts for people.

use super::Position;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What is written and synced as one unit never shares a block of this size with anything else: 4096 bytes is the largest atomic
/// or read-modify-write unit of the disks this is for, and the page and block size of the file systems.
pub const BLOCK_BYTES: usize = 4096;
/// Version of all layouts in this file.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a frame before its records.
pub const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = size_of::<RecordHeader>();
/// Records begin at multiples of this.
pub const RECORD_ALIGN_BYTES: usize = 8;
/// Largest payload of one record.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = 32 * 1024;
/// When less than this is left in a segment, the next frame goes to the next segment. It holds the largest record, so a frame
/// that was placed can always take one.
pub const ROTATE_BELOW_BYTES: u64 = 64 * 1024;

const SEGMENT_MAGIC: [u8; 8] = *b"MPSEGMNT";
const FRAME_MAGIC: [u8; 8] = *b"MPFRAME\x01";
const MARK_MAGIC: [u8; 8] = *b"MPMARK\x00\x01";

/// A running hash over everything that was written: each frame's hash covers the one before.
pub type Chain = [u8; 32];

/// Who a journal belongs to. Both parts are in every segment and in the mark, and key every hash, so bytes of another journal, or
/// bytes that a peer crafted, never pass for a frame of this one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// 32 random bytes, made with the authority's key and kept beside it.
    pub journal: [u8; 32],
    /// Digest of the genesis.
    pub network: [u8; 32],
}

impl std::fmt::Debug for Identity {
    /// Only a prefix: the journal's number keys its checks and belongs in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:02x}{:02x}..)", self.journal[0], self.journal[1])
    }
}

impl Identity {
    /// The chain before the first frame.
    pub fn first_chain(&self, segment_bytes: u64) -> Chain {
        let mut hasher = self.hasher();
        hasher.update(b"meshpay journal, first chain");
        hasher.update(&FORMAT_VERSION.to_le_bytes());
        hasher.update(&segment_bytes.to_le_bytes());
        hasher.update(&self.network);
        *hasher.finalize().as_bytes()
    }

    fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.journal)
    }
}

/// The first block of every segment file. It never changes after the segment was made.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SegmentHeader {
    magic: [u8; 8],
    version: U32,
    reserved: [u8; 4],
    /// Number of this segment, which is also in its file name.
    pub index: U64,
    /// Size of every segment of this journal.
    pub segment_bytes: U64,
    /// Digest of the genesis.
    pub network: [u8; 32],
    /// Identity of the journal.
    pub journal: [u8; 32],
    zero: [u8; 3968],
    check: [u8; 32],
}
const _: () = assert!(size_of::<SegmentHeader>() == BLOCK_BYTES);

/// Why a block is not the header that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Magic or check do not hold.
    Damaged,
    /// Written by a program with another format; the version found.
    Version(u32),
    /// A header of another journal.
    OtherJournal,
    /// A header of this journal for another network.
    OtherNetwork,
}

impl SegmentHeader {
    /// The header of segment `index`.
    pub fn new(identity: &Identity, index: u64, segment_bytes: u64) -> Self {
        let mut header = Self {
            magic: SEGMENT_MAGIC,
            version: U32::new(FORMAT_VERSION),
            reserved: [0; 4],
            index: U64::new(index),
            segment_bytes: U64::new(segment_bytes),
            network: identity.network,
            journal: identity.journal,
            zero: [0; 3968],
            check: [0; 32],
        };
        header.check = block_check(&identity.journal, header.as_bytes());
        header
    }

    /// Reads a header and checks that it is whole. Identity and network are compared where one is expected.
    pub fn parse(block: &[u8; BLOCK_BYTES], expected: Option<&Identity>) -> Result<Self, HeaderFault> {
        let header = Self::read_from_bytes(block).map_err(|_| HeaderFault::Damaged)?;
        if header.magic != SEGMENT_MAGIC || header.check != block_check(&header.journal, block) {
            return Err(HeaderFault::Damaged);
        }
        check_owner(header.version.get(), &header.journal, &header.network, expected)?;
        Ok(header)
    }

    /// Who the segment belongs to.
    pub fn identity(&self) -> Identity {
        Identity { journal: self.journal, network: self.network }
    }
}

fn check_owner(
    version: u32,
    journal: &[u8; 32],
    network: &[u8; 32],
    expected: Option<&Identity>,
) -> Result<(), HeaderFault> {
    if version != FORMAT_VERSION {
        return Err(HeaderFault::Version(version));
    }
    match expected {
        Some(identity) if identity.journal != *journal => Err(HeaderFault::OtherJournal),
        Some(identity) if identity.network != *network => Err(HeaderFault::OtherNetwork),
        _ => Ok(()),
    }
}

/// Check over a block whose last 32 bytes are the check.
fn block_check(key: &[u8; 32], block: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, &block[..BLOCK_BYTES - 32]).as_bytes()
}

/// One of the two sectors of the mark file.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MarkSector {
    magic: [u8; 8],
    version: U32,
    /// See [`MARK_CLEAN`] and [`MARK_PROCESS`].
    pub flags: U32,
    /// Rises by one with every mark; the sector is generation mod 2.
    pub generation: U64,
    /// The journal was durable up to here.
    pub position: U64,
    /// Chain at `position`.
    pub chain: [u8; 32],
    /// Digest of the genesis.
    pub network: [u8; 32],
    /// Identity of the journal.
    pub journal: [u8; 32],
    /// Directory in which the journal lay, see `Disk::home`.
    pub home: [u8; 32],
    /// Boot of the machine during which the mark was written, see `Disk::boot`.
    pub boot: [u8; 16],
    zero: [u8; 3888],
    check: [u8; 32],
}
const _: () = assert!(size_of::<MarkSector>() == BLOCK_BYTES);

/// Flag of a mark: the journal was stopped cleanly here.
pub const MARK_CLEAN: u32 = 1;
/// Flag of a mark: the journal ran without syncs.
pub const MARK_PROCESS: u32 = 2;

/// What a mark says, apart from whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkContent {
    /// Rises by one with every mark.
    pub generation: u64,
    /// See [`MARK_CLEAN`] and [`MARK_PROCESS`].
    pub flags: u32,
    /// The journal was durable up to here.
    pub position: Position,
    /// Chain at `position`.
    pub chain: Chain,
    /// Directory in which the journal lay.
    pub home: [u8; 32],
    /// Boot during which the mark was written.
    pub boot: [u8; 16],
}

impl MarkSector {
    /// The bytes of a mark.
    pub fn new(identity: &Identity, content: &MarkContent) -> Self {
        let mut sector = Self {
            magic: MARK_MAGIC,
            version: U32::new(FORMAT_VERSION),
            flags: U32::new(content.flags),
            generation: U64::new(content.generation),
            position: U64::new(content.position.0),
            chain: content.chain,
            network: identity.network,
            journal: identity.journal,
            home: content.home,
            boot: content.boot,
            zero: [0; 3888],
            check: [0; 32],
        };
        sector.check = block_check(&identity.journal, sector.as_bytes());
        sector
    }

    /// Reads a sector and checks that it is whole and whose it is.
    pub fn parse(block: &[u8; BLOCK_BYTES], expected: &Identity) -> Result<MarkContent, HeaderFault> {
        let sector = Self::read_from_bytes(block).map_err(|_| HeaderFault::Damaged)?;
        if sector.magic != MARK_MAGIC || sector.check != block_check(&sector.journal, block) {
            return Err(HeaderFault::Damaged);
        }
        check_owner(sector.version.get(), &sector.journal, &sector.network, Some(expected))?;
        Ok(MarkContent {
            generation: sector.generation.get(),
            flags: sector.flags.get(),
            position: Position(sector.position.get()),
            chain: sector.chain,
            home: sector.home,
            boot: sector.boot,
        })
    }
}

/// Stands before the records of one group commit.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    magic: [u8; 8],
    /// Where this header stands in the log.
    pub position: U64,
    /// Bytes of all records, with their headers and padding, without the frame's own padding.
    pub length: U32,
    /// Number of records, at least one.
    pub count: U32,
    /// The log was durable up to here when this frame was written.
    pub durable_to: U64,
    /// Hash of the frame before, or the first chain.
    pub previous: Chain,
    /// Hash over the 64 bytes before it, the records and the padding; the chain after this frame.
    pub hash: Chain,
}
const _: () = assert!(size_of::<FrameHeader>() == 96);
const HASHED_HEADER_BYTES: usize = 64;

/// A frame that passed every check of its own bytes. Whether it continues the chain is for the caller to compare.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Bytes of its records.
    pub length: usize,
    /// Number of its records.
    pub count: u32,
    /// The log was durable up to here when this frame was written.
    pub durable_to: Position,
    /// Chain before it.
    pub previous: Chain,
    /// Chain after it.
    pub hash: Chain,
}

impl Frame {
    /// Bytes that the frame takes in the log, its padding included.
    pub fn padded_bytes(&self) -> usize {
        padded_frame_bytes(self.length)
    }
}

/// Bytes that a frame with `length` bytes of records takes in the log.
pub fn padded_frame_bytes(length: usize) -> usize {
    (FRAME_HEADER_BYTES + length).next_multiple_of(BLOCK_BYTES)
}

/// Completes a frame whose records already stand in `buffer` behind room for the header: writes header and padding. Returns its
/// padded size and its hash. `buffer` must reach to the padded end.
pub fn seal_frame(
    buffer: &mut [u8],
    identity: &Identity,
    position: Position,
    length: usize,
    count: u32,
    durable_to: Position,
    previous: &Chain,
) -> (usize, Chain) {
    let padded = padded_frame_bytes(length);
    let mut header = FrameHeader {
        magic: FRAME_MAGIC,
        position: U64::new(position.0),
        length: U32::new(u32::try_from(length).expect("a frame is far smaller than 4 GiB")),
        count: U32::new(count),
        durable_to: U64::new(durable_to.0),
        previous: *previous,
        hash: [0; 32],
    };
    buffer[FRAME_HEADER_BYTES + length..padded].fill(0);
    header.hash = frame_hash(identity, header.as_bytes(), &buffer[FRAME_HEADER_BYTES..padded]);
    buffer[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
    (padded, header.hash)
}

fn frame_hash(identity: &Identity, header: &[u8], rest: &[u8]) -> Chain {
    let mut hasher = identity.hasher();
    hasher.update(&header[..HASHED_HEADER_BYTES]);
    hasher.update(rest);
    *hasher.finalize().as_bytes()
}

/// Looks for a whole frame at the beginning of `bytes`, which stand at `position` in the log. None if there is none or any of its
/// bytes differs from what was written.
pub fn parse_frame(bytes: &[u8], identity: &Identity, position: Position) -> Option<Frame> {
    let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
    if header.magic != FRAME_MAGIC || header.position.get() != position.0 {
        return None;
    }
    let length = usize::try_from(header.length.get()).ok()?;
    if length == 0 || header.count.get() == 0 || length > bytes.len() {
        return None;
    }
    let rest = bytes.get(FRAME_HEADER_BYTES..padded_frame_bytes(length))?;
    if frame_hash(identity, header.as_bytes(), rest) != header.hash {
        return None;
    }
    Some(Frame {
        length,
        count: header.count.get(),
        durable_to: Position(header.durable_to.get()),
        previous: header.previous,
        hash: header.hash,
    })
}

/// Stands before the payload of a record.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes of the payload.
    pub length: U32,
    /// Kind, which only the owner of the journal understands.
    pub kind: u8,
    reserved: [u8; 7],
    /// CRC-32 over payload, the 12 bytes before this field, and the position: a record can be checked without its frame, and one
    /// that stands in the wrong place does not pass.
    pub check: U32,
}
const _: () = assert!(size_of::<RecordHeader>() == 16);

/// Bytes that a record takes in a frame.
pub fn padded_record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGN_BYTES)
}

impl RecordHeader {
    /// The header of a record, given the CRC over its payload alone.
    pub fn new(payload_crc: crc32fast::Hasher, length: usize, kind: u8, position: Position) -> Self {
        let mut header = Self {
            length: U32::new(u32::try_from(length).expect("payloads are bounded")),
            kind,
            reserved: [0; 7],
            check: U32::new(0),
        };
        header.check = U32::new(header.check_with(payload_crc, position));
        header
    }

    /// Whether header, payload and position belong together.
    pub fn fits(&self, payload: &[u8], position: Position) -> bool {
        let mut crc = crc32fast::Hasher::new();
        crc.update(payload);
        payload.len() == self.length.get() as usize && self.check.get() == self.check_with(crc, position)
    }

    fn check_with(&self, mut crc: crc32fast::Hasher, position: Position) -> u32 {
        let mut tail = [0; 20];
        tail[..12].copy_from_slice(&self.as_bytes()[..12]);
        tail[12..].copy_from_slice(&position.0.to_le_bytes());
        crc.update(&tail);
        crc.finalize()
    }
}

/// Name of the file of segment `index`.
pub fn segment_name(index: u64) -> String {
    format!("segment-{index:016x}.log")
}

/// The index in the name of a segment file; None for any other name.
pub fn segment_index(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let index = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(index) == name).then_some(index)
}

/// Ending of files that are not complete yet; whoever starts removes them.
pub const UNFINISHED_SUFFIX: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments_read_back() {
        assert_eq!(segment_index(&segment_name(0x1f)), Some(0x1f));
        for other in
            ["segment-1f.log", "segment-000000000000001F.log", "segment-000000000000001f.log.new", "journal.lock"]
        {
            assert_eq!(segment_index(other), None, "{other}");
        }
    }

    #[test]
    fn a_record_does_not_pass_at_another_position() {
        let payload = b"an order";
        let mut crc = crc32fast::Hasher::new();
        crc.update(payload);
        let header = RecordHeader::new(crc, payload.len(), 7, Position(8192));
        assert!(header.fits(payload, Position(8192)));
        assert!(!header.fits(payload, Position(8200)));
        assert!(!header.fits(b"an Order", Position(8192)));
    }
}
