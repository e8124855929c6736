//! [`MappedArray`]: an array that program and process share as memory (`BPF_F_MMAPABLE`, kernel 5.5): 2 ns a write, no system call.
//!
//! What always holds: the memory is only ever reached as 64-bit atomics, as the kernel's side may read or write it at any moment; it
//! stays mapped while a clone of the handle lives, also after program and descriptors are closed.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::XdpError;
use super::map::{Map, MapType};

const BPF_F_MMAPABLE: u32 = 1 << 10;
const WORD_BYTES: u32 = 8;

/// An array in shared memory. Clones are handles of the same memory, for any thread.
#[derive(Clone)]
pub struct MappedArray {
    memory: Arc<Memory>,
    entry_words: usize,
}

impl MappedArray {
    /// Maps the array of this descriptor, for reading and writing. Needs no right beside the descriptor.
    ///
    /// # Errors
    /// If it is no array that can be mapped, or if its values are not made of whole 8-byte words.
    pub fn from_descriptor(name: &str, descriptor: OwnedFd) -> Result<Self, XdpError> {
        let map = Map::open(name, descriptor, MapType::Array)?;
        let info = map.info();
        if info.flags & BPF_F_MMAPABLE == 0 {
            return Err(map.wrong("cannot be mapped into memory (it was made without BPF_F_MMAPABLE)"));
        }
        if info.value_bytes == 0 || !info.value_bytes.is_multiple_of(WORD_BYTES) {
            return Err(map.wrong(format!("has values of {} bytes, not a multiple of 8", info.value_bytes)));
        }
        let entry_words = (info.value_bytes / WORD_BYTES) as usize;
        let words = entry_words * info.entries_max as usize;
        let bytes = (words * WORD_BYTES as usize).next_multiple_of(rustix::param::page_size());
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
        let start = unsafe {
            mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map.as_fd(), 0)
        };
        let start = start.map_err(|error| map.failed("map into memory")(error.into()))?;
        let start = NonNull::new(start.cast::<AtomicU64>()).ok_or_else(|| map.wrong("was mapped at address zero"))?;
        Ok(Self { memory: Arc::new(Memory { start, words, bytes }), entry_words })
    }

    /// All words, entry behind entry.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds this many aligned words and lives as long as `self`. The kernel's side only ever reads and writes
        // them in whole, and shared memory of atomics may change at any time.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.memory.words) }
    }

    /// Words of one entry.
    pub fn entry_words(&self) -> usize {
        self.entry_words
    }

    /// Entries of the array.
    pub fn entries(&self) -> usize {
        self.memory.words / self.entry_words
    }

    /// The words of one entry; nothing if there is no such entry.
    pub fn entry(&self, index: usize) -> Option<&[AtomicU64]> {
        let start = index.checked_mul(self.entry_words)?;
        self.words().get(start..start.checked_add(self.entry_words)?)
    }
}

impl fmt::Debug for MappedArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedArray")
            .field("entries", &self.entries())
            .field("entry_words", &self.entry_words)
            .finish_non_exhaustive()
    }
}

/// The mapping; unmapped when the last handle goes.
struct Memory {
    start: NonNull<AtomicU64>,
    words: usize,
    bytes: usize,
}

// SAFETY: the memory belongs to this value, and is reached as atomics only.
unsafe impl Send for Memory {}
// SAFETY: likewise.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made for this value, and whoever used it borrowed a handle of it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
