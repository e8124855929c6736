//! How large the pages are behind memory that is looked into at random places.
//!
//! A processor remembers where some thousand pages lie; beyond that, each look costs a walk through the kernel's tables, which themselves no longer fit the
//! cache. Pages of 2 MiB make the same memory 512 times fewer pages (madvise(2), MADV_HUGEPAGE). But the kernel clears each one whole at its first use, and
//! nothing interrupts it: that takes 0.1 ms, and in a virtual machine whose memory has to be fetched from the host 4.5 ms were seen. So work that leaves the
//! core to others takes small ones. It is advice; the kernel may do otherwise.

use rustix::mm::{Advice, madvise};

/// Memory shorter than this is left alone: ordinary pages are remembered as well, and only what is used of it becomes resident.
const WORTH_FROM_BYTES: usize = 16 << 20;

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB each, where there is much memory: quick to look into.
    Large,
    /// 4 KiB each: quick to get.
    Small,
}

/// Asks for `pages` behind `memory`, before it is used for the first time.
pub(super) fn ask_for<T>(pages: Pages, memory: &[T]) {
    let page = rustix::param::page_size();
    let (start, bytes) = (memory.as_ptr().cast::<u8>(), size_of_val(memory));
    let skipped = start.align_offset(page);
    if bytes < WORTH_FROM_BYTES || skipped > bytes {
        return;
    }
    let whole = (bytes - skipped) / page * page;
    let advice = match pages {
        Pages::Large => Advice::LinuxHugepage,
        Pages::Small => Advice::LinuxNoHugepage,
    };
    // SAFETY: whole pages inside of borrowed memory; the advice changes neither what they hold nor who may use them.
    let _ = unsafe { madvise(start.wrapping_add(skipped).cast_mut().cast(), whole, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_holds_stays() {
        let memory: Vec<u8> = (0..WORTH_FROM_BYTES + 5_000).map(|at| at as u8).collect();
        for from in [0, 1, 4_095, 4_096] {
            ask_for(Pages::Large, &memory[from..]);
            ask_for(Pages::Small, &memory[from..]);
        }
        ask_for::<u8>(Pages::Large, &[]);
        assert!(memory.iter().enumerate().all(|(at, byte)| *byte == at as u8));
    }
}
