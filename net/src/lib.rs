//! Packet I/O behind one trait, [`PacketPort`]: bursts in, bursts out, nothing allocated after construction.
//!
//! What always holds here: this room knows nothing of payments; a datagram of any size, from anybody, is harmless; no
//! call blocks except [`Waitable::wait`] (and [`PacketPort::flush`] for at most [`udp::FLUSH_WAIT_MAX_MS`]); whatever is
//! dropped or refused has a counter in [`PortCounters`].
//!
//! Implementations: [`UdpPort`] (one socket) and [`UdpGroup`] (one socket per worker, steered in the kernel).

mod counters;
mod port;
pub mod udp;
mod wake;

pub use counters::{PortCounters, Refused};
pub use port::{BURST_MAX, DATAGRAM_MAX_BYTES, LinkData, PacketPort, Peer, Sent, WAIT_OTHERS_MAX, Waitable, Woken};
pub use udp::{OpenError, TrafficClass, UdpConfig, UdpGroup, UdpPort};
pub use wake::Waker;
