//! What a port counts. Totals since it was opened; they only grow.

use std::ops::AddAssign;

/// Running totals of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Datagrams handed to the caller.
    pub received: u64,
    /// Datagrams longer than [`crate::DATAGRAM_MAX_BYTES`]: truncated by the kernel and dropped here.
    pub received_oversized: u64,
    /// Frames that are no datagram to answer: truncated, of another protocol or port, from an address that is not one host's.
    /// Only ports below IP see such.
    pub received_malformed: u64,
    /// Datagrams that the kernel dropped because nobody had fetched those before them (receive buffer full).
    pub receive_dropped_by_kernel: u64,
    /// Errors that a receive met and got over: a peer's ICMP message, or want of memory.
    pub receive_errors: u64,
    /// Datagrams that the kernel took for sending.
    pub sent: u64,
    /// Datagrams that the kernel refused to send, by reason.
    pub refused: Refused,
    /// Datagrams that were never offered to the kernel since they exceed [`crate::DATAGRAM_MAX_BYTES`]: a mistake of ours.
    pub queue_oversized: u64,
}

/// Datagrams that the kernel refused to send, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The send buffer stayed full (EAGAIN).
    pub would_block: u64,
    /// No memory or no room in the device's queue (ENOBUFS, ENOMEM).
    pub no_buffers: u64,
    /// A firewall or a missing right (EPERM, EACCES).
    pub not_permitted: u64,
    /// No way to the peer, nobody there, or our address is gone (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN,
    /// ENETDOWN, ENODEV, EADDRNOTAVAIL).
    pub unreachable: u64,
    /// Longer than the interface's MTU allows (EMSGSIZE).
    pub too_large: u64,
    /// Everything else, such as an answer to a peer that claims port 0 (EINVAL).
    pub other: u64,
}

impl Refused {
    /// All reasons together.
    pub fn total(&self) -> u64 {
        self.would_block + self.no_buffers + self.not_permitted + self.unreachable + self.too_large + self.other
    }

    /// Counts `datagrams` under the reason that `errno` stands for.
    pub(crate) fn count(&mut self, errno: i32, datagrams: u64) {
        let reason = match errno {
            libc::EAGAIN => &mut self.would_block,
            libc::ENOBUFS | libc::ENOMEM => &mut self.no_buffers,
            libc::EPERM | libc::EACCES => &mut self.not_permitted,
            libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::ENODEV
            | libc::EADDRNOTAVAIL => &mut self.unreachable,
            libc::EMSGSIZE => &mut self.too_large,
            _ => &mut self.other,
        };
        *reason += datagrams;
    }
}

impl AddAssign for Refused {
    fn add_assign(&mut self, other: Self) {
        self.would_block += other.would_block;
        self.no_buffers += other.no_buffers;
        self.not_permitted += other.not_permitted;
        self.unreachable += other.unreachable;
        self.too_large += other.too_large;
        self.other += other.other;
    }
}

impl AddAssign for PortCounters {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.received_oversized += other.received_oversized;
        self.received_malformed += other.received_malformed;
        self.receive_dropped_by_kernel += other.receive_dropped_by_kernel;
        self.receive_errors += other.receive_errors;
        self.sent += other.sent;
        self.refused += other.refused;
        self.queue_oversized += other.queue_oversized;
    }
}
