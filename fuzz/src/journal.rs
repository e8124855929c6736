//! The journal: its whole life over a disk that fails, and files that somebody else has written.
//!
//! Promised: no bytes panic; what is recovered is a prefix of what was appended and holds all that was durable, or the start is refused by
//! name; with bits flipped on the medium it is still a prefix or a refusal; what was read once is read the same again.

use meshpay_authority::journal::{
    AppendError, BLOCK_BYTES, CrashFault, Disk, FRAME_HEADER_BYTES, FaultDisk, Handle, Identity, Journal,
    JournalConfig, JournalError, Kinds, MarkPlace, Position, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX, create,
    inspect, recover, segment_name,
};
use std::sync::{Arc, LazyLock};

use crate::chance::Chance;

const IDENTITY: Identity = Identity { journal: [0x11; 32], network: [0x22; 32] };
const KINDS: [u8; 2] = [2, 3];
const MARK: &str = "journal.mark";
/// Operations of one life, and recoveries in it: each reads and writes megabytes.
const OPERATIONS_MAX: usize = 96;
const RECOVERIES_MAX: usize = 4;

fn config() -> JournalConfig {
    JournalConfig {
        segment_bytes: JournalConfig::SEGMENT_BYTES_MIN,
        frame_bytes: JournalConfig::FRAME_BYTES_MIN,
        segments_ahead: JournalConfig::SEGMENTS_AHEAD_MIN,
        ..JournalConfig::new(Kinds::of(&KINDS))
    }
}

/// A disk with a new journal on it; every life begins with a copy.
static NEW: LazyLock<FaultDisk> = LazyLock::new(|| {
    let disk = FaultDisk::new();
    let (shared, mark) = places(&disk);
    create(&shared, &mark, &IDENTITY, &config()).expect("a new journal in memory");
    disk
});

fn places(disk: &FaultDisk) -> (Arc<dyn Disk>, MarkPlace) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    (Arc::clone(&shared), MarkPlace { disk: shared, name: MARK.to_owned() })
}

type Records = Vec<(Position, u8, Vec<u8>)>;

struct Life {
    disk: FaultDisk,
    journal: Option<Journal>,
    appended: Records,
    /// Appended in lives before this one: they were recovered, so they are durable.
    settled: usize,
    flipped: bool,
    recoveries: usize,
    now_ms: u64,
}

impl Life {
    fn durable(&self) -> usize {
        let Some(journal) = &self.journal else { return self.settled };
        let durable = journal.handle().durable();
        self.appended.iter().filter(|(position, ..)| *position < durable).count().max(self.settled)
    }

    /// Starts again. False where the journal refuses to start, or lives long enough.
    fn start(&mut self) -> bool {
        let durable = self.durable();
        self.journal = None;
        self.recoveries += 1;
        if self.recoveries > RECOVERIES_MAX {
            return false;
        }
        let (disk, mark) = places(&self.disk);
        let mut read = Records::new();
        let mut see = |position, kind, payload: &[u8]| {
            read.push((position, kind, payload.to_vec()));
            Ok(())
        };
        match recover(&disk, &mark, &IDENTITY, &config(), Position::START, &mut see) {
            Ok((journal, recovered)) => {
                assert_eq!(recovered.records as usize, read.len());
                assert!(read.len() <= self.appended.len(), "more than was ever appended");
                assert_eq!(read[..], self.appended[..read.len()], "not a prefix of what was appended");
                assert!(self.flipped || read.len() >= durable, "{} of {durable} durable records", read.len());
                self.appended.truncate(read.len());
                self.settled = read.len();
                self.journal = Some(journal);
                true
            }
            Err(error) => {
                assert!(self.flipped || is_of_the_disk(&error), "refused without reason: {error}");
                self.settled = durable;
                false
            }
        }
    }
}

fn is_of_the_disk(error: &JournalError) -> bool {
    matches!(error, JournalError::Io { .. } | JournalError::Failed(_))
}

pub fn life(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let mut life = Life {
        disk: NEW.fork(),
        journal: None,
        appended: Records::new(),
        settled: 0,
        flipped: false,
        recoveries: 0,
        now_ms: 0,
    };
    assert!(life.start());
    for _ in 0..OPERATIONS_MAX {
        if chance.is_over() || !step(&mut life, &mut chance) {
            return;
        }
    }
}

fn step(life: &mut Life, chance: &mut Chance<'_>) -> bool {
    let Some(journal) = &mut life.journal else { return false };
    let handle = journal.handle();
    match chance.below(16) {
        0..=5 => {
            append(&handle, chance, &mut life.appended);
            true
        }
        6 | 7 => {
            if journal.finish().is_ok() {
                let _ = journal.commit();
            }
            reads_back(&handle, &life.appended);
            true
        }
        8 => {
            // A crash may find a frame in flight; the next commit finishes it.
            if journal.finish().is_ok() {
                let _ = journal.begin();
            }
            true
        }
        9 => {
            life.now_ms += 100 * u64::from(chance.take::<u8>());
            let _ = journal.maintain(life.now_ms);
            true
        }
        10 => {
            life.disk.fail_sync(chance.below(4) as u64);
            true
        }
        11 => {
            life.disk.set_capacity(Some(u64::from(chance.take::<u8>()) << 16));
            true
        }
        12 => {
            let (fault, seed) = (fault(chance), chance.take::<u16>().into());
            // Also while it starts.
            if chance.one_in(2) {
                life.settled = life.durable();
                life.journal = None;
                life.disk.crash(fault, seed);
                life.disk.crash_at(life.disk.operations() + u64::from(chance.take::<u8>() % 32));
                if life.start() {
                    return true;
                }
            } else {
                life.settled = life.durable();
                life.journal = None;
            }
            life.disk.set_capacity(None);
            life.disk.crash(fault, seed + 1);
            life.start()
        }
        13 => {
            life.settled = life.durable();
            life.journal = None;
            life.disk.set_capacity(None);
            life.disk.restart_process();
            life.start()
        }
        14 => {
            life.disk.set_capacity(None);
            let all = life.appended.len();
            if let Some(journal) = life.journal.take()
                && let Ok(stopped) = journal.stop()
            {
                assert!(life.appended.iter().all(|(position, ..)| *position < stopped.head));
                life.settled = all;
            }
            life.disk.restart_process();
            life.start()
        }
        _ => {
            let name = if chance.one_in(8) { MARK.to_owned() } else { segment_name(chance.below(2) as u64) };
            let Some(length) = life.disk.length(&name) else { return true };
            // Frames stand at the beginning of a segment.
            let at = u64::from(chance.take::<u16>()) % length;
            let mask = 1 << chance.below(8);
            life.settled = life.durable();
            life.journal = None;
            life.disk.set_capacity(None);
            life.disk.restart_process();
            life.disk.flip(&name, at, mask);
            life.flipped = true;
            life.start()
        }
    }
}

fn append(handle: &Handle, chance: &mut Chance<'_>, appended: &mut Records) {
    let kind = KINDS[chance.below(KINDS.len())];
    let length = match chance.below(8) {
        0 => usize::from(chance.take::<u16>()) % (RECORD_PAYLOAD_BYTES_MAX + 1),
        1 => RECORD_PAYLOAD_BYTES_MAX,
        _ => usize::from(chance.take::<u8>()),
    };
    let mut payload = vec![appended.len() as u8; length];
    let number = (appended.len() as u32).to_le_bytes();
    let both = number.len().min(length);
    payload[..both].copy_from_slice(&number[..both]);
    match handle.append(kind, &[&payload]) {
        Ok(position) => appended.push((position, kind, payload)),
        Err(AppendError::Full | AppendError::NoRoom | AppendError::Stopped) => {}
    }
}

fn reads_back(handle: &Handle, appended: &Records) {
    let mut buffer = vec![0; RECORD_PAYLOAD_BYTES_MAX];
    let durable = handle.durable();
    for (position, kind, payload) in appended.iter().rev().filter(|(position, ..)| *position < durable).take(4) {
        if let Ok((read_kind, length)) = handle.read(*position, &mut buffer) {
            assert_eq!((read_kind, &buffer[..length]), (*kind, &payload[..]));
        }
    }
}

fn fault(chance: &mut Chance<'_>) -> CrashFault {
    match chance.below(6) {
        0 => CrashFault::Kept,
        1 => CrashFault::Lost,
        2 => CrashFault::Torn(u64::from(chance.take::<u8>())),
        3 => CrashFault::Reordered,
        4 => CrashFault::Garbled,
        _ => CrashFault::GarbledBlocks,
    }
}

// Layouts as `docs/journal.md` draws them, written here a second time on purpose.
const SEGMENT_MAGIC: &[u8; 8] = b"MPSEGMNT";
const FRAME_MAGIC: &[u8; 8] = b"MPFRAME\x01";
const HASHED_HEADER_BYTES: usize = 64;

/// Segment files as anybody may have left them, with good frames, frames of a good hash and bad content, and noise.
pub fn files(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let disk = FaultDisk::new();
    let blocks = [1, 17, 18, 40][chance.below(4)];
    let segment_bytes = blocks * BLOCK_BYTES;
    let mut index = if chance.one_in(8) { chance.take::<u64>() } else { 0 };
    let mut chain = first_chain(segment_bytes as u64);
    let mut good = Records::new();
    let mut is_plain = index == 0;
    for _ in 0..1 + chance.below(3) {
        let mut segment = vec![0; segment_bytes];
        let header = segment_header(index, segment_bytes as u64, &mut chance, &mut is_plain);
        segment[..BLOCK_BYTES].copy_from_slice(&header);
        let base = index.wrapping_mul(segment_bytes as u64);
        let mut at = BLOCK_BYTES;
        while at < segment_bytes && !chance.is_over() {
            let room = &mut segment[at..];
            at += match chance.below(6) {
                0..=2 => good_frame(room, base.wrapping_add(at as u64), &mut chain, &mut chance, &mut good),
                3 => {
                    is_plain = false;
                    crafted_frame(room, base.wrapping_add(at as u64), &mut chain, &mut chance)
                }
                4 => {
                    is_plain = false;
                    let noise = chance.bytes(64);
                    room[..noise.len()].copy_from_slice(noise);
                    BLOCK_BYTES
                }
                _ => break,
            };
        }
        let file = disk.create(&segment_name(index)).expect("a file in memory");
        file.write_at(&segment, 0).expect("memory has room");
        index = index.wrapping_add(1);
    }

    let mut read = Records::new();
    let identity = chance.one_in(2).then_some(&IDENTITY);
    let mut see = |position, kind, payload: &[u8]| {
        read.push((position, kind, payload.to_vec()));
        Ok(())
    };
    let first = inspect(&disk, identity, None, Kinds::of(&KINDS), &mut see);
    let mut count = 0;
    let mut see_again = |_, _, _: &[u8]| {
        count += 1;
        Ok(())
    };
    let second = inspect(&disk, identity, None, Kinds::of(&KINDS), &mut see_again);
    assert_eq!(count, read.len());
    match (first, second) {
        (Ok(first), Ok(second)) => assert_eq!(first, second),
        (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
        (first, second) => panic!("read twice: {first:?}, then {second:?}"),
    }
    if is_plain {
        assert!(read.len() <= good.len() && read[..] == good[..read.len()], "not a prefix of what was written");
    }
}

fn first_chain(segment_bytes: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&IDENTITY.journal);
    hasher.update(b"meshpay journal, first chain");
    hasher.update(&1u32.to_le_bytes());
    hasher.update(&segment_bytes.to_le_bytes());
    hasher.update(&IDENTITY.network);
    *hasher.finalize().as_bytes()
}

fn segment_header(index: u64, segment_bytes: u64, chance: &mut Chance<'_>, is_plain: &mut bool) -> Vec<u8> {
    let mut header = [&SEGMENT_MAGIC[..], &1u32.to_le_bytes(), &[0; 4]].concat();
    header.extend(index.to_le_bytes());
    header.extend(segment_bytes.to_le_bytes());
    header.extend(IDENTITY.network);
    header.extend(IDENTITY.journal);
    header.resize(BLOCK_BYTES - 32, 0);
    let before = chance.one_in(4);
    if before {
        *is_plain = false;
        header[chance.below(96)] ^= chance.take::<u8>();
    }
    let check = blake3::keyed_hash(&IDENTITY.journal, &header);
    header.extend(check.as_bytes());
    header
}

fn good_frame(
    room: &mut [u8],
    position: u64,
    chain: &mut [u8; 32],
    chance: &mut Chance<'_>,
    good: &mut Records,
) -> usize {
    let mut records = Vec::new();
    let count = 1 + chance.below(4);
    let mut made = Records::new();
    for _ in 0..count {
        let kind = KINDS[chance.below(KINDS.len())];
        let payload = vec![good.len() as u8; usize::from(chance.take::<u8>())];
        let at = position.wrapping_add((FRAME_HEADER_BYTES + records.len()) as u64);
        let mut header = [&(payload.len() as u32).to_le_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&payload);
        crc.update(&header);
        crc.update(&at.to_le_bytes());
        header.extend(crc.finalize().to_le_bytes());
        assert_eq!(header.len(), RECORD_HEADER_BYTES);
        records.extend(header);
        records.extend(&payload);
        records.resize(records.len().next_multiple_of(8), 0);
        made.push((Position(at), kind, payload));
    }
    let taken = seal(room, position, chain, &records, records.len() as u32, count as u32);
    if taken != BLOCK_BYTES || records.len() + FRAME_HEADER_BYTES <= BLOCK_BYTES {
        good.extend(made);
    }
    taken
}

/// A frame whose hash is right and whose content is what the fuzzer likes: only a fault of our own could write it.
fn crafted_frame(room: &mut [u8], position: u64, chain: &mut [u8; 32], chance: &mut Chance<'_>) -> usize {
    let content = chance.bytes(200);
    let length = if chance.one_in(2) { content.len() as u32 } else { chance.take::<u32>() };
    let count = chance.take::<u8>().into();
    seal(room, position, chain, content, length, count)
}

/// Writes a frame with its hash, as long as it fits, and continues the chain. Returns the bytes that it takes.
fn seal(room: &mut [u8], position: u64, chain: &mut [u8; 32], content: &[u8], length: u32, count: u32) -> usize {
    let padded = (FRAME_HEADER_BYTES + content.len()).next_multiple_of(BLOCK_BYTES);
    // The hash of a frame covers what its length claims, as far as there is room.
    let claimed = (FRAME_HEADER_BYTES as u64 + u64::from(length)).next_multiple_of(BLOCK_BYTES as u64);
    let hashed = usize::try_from(claimed).unwrap_or(usize::MAX).clamp(padded, room.len().max(padded));
    if padded > room.len() {
        return BLOCK_BYTES;
    }
    room[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + content.len()].copy_from_slice(content);
    let mut header = [&FRAME_MAGIC[..], &position.to_le_bytes()].concat();
    header.extend(length.to_le_bytes());
    header.extend(count.to_le_bytes());
    header.extend(position.to_le_bytes());
    header.extend(*chain);
    assert_eq!(header.len(), HASHED_HEADER_BYTES);
    let mut hasher = blake3::Hasher::new_keyed(&IDENTITY.journal);
    hasher.update(&header);
    hasher.update(&room[FRAME_HEADER_BYTES..hashed]);
    let hash = *hasher.finalize().as_bytes();
    header.extend(hash);
    room[..FRAME_HEADER_BYTES].copy_from_slice(&header);
    *chain = hash;
    hashed
}
