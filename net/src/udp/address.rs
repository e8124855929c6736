//! Addresses as the kernel writes them, to and from Rust's: sockaddr_in, sockaddr_in6, in_pktinfo, in6_pktinfo.
//!
//! What always holds: outside this file IPv4 addresses are never mapped into IPv6; on an IPv6 socket they always are.
//! Sources: ip(7), ipv6(7), cmsg(3).

use super::slots::Control;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The address family that a socket was opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// `address` as a name that a socket of `family` can send to. IPv6 on an IPv4 socket becomes a name of a family that the
/// kernel refuses, so that it is counted like everything that cannot be sent.
pub(super) fn encode_name(family: Family, address: SocketAddr) -> (libc::sockaddr_in6, usize) {
    let length = size_of::<libc::sockaddr_in6>();
    let v6 = |ip: Ipv6Addr, port: u16, scope: u32| libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
        sin6_scope_id: scope,
    };
    match (family, address) {
        (Family::V4, SocketAddr::V4(address)) => {
            // A sockaddr_in lies within the storage of a sockaddr_in6: family and port at the same places, and the
            // address where that one has its flow information.
            const { assert!(offset_of!(libc::sockaddr_in, sin_port) == offset_of!(libc::sockaddr_in6, sin6_port)) };
            const { assert!(offset_of!(libc::sockaddr_in, sin_addr) == offset_of!(libc::sockaddr_in6, sin6_flowinfo)) };
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: u32::from_ne_bytes(address.ip().octets()),
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            };
            (name, size_of::<libc::sockaddr_in>())
        }
        (Family::V6, SocketAddr::V4(address)) => (v6(address.ip().to_ipv6_mapped(), address.port(), 0), length),
        (_, SocketAddr::V6(address)) => (v6(*address.ip(), address.port(), address.scope_id()), length),
    }
}

/// The address in a name that the kernel wrote; `None` for a family other than IPv4 and IPv6.
pub(super) fn decode_name(name: &libc::sockaddr_in6, length: usize) -> Option<SocketAddr> {
    let port = u16::from_be(name.sin6_port);
    match i32::from(name.sin6_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            let ip = Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

/// Bytes of a cmsghdr, which its data follow at once (CMSG_ALIGN of it is itself on 64-bit machines).
const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
const V4_BYTES: usize = size_of::<libc::in_pktinfo>();
const V6_BYTES: usize = size_of::<libc::in6_pktinfo>();
const _: () = assert!(HEADER_BYTES.is_multiple_of(size_of::<u64>()));
const _: () = assert!(HEADER_BYTES + V6_BYTES.next_multiple_of(8) <= size_of::<Control>());

/// Control data that makes the kernel send from `local`, and their length. `None` if a socket of `family` cannot.
pub(super) fn encode_source(family: Family, local: IpAddr) -> Option<(Control, usize)> {
    let mut bytes = [0u8; size_of::<Control>()];
    let (level, kind, data_bytes) = match (family, local) {
        (Family::V4, IpAddr::V4(ip)) => {
            let at = HEADER_BYTES + offset_of!(libc::in_pktinfo, ipi_spec_dst);
            bytes[at..at + 4].copy_from_slice(&ip.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, V4_BYTES)
        }
        (Family::V6, local) => {
            let ip = match local {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let at = HEADER_BYTES + offset_of!(libc::in6_pktinfo, ipi6_addr);
            bytes[at..at + 16].copy_from_slice(&ip.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, V6_BYTES)
        }
        (Family::V4, IpAddr::V6(_)) => return None,
    };
    let length = HEADER_BYTES + data_bytes;
    let at = offset_of!(libc::cmsghdr, cmsg_len);
    bytes[at..at + size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
    let at = offset_of!(libc::cmsghdr, cmsg_level);
    bytes[at..at + 4].copy_from_slice(&level.to_ne_bytes());
    let at = offset_of!(libc::cmsghdr, cmsg_type);
    bytes[at..at + 4].copy_from_slice(&kind.to_ne_bytes());
    Some((words(&bytes), length.next_multiple_of(8)))
}

/// Where a datagram arrived, as far as its control data say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Our address that it was sent to, unless that is none to answer from (multicast and broadcast).
    pub at: Option<IpAddr>,
    /// Index of the interface, 0 for unknown.
    pub interface: u32,
}

/// Where a datagram arrived, from its control data.
pub(super) fn decode_destination(control: &Control, length: usize) -> Arrived {
    let mut bytes = [0u8; size_of::<Control>()];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(control) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    // The socket asks for no other control data, so what there is, is the first.
    let integer = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let level = integer(offset_of!(libc::cmsghdr, cmsg_level));
    let kind = integer(offset_of!(libc::cmsghdr, cmsg_type));
    let (ip, interface) = match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) if length >= HEADER_BYTES + V4_BYTES => {
            let at = HEADER_BYTES + offset_of!(libc::in_pktinfo, ipi_spec_dst);
            let ip = IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).expect("four bytes"));
            (ip, integer(HEADER_BYTES + offset_of!(libc::in_pktinfo, ipi_ifindex)))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if length >= HEADER_BYTES + V6_BYTES => {
            let at = HEADER_BYTES + offset_of!(libc::in6_pktinfo, ipi6_addr);
            let ip = IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).expect("sixteen bytes")).to_canonical();
            (ip, integer(HEADER_BYTES + offset_of!(libc::in6_pktinfo, ipi6_ifindex)))
        }
        _ => return Arrived::default(),
    };
    let unusable = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    Arrived { at: (!unusable).then_some(ip), interface: interface.cast_unsigned() }
}

fn words(bytes: &[u8; size_of::<Control>()]) -> Control {
    let mut control = Control::default();
    for (word, chunk) in control.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
    }
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for text in ["10.1.2.3:4567", "[fe80::1%3]:9", "[2001:db8::7]:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            let (name, length) = encode_name(Family::V6, address);
            assert_eq!(decode_name(&name, length), Some(address));
        }
        let address = "192.0.2.1:80".parse().expect("an address");
        let (name, length) = encode_name(Family::V4, address);
        assert_eq!(decode_name(&name, length), Some(address));
    }

    #[test]
    fn a_source_is_read_back_as_a_destination() {
        for (family, text) in [(Family::V4, "10.0.0.1"), (Family::V6, "10.0.0.1"), (Family::V6, "2001:db8::1")] {
            let ip: IpAddr = text.parse().expect("an address");
            let (control, length) = encode_source(family, ip).expect("a matching family");
            assert_eq!(decode_destination(&control, length), Arrived { at: Some(ip), interface: 0 });
        }
        assert_eq!(encode_source(Family::V4, IpAddr::V6(Ipv6Addr::LOCALHOST)), None);
    }

    #[test]
    fn multicast_is_no_source() {
        let (control, length) = encode_source(Family::V6, "ff02::1".parse().expect("an address")).expect("encoded");
        assert_eq!(decode_destination(&control, length).at, None);
        assert_eq!(decode_destination(&control, 0), Arrived::default());
    }
}
