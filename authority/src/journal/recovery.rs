//! Making a journal, and starting one: read it, judge it, make its last segment anew, and only then let anybody append.
//!
//! What always holds: nothing is changed before the whole scan passed; nothing is answered before what was shown by the page cache is
//! known to be on the disk; a crash at any point in here leaves a journal that recovers to the same content.

use super::blocks::BlockBuffer;
use super::config::{Durability, JournalConfig};
use super::disk::{Disk, DiskFile, is_full};
use super::driver::Journal;
use super::error::JournalError;
use super::format::{
    FRAME_HEADER_BYTES, Identity, MARK_CLEAN, MARK_PROCESS, MarkContent, UNFINISHED_SUFFIX, segment_index, segment_name,
};
use super::handle::{Filling, Handle, Room, Shared};
use super::keeper::Keeper;
use super::mark::{Mark, MarkPlace};
use super::progress::Progress;
use super::scan::{Apply, Plain, Recovered, Replay, ReplayFrom, Scan, ScanRequest, scan};
use super::segments::{Zeros, make_segment};
use super::writer::Writer;
use super::{BLOCK_BYTES, Kinds, Position};
use meshpay_sync::atomic::{AtomicBool, AtomicU64};
use meshpay_sync::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes a journal in an empty directory, and its mark. Happens once in the life of a key.
///
/// # Errors
/// If there is a journal or a mark already, the configuration is out of bounds, the storage is memory (unless durability is "process"),
/// or the storage fails.
pub fn create(
    disk: &Arc<dyn Disk>,
    mark: &MarkPlace,
    identity: &Identity,
    config: &JournalConfig,
) -> Result<(), JournalError> {
    config.validate()?;
    refuse_volatile(&**disk, config)?;
    refuse_volatile(&*mark.disk, config)?;
    let failed = || JournalError::io(format!("making a journal in {}", disk.describe()));
    if disk.list().map_err(failed())?.iter().any(|name| segment_index(name).is_some()) {
        return Err(JournalError::Exists { place: format!("a journal in {}", disk.describe()) });
    }
    if mark.disk.list().map_err(failed())?.contains(&mark.name) {
        return Err(JournalError::Exists { place: mark.describe() });
    }
    make_segment(&**disk, identity, 0, config.segment_bytes, &[], &Zeros::AtOnce).map_err(failed())?;
    disk.sync_directory().map_err(failed())?;
    let content = MarkContent {
        generation: 0,
        flags: MARK_CLEAN,
        position: Position(BLOCK_BYTES as u64),
        chain: identity.first_chain(config.segment_bytes),
        home: disk.home().map_err(failed())?,
        boot: mark.disk.boot().map_err(failed())?,
    };
    Mark::create(mark, identity, &content)
}

/// Opens a journal: hands every record from `from` on to `apply`, in order, and returns the journal ready for appending. `from` is a
/// position up to which the owner holds the state by other means (a checkpoint, with its chain), or [`Position::START`].
///
/// # Errors
/// Every reason for which the authority must not vote has a name in [`JournalError`]. Nothing was changed then, unless the storage failed
/// while the last segment was made anew; then starting again is safe.
pub fn recover(
    disk: &Arc<dyn Disk>,
    mark: &MarkPlace,
    identity: &Identity,
    config: &JournalConfig,
    from: impl Into<ReplayFrom>,
    apply: &mut Apply<'_>,
) -> Result<(Journal, Recovered), JournalError> {
    recover_with(disk, mark, identity, config, from, &mut Plain(apply))
}

/// As [`recover`], for an owner who wants to be told what comes.
///
/// # Errors
/// As [`recover`].
pub fn recover_with(
    disk: &Arc<dyn Disk>,
    mark: &MarkPlace,
    identity: &Identity,
    config: &JournalConfig,
    from: impl Into<ReplayFrom>,
    replay: &mut dyn Replay,
) -> Result<(Journal, Recovered), JournalError> {
    config.validate()?;
    refuse_volatile(&**disk, config)?;
    refuse_volatile(&*mark.disk, config)?;
    let failed = || JournalError::io(format!("starting the journal in {}", disk.describe()));
    if !disk.list().map_err(failed())?.iter().any(|name| segment_index(name).is_some()) {
        return Err(JournalError::Missing { directory: disk.describe() });
    }
    let last_mark = Mark::read(mark, identity)?;
    let home = disk.home().map_err(failed())?;
    if last_mark.home != home {
        return Err(JournalError::Copied { directory: disk.describe() });
    }
    if last_mark.flags & MARK_PROCESS != 0
        && last_mark.flags & MARK_CLEAN == 0
        && last_mark.boot != mark.disk.boot().map_err(failed())?
    {
        return Err(JournalError::ProcessOnly);
    }
    let request = ScanRequest {
        disk: &**disk,
        identity: Some(*identity),
        from: Some(from.into()),
        mark: Some(&last_mark),
        known_kinds: config.known_kinds,
        live: false,
    };
    let found = scan(&request, replay)?;
    if last_mark.flags & MARK_PROCESS != 0 {
        sync_all_segments(&**disk).map_err(failed())?;
    }
    let blank = make_tail_anew(&**disk, identity, &found).map_err(failed())?;

    let mut open_mark = Mark::open(mark, identity, &last_mark, home, config.durability)?;
    let Recovered { head, chain, .. } = found.recovered;
    open_mark.write(head, chain, false, true).map_err(JournalError::io(format!("writing {}", mark.describe())))?;

    let segment_bytes = found.segment_bytes;
    let mut segments: BTreeMap<u64, Arc<dyn DiskFile>> = BTreeMap::new();
    for &index in [found.tail_index].iter().chain(&blank) {
        segments.insert(index, Arc::from(disk.open(&segment_name(index)).map_err(failed())?));
    }
    let shared = Arc::new(Shared {
        identity: *identity,
        disk: Arc::clone(disk),
        segment_bytes,
        frame_bytes: config.frame_bytes,
        reserve_bytes: config.reserve_bytes.unwrap_or(segment_bytes),
        commit_spacing_us: config.commit_spacing_us,
        filling: Mutex::new(Filling {
            buffer: BlockBuffer::zeroed(config.frame_bytes),
            place: None,
            last_end: head.0,
            used: FRAME_HEADER_BYTES,
            count: 0,
            submitted: false,
            stopped: false,
        }),
        work: Condvar::new(),
        appended: AtomicU64::new(head.0),
        progress: Arc::new(Progress::new(head)),
        durable_chain: Mutex::new((head, chain)),
        allocated_end: AtomicU64::new((found.tail_index + 1 + blank.len() as u64) * segment_bytes),
        disk_full: AtomicBool::new(false),
        segments: Mutex::new(segments),
        reading: Mutex::new(Vec::new()),
        keeper_called: Mutex::new(false),
        keep: Condvar::new(),
        counters: Default::default(),
    });
    shared.place_if_waiting();
    let writer = Writer::new(Arc::clone(&shared), head, chain, config.durability);
    // One more than the reserve needs, so that a rotation does not touch it, and the one that is never written.
    let segments_ahead = config.segments_ahead.max(shared.reserve_bytes.div_ceil(segment_bytes) + 2);
    let mut keeper = Keeper::new(Arc::clone(&shared), open_mark, head, segments_ahead);
    let handle = Handle { shared: Arc::clone(&shared) };
    keeper.prepare(|| handle.room() == Room::Votes)?;
    Ok((Journal { shared, writer, keeper }, found.recovered))
}

/// Reads a journal without changing or locking anything, also while a daemon writes it: for `audit` and `check`. Records from `from` on,
/// or from the first segment that is here, go to `apply`. Without an identity the journal's own is believed.
///
/// # Errors
/// Whatever is wrong with the journal, by name. The mark is not consulted.
pub fn inspect(
    disk: &dyn Disk,
    identity: Option<&Identity>,
    from: Option<ReplayFrom>,
    known_kinds: Kinds,
    apply: &mut Apply<'_>,
) -> Result<Recovered, JournalError> {
    inspect_with(disk, identity, from, known_kinds, &mut Plain(apply))
}

/// As [`inspect`], for an owner who wants to be told what comes, or to leave time for others.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(
    disk: &dyn Disk,
    identity: Option<&Identity>,
    from: Option<ReplayFrom>,
    known_kinds: Kinds,
    replay: &mut dyn Replay,
) -> Result<Recovered, JournalError> {
    let request = ScanRequest { disk, identity: identity.copied(), from, mark: None, known_kinds, live: true };
    Ok(scan(&request, replay)?.recovered)
}

/// How far the mark says that the journal was durable. Whoever inspects a journal reads this first: one that ends before it has lost
/// something that was answered for, which [`inspect`] alone cannot know.
///
/// # Errors
/// If the mark cannot be read, or is another journal's.
pub fn marked(mark: &MarkPlace, identity: &Identity) -> Result<Position, JournalError> {
    Ok(Mark::read(mark, identity)?.position)
}

/// Takes a moved or copied journal directory as the only one from now on. The operator vouches that the other is destroyed: two copies
/// of an authority sign against each other.
///
/// # Errors
/// If the mark cannot be read or written.
pub fn adopt(disk: &dyn Disk, mark: &MarkPlace, identity: &Identity) -> Result<(), JournalError> {
    let last = Mark::read(mark, identity)?;
    let failed = || JournalError::io(format!("adopting {}", disk.describe()));
    let home = disk.home().map_err(failed())?;
    let durability = if last.flags & MARK_PROCESS != 0 { Durability::Process } else { Durability::PowerLoss };
    let mut open = Mark::open(mark, identity, &last, home, durability)?;
    open.write(last.position, last.chain, last.flags & MARK_CLEAN != 0, true).map_err(failed())
}

fn refuse_volatile(disk: &dyn Disk, config: &JournalConfig) -> Result<(), JournalError> {
    if config.durability == Durability::Process {
        return Ok(());
    }
    let medium = disk.medium().map_err(JournalError::io(format!("looking at {}", disk.describe())))?;
    if medium.volatile {
        return Err(JournalError::Volatile { directory: disk.describe(), filesystem: medium.filesystem });
    }
    Ok(())
}

/// The last run synced nothing, so more than the last segment may be in the page cache only.
fn sync_all_segments(disk: &dyn Disk) -> std::io::Result<()> {
    for name in disk.list()?.into_iter().filter(|name| segment_index(name).is_some()) {
        disk.open(&name)?.sync_data()?;
    }
    Ok(())
}

/// Writes the segment of the last frame into a new file and puts that in its place, because the page cache may have shown bytes that the
/// disk does not hold. Returns the segments ahead that may be used as they are: they were synced before they got their names, and read as
/// zeros now, so nothing was written since.
fn make_tail_anew(disk: &dyn Disk, identity: &Identity, found: &Scan) -> std::io::Result<Vec<u64>> {
    let is_unfinished =
        |name: &String| name.strip_suffix(UNFINISHED_SUFFIX).is_some_and(|name| segment_index(name).is_some());
    let unfinished = disk.list()?.into_iter().filter(is_unfinished);
    let unusable: Vec<String> = unfinished.chain(found.torn.iter().rev().map(|&index| segment_name(index))).collect();
    for name in &unusable {
        disk.remove(name)?;
    }
    if !unusable.is_empty() {
        // What was removed makes room once the removal is durable. Else, on a full disk, each start that ends early would use up one more segment.
        disk.sync_directory()?;
    }
    let mut blank = found.blank.clone();
    // Nobody waits for a commit yet, so one sync at its end is enough.
    let copy =
        || make_segment(disk, identity, found.tail_index, found.segment_bytes, &found.tail, &Zeros::AtOnce).map(drop);
    match copy() {
        Err(error) if is_full(&error) && !blank.is_empty() => {
            // This is what the last segment is kept for.
            let last = blank.pop().expect("not empty");
            disk.remove(&segment_name(last))?;
            disk.sync_directory()?;
            copy()?;
        }
        copied => copied?,
    }
    disk.sync_directory()?;
    Ok(blank)
}
