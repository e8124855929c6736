//! The four rings of AF_XDP in terms of frames: what goes into one of them is the kernel's, what comes out is ours.
//!
//! What always holds: giving consumes a token and taking makes one, so these types are the only doors between the two owners.
//! A descriptor of the kernel's that leaves its frame, or names none of ours, is counted by the caller and its frame is lost.

use super::frame::Frame;
use super::ring::{Consumer, Descriptor, Producer};
use super::umem::Umem;
use std::ops::Range;
use std::sync::Arc;

/// The kernel named memory that is not a frame of this UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOurs;

/// Frames for the kernel to receive into.
pub(super) struct FillRing {
    ring: Producer<u64>,
    umem: Arc<Umem>,
}

impl FillRing {
    pub(super) fn new(ring: Producer<u64>, umem: Arc<Umem>) -> Self {
        Self { ring, umem }
    }

    pub(super) fn room(&mut self) -> usize {
        self.ring.room() as usize
    }

    /// Gives a frame; the kernel sees it after [`publish`](Self::publish). Panics without [`room`](Self::room).
    pub(super) fn give(&mut self, frame: Frame) {
        self.ring.push(self.umem.surrender(frame));
    }

    pub(super) fn publish(&mut self) {
        self.ring.publish();
    }

    /// Frames that wait to be received into.
    pub(super) fn pending(&mut self) -> usize {
        self.ring.pending() as usize
    }

    /// The driver ran out of frames and sleeps until a system call tells it of new ones.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// Frames that the kernel has sent.
pub(super) struct CompletionRing {
    ring: Consumer<u64>,
    umem: Arc<Umem>,
}

impl CompletionRing {
    pub(super) fn new(ring: Consumer<u64>, umem: Arc<Umem>) -> Self {
        Self { ring, umem }
    }

    /// The next frame that was sent.
    pub(super) fn take(&mut self) -> Option<Result<Frame, NotOurs>> {
        let address = self.ring.pop()?;
        // SAFETY: the kernel has put the address into the completion ring, so it is done with that frame.
        Some(unsafe { self.umem.retake(address, 0) }.map(|(frame, _)| frame).ok_or(NotOurs))
    }

    pub(super) fn release(&mut self) {
        self.ring.release();
    }

    pub(super) fn available(&mut self) -> usize {
        self.ring.available() as usize
    }
}

/// Packets that have arrived.
pub(super) struct ReceiveRing {
    ring: Consumer<Descriptor>,
    umem: Arc<Umem>,
}

impl ReceiveRing {
    pub(super) fn new(ring: Consumer<Descriptor>, umem: Arc<Umem>) -> Self {
        Self { ring, umem }
    }

    /// The next packet: its frame, and where in it the packet lies.
    pub(super) fn take(&mut self) -> Option<Result<(Frame, Range<usize>), NotOurs>> {
        let descriptor = self.ring.pop()?;
        // SAFETY: the kernel has put the frame into the receive ring, so it is done with it.
        Some(unsafe { self.umem.retake(descriptor.address, descriptor.length) }.ok_or(NotOurs))
    }

    pub(super) fn release(&mut self) {
        self.ring.release();
    }

    pub(super) fn available(&mut self) -> usize {
        self.ring.available() as usize
    }
}

/// Packets to send.
pub(super) struct TransmitRing {
    ring: Producer<Descriptor>,
    umem: Arc<Umem>,
}

impl TransmitRing {
    pub(super) fn new(ring: Producer<Descriptor>, umem: Arc<Umem>) -> Self {
        Self { ring, umem }
    }

    pub(super) fn room(&mut self) -> usize {
        self.ring.room() as usize
    }

    /// Gives a packet of `length` bytes from the frame's beginning on; the kernel sees it after [`publish`](Self::publish). Panics
    /// without [`room`](Self::room).
    pub(super) fn give(&mut self, frame: Frame, length: u32) {
        self.ring.push(Descriptor { address: self.umem.surrender(frame), length, options: 0 });
    }

    pub(super) fn publish(&mut self) {
        self.ring.publish();
    }

    /// Packets that the kernel has not begun to send.
    pub(super) fn pending(&mut self) -> usize {
        self.ring.pending() as usize
    }

    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}
