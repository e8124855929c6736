//! How the generator reaches the link: by AF_XDP where its side is an interface of its own, else by sockets.
//!
//! The network stack takes about 15 microseconds of a core for a payment's four packets, sockets and wake-ups included: at the rates
//! of one authority core that is more than the generator has. Rings leave it the time that checking answers takes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use meshpay_net::host;
use meshpay_net::xdp::{AttachMode, Attachment, Program};
use meshpay_net::xsk::link_to;
use meshpay_net::{
    BURST_MAX, LinkData, OpenError, PacketPort, Peer, PortCounters, Sent, UdpConfig, UdpPort, Waitable, Woken,
    XskConfig, XskGroup, XskInterface, XskMode, XskPort,
};

use super::clients::PORTS;
use crate::link::{LinkKind, Side};

/// The UDP port that the generator sends from by rings. No socket is bound to it.
const RINGS_PORT: u16 = 40_000;

/// The generator's ports, and what its clients must know of them.
pub struct Ports {
    /// Ports, at least one.
    pub ports: Vec<GeneratorPort>,
    /// The way to the authorities below IP, for ports that need to know it.
    pub link: LinkData,
}

/// One port. Dropping it gives the interface back to the network stack.
pub enum GeneratorPort {
    /// By the network stack.
    Socket(Box<UdpPort>),
    /// Past it.
    Rings(Box<Rings>),
}

/// A socket of AF_XDP on the interface's one queue, and the program that hands it what arrives.
pub struct Rings {
    port: XskPort,
    interface: XskInterface,
    mac: [u8; 6],
    _steering: Attachment,
}

/// Opens the generator's ports on its side of a link: rings on veth, sockets on loopback.
///
/// # Errors
/// When the kernel refuses.
pub fn open(kind: LinkKind, generator: &Side, authority: &Side) -> Result<Ports> {
    match kind {
        LinkKind::Loopback => {
            let ports = generator.inside(open_sockets)??;
            Ok(Ports {
                ports: ports.into_iter().map(|port| GeneratorPort::Socket(Box::new(port))).collect(),
                link: LinkData::default(),
            })
        }
        LinkKind::Veth => {
            let neighbour = authority.inside(|| mac_of(authority))??;
            // Its own program takes the place of the one that only passes.
            generator.make_way();
            let rings = generator.inside(|| Rings::open(generator.interface(), RINGS_PORT))??;
            generator.pin_receiving()?;
            let link = link_to(rings.interface.index, rings.mac, neighbour);
            Ok(Ports { ports: vec![GeneratorPort::Rings(Box::new(rings))], link })
        }
    }
}

/// Opens sockets on all addresses of the namespace that the calling thread is in.
///
/// # Errors
/// When the kernel refuses.
pub fn open_sockets() -> Result<Vec<UdpPort>, OpenError> {
    let any = UdpConfig::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    (0..PORTS).map(|_| UdpPort::open(&any)).collect()
}

fn mac_of(side: &Side) -> Result<[u8; 6]> {
    host::Link::named(side.interface())?.mac.context("the interface has no hardware address")
}

impl Rings {
    /// Takes over all IPv4 datagrams that arrive at an interface of the calling thread's namespace; those to another port are lost.
    ///
    /// # Errors
    /// If the interface has another program, or the kernel refuses.
    pub fn open(interface: &str, port: u16) -> Result<Self> {
        let link = host::Link::named(interface)?;
        let mac = link.mac.context("the interface has no hardware address")?;
        let interface = XskInterface { index: link.index, queues: 1, mtu: link.mtu };
        let (steering, sockets) = Program::steering()?;
        let steering = steering.attach(link.index, AttachMode::Native)?;
        let mut group = XskGroup::open(&XskConfig::new(port), &interface, 1, XskMode::Copy)?;
        let port = group.ports.pop().context("a group of one worker has one port")?;
        for (_, socket) in port.sockets() {
            sockets.set(0, socket)?;
        }
        Ok(Self { port, interface, mac, _steering: steering })
    }
}

/// A port that says how much it can take: what it cannot take is kept for later, and shows as lateness instead of as a loss.
pub trait SendingRoom {
    /// Datagrams that can be queued now without one being refused.
    fn room_to_send(&mut self) -> usize;
}

impl SendingRoom for UdpPort {
    fn room_to_send(&mut self) -> usize {
        BURST_MAX
    }
}

impl SendingRoom for GeneratorPort {
    fn room_to_send(&mut self) -> usize {
        match self {
            GeneratorPort::Socket(port) => port.room_to_send(),
            GeneratorPort::Rings(rings) => rings.port.room_to_send(),
        }
    }
}

impl PacketPort for GeneratorPort {
    fn receive(&mut self) -> io::Result<usize> {
        match self {
            GeneratorPort::Socket(port) => port.receive(),
            GeneratorPort::Rings(rings) => rings.port.receive(),
        }
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        match self {
            GeneratorPort::Socket(port) => port.packet(index),
            GeneratorPort::Rings(rings) => rings.port.packet(index),
        }
    }

    fn queue(&mut self, to: &Peer, parts: &[&[u8]]) -> bool {
        match self {
            GeneratorPort::Socket(port) => port.queue(to, parts),
            GeneratorPort::Rings(rings) => rings.port.queue(to, parts),
        }
    }

    fn flush(&mut self) -> io::Result<Sent> {
        match self {
            GeneratorPort::Socket(port) => port.flush(),
            GeneratorPort::Rings(rings) => rings.port.flush(),
        }
    }

    fn counters(&self) -> PortCounters {
        match self {
            GeneratorPort::Socket(port) => port.counters(),
            GeneratorPort::Rings(rings) => rings.port.counters(),
        }
    }
}

impl Waitable for GeneratorPort {
    fn wait(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        match self {
            GeneratorPort::Socket(port) => port.wait(timeout, others),
            GeneratorPort::Rings(rings) => rings.port.wait(timeout, others),
        }
    }
}

impl AsFd for GeneratorPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            GeneratorPort::Socket(port) => port.as_fd(),
            GeneratorPort::Rings(rings) => match rings.port.sockets().next() {
                Some((_, socket)) => socket,
                None => unreachable!("a port was opened with one queue"),
            },
        }
    }
}
