//! A ring between us and the kernel: one side writes entries and moves the producer's index, the other reads them and moves the
//! consumer's.
//!
//! What always holds: indices count entries since the beginning, modulo 2^32; an entry's place is its index modulo the size, a
//! power of two. We write one of the two indices and read the other, and the kernel the reverse. An entry is written before the
//! producer's index is stored (release) and read after it was loaded (acquire); a place is written anew only after the consumer's
//! index was loaded (acquire). Source: Documentation/networking/af_xdp.rst and net/xdp/xsk_queue.h, which says the same as
//! smp_store_release and smp_load_acquire.

use super::memory::Memory;
use rustix::net::xdp::XdpRingOffset;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// From linux/if_xdp.h: the kernel sleeps and wants a system call to go on.
const NEED_WAKEUP: u32 = 1;

/// Entries of a ring: a descriptor of a packet, or the address of a frame. Plain data of which every bit pattern is a value.
pub(super) trait Entry: Copy {}

/// struct xdp_desc of linux/if_xdp.h: a packet in a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Offset of the packet from the UMEM's beginning.
    pub(super) address: u64,
    /// Bytes of the packet.
    pub(super) length: u32,
    /// None that we use.
    pub(super) options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == size_of::<libc::xdp_desc>());

impl Entry for Descriptor {}
impl Entry for u64 {}

/// A ring's memory and where things are in it.
struct Ring<T> {
    memory: Memory,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    size: u32,
    _entry: std::marker::PhantomData<fn() -> T>,
}

impl<T: Entry> Ring<T> {
    fn new(memory: Memory, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let ring = Self {
            producer: place(offsets.producer),
            consumer: place(offsets.consumer),
            flags: place(offsets.flags.unwrap_or(offsets.consumer + size_of::<u32>() as u64)),
            entries: place(offsets.desc),
            memory,
            size,
            _entry: std::marker::PhantomData,
        };
        let words_fit = [ring.producer, ring.consumer, ring.flags]
            .iter()
            .all(|word| word.is_multiple_of(4) && word.checked_add(4).is_some_and(|end| end <= ring.memory.bytes()));
        let entries_end = ring.entries.checked_add(size as usize * size_of::<T>());
        let entries_fit = ring.entries.is_multiple_of(align_of::<T>())
            && entries_end.is_some_and(|end| end <= ring.memory.bytes())
            && size.is_power_of_two();
        if !words_fit || !entries_fit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's ring does not fit its own mapping"));
        }
        Ok(ring)
    }

    fn map(socket: BorrowedFd<'_>, page_offset: u64, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        let bytes = usize::try_from(offsets.desc).unwrap_or(usize::MAX).saturating_add(size as usize * size_of::<T>());
        Self::new(Memory::of_socket(socket, page_offset, bytes)?, offsets, size)
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `new` has checked that the word lies within the memory, aligned; memory lives as long as `self`; the kernel
        // too touches these words only atomically.
        unsafe { self.memory.start().add(offset).cast::<AtomicU32>().as_ref() }
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.consumer)
    }

    fn needs_wakeup(&self) -> bool {
        self.word(self.flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        let place = (index & (self.size - 1)) as usize;
        // SAFETY: the place is below `size`, and `new` has checked that so many entries lie within the memory.
        unsafe { self.memory.start().add(self.entries + place * size_of::<T>()).cast() }
    }
}

/// Our end of a ring that we write: fill and transmit.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// Index of the next entry to write; those from the published index on are not visible to the kernel yet.
    next: u32,
    /// The consumer's index when it was looked at last: never ahead of the truth.
    consumed: u32,
}

impl<T: Entry> Producer<T> {
    /// Maps the ring of `socket` at `page_offset`.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        Ok(Self::over(Ring::map(socket, page_offset, offsets, size)?))
    }

    fn over(ring: Ring<T>) -> Self {
        let next = ring.producer().load(Ordering::Relaxed);
        let consumed = ring.consumer().load(Ordering::Acquire);
        Self { ring, next, consumed }
    }

    /// Entries that can be pushed now.
    pub(super) fn room(&mut self) -> u32 {
        let room = self.ring.size - self.next.wrapping_sub(self.consumed);
        if room > 0 {
            return room;
        }
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.ring.size - self.next.wrapping_sub(self.consumed)
    }

    /// Writes an entry that the kernel sees after [`publish`](Self::publish).
    ///
    /// # Panics
    /// Without [`room`](Self::room).
    pub(super) fn push(&mut self, entry: T) {
        assert!(self.room() > 0, "a full ring");
        // SAFETY: the place is within the ring; it is free, since the consumer's index, loaded with acquire, is past what was
        // there, and not published yet, so the kernel does not read it.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the kernel all that was pushed.
    pub(super) fn publish(&mut self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet, unpublished ones included.
    pub(super) fn pending(&mut self) -> u32 {
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.consumed)
    }

    /// Whether the kernel wants to be woken (only meaningful with XDP_USE_NEED_WAKEUP).
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// Our end of a ring that we read: receive and completion.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// Index of the next entry to read; those before it are given back at the next [`release`](Self::release).
    next: u32,
    /// The producer's index when it was looked at last: never ahead of the truth.
    produced: u32,
}

impl<T: Entry> Consumer<T> {
    /// Maps the ring of `socket` at `page_offset`.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        Ok(Self::over(Ring::map(socket, page_offset, offsets, size)?))
    }

    fn over(ring: Ring<T>) -> Self {
        let next = ring.consumer().load(Ordering::Relaxed);
        Self { ring, next, produced: next }
    }

    /// Entries that can be read now.
    pub(super) fn available(&mut self) -> u32 {
        self.produced = self.ring.producer().load(Ordering::Acquire);
        self.produced.wrapping_sub(self.next)
    }

    /// The next entry, if the kernel has written one.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.next == self.produced && self.available() == 0 {
            return None;
        }
        // SAFETY: the place is within the ring, and the producer's index, loaded with acquire, is past it: the kernel has
        // written the entry and does not touch it before `release` gives it back. Any bytes are a value of T.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the places of all that was popped back to the kernel.
    pub(super) fn release(&mut self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

/// A kernel to test with: the other end of each ring, over the same memory.
#[cfg(test)]
pub(super) mod fake {
    use super::*;
    use std::sync::Arc;

    /// Where the kernel has things in its rings (Linux 6.18, x86-64): indices on cache lines of their own.
    pub(in super::super) const OFFSETS: XdpRingOffset =
        XdpRingOffset { producer: 0, consumer: 64, flags: Some(68), desc: 128 };

    /// The kernel's end of a ring. It goes by the memory's address, so it must not outlive our end.
    pub(in super::super) struct Kernel<T> {
        start: NonNull<u8>,
        size: u32,
        _entry: std::marker::PhantomData<fn() -> T>,
    }

    // SAFETY: its address is good on every thread.
    unsafe impl<T> Send for Kernel<T> {}

    impl<T: Entry> Kernel<T> {
        fn word(&self, offset: u64) -> &AtomicU32 {
            // SAFETY: tests keep our end, which owns the memory, for longer than this one.
            unsafe { self.start.add(offset as usize).cast::<AtomicU32>().as_ref() }
        }

        fn entry(&self, index: u32) -> *mut T {
            let place = (index & (self.size - 1)) as usize;
            // SAFETY: as in `word`, and the place is below `size`.
            unsafe { self.start.add(OFFSETS.desc as usize + place * size_of::<T>()).cast().as_ptr() }
        }

        /// Says that it sleeps, or that it does not.
        pub(in super::super) fn wants_wakeup(&self, wants: bool) {
            let offset = OFFSETS.flags.expect("the flags have a place");
            self.word(offset).store(if wants { NEED_WAKEUP } else { 0 }, Ordering::Relaxed);
        }

        /// Takes an entry that we published.
        pub(in super::super) fn take(&self) -> Option<T> {
            let consumer = self.word(OFFSETS.consumer);
            let next = consumer.load(Ordering::Relaxed);
            if self.word(OFFSETS.producer).load(Ordering::Acquire) == next {
                return None;
            }
            // SAFETY: published and not yet given back.
            let entry = unsafe { self.entry(next).read() };
            consumer.store(next.wrapping_add(1), Ordering::Release);
            Some(entry)
        }

        /// Writes an entry for us, if there is room.
        pub(in super::super) fn put(&self, entry: T) -> bool {
            let producer = self.word(OFFSETS.producer);
            let next = producer.load(Ordering::Relaxed);
            if next.wrapping_sub(self.word(OFFSETS.consumer).load(Ordering::Acquire)) == self.size {
                return false;
            }
            // SAFETY: the place is free.
            unsafe { self.entry(next).write(entry) };
            producer.store(next.wrapping_add(1), Ordering::Release);
            true
        }
    }

    fn ring<T: Entry>(size: u32, start: u32) -> (Ring<T>, Kernel<T>) {
        let memory = Memory::heap(OFFSETS.desc as usize + size as usize * size_of::<T>());
        let kernel = Kernel { start: memory.start(), size, _entry: std::marker::PhantomData };
        kernel.word(OFFSETS.producer).store(start, Ordering::Relaxed);
        kernel.word(OFFSETS.consumer).store(start, Ordering::Relaxed);
        (Ring::new(memory, &OFFSETS, size).expect("a ring that fits"), kernel)
    }

    /// A ring that we write, whose indices begin at `start`.
    pub(in super::super) fn producer<T: Entry>(size: u32, start: u32) -> (Producer<T>, Arc<Kernel<T>>) {
        let (ring, kernel) = ring(size, start);
        (Producer::over(ring), Arc::new(kernel))
    }

    /// A ring that we read, whose indices begin at `start`.
    pub(in super::super) fn consumer<T: Entry>(size: u32, start: u32) -> (Consumer<T>, Arc<Kernel<T>>) {
        let (ring, kernel) = ring(size, start);
        (Consumer::over(ring), Arc::new(kernel))
    }

    // SAFETY: each word is atomic, and one thread at a time plays the kernel.
    unsafe impl<T> Sync for Kernel<T> {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just before the indices wrap.
    const NEAR_THE_END: u32 = u32::MAX - 5;

    #[test]
    fn a_full_ring_has_no_room_until_the_kernel_has_taken_something_also_across_the_wrap() {
        let (mut ring, kernel) = fake::producer::<u64>(8, NEAR_THE_END);
        for round in 0..5u64 {
            assert_eq!(ring.room(), 8);
            for entry in 0..8 {
                ring.push(round * 8 + entry);
            }
            assert_eq!(ring.room(), 0);
            assert!(kernel.take().is_none(), "not published yet");
            ring.publish();
            assert_eq!(ring.pending(), 8);
            for entry in 0..8 {
                assert_eq!(kernel.take(), Some(round * 8 + entry));
            }
            assert_eq!(ring.pending(), 0);
        }
    }

    #[test]
    fn the_kernels_wish_to_be_woken_is_seen() {
        let (ring, kernel) = fake::producer::<u64>(8, 0);
        assert!(!ring.needs_wakeup());
        kernel.wants_wakeup(true);
        assert!(ring.needs_wakeup());
        kernel.wants_wakeup(false);
        assert!(!ring.needs_wakeup());
    }

    #[test]
    #[should_panic(expected = "a full ring")]
    fn pushing_into_a_full_ring_is_a_mistake() {
        let (mut ring, _kernel) = fake::producer::<u64>(2, 0);
        (0..3).for_each(|entry| ring.push(entry));
    }

    #[test]
    fn what_was_read_is_the_kernels_again_only_after_release_also_across_the_wrap() {
        let (mut ring, kernel) = fake::consumer::<Descriptor>(4, NEAR_THE_END);
        for round in 0..9 {
            for entry in 0..4 {
                assert!(kernel.put(Descriptor { address: round * 4 + entry, length: 60, options: 0 }));
            }
            assert!(!kernel.put(Descriptor::default()));
            assert_eq!(ring.available(), 4);
            for entry in 0..4 {
                assert_eq!(ring.pop().map(|descriptor| descriptor.address), Some(round * 4 + entry));
            }
            assert_eq!(ring.pop(), None);
            assert!(!kernel.put(Descriptor::default()), "not released yet");
            ring.release();
        }
    }

    #[test]
    fn entries_cross_threads_in_sequence() {
        let entries = if cfg!(miri) { 100 } else { 100_000 };
        let (mut ring, kernel) = fake::producer::<u64>(16, NEAR_THE_END);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut expected = 0;
                while expected < entries {
                    match kernel.take() {
                        Some(entry) => {
                            assert_eq!(entry, expected);
                            expected += 1;
                        }
                        None => std::thread::yield_now(),
                    }
                }
            });
            for entry in 0..entries {
                while ring.room() == 0 {
                    std::thread::yield_now();
                }
                ring.push(entry);
                ring.publish();
            }
        });
        assert_eq!(ring.pending(), 0);
    }

    #[test]
    fn a_ring_that_does_not_fit_is_refused() {
        let wrong = [
            XdpRingOffset { producer: 4096, ..fake::OFFSETS },
            XdpRingOffset { consumer: 2, ..fake::OFFSETS },
            XdpRingOffset { desc: 136, ..fake::OFFSETS },
            XdpRingOffset { desc: u64::MAX, ..fake::OFFSETS },
        ];
        for offsets in wrong {
            let memory = Memory::heap(128 + 8 * 8);
            assert!(Ring::<u64>::new(memory, &offsets, 8).is_err(), "{offsets:?}");
        }
        assert!(Ring::<u64>::new(Memory::heap(1024), &fake::OFFSETS, 7).is_err());
    }
}
