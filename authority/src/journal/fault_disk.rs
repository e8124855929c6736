//! A disk in memory that can do what disks do when the power goes: for tests and simulators.
//!
//! What always holds: a write is visible to the running program at once, and survives a [`crash`](FaultDisk::crash) for certain only after a sync
//! of its file that returned `Ok`; a new name survives for certain only after a sync of the directory. What happens to the rest is chosen by a
//! [`CrashFault`] and a seed, so that every case replays.

use super::disk::{Disk, DiskFile, Medium};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// What becomes of unsynced writes when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashFault {
    /// All of them had reached the disk.
    Kept,
    /// None had.
    Lost,
    /// All but the last had; of the last, so many sectors of 512 bytes.
    Torn(u64),
    /// Each sector of 512 bytes by chance.
    Reordered,
    /// As `Reordered`, and a sector that was being written may hold anything.
    Garbled,
    /// Each block of 4096 bytes by chance, and one that was being written may hold anything, also where the write did not touch it.
    GarbledBlocks,
}

/// A directory in memory. Clones are handles to the same disk; see [`fork`](Self::fork) for a copy.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    /// What a program sees.
    names: BTreeMap<String, u64>,
    /// What survives for certain.
    durable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    operations: u64,
    crash_at: Option<u64>,
    fail_sync_at: Option<u64>,
    syncs: u64,
    misdirect: Option<Misdirect>,
    crashed: bool,
    capacity_bytes: Option<u64>,
    boots: u64,
    home: u8,
    volatile: bool,
}

/// A write that shall land elsewhere.
#[derive(Clone, Copy)]
struct Misdirect {
    writes_before: u64,
    distance_bytes: u64,
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Default)]
struct FileState {
    /// What a program sees.
    visible: Content,
    durable: Content,
    /// Since the last sync that succeeded.
    unsynced: Vec<Write>,
}

#[derive(Clone)]
struct Write {
    offset: u64,
    length: u64,
    /// None for zeros, which most bytes of a new segment are.
    bytes: Option<Arc<[u8]>>,
}

impl Write {
    fn new(offset: u64, bytes: &[u8]) -> Self {
        let zeros = bytes.chunks(PAGE_BYTES).all(|piece| *piece == ZEROS[..piece.len()]);
        Self { offset, length: bytes.len() as u64, bytes: (!zeros).then(|| bytes.into()) }
    }

    /// Brings the part from `from` to `to`, counted from the write's own beginning, into a file.
    fn land(&self, content: &mut Content, from: u64, to: u64) {
        match &self.bytes {
            Some(bytes) => content.write(self.offset + from, &bytes[from as usize..to as usize]),
            None => content.write_zeros(self.offset + from, to - from),
        }
    }
}

/// Pages that were never written are zero and take no memory.
#[derive(Clone, Default)]
struct Content {
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
    length: u64,
}

impl Content {
    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let page = offset / PAGE_BYTES as u64;
            let at = (offset % PAGE_BYTES as u64) as usize;
            let (piece, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - at));
            if *piece != ZEROS[..piece.len()] || self.pages.contains_key(&page) {
                let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
                Arc::make_mut(page)[at..at + piece.len()].copy_from_slice(piece);
            }
            offset += piece.len() as u64;
            bytes = rest;
        }
    }

    fn write_zeros(&mut self, offset: u64, length: u64) {
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(PAGE_BYTES as u64 - (offset + done) % PAGE_BYTES as u64);
            self.write(offset + done, &ZEROS[..piece as usize]);
            done += piece;
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read beyond the end of the file"));
        }
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for (&page, content) in self.pages.range(offset / PAGE_BYTES as u64..end.div_ceil(PAGE_BYTES as u64)) {
            let page_start = page * PAGE_BYTES as u64;
            let from = page_start.max(offset);
            let to = (page_start + PAGE_BYTES as u64).min(end);
            buffer[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&content[(from - page_start) as usize..(to - page_start) as usize]);
        }
        Ok(())
    }
}

impl Default for FaultDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::default())) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk of its own with the same content and the same unsynced writes. Files that are open stay with the old one.
    pub fn fork(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state().clone())) }
    }

    /// Counts writes, syncs and changes of names so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From the operation with this number on, everything fails; that operation itself may have happened or not, which the fault given to
    /// [`crash`](Self::crash) decides if it is a write, and a sync has not happened.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    /// The sync with this number, counting from now, fails once, and the kernel then forgets what it could not write: the bytes stay visible until
    /// the next crash and no later sync brings them to the disk.
    pub fn fail_sync(&self, after: u64) {
        let mut state = self.state();
        state.fail_sync_at = Some(state.syncs + after);
    }

    /// After so many more writes, one lands `distance_bytes` further on in its file, or at its beginning where the file is not as long: the disk
    /// reports success, and nothing is written where it should be.
    pub fn misdirect_write(&self, writes_before: u64, distance_bytes: u64) {
        self.state().misdirect = Some(Misdirect { writes_before, distance_bytes });
    }

    /// Bytes in use. A file that was removed or replaced keeps its room until the change of its name is durable: a power cut could bring it back.
    pub fn used_bytes(&self) -> u64 {
        self.state().used()
    }

    /// The disk takes no more than this; None: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// Makes this directory another one, as a copy of it would be.
    pub fn become_a_copy(&self) {
        self.state().home += 1;
    }

    /// Makes the medium memory, as a tmpfs is.
    pub fn become_volatile(&self) {
        self.state().volatile = true;
    }

    /// The power goes and comes again. What was unsynced is treated as `fault` says, chances taken from `seed`. Files that were open before are dead
    /// in the sense that the program which had them is gone; this handle and its clones are usable again.
    pub fn crash(&self, fault: CrashFault, seed: u64) {
        let mut state = self.state();
        let mut chance = Chance(seed);
        let last_written =
            state.files.iter().filter(|(_, file)| !file.unsynced.is_empty()).map(|(&number, _)| number).next_back();
        for (&number, file) in &mut state.files {
            let writes = std::mem::take(&mut file.unsynced);
            let count = writes.len();
            for (i, write) in writes.iter().enumerate() {
                let is_last = Some(number) == last_written && i + 1 == count;
                land(&mut file.durable, write, fault, is_last, &mut chance);
            }
            file.visible = file.durable.clone();
        }
        let changes = std::mem::take(&mut state.name_changes);
        // A journaling file system keeps changes of names in order, so what survives of them is a prefix.
        let kept = match fault {
            CrashFault::Kept => changes.len(),
            CrashFault::Lost => 0,
            CrashFault::Torn(_) => changes.len().saturating_sub(1),
            CrashFault::Reordered | CrashFault::Garbled | CrashFault::GarbledBlocks => {
                chance.below(changes.len() as u64 + 1) as usize
            }
        };
        for change in &changes[..kept] {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        let named: Vec<u64> = state.names.values().copied().collect();
        state.files.retain(|number, _| named.contains(number));
        state.crashed = false;
        state.crash_at = None;
        state.fail_sync_at = None;
        state.boots += 1;
    }

    /// The program was killed and starts again on the same machine: nothing is lost, and what only the page cache holds stays visible.
    pub fn restart_process(&self) {
        let mut state = self.state();
        state.crashed = false;
        state.crash_at = None;
        state.fail_sync_at = None;
    }

    /// Inverts bits of one byte, in what is visible and in what is durable.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) {
        let mut state = self.state();
        let number = *state.names.get(name).expect("the file exists");
        let file = state.files.get_mut(&number).expect("a name has a file");
        for content in [&mut file.visible, &mut file.durable] {
            let mut byte = [0];
            content.read(&mut byte, offset).expect("the byte exists");
            content.write(offset, &[byte[0] ^ mask]);
        }
    }

    /// Length of a file, if it is there.
    pub fn length(&self, name: &str) -> Option<u64> {
        let state = self.state();
        state.names.get(name).map(|number| state.files[number].visible.length)
    }
}

fn land(content: &mut Content, write: &Write, fault: CrashFault, is_last: bool, chance: &mut Chance) {
    match fault {
        CrashFault::Lost => {}
        CrashFault::Torn(sectors) if is_last => {
            write.land(content, 0, write.length.min(sectors.saturating_mul(SECTOR_BYTES as u64)));
        }
        CrashFault::Kept | CrashFault::Torn(_) => write.land(content, 0, write.length),
        CrashFault::Reordered => land_by_chance(content, write, SECTOR_BYTES as u64, 2, chance),
        CrashFault::Garbled => land_by_chance(content, write, SECTOR_BYTES as u64, GARBLE_CHOICES, chance),
        CrashFault::GarbledBlocks => land_by_chance(content, write, PAGE_BYTES as u64, GARBLE_CHOICES, chance),
    }
}

/// Of so many equal choices for each unit of the disk, one is that it is lost, one that it holds anything, the others that it landed.
const GARBLE_CHOICES: u64 = 8;

fn land_by_chance(content: &mut Content, write: &Write, unit: u64, choices: u64, chance: &mut Chance) {
    let end = write.offset + write.length;
    for block in write.offset / unit..end.div_ceil(unit) {
        let (from, to) = ((block * unit).max(write.offset), ((block + 1) * unit).min(end));
        match chance.below(choices) {
            0 => {}
            garbled if garbled + 1 == GARBLE_CHOICES => {
                let garbage: Vec<u8> = (0..unit).map(|_| chance.below(256) as u8).collect();
                content.write(block * unit, &garbage);
            }
            _ => write.land(content, from - write.offset, to - write.offset),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, number) => {
                names.insert(name.clone(), *number);
            }
            Self::Rename(from, to) => {
                if let Some(number) = names.remove(from) {
                    names.insert(to.clone(), number);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// SplitMix64: small, seeded, and enough for choosing faults.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts an operation that changes something; true if the power goes during it.
    fn count(&mut self) -> io::Result<bool> {
        self.alive()?;
        let number = self.operations;
        self.operations += 1;
        self.crashed = self.crash_at.is_some_and(|at| number >= at);
        Ok(self.crashed)
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let crashed = self.count()?;
        change.apply(&mut self.names);
        self.name_changes.push(change);
        if crashed { self.alive() } else { Ok(()) }
    }

    /// Where a write lands.
    fn misdirected(&mut self, offset: u64, length: u64, file_length: u64) -> u64 {
        match &mut self.misdirect {
            None => offset,
            Some(misdirect) if misdirect.writes_before > 0 => {
                misdirect.writes_before -= 1;
                offset
            }
            Some(misdirect) => {
                let elsewhere = offset + misdirect.distance_bytes;
                self.misdirect = None;
                if elsewhere + length <= file_length { elsewhere } else { 0 }
            }
        }
    }

    fn used(&self) -> u64 {
        let made = self.name_changes.iter().filter_map(|change| match change {
            NameChange::Set(_, number) => Some(number),
            NameChange::Rename(..) | NameChange::Remove(_) => None,
        });
        let kept: BTreeSet<&u64> = self.names.values().chain(self.durable_names.values()).chain(made).collect();
        let files = kept.into_iter().filter_map(|number| self.files.get(number));
        files.map(|file| file.visible.length.max(file.durable.length)).sum()
    }

    fn make_room(&self, more: u64) -> io::Result<()> {
        match self.capacity_bytes {
            Some(capacity) if self.used() + more > capacity => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"))
            }
            _ => Ok(()),
        }
    }
}

impl Disk for FaultDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let number = state.next_file;
        state.next_file += 1;
        state.files.insert(number, FileState::default());
        state.change_name(NameChange::Set(name.to_owned(), number))?;
        Ok(Box::new(FaultFile { disk: self.clone(), number }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let number = *state.names.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(FaultFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove(name.to_owned()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.count()? {
            return state.alive();
        }
        state.name_changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn medium(&self) -> io::Result<Medium> {
        Ok(Medium { filesystem: "memory".into(), volatile: self.state().volatile })
    }

    fn home(&self) -> io::Result<[u8; 32]> {
        Ok([self.state().home; 32])
    }

    fn boot(&self) -> io::Result<[u8; 16]> {
        Ok(u128::from(self.state().boots).to_le_bytes())
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

struct FaultFile {
    disk: FaultDisk,
    number: u64,
}

impl FaultFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut FileState) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        let mut file = state.files.remove(&self.number).ok_or_else(|| io::Error::other("the file is gone"))?;
        let done = act(&mut state, &mut file);
        state.files.insert(self.number, file);
        done
    }
}

impl DiskFile for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state, file| {
            state.alive()?;
            file.visible.read(buffer, offset)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state, file| {
            let crashed = state.count()?;
            let more = (offset + bytes.len() as u64).saturating_sub(file.visible.length);
            if more > 0 {
                // This file was taken out of the table, so its own length is added.
                state.make_room(file.visible.length + more)?;
            }
            let offset = state.misdirected(offset, bytes.len() as u64, file.visible.length);
            file.visible.write(offset, bytes);
            file.unsynced.push(Write::new(offset, bytes));
            if crashed { state.alive() } else { Ok(()) }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, file| {
            if state.count()? {
                return state.alive();
            }
            state.syncs += 1;
            if state.fail_sync_at.is_some_and(|at| state.syncs > at) {
                state.fail_sync_at = None;
                file.unsynced.clear();
                return Err(io::Error::other("injected: the sync failed"));
            }
            for write in std::mem::take(&mut file.unsynced) {
                write.land(&mut file.durable, 0, write.length);
            }
            Ok(())
        })
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, file| {
            state.alive()?;
            state.make_room(file.visible.length.max(bytes))
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, file| {
            state.alive()?;
            Ok(file.visible.length)
        })
    }
}
