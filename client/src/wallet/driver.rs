//! Drives a machine with one UDP socket: the only place of the wallet that knows sockets and the clock.
//!
//! One socket serves IPv4 and IPv6. A datagram counts only where its source is the address of an authority.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use meshpay_protocol::Genesis;
use meshpay_wire::DATAGRAM_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketType, bind, ipproto, socket, sockopt};

use crate::machine::Machine;

/// What happened at the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the kernel refused to send; they count as lost and are repeated.
    pub send_errors: u64,
    /// Datagrams from authorities.
    pub received: u64,
    /// Datagrams dropped because they came from elsewhere.
    pub strangers: u64,
    /// Datagrams dropped because they are longer than any message.
    pub oversized: u64,
}

/// Why the network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The socket failed.
    #[error("the UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// An override names nobody.
    #[error("--authority {0}: the genesis has no authority of that name; it has {1}")]
    UnknownAuthority(String, String),
    /// No address at all.
    #[error(
        "no authority has an address: the genesis file names none; pass --authority NAME=ADDRESS:PORT for each, or a genesis file with addresses"
    )]
    NoAddresses,
}

/// Addresses of the authorities by place: from the genesis, with overrides by name.
///
/// # Errors
/// Where an override names nobody, or nobody has an address.
pub fn authority_addresses(
    genesis: &Genesis,
    overrides: &[(String, SocketAddr)],
) -> Result<Vec<Option<SocketAddr>>, DriverError> {
    let mut addresses: Vec<Option<SocketAddr>> = genesis.committee.iter().map(|member| member.address).collect();
    for (name, address) in overrides {
        let place = genesis.committee.iter().position(|member| member.name == *name).ok_or_else(|| {
            let names: Vec<&str> = genesis.committee.iter().map(|member| member.name.as_str()).collect();
            DriverError::UnknownAuthority(name.clone(), names.join(", "))
        })?;
        addresses[place] = Some(*address);
    }
    if addresses.iter().all(Option::is_none) {
        return Err(DriverError::NoAddresses);
    }
    Ok(addresses)
}

/// A socket, the authorities' addresses and a clock.
#[derive(Debug)]
pub struct Driver {
    socket: UdpSocket,
    /// By place; in the form in which the socket takes and gives them.
    addresses: Vec<Option<SocketAddr>>,
    started: Instant,
    counters: DriverCounters,
}

impl Driver {
    /// Opens a socket on a port of the kernel's choice.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn new(addresses: &[Option<SocketAddr>]) -> Result<Self, DriverError> {
        let (socket, is_ipv6) = match open_dual() {
            Ok(socket) => (socket, true),
            // A kernel without IPv6.
            Err(_) => (UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?, false),
        };
        socket.set_nonblocking(true)?;
        let addresses = addresses.iter().map(|address| address.map(|address| in_family(address, is_ipv6))).collect();
        Ok(Self { socket, addresses, started: Instant::now(), counters: DriverCounters::default() })
    }

    /// Time since the driver was made: what machines count in.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What happened so far.
    pub fn counters(&self) -> DriverCounters {
        self.counters
    }

    /// Runs a machine until it is done. `after` sees it after every step, so that events are acted on at once and before anything
    /// that follows from them is sent.
    ///
    /// # Errors
    /// Where the socket fails, or `after` does.
    pub fn run<M: Machine, E: From<DriverError>>(
        &mut self,
        machine: &mut M,
        mut after: impl FnMut(&mut M) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            after(machine)?;
            while let Some(transmission) = machine.transmit() {
                self.send(transmission.authority, &transmission.datagram);
            }
            if machine.is_done() {
                return Ok(());
            }
            let now = self.now();
            match machine.next_timer() {
                Some(timer) if timer > now => {
                    self.wait(timer - now).map_err(DriverError::from)?;
                    self.receive_all(machine).map_err(DriverError::from)?;
                }
                _ => {
                    // Answers that are here already go first: what is due may be so only because nobody looked.
                    self.receive_all(machine).map_err(DriverError::from)?;
                    machine.advance(self.now());
                }
            }
        }
    }

    fn send(&mut self, authority: usize, datagram: &[u8]) {
        let Some(address) = self.addresses.get(authority).copied().flatten() else { return };
        // An ICMP error of an earlier datagram is reported once, by whatever call comes next; the second try sends.
        match self.socket.send_to(datagram, address).or_else(|_| self.socket.send_to(datagram, address)) {
            Ok(_) => self.counters.sent += 1,
            Err(_) => self.counters.send_errors += 1,
        }
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive_all<M: Machine>(&mut self, machine: &mut M) -> io::Result<()> {
        // One byte more than a datagram may have shows that it has too many.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        // Bounded, so that whoever floods us cannot keep us from our timers.
        const BURST_MAX: usize = 256;
        for _ in 0..BURST_MAX {
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An authority whose port is closed, or whose host cannot be reached: it is asked again like any silent one.
                Err(error) if is_about_a_peer(&error) => continue,
                Err(error) => return Err(error),
            };
            if length > DATAGRAM_MAX {
                self.counters.oversized += 1;
                continue;
            }
            let Some(authority) = self.addresses.iter().position(|address| address.is_some_and(|a| same(&a, &from)))
            else {
                self.counters.strangers += 1;
                continue;
            };
            self.counters.received += 1;
            machine.receive(authority, &buffer[..length], self.now());
        }
        Ok(())
    }
}

fn is_about_a_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable)
}

/// Addresses are compared without IPv6 flow label, which the kernel may set, and without scope where one side has none.
fn same(known: &SocketAddr, from: &SocketAddr) -> bool {
    match (known, from) {
        (SocketAddr::V6(known), SocketAddr::V6(from)) => {
            let scope = known.scope_id() == 0 || known.scope_id() == from.scope_id();
            known.ip() == from.ip() && known.port() == from.port() && scope
        }
        (known, from) => known == from,
    }
}

fn in_family(address: SocketAddr, is_ipv6: bool) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if is_ipv6 => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        other => other,
    }
}

fn open_dual() -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, Some(ipproto::UDP))?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0))?;
    Ok(UdpSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_name_members() {
        let text = r#"
            name = "test"
            epoch = 0
            minimum_first_credit = 1
            token = [{ id = 1, symbol = "EUR", decimals = 2, supply = 5 }]
            committee = [{ name = "a", key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", weight = 1 }]
            allocations = { count = 1, digest = "0000000000000000000000000000000000000000000000000000000000000000" }
        "#;
        let genesis = Genesis::parse(text).unwrap();
        assert!(matches!(authority_addresses(&genesis, &[]), Err(DriverError::NoAddresses)));
        let address: SocketAddr = "127.0.0.1:7450".parse().unwrap();
        assert_eq!(authority_addresses(&genesis, &[("a".to_owned(), address)]).unwrap(), [Some(address)]);
        let unknown = authority_addresses(&genesis, &[("b".to_owned(), address)]);
        assert!(matches!(unknown, Err(DriverError::UnknownAuthority(..))));
    }

    #[test]
    fn addresses_of_both_families_fit_one_socket() {
        let v4: SocketAddr = "127.0.0.1:7450".parse().unwrap();
        let mapped = in_family(v4, true);
        assert!(same(&mapped, &"[::ffff:127.0.0.1]:7450".parse().unwrap()));
        assert!(!same(&mapped, &"[::ffff:127.0.0.1]:7451".parse().unwrap()));
        assert_eq!(in_family(v4, false), v4);
    }
}
