//! Checkpoints: the state at one position of the journal, so that a restart after a crash need not replay from the genesis.
//!
//! A checkpoint is made by folding the journal again from the one before, apart from the live table. So it is a consistent cut by
//! construction, needs nothing from the workers, and reads every byte of the journal once more while that can still be repaired.
//!
//! File `checkpoint-<16 hex digits of the position>`: a header of 4,096 bytes, the slots in use, then the foreign credits whose link was
//! not in the journal yet. It is complete when it bears its name; its content has a hash. Two are kept.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use meshpay_protocol::account::SLOT_LENGTH;
use meshpay_protocol::{Account, Accounts, Allocation, SlotName, genesis};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::fold::{Fold, OpenCredits};
use super::known_kinds;
use crate::accounts::{AccountTable, Image, ImageError, Layout, Pages};
use crate::journal::{self, BlockBuffer, Chain, Disk, DiskFile, Handle, Identity, JournalError, Position, ReplayFrom};
use crate::pace::Pace;

const MAGIC: [u8; 8] = *b"MPAYCKP\0";
const FORMAT_VERSION: u32 = 1;
const PREFIX: &str = "checkpoint-";
/// Name of one that is being written.
const UNFINISHED: &str = "checkpoint.new";
/// Checkpoints that are kept: the newest, and one before in case it rots.
const KEPT: usize = 2;
/// Length of an open credit in the file: position and recipient.
const OPEN_CREDIT_LENGTH: usize = 40;
/// Bytes written at once.
const WRITE_PIECE_BYTES: usize = 1 << 20;
/// Bytes read, or hashed, at once. A multiple of a slot's length, so that no slot lies across two pieces.
const PIECE_BYTES: usize = 128 << 10;
/// First balances made between two rests. Each may be the first use of a page or two, which the kernel then clears.
const ALLOCATIONS_AT_ONCE: usize = 4;
/// Slots of the table, taken or not, that are looked at between two rests.
const SLOTS_AT_ONCE: usize = 1024;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    voting_stopped: U32,
    genesis: [u8; 32],
    identity: [u8; 32],
    position: U64,
    chain: [u8; 32],
    slots: U64,
    open_credits: U64,
    content: [u8; 32],
    check: [u8; 32],
    reserved: [u8; 3896],
}

const _: () = assert!(size_of::<Header>() == 4096 && PIECE_BYTES.is_multiple_of(SLOT_LENGTH));

/// A checkpoint could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file.
    #[error("checkpoint {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged or not of this authority; it is passed over.
    #[error("checkpoint {} is damaged or of another journal; an older one or the whole journal serves instead", .0.display())]
    Damaged(PathBuf),
    /// The journal can be read less far than it was durable.
    #[error(
        "the journal can be read up to {head} only, but is durable up to {durable}: its end is damaged on the disk. No checkpoint is made \
         of it; look at the kernel's log for the disk"
    )]
    EndDamaged {
        /// How far it can be read.
        head: Position,
        /// How far it was durable.
        durable: Position,
    },
    /// Two readings of one file differ.
    #[error("checkpoint {} reads differently each time: the disk or the memory is failing; look at the kernel's log", .0.display())]
    Unsteady(PathBuf),
    /// The table is smaller than what it shall hold.
    #[error("accounts.capacity is smaller than what the checkpoint holds; give it back its old value or a larger one")]
    Capacity,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The table that the fold works in.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What a checkpoint says besides its slots.
pub struct Loaded {
    /// Where it stands, and the journal's chain there.
    pub at: ReplayFrom,
    /// Why voting has stopped, 0 if it has not.
    pub voting_stopped: u32,
    /// Foreign executions whose link was not in the journal yet.
    pub open_credits: OpenCredits,
}

/// The checkpoints on a disk, newest first: position and name.
pub fn list(disk: &dyn Disk) -> Vec<(u64, String)> {
    let Ok(names) = disk.list() else { return Vec::new() };
    let mut found: Vec<(u64, String)> = names
        .into_iter()
        .filter_map(|name| {
            let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 16)?;
            Some((u64::from_str_radix(digits, 16).ok()?, name))
        })
        .collect();
    found.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
    found
}

/// Where a checkpoint lies, for messages.
fn path_of(disk: &dyn Disk, name: &str) -> PathBuf {
    PathBuf::from(disk.describe()).join(name)
}

/// Reads a checkpoint into an empty table, by a pace.
pub fn load(
    disk: &dyn Disk,
    name: &str,
    identity: &Identity,
    accounts: &mut impl Accounts,
    pace: &Pace,
) -> Result<Loaded, CheckpointError> {
    let failed = |source| CheckpointError::Io { path: path_of(disk, name), source };
    let damaged = || CheckpointError::Damaged(path_of(disk, name));
    let file = disk.open(name).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    if length < size_of::<Header>() as u64 {
        return Err(damaged());
    }
    let mut header = Header::new_zeroed();
    file.read_at(header.as_mut_bytes(), 0).map_err(failed)?;
    let content_bytes = length - size_of::<Header>() as u64;
    let mut unsealed = header;
    unsealed.check = [0; 32];
    let slots_bytes = header.slots.get().checked_mul(SLOT_LENGTH as u64).ok_or_else(damaged)?;
    let credit_bytes = header.open_credits.get().checked_mul(OPEN_CREDIT_LENGTH as u64).ok_or_else(damaged)?;
    let fits = header.magic == MAGIC
        && header.version.get() == FORMAT_VERSION
        && header.check == *blake3::hash(unsealed.as_bytes()).as_bytes()
        && header.genesis == identity.network
        && header.identity == journal_name(identity)
        && slots_bytes.checked_add(credit_bytes) == Some(content_bytes);
    // Checked whole before anything is taken from it, so that a damaged one leaves the table empty.
    if !fits || header.content != content_hash(&*file, content_bytes, pace, |_, _| Ok(())).map_err(failed)? {
        return Err(damaged());
    }
    let mut open_credits = Vec::with_capacity(credit_bytes as usize);
    let mut full = false;
    let taken = content_hash(&*file, content_bytes, pace, |at, piece| {
        let slots = usize::try_from(slots_bytes.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
        for slot in piece[..slots].chunks_exact(SLOT_LENGTH) {
            let Ok(slot) = Account::ref_from_bytes(slot) else { continue };
            let name = match slot.kind {
                meshpay_protocol::account::slot_kind::BALANCE => SlotName::further(&slot.key, slot.token.get()),
                _ => SlotName::account(&slot.key),
            };
            match accounts.insert(name, slot.token.get()) {
                Ok(at) => *accounts.slot_mut(at) = *slot,
                Err(_) => full = true,
            }
            // As often as that, since each may be the first use of a page or two, which the kernel then clears.
            pace.rest_if_due();
        }
        open_credits.extend_from_slice(&piece[slots..]);
        Ok(())
    });
    if full {
        return Err(CheckpointError::Capacity);
    }
    if !taken.is_ok_and(|hash| hash == header.content) {
        // The table holds what nobody has checked, so nothing else may be loaded into it.
        return Err(CheckpointError::Unsteady(path_of(disk, name)));
    }
    let mut open = OpenCredits::default();
    for entry in open_credits.chunks_exact(OPEN_CREDIT_LENGTH) {
        let (position, recipient) = entry.split_at(8);
        let (Ok(position), Ok(recipient)) = (position.try_into(), recipient.try_into()) else { return Err(damaged()) };
        open.insert(u64::from_le_bytes(position), recipient);
    }
    let at = ReplayFrom { position: Position(header.position.get()), chain: Some(header.chain) };
    Ok(Loaded { at, voting_stopped: header.voting_stopped.get(), open_credits: open })
}

/// Reads the content behind the header piece by piece, shows each piece with its offset in the content, and returns the hash of all.
fn content_hash(
    file: &dyn DiskFile,
    length: u64,
    pace: &Pace,
    mut show: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(PIECE_BYTES)];
    let mut at = 0;
    while at < length {
        let piece = usize::try_from(length - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        file.read_at(&mut buffer[..piece], size_of::<Header>() as u64 + at)?;
        hasher.update(&buffer[..piece]);
        show(at, &buffer[..piece])?;
        pace.rest_if_due();
        at += piece as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// The journal's number keys its hashes and is written nowhere else, so files name it by a hash.
fn journal_name(identity: &Identity) -> [u8; 32] {
    blake3::derive_key("meshpay journal name", &identity.journal)
}

/// Makes checkpoints of a running journal.
pub struct Checkpointer {
    /// Where they lie: the authority's directory.
    pub store: Arc<dyn Disk>,
    /// The journal's disk.
    pub disk: Arc<dyn Disk>,
    /// Whose journal.
    pub identity: Identity,
    /// Sizes of the table that the fold works in.
    pub layout: Layout,
    /// First balances.
    pub allocations: Arc<Vec<Allocation>>,
    /// How it shares core and disk with the workers.
    pub pace: Arc<Pace>,
}

impl Checkpointer {
    /// Position of the newest checkpoint, 0 where there is none.
    pub fn newest(&self) -> u64 {
        list(&*self.store).first().map_or(0, |(position, _)| *position)
    }

    /// Folds the journal up to what is durable now and writes the result. Returns its position. `hash_key` is 16 random bytes, by
    /// which the fold places its slots.
    ///
    /// # Errors
    /// See [`CheckpointError`]. The checkpoints that there were stay.
    pub fn make(&self, handle: &Handle, hash_key: [u8; 16]) -> Result<Position, CheckpointError> {
        // Only what is durable: a state ahead of the journal would be worse than none (DESIGN 5.1).
        let (limit, chain) = handle.durable_chain();
        let mut table = AccountTable::empty(Image::in_memory(self.layout, Pages::Small)?, hash_key, &self.pace)?;
        let mut from = ReplayFrom::from(Position::START);
        let (mut voting_stopped, mut open_credits) = (0, OpenCredits::default());
        let mut damaged = Vec::new();
        {
            let mut view = whole(&mut table)?;
            let mut loaded = false;
            for (_, name) in list(&*self.store) {
                match load(&*self.store, &name, &self.identity, &mut view, &self.pace) {
                    Ok(checkpoint) => {
                        (from, voting_stopped, open_credits) =
                            (checkpoint.at, checkpoint.voting_stopped, checkpoint.open_credits);
                        loaded = true;
                        break;
                    }
                    Err(error @ CheckpointError::Damaged(_)) => {
                        tracing::warn!("{error}");
                        damaged.push(name);
                    }
                    Err(error @ CheckpointError::Io { .. }) => tracing::warn!("{error}"),
                    Err(error) => return Err(error),
                }
            }
            if !loaded {
                for some in self.allocations.chunks(ALLOCATIONS_AT_ONCE) {
                    genesis::allocate(&mut view, some).map_err(|_| CheckpointError::Capacity)?;
                    self.pace.rest_if_due();
                }
            }
            let mut fold = Fold::new(&mut view, open_credits, voting_stopped, &self.pace).up_to(limit);
            let folded = journal::inspect_with(&*self.disk, Some(&self.identity), Some(from), known_kinds(), &mut fold);
            match folded {
                // A journal that runs may have more by now, never less.
                Ok(read) if read.head < limit => {
                    return Err(CheckpointError::EndDamaged { head: read.head, durable: limit });
                }
                Ok(_) => {}
                Err(_) if fold.has_reached_limit() => {}
                Err(error) => return Err(error.into()),
            }
            (open_credits, voting_stopped) = fold.end();
        }
        let written = self.write(&mut table, limit, chain, voting_stopped, &open_credits);
        if written.is_err() {
            // The disk may be full: what was written of it shall not take room from the journal.
            let _ = self.store.remove(UNFINISHED);
        }
        written?;
        // Damaged ones do not count among the kept, else they would outlive a good one.
        let good = list(&*self.store).into_iter().map(|(_, name)| name).filter(|name| !damaged.contains(name));
        for name in good.skip(KEPT).chain(damaged.iter().cloned()) {
            let _ = self.store.remove(&name);
        }
        Ok(limit)
    }

    fn write(
        &self,
        table: &mut AccountTable,
        position: Position,
        chain: Chain,
        voting_stopped: u32,
        open_credits: &OpenCredits,
    ) -> Result<(), CheckpointError> {
        let name = format!("{PREFIX}{:016x}", position.0);
        let failed = |source| CheckpointError::Io { path: path_of(&*self.store, &name), source };
        let mut out = Output::new(self.store.create(UNFINISHED).map_err(failed)?, &self.pace);
        let (slots, mut count) = (self.layout.slots(), 0);
        for at in (0..slots).step_by(SLOTS_AT_ONCE) {
            let places = at..slots.min(at + SLOTS_AT_ONCE);
            for slot in table.slots_between(places).ok_or(CheckpointError::Capacity)? {
                out.write(slot.as_bytes()).map_err(failed)?;
                count += 1;
            }
            self.pace.rest_if_due();
        }
        for (position, recipient) in open_credits.iter() {
            out.write(&position.to_le_bytes()).and_then(|()| out.write(recipient)).map_err(failed)?;
        }
        let (file, content) = out.finish().map_err(failed)?;
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        header.version = U32::new(FORMAT_VERSION);
        header.voting_stopped = U32::new(voting_stopped);
        header.genesis = self.identity.network;
        header.identity = journal_name(&self.identity);
        header.position = U64::new(position.0);
        header.chain = chain;
        header.slots = U64::new(count);
        header.open_credits = U64::new(open_credits.len() as u64);
        header.content = content;
        header.check = *blake3::hash(header.as_bytes()).as_bytes();
        let finish = || -> io::Result<()> {
            file.write_at(header.as_bytes(), 0)?;
            file.sync_data()?;
            self.store.rename(UNFINISHED, &name)?;
            self.store.sync_directory()
        };
        finish().map_err(failed)
    }
}

/// Writes what follows the header, in large pieces of whole blocks, and hashes it on the way.
struct Output<'a> {
    file: Box<dyn DiskFile>,
    pace: &'a Pace,
    buffer: BlockBuffer,
    filled: usize,
    written: u64,
    hasher: blake3::Hasher,
}

impl<'a> Output<'a> {
    fn new(file: Box<dyn DiskFile>, pace: &'a Pace) -> Self {
        let buffer = BlockBuffer::zeroed(WRITE_PIECE_BYTES);
        let written = size_of::<Header>() as u64;
        Self { file, pace, buffer, filled: 0, written, hasher: blake3::Hasher::new() }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = &mut self.buffer[self.filled..];
            let taken = bytes.len().min(room.len());
            room[..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.buffer.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = &self.buffer[..self.filled];
        for piece in bytes.chunks(PIECE_BYTES) {
            self.hasher.update(piece);
            self.pace.rest_if_due();
        }
        self.file.write_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        self.filled = 0;
        Ok(())
    }

    /// The file, still without its header, and the hash of what was written.
    fn finish(mut self) -> io::Result<(Box<dyn DiskFile>, [u8; 32])> {
        self.flush()?;
        Ok((self.file, *self.hasher.finalize().as_bytes()))
    }
}

fn whole(table: &mut AccountTable) -> Result<crate::accounts::WorkerAccounts, CheckpointError> {
    table.whole().ok_or(CheckpointError::Capacity)
}
