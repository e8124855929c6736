//! What workers hold: append records, learn what is durable, wait for it, read a record back.
//!
//! What always holds: a record's position is final once `append` returned it; positions never go down; `durable` never passes a byte
//! that the disk has not confirmed; after a failure nothing moves any more.

use super::blocks::BlockBuffer;
use super::counters::{Counters, JournalCounters};
use super::disk::{Disk, DiskFile};
use super::error::{AppendError, Failure, ReadError};
use super::format::{
    self, BLOCK_BYTES, Chain, FRAME_HEADER_BYTES, Identity, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX,
    ROTATE_BELOW_BYTES, RecordHeader, padded_record_bytes, segment_name,
};
use super::progress::{Progress, Waiter};
use super::{Kind, Position};
use meshpay_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use meshpay_sync::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};
use zerocopy::{FromBytes, IntoBytes};

/// Files of old segments that are kept open for reading.
const OPEN_FOR_READING_MAX: usize = 32;
/// Bytes read at first for one record: most records are whole in it.
const FIRST_READ_BYTES: usize = 1024;

/// What the disk still takes, see [`Handle::room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everything may be appended.
    Votes,
    /// The reserve has begun: only what settles promises made before (certificates).
    CertificatesOnly,
    /// Nothing more.
    None,
}

/// A worker's access to the journal. Cheap to clone; every worker has its own.
///
/// In a burst: `append` each record as its effect is decided, `submit` once, queue each answer under the position that
/// [`appended`](Self::appended) gave (a refusal too: it reveals state), and send it when [`durable`](Self::durable) has reached
/// that. To sleep meanwhile, see [`Waiter`].
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// Appends one record whose payload is `parts` one after the other, and tells where it stands. It becomes durable with the
    /// next commit: call [`submit`](Self::submit) after the last record of a burst.
    ///
    /// # Panics
    /// If the payload is larger than [`RECORD_PAYLOAD_BYTES_MAX`], which is the caller's mistake: nothing that a peer sends is.
    pub fn append(&self, kind: Kind, parts: &[&[u8]]) -> Result<Position, AppendError> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        assert!(length <= RECORD_PAYLOAD_BYTES_MAX, "a record of {length} bytes is beyond the journal's bound");
        let mut crc = crc32fast::Hasher::new();
        for part in parts {
            crc.update(part);
        }
        let shared = &*self.shared;
        let mut filling = shared.filling();
        if filling.stopped {
            return Err(AppendError::Stopped);
        }
        let Some(place) = filling.place else {
            return Err(if shared.disk_full.load(Ordering::Relaxed) {
                shared.counters.refused_no_room.add(1);
                AppendError::NoRoom
            } else {
                shared.counters.refused_full.add(1);
                AppendError::Full
            });
        };
        let start = filling.used;
        let end = start + padded_record_bytes(length);
        if end > place.capacity {
            shared.counters.refused_full.add(1);
            shared.ask_for_commit(&mut filling);
            return Err(AppendError::Full);
        }
        let position = Position(place.base + start as u64);
        let header = RecordHeader::new(crc, length, kind, position);
        let record = &mut filling.buffer[start..end];
        record[..RECORD_HEADER_BYTES].copy_from_slice(header.as_bytes());
        let mut at = RECORD_HEADER_BYTES;
        for part in parts {
            record[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        record[at..].fill(0);
        filling.used = end;
        filling.count += 1;
        shared.appended.store(place.base + end as u64, Ordering::Release);
        Ok(position)
    }

    /// End of the last record that anybody appended. Whoever looked at state that records describe may answer once
    /// [`durable`](Self::durable) has reached this.
    pub fn appended(&self) -> Position {
        Position(self.shared.appended.load(Ordering::Acquire))
    }

    /// Asks for a commit of what was appended. Returns at once.
    pub fn submit(&self) {
        let mut filling = self.shared.filling();
        if filling.count > 0 && !filling.submitted {
            self.shared.ask_for_commit(&mut filling);
        }
    }

    /// The journal is durable up to here: a record is durable when this has reached its position, or the [`appended`](Self::appended)
    /// taken after it.
    pub fn durable(&self) -> Position {
        self.shared.progress.durable()
    }

    /// A descriptor that becomes readable when the journal has become durable up to a position of one's choice. Made once per
    /// worker, at start.
    pub fn waiter(&self) -> io::Result<Waiter> {
        Waiter::new(Arc::clone(&self.shared.progress))
    }

    /// What may still be appended. The journal does not know what a record means, so keeping to this is the owner's part.
    pub fn room(&self) -> Room {
        let shared = &*self.shared;
        let left = self.bytes_left();
        // A frame needs the rotation threshold, and the one being filled may end just short of it.
        if left <= 2 * ROTATE_BELOW_BYTES {
            Room::None
        } else if left <= shared.reserve_bytes {
            Room::CertificatesOnly
        } else {
            Room::Votes
        }
    }

    /// Bytes left in allocated segments, those of the reserve included. The last segment does not count: it is the room for the copy that
    /// a start makes.
    pub fn bytes_left(&self) -> u64 {
        self.shared.usable_end().saturating_sub(self.appended().0)
    }

    /// Why the journal stopped for good, if it did. Then the process must exit: nothing appended since becomes durable.
    pub fn failure(&self) -> Option<Failure> {
        self.shared.progress.failure().cloned()
    }

    /// Reads the durable record at `position` into `payload` and returns its kind and length. `position` must come from `append`
    /// or from a replay of this journal; at any other place no record is found.
    pub fn read(&self, position: Position, payload: &mut [u8]) -> Result<(Kind, usize), ReadError> {
        if position >= self.durable() {
            return Err(ReadError::NotDurable(position));
        }
        let shared = &*self.shared;
        let index = position.0 / shared.segment_bytes;
        let offset = position.0 % shared.segment_bytes;
        let damaged = || ReadError::Damaged { position, file: segment_name(index), offset };
        let failed = |source| ReadError::Io { file: segment_name(index), source };
        let left = usize::try_from(shared.segment_bytes - offset).unwrap_or(usize::MAX);
        if offset < (BLOCK_BYTES + FRAME_HEADER_BYTES) as u64
            || !offset.is_multiple_of(format::RECORD_ALIGN_BYTES as u64)
            || left < RECORD_HEADER_BYTES
        {
            return Err(damaged());
        }
        let file = shared.file_for_reading(index).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                ReadError::Archived { position, file: segment_name(index) }
            } else {
                ReadError::Io { file: segment_name(index), source }
            }
        })?;
        let mut first = [0; FIRST_READ_BYTES];
        let first = &mut first[..FIRST_READ_BYTES.min(left)];
        file.read_at(first, offset).map_err(failed)?;
        let (header, rest) = RecordHeader::read_from_prefix(first).map_err(|_| damaged())?;
        let length = header.length.get() as usize;
        if length > RECORD_PAYLOAD_BYTES_MAX || RECORD_HEADER_BYTES + length > left {
            return Err(damaged());
        }
        let Some(payload) = payload.get_mut(..length) else {
            return Err(ReadError::TooSmall { position, needed: length });
        };
        let known = rest.len().min(length);
        payload[..known].copy_from_slice(&rest[..known]);
        if known < length {
            file.read_at(&mut payload[known..], offset + (RECORD_HEADER_BYTES + known) as u64).map_err(failed)?;
        }
        if !header.fits(payload, position) {
            return Err(damaged());
        }
        Ok((header.kind, length))
    }

    /// Where the journal is durable and the chain there, which names the whole history up to it.
    pub fn durable_chain(&self) -> (Position, Chain) {
        *self.shared.durable_chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters, for metrics.
    pub fn counters(&self) -> JournalCounters {
        self.shared.counters.snapshot()
    }
}

/// Where the frame that is being filled will stand.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Position of the frame's header.
    pub base: u64,
    /// Bytes that the frame may take.
    pub capacity: usize,
}

/// The frame that is being filled.
pub(super) struct Filling {
    /// Frame buffer; records are copied behind room for the header.
    pub buffer: BlockBuffer,
    /// None while the next segment is not allocated.
    pub place: Option<Place>,
    /// Where the frame before this one ends.
    pub last_end: u64,
    pub used: usize,
    pub count: u32,
    /// Somebody waits for this frame.
    pub submitted: bool,
    /// Nothing is taken any more.
    pub stopped: bool,
}

/// What handles, writer and keeper share.
pub(super) struct Shared {
    pub identity: Identity,
    pub disk: Arc<dyn Disk>,
    pub segment_bytes: u64,
    pub frame_bytes: usize,
    pub reserve_bytes: u64,
    pub commit_spacing_us: u64,
    pub filling: Mutex<Filling>,
    /// The journal thread sleeps here.
    pub work: Condvar,
    pub appended: AtomicU64,
    pub progress: Arc<Progress>,
    pub durable_chain: Mutex<(Position, Chain)>,
    /// End of the last allocated segment.
    pub allocated_end: AtomicU64,
    /// The last allocation failed for lack of room.
    pub disk_full: AtomicBool,
    /// Segments open for writing: the current one and those ahead.
    pub segments: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
    /// Older segments open for reading, the one used last at the end.
    pub reading: Mutex<Vec<(u64, Arc<dyn DiskFile>)>>,
    /// Tells the keeper that there is something to do; it sleeps on `keep`.
    pub keeper_called: Mutex<bool>,
    pub keep: Condvar,
    pub counters: Counters,
}

impl Shared {
    pub fn filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the journal thread.
    pub fn ask_for_commit(&self, filling: &mut Filling) {
        filling.submitted = true;
        self.work.notify_one();
    }

    /// Where a frame stands that follows a frame ending at `end`; None if its segment is not allocated.
    pub fn place_after(&self, end: u64) -> Option<Place> {
        let base = next_base(end, self.segment_bytes);
        let segment_end = (base / self.segment_bytes + 1) * self.segment_bytes;
        if segment_end > self.usable_end() {
            return None;
        }
        let left = usize::try_from(segment_end - base).unwrap_or(usize::MAX);
        Some(Place { base, capacity: left.min(self.frame_bytes) })
    }

    /// End of what may be written. One more segment than that is always allocated and never written: when a start copies the segment in
    /// use, a full disk gives it the room of that one.
    pub fn usable_end(&self) -> u64 {
        self.allocated_end.load(Ordering::Acquire).saturating_sub(self.segment_bytes)
    }

    /// Gives the frame being filled its place, if it waited for a segment that is there now.
    pub fn place_if_waiting(&self) {
        let mut filling = self.filling();
        if filling.place.is_none() {
            filling.place = self.place_after(filling.last_end);
        }
    }

    /// Wakes the keeper.
    pub fn call_keeper(&self) {
        *self.keeper_called.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.keep.notify_one();
    }

    /// The frame ending at `end` is durable.
    pub fn publish(&self, end: Position, chain: Chain) {
        *self.durable_chain.lock().unwrap_or_else(PoisonError::into_inner) = (end, chain);
        self.progress.publish(end);
    }

    /// Stops everything for good. The first failure stays.
    pub fn fail(&self, failure: Failure) {
        self.progress.fail(failure);
        self.filling().stopped = true;
        self.work.notify_all();
        self.call_keeper();
        self.progress.wake_all();
    }

    pub fn segment_for_writing(&self, index: u64) -> Option<Arc<dyn DiskFile>> {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        // What lies behind is only read from now on. Taken out one by one, which allocates nothing: this is the hot path.
        while segments.first_key_value().is_some_and(|(first, _)| *first < index) {
            segments.pop_first();
        }
        segments.get(&index).cloned()
    }

    fn file_for_reading(&self, index: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.segments.lock().unwrap_or_else(PoisonError::into_inner).get(&index) {
            return Ok(Arc::clone(file));
        }
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = reading.iter().position(|(at, _)| *at == index) {
            let entry = reading.remove(i);
            let file = Arc::clone(&entry.1);
            reading.push(entry);
            return Ok(file);
        }
        let file: Arc<dyn DiskFile> = Arc::from(self.disk.open(&segment_name(index))?);
        if reading.len() == OPEN_FOR_READING_MAX {
            reading.remove(0);
        }
        reading.push((index, Arc::clone(&file)));
        Ok(file)
    }
}

/// Where the frame after one that ends at `end` stands: right there, or behind the header of the next segment if too little is left.
pub(super) fn next_base(end: u64, segment_bytes: u64) -> u64 {
    let segment = end / segment_bytes;
    let left = segment_bytes - end % segment_bytes;
    // A frame may end exactly where its segment does.
    if end.is_multiple_of(segment_bytes) {
        end + BLOCK_BYTES as u64
    } else if left < ROTATE_BELOW_BYTES {
        (segment + 1) * segment_bytes + BLOCK_BYTES as u64
    } else {
        end
    }
}
