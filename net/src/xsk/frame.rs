//! A frame's token: whoever has it, and nobody else, may touch the frame's bytes.
//!
//! What always holds: at any time there is at most one token per frame. Giving a frame to the kernel consumes its token, and
//! only the kernel's own hand-back makes a new one ([`Umem::retake`](super::umem::Umem::retake)). So safe code cannot write into a
//! packet that is being sent, nor read one that is being received.

/// The right to one frame of one UMEM. Not to be copied; dropping it leaks the frame (never memory), so nobody does.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost until the sockets are opened anew"]
pub(super) struct Frame {
    umem: u32,
    number: u32,
}

const _: () = assert!(size_of::<Frame>() == 8);

impl Frame {
    /// For the UMEM alone, which knows when there is no other token for that frame.
    pub(super) fn new(umem: u32, number: u32) -> Self {
        Self { umem, number }
    }

    /// Which UMEM it belongs to.
    pub(super) fn umem(&self) -> u32 {
        self.umem
    }

    /// Its place in the UMEM.
    pub(super) fn number(&self) -> u32 {
        self.number
    }
}
