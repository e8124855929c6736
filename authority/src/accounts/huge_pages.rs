//! Large pages for memory that is looked into at random places.
//!
//! A processor remembers where some thousand pages lie; beyond that, each look costs a walk through the kernel's tables, which themselves no longer fit the
//! cache. Pages of 2 MiB make the same memory 512 times fewer pages (madvise(2), MADV_HUGEPAGE). The kernel may decline; then it is only slower.

use rustix::mm::{Advice, madvise};

/// Memory shorter than this is left alone: ordinary pages are remembered as well, and only what is used of it becomes resident.
const WORTH_FROM_BYTES: usize = 16 << 20;

/// Asks for large pages behind `memory`, before it is used for the first time.
pub(super) fn ask_for<T>(memory: &[T]) {
    let page = rustix::param::page_size();
    let (start, bytes) = (memory.as_ptr().cast::<u8>(), size_of_val(memory));
    let skipped = start.align_offset(page);
    if bytes < WORTH_FROM_BYTES || skipped > bytes {
        return;
    }
    let whole = (bytes - skipped) / page * page;
    // SAFETY: whole pages inside of borrowed memory; the advice changes neither what they hold nor who may use them.
    let _ = unsafe { madvise(start.wrapping_add(skipped).cast_mut().cast(), whole, Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_holds_stays() {
        let memory: Vec<u8> = (0..WORTH_FROM_BYTES + 5_000).map(|at| at as u8).collect();
        for from in [0, 1, 4_095, 4_096] {
            ask_for(&memory[from..]);
        }
        ask_for::<u8>(&[]);
        assert!(memory.iter().enumerate().all(|(at, byte)| *byte == at as u8));
    }
}
