//! Counts allocations, thread by thread: the hot path promises none, and a promise that nobody counts is a wish.
//!
//! The counter works only in a program that installs [`CountingAllocator`] as its global allocator, which `meshpay-bench` does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Without a destructor and made at compile time, so that counting never allocates itself.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with a count beside it. Freeing is not counted: what was never allocated cannot be freed.
pub struct CountingAllocator;

fn count() {
    // A thread that ends may free and allocate after its counters are gone; nobody asks for those.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of the thread and never allocates.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from this allocator, which is the system's.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from this allocator, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations and reallocations that this thread has made so far.
pub fn of_this_thread() -> u64 {
    COUNT.with(Cell::get)
}

/// Whether this program counts at all.
pub fn are_counted() -> bool {
    let before = of_this_thread();
    drop(std::hint::black_box(Box::new(0_u8)));
    of_this_thread() > before
}
