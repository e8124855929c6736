//! The port that a worker drives: what has arrived, what to answer, and to whom.
//!
//! Written for sockets and for AF_XDP rings alike, and for a simulator's network. Hence: views into the port's own
//! buffers instead of copies, a [`Peer`] that carries what the link layer needs to answer, and waiting as a trait of its
//! own, since a simulated port never waits.

use crate::PortCounters;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The most datagrams that one [`PacketPort::receive`] takes and that one transmit burst holds.
pub const BURST_MAX: usize = 256;

/// The longest datagram that is accepted or sent, in bytes of UDP payload.
pub const DATAGRAM_MAX_BYTES: usize = 1400;

/// The most other descriptors that [`Waitable::wait`] watches.
pub const WAIT_OTHERS_MAX: usize = 7;

/// What a port below IP remembers of a packet so that it can answer it: MAC addresses, VLAN tags, queue.
///
/// Opaque outside the port that filled it, but for what a socket knows; all zero means "nothing known, let the kernel route".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkData(pub [u8; 20]);

impl LinkData {
    /// What a socket knows: the index of the interface that a datagram came by, 0 where it does not say.
    pub fn from_socket(interface: u32) -> Self {
        let mut data = Self::default();
        data.0[..4].copy_from_slice(&interface.to_ne_bytes());
        data
    }

    /// The interface by which a socket took the datagram, 0 where that is not known. `None`: it came by another way, whose data end with a
    /// mark that is not zero.
    pub fn socket_interface(&self) -> Option<u32> {
        let [a, b, c, d, .., mark] = self.0;
        (mark == 0).then(|| u32::from_ne_bytes([a, b, c, d]))
    }
}

/// Whom a datagram came from, and all that is needed to answer from the address it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The peer's address and port. IPv4 is always in its own form, never mapped into IPv6.
    pub address: SocketAddr,
    /// Our own address that the datagram was sent to, which the answer must leave from. `None`: the kernel chooses, or
    /// the socket is bound to one address and there is nothing to choose.
    pub local: Option<IpAddr>,
    /// For ports below IP.
    pub link: LinkData,
}

impl Peer {
    /// A peer to whom we speak first; the kernel chooses our source address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, local: None, link: LinkData::default() }
    }

    /// The same peer, spoken to from `local`, which must be an address of this host.
    pub fn from_local(self, local: IpAddr) -> Self {
        Self { local: Some(local), ..self }
    }
}

/// What became of a transmit burst. `sent + refused` is what had been queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub sent: usize,
    /// Datagrams that it did not take and that are gone; [`PortCounters::refused`] says why.
    pub refused: usize,
}

/// A source and sink of datagrams, in bursts.
pub trait PacketPort {
    /// Takes what has arrived by now, at most [`BURST_MAX`] datagrams, and never blocks. Returns how many there are to
    /// look at with [`packet`](Self::packet); those of the burst before are gone.
    ///
    /// # Errors
    /// Only what makes the port unusable, such as a closed descriptor. What a peer or the network can cause is counted.
    fn receive(&mut self) -> io::Result<usize>;

    /// A datagram of the burst received last, and its sender. Valid until the next `receive`.
    ///
    /// # Panics
    /// If `index` is not below what `receive` returned.
    fn packet(&self, index: usize) -> (&[u8], Peer);

    /// Puts one datagram, made of `parts` in sequence, into the transmit burst. `false`: the burst is full, flush first
    /// and queue again.
    ///
    /// A datagram above [`DATAGRAM_MAX_BYTES`] is our own mistake: an assertion in debug builds, else dropped and counted.
    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool;

    /// Sends what is queued with as few system calls as possible. What the kernel refuses is counted and dropped, since
    /// every request is retried by its client; the burst is empty afterwards in any case.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    fn flush(&mut self) -> io::Result<Sent>;

    /// Running totals since the port was opened.
    fn counters(&self) -> PortCounters;
}

/// Why [`Waitable::wait`] returned. All false: the time ran out, or a signal came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// There is something to receive.
    pub packets: bool,
    /// Bit `i` is set if `others[i]` is readable (or at its end, or in error).
    pub others: u32,
}

/// A port whose thread can sleep until there is something to do.
pub trait Waitable: PacketPort {
    /// Blocks until a packet arrives, one of `others` becomes readable, or `timeout` has passed.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`WAIT_OTHERS_MAX`] descriptors; otherwise as [`PacketPort::receive`].
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken>;
}
