//! The memory that holds the table's slots, and the file in which a clean stop leaves them: a header of one page, then the slots.
//!
//! The header's stamp says that the slots are those of one journal head. It is written at a clean stop and erased, durably, before
//! the first change after a start. Without it the file may hold anything.
//!
//! The file is written at a clean stop and at no other time: were it mapped, the kernel would write every page that a payment has touched within half a
//! minute, for nothing, since after a crash nobody believes it, and each page's next change would fault.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::MmapMut;
use meshpay_protocol::account::SLOT_LENGTH;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Layout, Pages, pages};

const HEADER_BYTES: usize = 4096;
/// Slots are read and written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;
const MAGIC: [u8; 8] = *b"MPAYIMG\0";
const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    stamped: U32,
    voting_stopped: U32,
    reserved: U32,
    region_slots: U64,
    genesis: [u8; 32],
    journal_head: U64,
    journal_chain: [u8; 32],
    hash_key: [u8; 16],
    content: [u8; 32],
    check: [u8; 32],
}

const _: () = assert!(size_of::<Header>() == 184);

impl Header {
    fn sealed(mut self) -> Self {
        self.check = [0; 32];
        self.check = *blake3::hash(self.as_bytes()).as_bytes();
        self
    }

    fn is_sealed(&self) -> bool {
        self.sealed().check == self.check
    }
}

/// What a stamped image is an image of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Digest of the genesis.
    pub genesis: [u8; 32],
    /// End of the journal.
    pub journal_head: u64,
    /// Chain hash there.
    pub journal_chain: [u8; 32],
    /// Why voting has stopped; 0 if it has not.
    pub voting_stopped: u32,
    /// Key of the hash by which slots were placed: under another one they would not be found.
    pub hash_key: [u8; 16],
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be made, sized, mapped or written.
    #[error(
        "the account image {}: {action} failed: {source}. Check that the disk has room and that the daemon may write there.",
        path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The slots.
pub struct Image {
    /// None: they are never kept.
    file: Option<File>,
    path: PathBuf,
    layout: Layout,
    pages: Pages,
    memory: MmapMut,
}

impl Image {
    /// Opens or makes the file for a layout. Returns the stamp if it has one that fits the layout and its own content; then the slots are
    /// as they were stamped. Otherwise all slots are empty.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn open(path: &Path, layout: Layout) -> Result<(Self, Option<Stamp>), ImageError> {
        let fail = |action| move |source| ImageError::Io { path: path.to_owned(), action, source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(fail("opening it"))?;
        let bytes = (HEADER_BYTES + layout.bytes()) as u64;
        let fits = file.metadata().map_err(fail("reading its size"))?.len() == bytes;
        if !fits {
            // A file of another size is no image of this layout.
            file.set_len(0).map_err(fail("emptying it"))?;
            file.set_len(bytes).map_err(fail("sizing it"))?;
        }
        // Blocks are allocated now, so that a clean stop finds room whatever the journal has taken meanwhile.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(|errno| fail("allocating it")(errno.into()))?;
        let mut image = Self {
            file: Some(file),
            path: path.to_owned(),
            layout,
            pages: Pages::Large,
            memory: empty(path, layout, Pages::Large)?,
        };
        let stamp = if fits { image.load()? } else { None };
        image.erase_stamp()?;
        Ok((image, stamp))
    }

    /// An image without a file.
    ///
    /// # Errors
    /// Where memory is lacking.
    pub fn in_memory(layout: Layout, pages: Pages) -> Result<Self, ImageError> {
        let path = PathBuf::from("(memory)");
        let memory = empty(&path, layout, pages)?;
        Ok(Self { file: None, path, layout, pages, memory })
    }

    /// Size of the pages behind it.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Sizes of the table.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes all slots to the disk, then the stamp, each synced.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn stamp(&mut self, stamp: &Stamp) -> Result<(), ImageError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut content = blake3::Hasher::new();
        for (piece, at) in self.memory.chunks(PIECE_BYTES).zip((HEADER_BYTES..).step_by(PIECE_BYTES)) {
            content.update(piece);
            file.write_all_at(piece, at as u64).map_err(|source| self.error("writing its slots", source))?;
        }
        file.sync_all().map_err(|source| self.error("syncing its slots", source))?;
        let header = Header {
            magic: MAGIC,
            version: U32::new(FORMAT_VERSION),
            stamped: U32::new(1),
            voting_stopped: U32::new(stamp.voting_stopped),
            reserved: U32::new(0),
            region_slots: U64::new(self.layout.region_slots as u64),
            genesis: stamp.genesis,
            journal_head: U64::new(stamp.journal_head),
            journal_chain: stamp.journal_chain,
            hash_key: stamp.hash_key,
            content: *content.finalize().as_bytes(),
            check: [0; 32],
        };
        self.write_header(&header.sealed())
    }

    /// Reads the slots of a stamped file. Returns its stamp if it fits; otherwise all slots are empty again.
    fn load(&mut self) -> Result<Option<Stamp>, ImageError> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut header = Header::new_zeroed();
        // A file that cannot be read is as good as none: all that is in it is in the journal.
        if file.read_exact_at(header.as_mut_bytes(), 0).is_err()
            || header.magic != MAGIC
            || header.version.get() != FORMAT_VERSION
            || header.stamped.get() != 1
            || !header.is_sealed()
            || header.region_slots.get() != self.layout.region_slots as u64
        {
            return Ok(None);
        }
        // The kernel reads further ahead then; where it does not, it is only slower.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
        let mut content = blake3::Hasher::new();
        let mut is_read = true;
        for (piece, at) in self.memory.chunks_mut(PIECE_BYTES).zip((HEADER_BYTES..).step_by(PIECE_BYTES)) {
            is_read = file.read_exact_at(piece, at as u64).is_ok();
            if !is_read {
                break;
            }
            content.update(piece);
        }
        if !is_read || header.content != *content.finalize().as_bytes() {
            self.clear()?;
            return Ok(None);
        }
        Ok(Some(Stamp {
            genesis: header.genesis,
            journal_head: header.journal_head.get(),
            journal_chain: header.journal_chain,
            voting_stopped: header.voting_stopped.get(),
            hash_key: header.hash_key,
        }))
    }

    fn erase_stamp(&mut self) -> Result<(), ImageError> {
        self.write_header(&Header::new_zeroed())
    }

    fn write_header(&mut self, header: &Header) -> Result<(), ImageError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(header.as_bytes(), 0).map_err(|source| self.error("writing its header", source))?;
        file.sync_all().map_err(|source| self.error("syncing it", source))
    }

    /// Makes all slots empty.
    ///
    /// # Errors
    /// Where memory is lacking.
    pub fn clear(&mut self) -> Result<(), ImageError> {
        self.memory = empty(&self.path, self.layout, self.pages)?;
        Ok(())
    }

    fn error(&self, action: &'static str, source: io::Error) -> ImageError {
        ImageError::Io { path: self.path.clone(), action, source }
    }

    /// The bytes of a slot.
    ///
    /// # Safety
    /// Nobody writes to this slot while the reference lives.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(super) unsafe fn slot_bytes(&self, at: usize) -> &[u8; SLOT_LENGTH] {
        assert!(at < self.layout.slots());
        // SAFETY: in bounds by the assertion and the mapping's length; any bytes are a valid array; not written meanwhile, says the caller.
        unsafe { &*self.memory.as_ptr().add(at * SLOT_LENGTH).cast() }
    }

    /// The bytes of a slot, for writing through a shared table.
    ///
    /// # Safety
    /// Nobody else reads or writes this slot while the reference lives.
    ///
    /// # Panics
    /// If there is no such slot.
    #[expect(
        clippy::mut_from_ref,
        reason = "slots are disjoint and each has one owner, who upholds the contract above"
    )]
    pub(super) unsafe fn slot_bytes_mut(&self, at: usize) -> &mut [u8; SLOT_LENGTH] {
        assert!(at < self.layout.slots());
        // SAFETY: in bounds as above; the mapping is writable and was made by `map_anon`, whose pointer carries write permission.
        unsafe { &mut *self.memory.as_ptr().cast_mut().add(at * SLOT_LENGTH).cast() }
    }
}

/// Memory for the slots, all of them empty.
fn empty(path: &Path, layout: Layout, pages: Pages) -> Result<MmapMut, ImageError> {
    let memory = MmapMut::map_anon(layout.bytes()).map_err(|source| ImageError::Io {
        path: path.to_owned(),
        action: "getting memory for it",
        source,
    })?;
    pages::ask_for(pages, &memory);
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { genesis: [1; 32], journal_head: 3, journal_chain: [4; 32], voting_stopped: 0, hash_key: [5; 16] };

    fn scribble(image: &Image, at: usize, byte: u8) {
        // SAFETY: the only reference in this test.
        unsafe { image.slot_bytes_mut(at) }.fill(byte);
    }

    #[test]
    fn only_a_stamped_image_keeps_its_slots_and_only_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.image");
        let layout = Layout::for_capacity(100);
        let (mut image, stamp) = Image::open(&path, layout).unwrap();
        assert_eq!(stamp, None);
        scribble(&image, 5, 9);
        image.stamp(&STAMP).unwrap();
        drop(image);

        let (image, stamp) = Image::open(&path, layout).unwrap();
        assert_eq!(stamp, Some(STAMP));
        // SAFETY: the only reference in this test.
        assert_eq!(unsafe { image.slot_bytes(5) }, &[9; SLOT_LENGTH]);
        drop(image); // no stamp this time, as after a crash

        let (image, stamp) = Image::open(&path, layout).unwrap();
        assert_eq!(stamp, None);
        // SAFETY: the only reference in this test.
        assert_eq!(unsafe { image.slot_bytes(5) }, &[0; SLOT_LENGTH], "what was not stamped is not read");
    }

    #[test]
    fn rot_and_another_layout_void_the_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.image");
        let layout = Layout::for_capacity(100);
        for rotten in [0, 40, 150, HEADER_BYTES, HEADER_BYTES + layout.bytes() - 1] {
            let (mut image, _) = Image::open(&path, layout).unwrap();
            scribble(&image, 7, 3);
            image.stamp(&STAMP).unwrap();
            drop(image);
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, rotten as u64).unwrap();
            file.write_all_at(&[byte[0] ^ 4], rotten as u64).unwrap();
            let (image, stamp) = Image::open(&path, layout).unwrap();
            assert_eq!(stamp, None, "byte {rotten}");
            assert!(image.memory.iter().all(|byte| *byte == 0), "byte {rotten}");
        }
        let (mut image, _) = Image::open(&path, layout).unwrap();
        image.stamp(&STAMP).unwrap();
        drop(image);
        assert_eq!(Image::open(&path, Layout::for_capacity(100_000)).unwrap().1, None);
    }
}
