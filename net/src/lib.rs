//! Packet I/O behind one trait, [`PacketPort`]: bursts in, bursts out, nothing allocated after construction.
//!
//! What always holds here: this room knows nothing of payments; a datagram of any size, from anybody, is harmless; no
//! call blocks except [`Waitable::wait`] (and [`PacketPort::flush`] for at most [`udp::FLUSH_WAIT_MAX_MS`]); whatever is
//! dropped or refused has a counter in [`PortCounters`].
//!
//! Implementations: [`UdpPort`] (one socket) and [`UdpGroup`] (one socket per worker, steered in the kernel); [`XskPort`] (AF_XDP
//! rings, one socket per worker and queue); [`CombinedPort`] (a socket, and AF_XDP as far as there is any); [`WorkerPort`] (that one,
//! with rings that another thread hands over). [`rung`] is the ladder.

mod bpf;
pub mod combined;
mod counters;
mod handover;
pub mod host;
mod mailbox;
pub mod neighbours;
mod port;
mod prefetch;
pub mod rung;
mod tap;
pub mod udp;
mod wake;
pub mod xdp;
pub mod xsk;

pub use combined::CombinedPort;
pub use counters::{PortCounters, Refused};
pub use handover::{RingSlot, WorkerPort};
pub use neighbours::Neighbours;
pub use port::{BURST_MAX, DATAGRAM_MAX_BYTES, LinkData, PacketPort, Peer, Sent, WAIT_OTHERS_MAX, Waitable, Woken};
pub use prefetch::prefetch;
pub use rung::Rung;
pub use tap::{Tap, TappedFrame};
pub use udp::{OpenError, TrafficClass, UdpConfig, UdpGroup, UdpPort};
pub use wake::Waker;
pub use xsk::{XskConfig, XskCounters, XskGroup, XskInterface, XskMode, XskPort, XskSpare};
