//! A worker's port that leaves copies of its packets in the ring while somebody watches; otherwise it costs one load a call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use meshpay_net::{PacketPort, Peer, PortCounters, Sent, Waitable, Woken};

use super::DumpRing;

/// See the module's documentation.
pub struct WatchedPort<P> {
    port: P,
    ring: Arc<DumpRing>,
    listen: SocketAddr,
}

impl<P> WatchedPort<P> {
    /// A port whose own address is `listen`, unless a packet says which of ours it was sent to.
    pub fn new(port: P, ring: Arc<DumpRing>, listen: SocketAddr) -> Self {
        Self { port, ring, listen }
    }

    /// The port that is watched.
    pub fn inner(&self) -> &P {
        &self.port
    }

    fn own_address(&self, peer: &Peer) -> SocketAddr {
        peer.local.map_or(self.listen, |address| SocketAddr::new(address, self.listen.port()))
    }
}

impl<P: PacketPort> PacketPort for WatchedPort<P> {
    fn receive(&mut self) -> io::Result<usize> {
        let received = self.port.receive()?;
        if self.ring.is_on() {
            for index in 0..received {
                let (datagram, peer) = self.port.packet(index);
                self.ring.offer(false, peer.address, self.own_address(&peer), &[datagram]);
            }
        }
        Ok(received)
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        self.port.packet(index)
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        let queued = self.port.queue(to, parts);
        if queued && self.ring.is_on() {
            self.ring.offer(true, self.own_address(to), to.address, parts);
        }
        queued
    }

    fn flush(&mut self) -> io::Result<Sent> {
        self.port.flush()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }
}

impl<P: Waitable> Waitable for WatchedPort<P> {
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        self.port.wait(timeout, others)
    }
}
