//! What AF_XDP ports count beyond [`crate::PortCounters`].

use std::ops::AddAssign;

/// Details of an [`XskPort`](super::XskPort): totals since its sockets were bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskCounters {
    /// Frames that are no whole datagram: truncated, or with lengths that contradict each other.
    pub truncated: u64,
    /// Frames with another protocol or port, or a fragment. The program in the kernel should not have redirected them.
    pub not_ours: u64,
    /// Frames from or to addresses that are not one host's.
    pub bad_address: u64,
    /// The kernel dropped a packet: no frame to receive into, or it was longer than one.
    pub kernel_dropped: u64,
    /// The kernel dropped a packet: the receive ring was full, since the worker did not fetch.
    pub kernel_ring_full: u64,
    /// The kernel found no frame to receive into. Those packets are in `kernel_dropped` too. Of the queue, not of the worker.
    pub kernel_fill_empty: u64,
    /// Descriptors of ours that the kernel refused: a mistake of ours.
    pub kernel_invalid: u64,
    /// Frames that the kernel named wrongly and that are therefore lost. Of the queue, not of the worker.
    pub frames_lost: u64,
    /// System calls that made the kernel send.
    pub kicks: u64,
}

impl AddAssign for XskCounters {
    fn add_assign(&mut self, other: Self) {
        self.truncated += other.truncated;
        self.not_ours += other.not_ours;
        self.bad_address += other.bad_address;
        self.kernel_dropped += other.kernel_dropped;
        self.kernel_ring_full += other.kernel_ring_full;
        self.kernel_fill_empty += other.kernel_fill_empty;
        self.kernel_invalid += other.kernel_invalid;
        self.frames_lost += other.frames_lost;
        self.kicks += other.kicks;
    }
}
