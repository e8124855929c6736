//! Fetching into the cache what will be read soon, while there is other work to do.

/// The length of a cache line on every CPU that this runs on, in bytes. A wrong value costs time only.
const LINE_BYTES: usize = 64;

/// Begins to fetch a value's bytes, up to all of them. Changes nothing.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of_val(value)).step_by(LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(value).cast::<i8>().wrapping_add(at);
        // SAFETY: a hint, which reads nothing that the program could see and never faults; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
