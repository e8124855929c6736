//! The 'durable to' mark: how far the journal was durable, kept in a small file beside the key.
//!
//! What always holds: the mark never runs ahead of the journal; one of its two sectors is whole at any time; it is at most about a second
//! behind. So a journal that ends before its mark has lost something that was answered for.

use super::JournalError;
use super::disk::{Disk, DiskFile};
use super::format::{
    BLOCK_BYTES, Chain, HeaderFault, Identity, MARK_CLEAN, MARK_PROCESS, MarkContent, MarkSector, UNFINISHED_SUFFIX,
};
use super::{Durability, Position};
use std::io;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Where the mark of a journal lies: a directory, beside the key, and the name of a file there.
#[derive(Clone)]
pub struct MarkPlace {
    /// The directory; may be the journal's own.
    pub disk: Arc<dyn Disk>,
    /// Name of the file.
    pub name: String,
}

impl MarkPlace {
    pub(super) fn describe(&self) -> String {
        format!("{}/{}", self.disk.describe(), self.name)
    }
}

/// The open mark of a running journal.
pub(super) struct Mark {
    file: Box<dyn DiskFile>,
    place: String,
    identity: Identity,
    generation: u64,
    home: [u8; 32],
    boot: [u8; 16],
    durability: Durability,
}

impl Mark {
    /// Makes the file, which must not exist.
    pub fn create(place: &MarkPlace, identity: &Identity, content: &MarkContent) -> Result<(), JournalError> {
        let failed = || JournalError::io(format!("making {}", place.describe()));
        if place.disk.list().map_err(failed())?.contains(&place.name) {
            return Err(JournalError::Exists { place: place.describe() });
        }
        let unfinished = format!("{}{UNFINISHED_SUFFIX}", place.name);
        let write = || {
            let file = place.disk.create(&unfinished)?;
            let mut bytes = [0; 2 * BLOCK_BYTES];
            for (i, sector) in bytes.chunks_exact_mut(BLOCK_BYTES).enumerate() {
                let content = MarkContent { generation: content.generation + i as u64, ..*content };
                sector.copy_from_slice(MarkSector::new(identity, &content).as_bytes());
            }
            file.write_at(&bytes, 0)?;
            file.sync_data()?;
            place.disk.rename(&unfinished, &place.name)?;
            place.disk.sync_directory()
        };
        write().map_err(failed())
    }

    /// Reads what the mark says: the newer of its sectors that are whole.
    pub fn read(place: &MarkPlace, identity: &Identity) -> Result<MarkContent, JournalError> {
        let file = place.disk.open(&place.name).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                JournalError::MarkMissing { file: place.describe() }
            } else {
                JournalError::Io { what: format!("opening {}", place.describe()), source }
            }
        })?;
        let mut newest: Option<MarkContent> = None;
        let length = file.len().map_err(JournalError::io(format!("reading {}", place.describe())))?;
        for sector in 0..2u64 {
            let mut block = [0; BLOCK_BYTES];
            if (sector + 1) * BLOCK_BYTES as u64 > length {
                continue;
            }
            file.read_at(&mut block, sector * BLOCK_BYTES as u64)
                .map_err(JournalError::io(format!("reading {}", place.describe())))?;
            match MarkSector::parse(&block, identity) {
                Ok(content) if content.generation % 2 == sector => {
                    if newest.is_none_or(|other| content.generation > other.generation) {
                        newest = Some(content);
                    }
                }
                // A sector that a power cut tore: the other one holds.
                Ok(_) | Err(HeaderFault::Damaged) => {}
                Err(HeaderFault::OtherJournal) => return Err(JournalError::OtherJournal { file: place.describe() }),
                Err(HeaderFault::OtherNetwork) => return Err(JournalError::OtherNetwork { file: place.describe() }),
                Err(HeaderFault::Version(found)) => {
                    return Err(JournalError::OtherFormat { file: place.describe(), found });
                }
            }
        }
        newest.ok_or_else(|| JournalError::MarkDamaged { file: place.describe() })
    }

    /// Opens the mark for a journal that lies in `home` and runs now.
    pub fn open(
        place: &MarkPlace,
        identity: &Identity,
        last: &MarkContent,
        home: [u8; 32],
        durability: Durability,
    ) -> Result<Self, JournalError> {
        let failed = || JournalError::io(format!("opening {}", place.describe()));
        Ok(Self {
            file: place.disk.open(&place.name).map_err(failed())?,
            place: place.describe(),
            identity: *identity,
            generation: last.generation,
            home,
            boot: place.disk.boot().map_err(failed())?,
            durability,
        })
    }

    /// Writes a mark: the journal is durable to `position`. Synced where the journal itself is, or when `must_sync`.
    pub fn write(&mut self, position: Position, chain: Chain, clean: bool, must_sync: bool) -> io::Result<()> {
        let mut flags = 0;
        if clean {
            flags |= MARK_CLEAN;
        }
        if self.durability == Durability::Process {
            flags |= MARK_PROCESS;
        }
        let generation = self.generation + 1;
        let content = MarkContent { generation, flags, position, chain, home: self.home, boot: self.boot };
        let sector = MarkSector::new(&self.identity, &content);
        self.file.write_at(sector.as_bytes(), generation % 2 * BLOCK_BYTES as u64)?;
        if must_sync || self.durability == Durability::PowerLoss {
            self.file.sync_data()?;
        }
        self.generation = generation;
        Ok(())
    }

    pub fn place(&self) -> &str {
        &self.place
    }
}
