//! Which hardware address a peer on the link has, as the kernel knows it: its neighbour table, followed by netlink.
//!
//! What always holds: an address is offered only while the kernel holds it for confirmed (reachable, being probed, permanent, or
//! without resolution). What is stale or unknown is not offered: then a datagram goes by a socket, the kernel confirms the
//! neighbour or finds its new address, and tells us. So a phone that was exchanged for another at the same IP address is not
//! spoken to at its old hardware address for longer than the kernel itself would. Peers behind a router are unknown here, as
//! they have no entry. Nothing is allocated after opening.
//!
//! Sources: rtnetlink(7), linux/neighbour.h, net/core/neighbour.c.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// A hardware address.
pub type Mac = [u8; 6];

/// Neighbours that are remembered: those that find their place taken by another are forgotten. A power of two.
const PLACES: usize = 4096;

/// Messages that one look takes: a flood of changes must not keep a worker here.
const MESSAGES_MAX: usize = 64;

/// The longest datagram of netlink messages that the kernel sends for a dump.
const BUFFER_BYTES: usize = 32 << 10;

// From linux/rtnetlink.h, linux/netlink.h and linux/neighbour.h.
const RTMGRP_NEIGH: u32 = 4;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const HEADER_BYTES: usize = 16;
const NEIGHBOUR_BYTES: usize = 12;
const ATTRIBUTE_BYTES: usize = 4;
/// NUD_REACHABLE, NUD_DELAY, NUD_PROBE, NUD_NOARP, NUD_PERMANENT.
const CONFIRMED: u16 = 0x02 | 0x08 | 0x10 | 0x40 | 0x80;

/// The kernel's neighbour table of one interface.
pub struct Neighbours {
    socket: OwnedFd,
    interface: u32,
    table: Table,
    buffer: Box<[u8; BUFFER_BYTES]>,
    /// Messages were lost, or the table was not asked for yet.
    ask: bool,
}

impl Neighbours {
    /// Opens the table of `interface`, in the namespace of the calling thread. Needs no right.
    ///
    /// # Errors
    /// When the process is out of descriptors or the kernel has no netlink.
    pub fn open(interface: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // NETLINK_ROUTE is 0, which is what no protocol stands for.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_NEIGH))?;
        let buffer: Box<[u8; BUFFER_BYTES]> =
            vec![0; BUFFER_BYTES].into_boxed_slice().try_into().map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut neighbours = Self { socket, interface, table: Table::new(), buffer, ask: true };
        neighbours.follow();
        Ok(neighbours)
    }

    /// The confirmed hardware address of a neighbour.
    pub fn find(&self, ip: IpAddr) -> Option<Mac> {
        self.table.find(ip)
    }

    /// Takes in what the kernel has said since the last look; never blocks. One system call if it said nothing.
    pub fn follow(&mut self) {
        if self.ask {
            // What is on its way is older than the answer, or will be said again.
            self.table.clear();
            let request = request_of_all();
            // Refused while another dump is under way (EBUSY): asked again at the next look.
            self.ask = rustix::net::send(&self.socket, &request, SendFlags::DONTWAIT).is_err();
        }
        for _ in 0..MESSAGES_MAX {
            match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    let Some(messages) = self.buffer.get(..length) else {
                        self.ask = true;
                        continue;
                    };
                    self.ask |= take_in(messages, self.interface, &mut self.table);
                }
                Err(Errno::INTR) => {}
                // The kernel had more to say than the socket could hold.
                Err(Errno::NOBUFS) => self.ask = true,
                Err(_) => return,
            }
        }
    }
}

/// RTM_GETNEIGH for all neighbours of all families.
fn request_of_all() -> [u8; HEADER_BYTES + NEIGHBOUR_BYTES] {
    let mut request = [0; HEADER_BYTES + NEIGHBOUR_BYTES];
    request[..4].copy_from_slice(&((HEADER_BYTES + NEIGHBOUR_BYTES) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETNEIGH.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Keeps what a datagram of netlink messages says of `interface`. True if the table has to be asked for again.
fn take_in(mut messages: &[u8], interface: u32, table: &mut Table) -> bool {
    while let Some(length) = word(messages, 0).map(u32::from_ne_bytes) {
        let length = length as usize;
        let Some(message) = messages.get(..length).filter(|message| message.len() >= HEADER_BYTES) else {
            return false;
        };
        match word(message, 4).map(u16::from_ne_bytes) {
            Some(NLMSG_ERROR) => return true,
            Some(kind @ (RTM_NEWNEIGH | RTM_DELNEIGH)) => {
                // None: of another interface, without an address, or not as long as it claims.
                let _ = take_in_neighbour(message, interface, kind == RTM_NEWNEIGH, table);
            }
            _ => {}
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn take_in_neighbour(message: &[u8], interface: u32, exists: bool, table: &mut Table) -> Option<()> {
    // struct ndmsg: family, padding, interface, state, flags, type.
    let of_interface = word(message, HEADER_BYTES + 4).map(u32::from_ne_bytes)?;
    let state = word(message, HEADER_BYTES + 8).map(u16::from_ne_bytes)?;
    if of_interface != interface {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    let mut at = HEADER_BYTES + NEIGHBOUR_BYTES;
    while let (Some(length), Some(kind)) = (word(message, at), word(message, at + 2)) {
        let length = usize::from(u16::from_ne_bytes(length));
        let value = message.get(at + ATTRIBUTE_BYTES..at + length)?;
        match u16::from_ne_bytes(kind) {
            NDA_DST => {
                ip = match value.len() {
                    4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
                    16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
                    _ => None,
                };
            }
            NDA_LLADDR => mac = Mac::try_from(value).ok(),
            _ => {}
        }
        at += length.next_multiple_of(4);
    }
    let usable = |mac: &Mac| exists && state & CONFIRMED != 0 && mac[0] & 1 == 0 && *mac != [0; 6];
    match (ip?, mac.filter(usable)) {
        (ip, Some(mac)) => table.set(ip, mac),
        (ip, None) => table.remove(ip),
    }
    Some(())
}

/// Addresses by a direct map: every IP address has one place, which it may lose to another.
struct Table {
    places: Box<[Option<(Ipv6Addr, Mac)>]>,
}

impl Table {
    fn new() -> Self {
        Self { places: vec![None; PLACES].into_boxed_slice() }
    }

    fn key(ip: IpAddr) -> (usize, Ipv6Addr) {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let bits = ip.to_bits();
        // Who is on the link can choose his address and so displace another's entry: then that one is answered by a socket.
        let mixed = (bits as u64 ^ (bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 52) as usize % PLACES, ip)
    }

    fn find(&self, ip: IpAddr) -> Option<Mac> {
        let (place, ip) = Self::key(ip);
        self.places[place].filter(|(held, _)| *held == ip).map(|(_, mac)| mac)
    }

    fn set(&mut self, ip: IpAddr, mac: Mac) {
        let (place, ip) = Self::key(ip);
        self.places[place] = Some((ip, mac));
    }

    fn remove(&mut self, ip: IpAddr) {
        let (place, ip) = Self::key(ip);
        if self.places[place].is_some_and(|(held, _)| held == ip) {
            self.places[place] = None;
        }
    }

    fn clear(&mut self) {
        self.places.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 1, 2, 3, 4, 5];

    fn message(kind: u16, interface: u32, state: u16, ip: &[u8], mac: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0];
        body.extend(interface.to_ne_bytes());
        body.extend(state.to_ne_bytes());
        body.extend([0, 0]);
        for (kind, value) in [(NDA_DST, ip), (NDA_LLADDR, mac)] {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = (HEADER_BYTES as u32 + body.len() as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn confirmed_neighbours_are_known_and_others_forgotten() {
        let mut table = Table::new();
        let ip: IpAddr = "192.0.2.7".parse().expect("an address");
        for (kind, interface, state, known) in [
            (RTM_NEWNEIGH, 3, 0x02, true),
            (RTM_NEWNEIGH, 4, 0x20, true),  // failed, but elsewhere
            (RTM_NEWNEIGH, 3, 0x04, false), // stale
            (RTM_NEWNEIGH, 3, 0x80, true),
            (RTM_DELNEIGH, 3, 0x80, false),
        ] {
            assert!(!take_in(&message(kind, interface, state, &[192, 0, 2, 7], &MAC), 3, &mut table));
            assert_eq!(table.find(ip), known.then_some(MAC), "{kind} {interface} {state:x}");
        }
        let both = [message(RTM_NEWNEIGH, 3, 2, &[9; 16], &MAC), message(RTM_NEWNEIGH, 3, 2, &[10, 0, 0, 1], &MAC)];
        assert!(!take_in(&both.concat(), 3, &mut table));
        assert_eq!(table.find(IpAddr::from([9; 16])), Some(MAC));
        assert_eq!(table.find("10.0.0.1".parse().expect("an address")), Some(MAC));
        take_in(&message(RTM_NEWNEIGH, 3, 2, &[10, 0, 0, 1], &[0xff; 6]), 3, &mut table);
        assert_eq!(table.find("10.0.0.1".parse().expect("an address")), None, "a group address");
    }

    #[test]
    fn messages_cut_anywhere_are_harmless() {
        let whole = message(RTM_NEWNEIGH, 3, 2, &[9; 16], &MAC);
        for length in 0..whole.len() {
            take_in(&whole[..length], 3, &mut Table::new());
            // With a length that claims just what is there.
            let mut shortened = whole[..length].to_vec();
            if length >= 4 {
                shortened[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            }
            take_in(&shortened, 3, &mut Table::new());
        }
        for at in 0..whole.len() {
            let mut mutated = whole.clone();
            mutated[at] ^= 0xff;
            take_in(&mutated, 3, &mut Table::new());
        }
        let zero_attribute = [&whole[..HEADER_BYTES + NEIGHBOUR_BYTES], &[0; 28]].concat();
        take_in(&zero_attribute, 3, &mut Table::new());
    }
}
