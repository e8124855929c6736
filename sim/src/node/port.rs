//! An authority's packet port made of queues, and its clock.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;

use meshpay_authority::pipeline::Clock;
use meshpay_net::{BURST_MAX, DATAGRAM_MAX_BYTES, PacketPort, Peer, PortCounters, Sent};

/// Datagrams that a socket holds before it drops.
const SOCKET_MAX: usize = 2_048;

/// A worker's socket.
#[derive(Default)]
pub struct SimPort {
    incoming: VecDeque<(Vec<u8>, Peer)>,
    burst: Vec<(Vec<u8>, Peer)>,
    queued: Vec<(Peer, Vec<u8>)>,
    sent: Vec<(Peer, Vec<u8>)>,
    /// Hears nothing more, as while a daemon stops.
    pub deaf: bool,
}

impl SimPort {
    /// A datagram has come. False: the socket was full.
    pub fn deliver(&mut self, datagram: Vec<u8>, from: Peer) -> bool {
        let room = self.incoming.len() < SOCKET_MAX;
        if room {
            self.incoming.push_back((datagram, from));
        }
        room
    }

    /// Takes what was sent since this was asked last.
    pub fn take_sent(&mut self) -> Vec<(Peer, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    /// Takes away what waits to be received.
    pub fn take_incoming(&mut self) -> VecDeque<(Vec<u8>, Peer)> {
        std::mem::take(&mut self.incoming)
    }
}

impl PacketPort for SimPort {
    fn receive(&mut self) -> io::Result<usize> {
        if self.deaf {
            return Ok(0);
        }
        let count = self.incoming.len().min(BURST_MAX);
        self.burst.clear();
        self.burst.extend(self.incoming.drain(..count));
        Ok(count)
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        let (bytes, peer) = &self.burst[index];
        (bytes, *peer)
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        if self.queued.len() == BURST_MAX {
            return false;
        }
        let datagram = parts.concat();
        assert!(datagram.len() <= DATAGRAM_MAX_BYTES, "an answer is longer than a datagram");
        self.queued.push((*to, datagram));
        true
    }

    fn flush(&mut self) -> io::Result<Sent> {
        let sent = self.queued.len();
        self.sent.append(&mut self.queued);
        Ok(Sent { sent, refused: 0 })
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

/// An authority's clock: wall time may be wrong and jump, monotonic time is the simulation's.
pub struct SimClock {
    /// Milliseconds since 1970, as this authority believes.
    pub now_ms: Cell<u64>,
    /// The simulation's time, nanoseconds.
    pub monotonic_ns: Cell<u64>,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.get()
    }
}
