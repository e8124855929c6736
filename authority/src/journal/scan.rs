//! Reads a journal from its files and finds where it ends. Changes nothing.
//!
//! What always holds: a record is handed out only after its whole frame passed its hash and continued the chain; a place where frames
//! stop is called the end only if nothing behind it, and no mark, shows that there was more.

use super::Position;
use super::config::{Kind, Kinds};
use super::disk::{Disk, DiskFile};
use super::error::JournalError;
use super::format::{
    BLOCK_BYTES, Chain, FRAME_HEADER_BYTES, Frame, HeaderFault, Identity, MarkContent, ROTATE_BELOW_BYTES,
    RecordHeader, SegmentHeader, padded_record_bytes, parse_frame, segment_index, segment_name,
};
use std::collections::BTreeSet;
use zerocopy::FromBytes;

/// What the owner does with a record during a replay: position, kind, payload. An error ends the replay.
pub type Apply<'a> = dyn FnMut(Position, Kind, &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// What the owner does with the records of a replay, where it also wants to know what comes.
pub trait Replay {
    /// A record that will be applied soon, unless damage is found before it: time to fetch into the cache what it is about, and for nothing else.
    fn expect(&mut self, _kind: Kind, _payload: &[u8]) {}

    /// Called after each read from the disk and after each frame: time for others, where the replay can wait.
    fn pause(&mut self) {}

    /// As [`Apply`].
    ///
    /// # Errors
    /// Ends the replay.
    fn apply(
        &mut self,
        position: Position,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// A replay that does not want to know what comes.
pub(super) struct Plain<'a, 'b>(pub &'a mut Apply<'b>);

impl Replay for Plain<'_, '_> {
    fn apply(
        &mut self,
        position: Position,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        (self.0)(position, kind, payload)
    }
}

/// A segment is read in pieces of this size.
const READ_PIECE_BYTES: usize = 256 << 10;
/// How many records before it is applied the owner is told of one: in the time that these take, memory answers.
const EXPECTED_AHEAD: usize = 8;

/// What was read, and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// End of the last whole frame: the journal was recovered up to here.
    pub head: Position,
    /// Chain at `head`, which names the whole history.
    pub chain: Chain,
    /// First position of the first segment that is here.
    pub first: Position,
    /// Records that were handed to the owner.
    pub records: u64,
    /// Frames that were checked.
    pub frames: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// A torn tail was found, and by `recover` cut off: the frame that was being written when the power went. Nobody had an answer from it.
    /// While a journal runs, `inspect` may see the frame in flight as one.
    pub cut: Option<Cut>,
    /// The last run stopped cleanly.
    pub clean: bool,
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// File in which it began.
    pub file: String,
    /// Byte in the file.
    pub offset: u64,
}

/// What recovery needs beyond what it tells.
pub(super) struct Scan {
    pub recovered: Recovered,
    pub segment_bytes: u64,
    /// The segment of the last whole frame, which is made anew at a start.
    pub tail_index: u64,
    /// That segment's frames, whole ones only.
    pub tail: Vec<u8>,
    /// Segments behind it that hold nothing and may be used as they are.
    pub blank: Vec<u64>,
    /// Segments behind those, which hold parts of a torn frame, or follow one that does.
    pub torn: Vec<u64>,
}

/// A position up to which the owner holds the state by other means, and how it knows which history that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayFrom {
    /// Records from here on are handed out.
    pub position: Position,
    /// The chain there, if the owner knows it: a frame must end there with this chain.
    pub chain: Option<Chain>,
}

impl From<Position> for ReplayFrom {
    fn from(position: Position) -> Self {
        Self { position, chain: None }
    }
}

/// Where a scan begins and against what it checks.
pub(super) struct ScanRequest<'a> {
    pub disk: &'a dyn Disk,
    /// None: whoever the first segment belongs to.
    pub identity: Option<Identity>,
    /// Records from here on are handed out. None: from the first segment that is here.
    pub from: Option<ReplayFrom>,
    pub mark: Option<&'a MarkContent>,
    pub known_kinds: Kinds,
    /// The journal may be written to meanwhile, so what looks like damage is read again before it is believed.
    pub live: bool,
}

pub(super) fn scan(request: &ScanRequest<'_>, replay: &mut dyn Replay) -> Result<Scan, JournalError> {
    let disk = request.disk;
    let names = disk.list().map_err(JournalError::io(format!("listing {}", disk.describe())))?;
    let present: BTreeSet<u64> = names.iter().filter_map(|name| segment_index(name)).collect();
    let (Some(&first), Some(&last)) = (present.first(), present.last()) else {
        return Err(JournalError::Missing { directory: disk.describe() });
    };
    if let Some(gap) = (first..=last).find(|index| !present.contains(index)) {
        return Err(JournalError::SegmentMissing { file: place(disk, gap) });
    }
    let (_, header) = open_segment(disk, first, request.identity.as_ref(), None)?;
    let identity = header.identity();
    let segment_bytes = header.segment_bytes.get();
    // Every position in these segments, and the end of the last, must be a number.
    if last.checked_add(1).and_then(|segments| segments.checked_mul(segment_bytes)).is_none() {
        let why = "the number of the segment is higher than any journal comes to";
        return Err(JournalError::Damaged { file: place(disk, last), offset: 0, why });
    }

    let kept_from = Position(first * segment_bytes);
    let replay_from = request.from.map_or(kept_from, |from| from.position);
    if replay_from < kept_from {
        return Err(JournalError::Archived { from: replay_from, first: kept_from });
    }
    let from = request.mark.map_or(replay_from, |mark| mark.position.min(replay_from));
    // The mark and a checkpoint may stand exactly at the end of a segment, which is where its last frame ends.
    let start = from.0.saturating_sub(1) / segment_bytes;
    let start = start.max(first);
    if start > last {
        let head = Position((last + 1) * segment_bytes);
        return Err(match request.mark {
            Some(mark) if mark.position > head => JournalError::OlderThanMark { head, mark: mark.position },
            _ => JournalError::CheckpointAhead { from: replay_from, head },
        });
    }

    let mut scanner = Scanner {
        request,
        identity,
        segment_bytes,
        last,
        head: Position(start * segment_bytes + BLOCK_BYTES as u64),
        chain: (start == 0).then(|| identity.first_chain(segment_bytes)),
        mark_seen: false,
        from_seen: false,
        records: 0,
        frames: 0,
        bytes: 0,
    };
    scanner.compare_with_known()?;
    let mut segment = Vec::new();
    let mut tail = Vec::new();
    let mut tail_index = start;
    let mut index = start;
    let end = loop {
        if index > last {
            break None;
        }
        scanner.read_segment(index, &mut segment, replay)?;
        let stop = scanner.walk_segment(index, &segment, replay)?;
        if index == start || scanner.head.0 > index * segment_bytes + BLOCK_BYTES as u64 {
            tail_index = index;
            std::mem::swap(&mut segment, &mut tail);
        }
        match stop {
            Some(offset) => break Some((index, offset)),
            None => index += 1,
        }
    };
    let (cut, first_torn) = match end {
        Some((index, offset)) => {
            let content = if tail_index == index { &tail } else { &segment };
            scanner.judge_end(index, offset, content, replay)?
        }
        None => (None, None),
    };
    let first_torn = first_torn.unwrap_or(last + 1).max(tail_index + 1);
    let head = scanner.head;
    let Some(chain) = scanner.chain else {
        // Nothing but an empty segment is left, and only the one before it tells how the chain goes on.
        return Err(JournalError::SegmentMissing { file: place(disk, start.saturating_sub(1)) });
    };
    if let Some(mark) = request.mark {
        if head < mark.position {
            return Err(JournalError::OlderThanMark { head, mark: mark.position });
        }
        if !scanner.mark_seen && mark.position.0 > start * segment_bytes {
            return Err(JournalError::OtherHistory { mark: mark.position, marked: mark.chain, found: None });
        }
    }
    if replay_from > head {
        return Err(JournalError::CheckpointAhead { from: replay_from, head });
    }
    if request.from.is_some_and(|from| from.chain.is_some()) && !scanner.from_seen {
        return Err(JournalError::CheckpointOfOtherHistory { from: replay_from });
    }
    let content =
        usize::try_from(head.0.saturating_sub(tail_index * segment_bytes)).unwrap_or(BLOCK_BYTES).max(BLOCK_BYTES);
    tail.truncate(content);
    tail.drain(..BLOCK_BYTES);
    Ok(Scan {
        recovered: Recovered {
            head,
            chain,
            first: kept_from,
            records: scanner.records,
            frames: scanner.frames,
            bytes: scanner.bytes,
            cut,
            clean: request.mark.is_some_and(|mark| mark.flags & super::format::MARK_CLEAN != 0),
        },
        segment_bytes,
        tail_index,
        tail,
        blank: (tail_index + 1..first_torn).collect(),
        torn: (first_torn..=last).collect(),
    })
}

struct Scanner<'a> {
    request: &'a ScanRequest<'a>,
    identity: Identity,
    segment_bytes: u64,
    last: u64,
    head: Position,
    /// None before the first frame of a scan that begins in the middle.
    chain: Option<Chain>,
    mark_seen: bool,
    from_seen: bool,
    records: u64,
    frames: u64,
    bytes: u64,
}

impl Scanner<'_> {
    fn read_segment(&self, index: u64, segment: &mut Vec<u8>, replay: &mut dyn Replay) -> Result<(), JournalError> {
        let (file, _) = open_segment(self.request.disk, index, Some(&self.identity), Some(self.segment_bytes))?;
        let segment_bytes = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        // Reserved whole, but made resident piece by piece, which costs as much as reading.
        segment.reserve_exact(segment_bytes.saturating_sub(segment.len()));
        for at in (0..segment_bytes).step_by(READ_PIECE_BYTES) {
            let end = segment_bytes.min(at + READ_PIECE_BYTES);
            if segment.len() < end {
                segment.resize(end, 0);
            }
            file.read_at(&mut segment[at..end], at as u64)
                .map_err(|error| JournalError::io(format!("reading {}", place(self.request.disk, index)))(error))?;
            replay.pause();
        }
        Ok(())
    }

    /// Takes every whole frame of a segment. Returns the offset at which frames stop before the segment is full.
    fn walk_segment(
        &mut self,
        index: u64,
        segment: &[u8],
        replay: &mut dyn Replay,
    ) -> Result<Option<u64>, JournalError> {
        let base = index * self.segment_bytes;
        let mut offset = BLOCK_BYTES;
        loop {
            if self.segment_bytes - (offset as u64) < ROTATE_BELOW_BYTES {
                return match first_written(&segment[offset..]) {
                    None => Ok(None),
                    Some(at) => Err(self.damaged(index, offset + at, "bytes stand where nothing is ever written")),
                };
            }
            let position = Position(base + offset as u64);
            let Some(frame) = parse_frame(&segment[offset..], &self.identity, position) else {
                return Ok(Some(offset as u64));
            };
            if self.chain.is_some_and(|chain| chain != frame.previous) {
                return Err(self.damaged(index, offset, "the frame does not continue the one before"));
            }
            let end = offset + frame.padded_bytes();
            let records = &segment[offset + FRAME_HEADER_BYTES..offset + FRAME_HEADER_BYTES + frame.length];
            self.take_records(index, offset + FRAME_HEADER_BYTES, records, frame.count, replay)?;
            self.frames += 1;
            self.bytes += frame.padded_bytes() as u64;
            self.chain = Some(frame.hash);
            self.head = Position(base + end as u64);
            self.compare_with_known()?;
            offset = end;
            replay.pause();
        }
    }

    fn take_records(
        &mut self,
        index: u64,
        offset: usize,
        mut records: &[u8],
        count: u32,
        replay: &mut dyn Replay,
    ) -> Result<(), JournalError> {
        let mut at = offset;
        let mut ahead = Ahead { rest: records };
        for _ in 0..EXPECTED_AHEAD {
            ahead.announce_next(replay);
        }
        for _ in 0..count {
            ahead.announce_next(replay);
            let fault = |scanner: &Self| scanner.damaged(index, at, "the record does not match its check");
            let (header, rest) = RecordHeader::ref_from_prefix(records).map_err(|_| fault(self))?;
            let length = header.length.get() as usize;
            let position = Position(index * self.segment_bytes + at as u64);
            let payload = rest.get(..length).ok_or_else(|| fault(self))?;
            if !header.fits(payload, position) {
                return Err(fault(self));
            }
            if !self.request.known_kinds.contains(header.kind) {
                return Err(JournalError::UnknownKind {
                    kind: header.kind,
                    file: place(self.request.disk, index),
                    offset: at as u64,
                });
            }
            if self.request.from.is_none_or(|from| position >= from.position) {
                replay
                    .apply(position, header.kind, payload)
                    .map_err(|source| JournalError::Apply { position, source })?;
                self.records += 1;
            }
            let bytes = padded_record_bytes(length);
            records = records.get(bytes..).ok_or_else(|| fault(self))?;
            at += bytes;
        }
        if !records.is_empty() {
            return Err(self.damaged(index, at, "the frame holds more than its records"));
        }
        Ok(())
    }

    /// Compares the chain with what mark and checkpoint know of it, where they stand.
    fn compare_with_known(&mut self) -> Result<(), JournalError> {
        let Some(chain) = self.chain else {
            return Ok(());
        };
        if let Some(mark) = self.request.mark.filter(|mark| mark.position == self.head) {
            if chain != mark.chain {
                return Err(JournalError::OtherHistory { mark: mark.position, marked: mark.chain, found: Some(chain) });
            }
            self.mark_seen = true;
        }
        if let Some(from) = self.request.from.filter(|from| from.position == self.head) {
            if from.chain.is_some_and(|known| known != chain) {
                return Err(JournalError::CheckpointOfOtherHistory { from: from.position });
            }
            self.from_seen = true;
        }
        Ok(())
    }

    /// Frames stop at `offset` of segment `index`: is that the end, a torn tail, or damage? For a torn tail, also the first segment that
    /// holds some of it.
    fn judge_end(
        &self,
        index: u64,
        offset: u64,
        content: &[u8],
        replay: &mut dyn Replay,
    ) -> Result<(Option<Cut>, Option<u64>), JournalError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let torn = first_written(&content[from..]).is_some();
        let position = Position(index * self.segment_bytes + offset);
        if let Some(later) = self.find_frame(index, content, from + BLOCK_BYTES, replay) {
            return self.judge_frame_behind(index, from, later, replay);
        }
        let mut later = Vec::new();
        let mut first_torn = torn.then_some(index);
        for ahead in index + 1..=self.last {
            self.read_segment(ahead, &mut later, replay)?;
            if let Some(later) = self.find_frame(ahead, &later, BLOCK_BYTES, replay) {
                return self.judge_frame_behind(index, from, later, replay);
            }
            if first_torn.is_none() && first_written(&later[BLOCK_BYTES..]).is_some() {
                first_torn = Some(ahead);
            }
        }
        if let Some(mark) = self.request.mark
            && position < mark.position
            && first_torn.is_some()
        {
            return Err(self.damaged(
                index,
                from,
                "it does not match its hash, though the mark says that it was durable",
            ));
        }
        Ok((first_torn.map(|_| Cut { file: place(self.request.disk, index), offset }), first_torn))
    }

    /// Frames stopped at `offset` of segment `index`, and yet a whole one stands further on.
    fn judge_frame_behind(
        &self,
        index: u64,
        offset: usize,
        later: Frame,
        replay: &mut dyn Replay,
    ) -> Result<(Option<Cut>, Option<u64>), JournalError> {
        let position = Position(index * self.segment_bytes + offset as u64);
        if self.request.live {
            // A journal that runs wrote both after the first one was looked for.
            let mut segment = Vec::new();
            self.read_segment(index, &mut segment, replay)?;
            if parse_frame(&segment[offset..], &self.identity, position).is_some() {
                return Ok((None, None));
            }
        }
        // Without syncs a later frame may have reached the disk before an earlier one did.
        if later.durable_to <= position {
            return Err(JournalError::ProcessOnly);
        }
        Err(self.damaged(index, offset, "it does not match its hash, though a later frame proves that it was durable"))
    }

    fn find_frame(&self, index: u64, segment: &[u8], from: usize, replay: &mut dyn Replay) -> Option<Frame> {
        (from..segment.len()).step_by(BLOCK_BYTES).find_map(|offset| {
            replay.pause();
            let position = Position(index * self.segment_bytes + offset as u64);
            parse_frame(&segment[offset..], &self.identity, position)
        })
    }

    fn damaged(&self, index: u64, offset: usize, why: &'static str) -> JournalError {
        JournalError::Damaged { file: place(self.request.disk, index), offset: offset as u64, why }
    }
}

/// Walks over a frame's records before they are checked one by one. The frame has passed its hash.
struct Ahead<'a> {
    rest: &'a [u8],
}

impl Ahead<'_> {
    /// Tells the owner of the next record, if there is one.
    fn announce_next(&mut self, replay: &mut dyn Replay) {
        let Ok((header, rest)) = RecordHeader::ref_from_prefix(self.rest) else { return };
        let length = header.length.get() as usize;
        let Some(payload) = rest.get(..length) else { return };
        replay.expect(header.kind, payload);
        self.rest = self.rest.get(padded_record_bytes(length)..).unwrap_or_default();
    }
}

/// Index of the first byte that is not zero, by comparison with a block of zeros, which runs at the speed of memory.
fn first_written(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    bytes.chunks(BLOCK_BYTES).enumerate().find_map(|(i, block)| {
        if *block == ZEROS[..block.len()] {
            return None;
        }
        block.iter().position(|&byte| byte != 0).map(|at| i * BLOCK_BYTES + at)
    })
}

fn place(disk: &dyn Disk, index: u64) -> String {
    format!("{}/{}", disk.describe(), segment_name(index))
}

/// Opens a segment and checks its header and size.
pub(super) fn open_segment(
    disk: &dyn Disk,
    index: u64,
    identity: Option<&Identity>,
    segment_bytes: Option<u64>,
) -> Result<(Box<dyn DiskFile>, SegmentHeader), JournalError> {
    let file_name = || place(disk, index);
    let failed = || JournalError::io(format!("reading {}", file_name()));
    let damaged = |why| JournalError::Damaged { file: file_name(), offset: 0, why };
    let file = disk.open(&segment_name(index)).map_err(failed())?;
    let length = file.len().map_err(failed())?;
    if length < BLOCK_BYTES as u64 {
        return Err(damaged("the file is too short for its header"));
    }
    let mut block = [0; BLOCK_BYTES];
    file.read_at(&mut block, 0).map_err(failed())?;
    let header = SegmentHeader::parse(&block, identity).map_err(|fault| match fault {
        HeaderFault::Damaged => damaged("the segment's header does not match its check"),
        HeaderFault::Version(found) => JournalError::OtherFormat { file: file_name(), found },
        HeaderFault::OtherJournal => JournalError::OtherJournal { file: file_name() },
        HeaderFault::OtherNetwork => JournalError::OtherNetwork { file: file_name() },
    })?;
    if header.index.get() != index {
        return Err(damaged("the segment's header names another segment"));
    }
    if header.segment_bytes.get() != length || segment_bytes.is_some_and(|expected| expected != length) {
        return Err(damaged("the file has not the size that its header names"));
    }
    Ok((file, header))
}
