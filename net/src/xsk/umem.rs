//! UMEM: the memory in which packets are exchanged with the kernel, divided into frames of equal size.
//!
//! What always holds: a frame's bytes are reached only through its token ([`Frame`]), which is unique; a token of another UMEM
//! is refused. In debug builds a ledger says of every frame whether its token exists, and an assertion fails if the kernel hands
//! back what it does not have.

use super::frame::Frame;
use super::memory::Memory;
use std::io;
use std::ops::Range;
#[cfg(debug_assertions)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a frame. The smallest the kernel allows; a packet of 1,500 bytes behind the kernel's 256 bytes of headroom fits.
pub(super) const FRAME_BYTES: usize = 2048;

/// The most frames of one UMEM: 2 GiB.
pub(super) const FRAMES_MAX: u32 = 1 << 20;

/// Tells UMEMs apart. It would take four thousand million of them to repeat a number.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Frames and their memory.
pub(super) struct Umem {
    memory: Memory,
    identity: u32,
    frames: u32,
    #[cfg(debug_assertions)]
    held: Box<[AtomicBool]>,
}

impl Umem {
    /// Maps memory for `frames` frames (at most [`FRAMES_MAX`]) and makes their tokens.
    pub(super) fn map(frames: u32, huge: bool) -> io::Result<(Self, Vec<Frame>)> {
        if frames > FRAMES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self::over(Memory::private(frames as usize * FRAME_BYTES, huge)?, frames))
    }

    /// The same without a kernel.
    #[cfg(test)]
    pub(super) fn heap(frames: u32) -> (Self, Vec<Frame>) {
        Self::over(Memory::heap(frames as usize * FRAME_BYTES), frames)
    }

    fn over(memory: Memory, frames: u32) -> (Self, Vec<Frame>) {
        assert!(memory.bytes() >= frames as usize * FRAME_BYTES);
        let identity = NEXT.fetch_add(1, Ordering::Relaxed);
        let umem = Self {
            memory,
            identity,
            frames,
            #[cfg(debug_assertions)]
            held: (0..frames).map(|_| AtomicBool::new(true)).collect(),
        };
        (umem, (0..frames).map(|number| Frame::new(identity, number)).collect())
    }

    /// Address and length of the whole, as XDP_UMEM_REG wants them.
    pub(super) fn region(&self) -> (u64, u64) {
        (self.memory.start().as_ptr().expose_provenance() as u64, u64::from(self.frames) * FRAME_BYTES as u64)
    }

    /// The bytes of a frame that we have.
    pub(super) fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8; FRAME_BYTES] {
        // SAFETY: `place` has checked that the frame lies within this memory. Its token is unique and not with the kernel, and
        // it stays borrowed for as long as the bytes are.
        unsafe { &*self.place(frame) }
    }

    /// The bytes of a frame that we have, to be written.
    pub(super) fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8; FRAME_BYTES] {
        // SAFETY: as in `bytes`, and the token is borrowed mutably, so there is no other reference to these bytes.
        unsafe { &mut *self.place(frame) }
    }

    fn place(&self, frame: &Frame) -> *mut [u8; FRAME_BYTES] {
        assert!(frame.umem() == self.identity, "a frame of another UMEM");
        // SAFETY: tokens are made for numbers below `frames` only, so the offset lies within the memory.
        unsafe { self.memory.start().add(frame.number() as usize * FRAME_BYTES).as_ptr().cast() }
    }

    /// Gives a frame up to the kernel: its address as the rings name it.
    pub(super) fn surrender(&self, frame: Frame) -> u64 {
        assert!(frame.umem() == self.identity, "a frame of another UMEM");
        #[cfg(debug_assertions)]
        assert!(self.held[frame.number() as usize].swap(false, Ordering::Relaxed), "a frame was given away twice");
        u64::from(frame.number()) * FRAME_BYTES as u64
    }

    /// Takes a frame back from the kernel: its token, and where in it the `length` bytes at `address` lie. `None` for an address
    /// that is none of ours or bytes that leave the frame; then the frame, if there is one, is lost.
    ///
    /// # Safety
    /// The kernel has just handed this address back through a ring (so its frame is not with anybody else).
    pub(super) unsafe fn retake(&self, address: u64, length: u32) -> Option<(Frame, Range<usize>)> {
        let number = u32::try_from(address / FRAME_BYTES as u64).ok().filter(|number| *number < self.frames)?;
        let start = (address % FRAME_BYTES as u64) as usize;
        let end = start.checked_add(length as usize).filter(|end| *end <= FRAME_BYTES)?;
        #[cfg(debug_assertions)]
        assert!(!self.held[number as usize].swap(true, Ordering::Relaxed), "the kernel returned a frame that is ours");
        Some((Frame::new(self.identity, number), start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_do_not_overlap() {
        let (umem, mut frames) = Umem::heap(8);
        for frame in &mut frames {
            let number = frame.number() as u8;
            umem.bytes_mut(frame).fill(number);
        }
        for frame in &frames {
            assert!(umem.bytes(frame).iter().all(|byte| *byte == frame.number() as u8));
        }
    }

    #[test]
    fn a_frame_goes_to_the_kernel_and_comes_back() {
        let (umem, mut frames) = Umem::heap(4);
        let frame = frames.remove(2);
        let address = umem.surrender(frame);
        assert_eq!(address, 2 * FRAME_BYTES as u64);
        // SAFETY: the address was surrendered just now.
        let (frame, range) = unsafe { umem.retake(address + 256, 60) }.expect("an address of ours");
        assert_eq!((frame.number(), range), (2, 256..316));
    }

    #[test]
    fn addresses_that_are_not_ours_are_refused() {
        let (umem, _frames) = Umem::heap(4);
        let end = 4 * FRAME_BYTES as u64;
        for (address, length) in [(end, 0), (u64::MAX, 1), (end - 10, 11), (256, u32::MAX), (1 << 48, 60)] {
            // SAFETY: these are refused before a token is made.
            assert!(unsafe { umem.retake(address, length) }.is_none(), "{address} {length}");
        }
    }

    #[test]
    #[should_panic(expected = "another UMEM")]
    fn a_frame_of_another_umem_is_refused() {
        let (umem, _frames) = Umem::heap(4);
        let (_, frames) = Umem::heap(4);
        let _ = umem.bytes(&frames[0]);
    }
}
