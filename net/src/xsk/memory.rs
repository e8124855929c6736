//! A piece of memory that the kernel reads and writes too: a UMEM, or a ring of a socket.
//!
//! What always holds: the memory stays where it is until the value is dropped, and nothing here ever makes a reference into
//! it; that is for those to do who know which parts are theirs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A huge page of x86-64 and of arm64 with 4 KiB pages. A UMEM begins at such a boundary, so that the kernel can use huge
/// pages for it by itself.
pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Mapped memory; unmapped when dropped.
pub(super) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    #[cfg(test)]
    layout: Option<std::alloc::Layout>,
}

// SAFETY: the memory belongs to this value, and its address depends on no thread. Who reads and writes what is decided by the
// users of the pointer (`Umem`, `Ring`).
unsafe impl Send for Memory {}
// SAFETY: a shared reference gives only the address and the length.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed private memory that begins at a multiple of [`HUGE_PAGE_BYTES`]. With `huge` it is made of reserved huge pages, and
    /// the call fails where too few are reserved; without, the kernel is asked to use some if it can.
    pub(super) fn private(bytes: usize, huge: bool) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        if huge {
            let memory = map(bytes, flags | libc::MAP_HUGETLB | libc::MAP_POPULATE, -1, 0)?;
            memory.keep_from_children()?;
            return Ok(memory);
        }
        let whole = map(bytes + HUGE_PAGE_BYTES, flags, -1, 0)?;
        let start = whole.start;
        std::mem::forget(whole);
        let before = start.as_ptr().align_offset(HUGE_PAGE_BYTES);
        let after = HUGE_PAGE_BYTES - before;
        // SAFETY: the parts before and behind the aligned one lie within what was just mapped, consist of whole pages (mmap
        // returns page boundaries), and nobody has a pointer to them.
        let aligned = unsafe {
            if before > 0 {
                libc::munmap(start.as_ptr().cast(), before);
            }
            let aligned = start.add(before);
            if after > 0 {
                libc::munmap(aligned.add(bytes).as_ptr().cast(), after);
            }
            // Only a wish; ordinary pages do as well.
            libc::madvise(aligned.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
            aligned
        };
        let memory = Self::mapped(aligned, bytes);
        memory.keep_from_children()?;
        Ok(memory)
    }

    /// The ring that `socket` has at `offset` (XDP_PGOFF_RX_RING and its like).
    pub(super) fn of_socket(socket: BorrowedFd<'_>, offset: u64, bytes: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        map(bytes, libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd(), offset)
    }

    /// Zeroed memory without a kernel behind it.
    #[cfg(test)]
    pub(super) fn heap(bytes: usize) -> Self {
        let layout = std::alloc::Layout::from_size_align(bytes, 64).expect("a size that fits");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        Self { start: NonNull::new(start).expect("memory"), bytes, layout: Some(layout) }
    }

    fn mapped(start: NonNull<u8>, bytes: usize) -> Self {
        Self {
            start,
            bytes,
            #[cfg(test)]
            layout: None,
        }
    }

    /// A child process does not inherit it: copying pages on write must never part us from what the kernel has pinned.
    fn keep_from_children(&self) -> io::Result<()> {
        // SAFETY: the range is this value's own mapping, and the advice concerns children alone.
        match unsafe { libc::madvise(self.start.as_ptr().cast(), self.bytes, libc::MADV_DONTFORK) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        #[cfg(test)]
        if let Some(layout) = self.layout {
            // SAFETY: it was allocated with this layout, and whoever used the pointer borrowed or owned this value.
            return unsafe { std::alloc::dealloc(self.start.as_ptr(), layout) };
        }
        // SAFETY: the range was mapped by this value, and whoever used the pointer borrowed or owned this value. Pages that
        // the kernel still works on are pinned by it and stay.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

fn map(bytes: usize, flags: libc::c_int, descriptor: libc::c_int, offset: libc::off_t) -> io::Result<Memory> {
    // SAFETY: without MAP_FIXED a new mapping harms nothing that exists.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, descriptor, offset)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Memory::mapped(start, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "maps memory")]
    fn private_memory_begins_at_a_huge_page_and_is_zero() {
        for bytes in [1, HUGE_PAGE_BYTES, HUGE_PAGE_BYTES + 1, 3 * HUGE_PAGE_BYTES] {
            let memory = Memory::private(bytes, false).expect("memory");
            assert_eq!(memory.start().as_ptr().align_offset(HUGE_PAGE_BYTES), 0);
            assert!(memory.bytes() >= bytes && memory.bytes() < bytes + HUGE_PAGE_BYTES);
            for at in [0, memory.bytes() / 2, memory.bytes() - 1] {
                // SAFETY: `at` lies within the memory, which nobody else knows.
                unsafe {
                    assert_eq!(memory.start().add(at).read(), 0);
                    memory.start().add(at).write(1);
                }
            }
        }
    }
}
