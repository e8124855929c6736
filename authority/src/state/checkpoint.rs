//! Checkpoints: the state at one position of the journal, so that a restart after a crash need not replay from the genesis.
//!
//! A checkpoint is made by folding the journal again from the one before, apart from the live table. So it is a consistent cut by
//! construction, needs nothing from the workers, and reads every byte of the journal once more while that can still be repaired.
//!
//! File `checkpoint-<16 hex digits of the position>`: a header of 4,096 bytes, the slots in use, then the foreign credits whose link was
//! not in the journal yet. It is complete when it bears its name; its content has a hash. Two are kept.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use meshpay_protocol::account::SLOT_LENGTH;
use meshpay_protocol::{Account, Accounts, Allocation, SlotName, apply, genesis, record::Record};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::known_kinds;
use super::recovery::OpenCredits;
use crate::accounts::{AccountTable, Image, ImageError, Layout};
use crate::journal::{self, Chain, Disk, Handle, Identity, JournalError, Position};

const MAGIC: [u8; 8] = *b"MPAYCKP\0";
const FORMAT_VERSION: u32 = 1;
const PREFIX: &str = "checkpoint-";
/// Name of one that is being written.
const UNFINISHED: &str = "checkpoint.new";
/// Checkpoints that are kept: the newest, and one before in case it rots.
const KEPT: usize = 2;
/// Length of an open credit in the file: position and recipient.
const OPEN_CREDIT_LENGTH: usize = 40;

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

const _: () = assert!(size_of::<Header>() == 4096);

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
    pub position: Position,
    pub voting_stopped: u32,
    pub open_credits: OpenCredits,
}

/// The checkpoints in a directory, newest first.
pub fn list(directory: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 16)?;
            Some((u64::from_str_radix(digits, 16).ok()?, entry.path()))
        })
        .collect();
    found.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
    found
}

/// Reads a checkpoint into an empty table.
pub fn load(path: &Path, identity: &Identity, accounts: &mut impl Accounts) -> Result<Loaded, CheckpointError> {
    let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
    let damaged = || CheckpointError::Damaged(path.to_owned());
    // Checked whole before anything is taken from it, so that a damaged one leaves the table empty.
    let bytes = {
        let file = File::open(path).map_err(failed)?;
        // SAFETY: nobody writes to a finished checkpoint; the daemon alone works in its locked directory.
        unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?
    };
    let (header, content) = Header::read_from_prefix(&bytes).map_err(|_| damaged())?;
    let mut unsealed = header;
    unsealed.check = [0; 32];
    let slots_bytes = (header.slots.get() as usize).checked_mul(SLOT_LENGTH).ok_or_else(damaged)?;
    let credit_bytes = (header.open_credits.get() as usize).checked_mul(OPEN_CREDIT_LENGTH).ok_or_else(damaged)?;
    let fits = header.magic == MAGIC
        && header.version.get() == FORMAT_VERSION
        && header.check == *blake3::hash(unsealed.as_bytes()).as_bytes()
        && header.genesis == identity.network
        && header.identity == journal_name(identity)
        && slots_bytes.checked_add(credit_bytes) == Some(content.len())
        && header.content == *blake3::hash(content).as_bytes();
    if !fits {
        return Err(damaged());
    }
    for slot in content[..slots_bytes].chunks_exact(SLOT_LENGTH) {
        let slot = Account::ref_from_bytes(slot).map_err(|_| damaged())?;
        let name = match slot.kind {
            meshpay_protocol::account::slot_kind::BALANCE => SlotName::further(&slot.key, slot.token.get()),
            _ => SlotName::account(&slot.key),
        };
        let at = accounts.insert(name).map_err(|_| CheckpointError::Capacity)?;
        *accounts.slot_mut(at) = *slot;
    }
    let mut open_credits = OpenCredits::default();
    for entry in content[slots_bytes..].chunks_exact(OPEN_CREDIT_LENGTH) {
        let (position, recipient) = entry.split_at(8);
        let (Ok(position), Ok(recipient)) = (position.try_into(), recipient.try_into()) else { return Err(damaged()) };
        open_credits.insert(u64::from_le_bytes(position), recipient);
    }
    Ok(Loaded { position: Position(header.position.get()), voting_stopped: header.voting_stopped.get(), open_credits })
}

/// The journal's number keys its hashes and is written nowhere else, so files name it by a hash.
fn journal_name(identity: &Identity) -> [u8; 32] {
    blake3::derive_key("meshpay journal name", &identity.journal)
}

/// Makes checkpoints of a running journal.
pub struct Checkpointer {
    /// Where they lie: the authority's directory.
    pub directory: PathBuf,
    /// The journal's disk.
    pub disk: std::sync::Arc<dyn Disk>,
    /// Whose journal.
    pub identity: Identity,
    /// Sizes of the table that the fold works in.
    pub layout: Layout,
    /// First balances.
    pub allocations: std::sync::Arc<Vec<Allocation>>,
}

impl Checkpointer {
    /// Position of the newest checkpoint, 0 where there is none.
    pub fn newest(&self) -> u64 {
        list(&self.directory).first().map_or(0, |(position, _)| *position)
    }

    /// Folds the journal up to what is durable now and writes the result. Returns its position.
    ///
    /// # Errors
    /// See [`CheckpointError`]. The checkpoints that there were stay.
    pub fn make(&self, handle: &Handle) -> Result<Position, CheckpointError> {
        // Only what is durable: a state ahead of the journal would be worse than none (DESIGN 5.1).
        let (limit, chain) = handle.durable_chain();
        let mut hash_key = [0; 16];
        getrandom::fill(&mut hash_key).map_err(|error| CheckpointError::Io {
            path: self.directory.clone(),
            source: io::Error::other(error.to_string()),
        })?;
        let mut table = AccountTable::new(Image::in_memory(self.layout)?, hash_key);
        let (mut from, mut voting_stopped, mut open_credits) = (Position::START, 0, OpenCredits::default());
        let mut damaged = Vec::new();
        {
            let mut view = whole(&mut table)?;
            let mut loaded = false;
            for (_, path) in list(&self.directory) {
                match load(&path, &self.identity, &mut view) {
                    Ok(checkpoint) => {
                        (from, voting_stopped, open_credits) =
                            (checkpoint.position, checkpoint.voting_stopped, checkpoint.open_credits);
                        loaded = true;
                        break;
                    }
                    Err(error @ CheckpointError::Damaged(_)) => {
                        tracing::warn!("{error}");
                        damaged.push(path);
                    }
                    Err(error @ CheckpointError::Io { .. }) => tracing::warn!("{error}"),
                    Err(error) => return Err(error),
                }
            }
            if !loaded {
                genesis::allocate(&mut view, &self.allocations).map_err(|_| CheckpointError::Capacity)?;
            }
            let mut done = false;
            let folded = journal::inspect(
                &*self.disk,
                Some(&self.identity),
                Some(from),
                known_kinds(),
                &mut |position, kind, payload| {
                    if position >= limit {
                        done = true;
                        return Err("reached the limit".into());
                    }
                    let record = Record::parse(kind, payload).ok_or("a record does not fit its kind")?;
                    open_credits.note(&record, position.0);
                    if let Record::VotingStopped(stopped) = &record {
                        voting_stopped = stopped.reason.get();
                    }
                    apply::replay(&mut view, &record, position.0).map_err(|error| error.to_string())?;
                    Ok(())
                },
            );
            match folded {
                // A journal that runs may have more by now, never less.
                Ok(read) if read.head < limit => {
                    return Err(CheckpointError::EndDamaged { head: read.head, durable: limit });
                }
                Ok(_) => {}
                Err(_) if done => {}
                Err(error) => return Err(error.into()),
            }
        }
        let written = self.write(&mut table, limit, chain, voting_stopped, &open_credits);
        if written.is_err() {
            // The disk may be full: what was written of it shall not take room from the journal.
            let _ = fs::remove_file(self.directory.join(UNFINISHED));
        }
        written?;
        // Damaged ones do not count among the kept, else they would outlive a good one.
        let good = list(&self.directory).into_iter().map(|(_, path)| path).filter(|path| !damaged.contains(path));
        for path in good.skip(KEPT).chain(damaged.iter().cloned()) {
            let _ = fs::remove_file(path);
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
        let path = self.directory.join(format!("{PREFIX}{:016x}", position.0));
        let unfinished = self.directory.join(UNFINISHED);
        let failed = |source| CheckpointError::Io { path: path.clone(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&unfinished).map_err(failed)?);
        let mut header = Header::new_zeroed();
        file.write_all(header.as_bytes()).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut count = 0;
        for slot in table.slots().into_iter().flatten() {
            hasher.update(slot.as_bytes());
            file.write_all(slot.as_bytes()).map_err(failed)?;
            count += 1;
        }
        for (position, recipient) in open_credits.iter() {
            let entry = [&position.to_le_bytes()[..], &recipient[..]].concat();
            hasher.update(&entry);
            file.write_all(&entry).map_err(failed)?;
        }
        header.magic = MAGIC;
        header.version = U32::new(FORMAT_VERSION);
        header.voting_stopped = U32::new(voting_stopped);
        header.genesis = self.identity.network;
        header.identity = journal_name(&self.identity);
        header.position = U64::new(position.0);
        header.chain = chain;
        header.slots = U64::new(count);
        header.open_credits = U64::new(open_credits.len() as u64);
        header.content = *hasher.finalize().as_bytes();
        header.check = *blake3::hash(header.as_bytes()).as_bytes();
        let finish = |file: BufWriter<File>| -> io::Result<()> {
            let file = file.into_inner().map_err(|error| error.into_error())?;
            std::os::unix::fs::FileExt::write_all_at(&file, header.as_bytes(), 0)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            crate::directory::sync_parent(&path)
        };
        finish(file).map_err(failed)
    }
}

fn whole(table: &mut AccountTable) -> Result<crate::accounts::WorkerAccounts, CheckpointError> {
    table.whole().ok_or(CheckpointError::Capacity)
}
