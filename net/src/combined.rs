//! A socket and AF_XDP together as one port: on whatever rung a worker stands, it drives this one, and the rung may change under it.
//!
//! ```text
//!   other interfaces, loopback,            the interface with the filter
//!   whatever the filter passes                    |
//!            |                                AF_XDP (or only its way out, or none)
//!        UDP socket                               |
//!            +------------- this port ------------+
//! ```
//!
//! What always holds: the socket is always there, so a fall loses no more than what was on its way, and a daemon that listens on all
//! addresses is heard on every interface. An answer leaves by AF_XDP if its request came that way, or if the kernel's neighbour
//! table confirms the peer on that interface ([`Neighbours`]); in all other cases, and whenever the interface is down or away, by
//! the socket, which can reach everybody.

use crate::neighbours::{Mac, Neighbours};
use crate::xsk::{LinkState, XskPort};
use crate::{PacketPort, Peer, PortCounters, Sent, UdpPort, Waitable, Woken};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Under full load every so many bursts one begins with the socket, so that AF_XDP cannot starve it.
const SOCKET_FIRST_EVERY: u32 = 8;

/// Under full load every so many bursts the neighbour table and the interface are looked at; an idle port does so at every wait.
const LOOK_EVERY: u32 = 64;

/// How to answer peers that were heard by the socket: the neighbour table of AF_XDP's interface, and that one's own hardware address.
pub struct WayOut {
    /// Followed by this port from now on.
    pub neighbours: Neighbours,
    /// Of the interface itself.
    pub mac: Mac,
}

/// AF_XDP as a part of a port.
struct Above {
    xsk: XskPort,
    way_out: Option<WayOut>,
}

/// Which half the burst received last came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Socket,
    Xsk,
}

/// See the module's documentation.
pub struct CombinedPort {
    udp: UdpPort,
    above: Option<Above>,
    /// The address that the socket is bound to, unless it is the wildcard.
    bound: Option<IpAddr>,
    half: Half,
    bursts: u32,
    by_socket: u64,
    /// Of AF_XDP ports that are gone.
    before: PortCounters,
}

impl CombinedPort {
    /// A socket alone.
    pub fn new(udp: UdpPort) -> Self {
        let bound = Some(udp.local_address().ip()).filter(|ip| !ip.is_unspecified());
        let before = PortCounters::default();
        Self { udp, above: None, bound, half: Half::Socket, bursts: 0, by_socket: 0, before }
    }

    /// Sends by AF_XDP too from now on, and receives by it if its sockets do. Both must be of one UDP port. With a way out, peers that
    /// were heard by the socket are answered by AF_XDP where that is sure. What was received and not looked at is lost, as is what
    /// was queued and not flushed.
    pub fn climb(&mut self, xsk: XskPort, way_out: Option<WayOut>) {
        self.fall();
        self.above = Some(Above { xsk, way_out });
    }

    /// Goes on by the socket alone. The AF_XDP sockets are given back; dropping them closes them.
    pub fn fall(&mut self) -> Option<XskPort> {
        self.half = Half::Socket;
        let above = self.above.take()?;
        self.before += above.xsk.counters();
        Some(above.xsk)
    }

    /// The AF_XDP half, if there is one.
    pub fn xsk(&self) -> Option<&XskPort> {
        self.above.as_ref().map(|above| &above.xsk)
    }

    /// How AF_XDP's interface is; `None` without AF_XDP. [`LinkState::Away`] is final: fall, and climb with other sockets.
    pub fn link_state(&self) -> Option<LinkState> {
        self.xsk().map(XskPort::link_state)
    }

    /// The socket's address.
    pub fn local_address(&self) -> SocketAddr {
        self.udp.local_address()
    }

    /// Datagrams that went by the socket.
    pub fn sent_by_socket(&self) -> u64 {
        self.by_socket
    }

    fn receive_by_socket(&mut self) -> io::Result<usize> {
        self.half = Half::Socket;
        self.udp.receive()
    }

    fn receive_by_xsk(&mut self) -> io::Result<usize> {
        let Some(above) = &mut self.above else { return Ok(0) };
        self.half = Half::Xsk;
        above.xsk.receive()
    }
}

impl Above {
    /// The peer with its way by AF_XDP, if that is sure.
    fn way(&self, to: &Peer, bound: Option<IpAddr>) -> Option<Peer> {
        if self.xsk.link_state() != LinkState::Up {
            return None;
        }
        if self.xsk.knows(&to.link) {
            return Some(*to);
        }
        let way_out = self.way_out.as_ref()?;
        let local = to.local.or(bound)?;
        if let SocketAddr::V6(address) = to.address
            && address.scope_id() != 0
            && address.scope_id() != self.xsk.interface()
        {
            return None;
        }
        let neighbour = way_out.neighbours.find(to.address.ip())?;
        Some(Peer {
            local: Some(local),
            link: crate::xsk::link_to(self.xsk.interface(), way_out.mac, neighbour),
            ..*to
        })
    }

    fn look(&mut self) -> io::Result<()> {
        if let Some(way_out) = &mut self.way_out {
            way_out.neighbours.follow();
        }
        self.xsk.look_at_interface()
    }
}

impl PacketPort for CombinedPort {
    fn receive(&mut self) -> io::Result<usize> {
        let Some(above) = &mut self.above else { return self.receive_by_socket() };
        self.bursts = self.bursts.wrapping_add(1);
        if self.bursts.is_multiple_of(LOOK_EVERY) {
            above.look()?;
        }
        if self.bursts.is_multiple_of(SOCKET_FIRST_EVERY) || !above.xsk.receives() {
            let count = self.receive_by_socket()?;
            // An idle AF_XDP port must be asked too, since it returns frames then.
            return if count > 0 { Ok(count) } else { self.receive_by_xsk() };
        }
        let count = self.receive_by_xsk()?;
        if count > 0 { Ok(count) } else { self.receive_by_socket() }
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        match (self.half, &self.above) {
            (Half::Xsk, Some(above)) => above.xsk.packet(index),
            _ => self.udp.packet(index),
        }
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        if let Some(above) = &mut self.above
            && let Some(peer) = above.way(to, self.bound)
        {
            return above.xsk.queue(&peer, parts);
        }
        let taken = self.udp.queue(to, parts);
        self.by_socket += u64::from(taken);
        taken
    }

    fn flush(&mut self) -> io::Result<Sent> {
        let by_socket = self.udp.flush()?;
        let by_xsk = match &mut self.above {
            Some(above) => above.xsk.flush()?,
            None => Sent::default(),
        };
        Ok(Sent { sent: by_xsk.sent + by_socket.sent, refused: by_xsk.refused + by_socket.refused })
    }

    fn counters(&self) -> PortCounters {
        let mut sum = self.udp.counters();
        sum += self.before;
        if let Some(above) = &self.above {
            sum += above.xsk.counters();
        }
        sum
    }
}

impl Waitable for CombinedPort {
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        let Some(above) = &mut self.above else { return self.udp.wait(timeout, others) };
        if let Some(way_out) = &mut above.way_out {
            way_out.neighbours.follow();
        }
        above.xsk.wait_beside(timeout, Some(self.udp.as_fd()), others)
    }
}
