//! AF_XDP: packets from the driver to the worker and back, past the network stack.
//!
//! ```text
//!   interface, queue 0                         interface, queue 1
//!     XDP program -> XSKMAP[queue * workers + worker]
//!       |            |                           |            |
//!   socket (0,0)  socket (0,1)               socket (1,0)  socket (1,1)      a socket hears one queue only
//!       |   UMEM 0   |                           |   UMEM 1   |              shared by the sockets of a queue
//!       +---- depot 0 ----+                      +---- depot 1 ----+         fill and completion rings, frames in transit
//!       |            |                           |            |
//!     worker 0     worker 1                    worker 0     worker 1         an XskPort has one lane per queue
//! ```
//!
//! | kernel object | file | who touches it |
//! |---|---|---|
//! | UMEM and its frames | `umem.rs`, `frame.rs` | whoever has a frame's token |
//! | rings | `ring.rs`, in frames `frame_rings.rs` | receive, transmit: the worker; fill, completion: the depot's owner of the moment |
//! | socket | `socket.rs` | the worker |
//! | queue | `depot.rs` | all workers |
//!
//! What always holds: a frame has one owner, the kernel or one place here; every queue has a socket of every worker; nothing is
//! allocated after binding.

mod checksum;
mod counters;
mod depot;
mod frame;
mod frame_rings;
mod group;
mod headers;
mod interface;
mod link;
mod memory;
mod port;
mod ring;
mod socket;
mod umem;

pub use counters::XskCounters;
pub use group::{BindFailed, XskError, XskGroup, XskSpare};
pub use interface::{LinkGauge, LinkState, XskInterface};
pub use port::{FrameCount, QUEUES_MAX, XskPort};

use crate::{LinkData, TrafficClass};

/// The way to a neighbour on `interface` itself, without VLAN tags, by its first queue: for who speaks first, or learnt of the peer
/// by a socket.
pub fn link_to(interface: u32, local: [u8; 6], neighbour: [u8; 6]) -> LinkData {
    link::Link { local, neighbour, tags: Default::default(), tag_count: 0, queue: 0 }.encode(interface)
}

/// How packets get from the driver into our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XskMode {
    /// The kernel copies them. Every interface can.
    Copy,
    /// The driver writes into our frames. Few drivers can.
    ZeroCopy,
}

impl XskMode {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            XskMode::Copy => "copy",
            XskMode::ZeroCopy => "zero-copy",
        }
    }
}

/// Busy polling: the worker runs the driver's receiving itself instead of waiting for an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one call may poll, in microseconds.
    pub time_us: u16,
    /// How many packets one call may take.
    pub budget_packets: u16,
}

/// How to open AF_XDP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XskConfig {
    /// Our UDP port. Datagrams to another one are counted and dropped.
    pub port: u16,
    /// Mark of what is sent.
    pub traffic_class: TrafficClass,
    /// False for sockets that only send.
    pub receive: bool,
    /// Places of each receive ring, a power of two from 64 to 32,768. 4,096 outlast a disk's bad sync of 9.5 ms, in which 1,520
    /// packets queue at full load.
    pub ring_entries: u32,
    /// Frames that each worker can have on their way out, per queue.
    pub transmit_frames: u32,
    /// Take reserved huge pages (and fail without), instead of asking for them.
    pub huge_pages: bool,
    /// Poll busily where the driver has a NAPI that can be polled. Needs CAP_NET_ADMIN.
    pub busy_poll: Option<BusyPoll>,
}

impl XskConfig {
    /// Defaults of payment sockets on `port`.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            traffic_class: TrafficClass::Payment,
            receive: true,
            ring_entries: 4096,
            transmit_frames: 2048,
            huge_pages: false,
            busy_poll: None,
        }
    }

    /// Memory that sockets for so many queues and workers pin: what RLIMIT_MEMLOCK must allow to a process without CAP_IPC_LOCK, for
    /// each set of sockets, spare ones too.
    pub fn locked_bytes(&self, queues: u32, workers: usize) -> u64 {
        u64::from(queues) * u64::from(group::shares(self, workers).total()) * umem::FRAME_BYTES as u64
    }
}
