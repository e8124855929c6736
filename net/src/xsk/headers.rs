//! Ethernet, VLAN, IP and UDP headers: read from what arrives, written before what leaves.
//!
//! What always holds: no bytes panic us; what is accepted can be answered, that is, its sender is one host (no group, no
//! loopback, no port 0 trick that would make us send to many), and it is a whole datagram to our port. Checksums of what arrives
//! are not looked at: on veth they are partial, and what they would protect is signed. Checksums of what leaves are complete.
//!
//! Sources: IEEE 802.3, 802.1Q; RFC 791, 6864 (no identification in an atomic datagram); RFC 8200; RFC 768.

use super::checksum::Sum;
use super::link::{Link, TAGS_MAX, Tag};
use crate::{DATAGRAM_MAX_BYTES, Peer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;

const ETHERNET_BYTES: usize = 14;
const TAG_BYTES: usize = 4;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
/// The shortest Ethernet frame without its check sequence; what is shorter is padded with zeros.
const FRAME_MIN_BYTES: usize = 60;
/// The longest headers that are ever written.
pub(super) const HEADERS_MAX_BYTES: usize = ETHERNET_BYTES + TAGS_MAX * TAG_BYTES + IPV6_BYTES + UDP_BYTES;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_CUSTOMER_TAG: u16 = 0x8100;
const TYPE_SERVICE_TAG: u16 = 0x88a8;

const PROTOCOL_UDP: u8 = 17;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_DESTINATION_OPTIONS: u8 = 60;
/// IPv6 extension headers that are walked; a packet with more is not taken.
const EXTENSIONS_MAX: usize = 6;

const IPV4_DO_NOT_FRAGMENT: u16 = 1 << 14;
/// The more-fragments flag and the offset.
const IPV4_FRAGMENT: u16 = 0x3fff;
const HOPS: u8 = 64;

/// Why a frame is not a datagram for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotADatagram {
    /// It ends before its headers do, or they contradict each other about lengths.
    Truncated,
    /// Not IP, too many tags or extension headers, a fragment, not UDP, or another port.
    NotOurs,
    /// Its source or destination is not one host that could be answered, or answer.
    Address,
    /// A payload longer than [`DATAGRAM_MAX_BYTES`].
    Oversized,
}

/// Why a datagram cannot leave by this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CannotSend {
    /// It is not known which of our addresses to send from.
    NoSource,
    /// Our address and the peer's are of two families, or the peer's is none that can be sent to.
    Address,
}

/// A datagram within a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) payload: Range<usize>,
    pub(super) peer: Peer,
}

/// How outgoing packets are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// DSCP and ECN.
    pub(super) traffic_class: u8,
    /// Priority code point of VLAN tags, 0 to 7.
    pub(super) vlan_priority: u8,
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> Result<[u8; N], NotADatagram> {
    let found = frame.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or(NotADatagram::Truncated)
}

fn number(frame: &[u8], at: usize) -> Result<u16, NotADatagram> {
    Ok(u16::from_be_bytes(bytes(frame, at)?))
}

/// Finds the datagram in a frame that came from `queue` of `interface`, if it is one to `port`.
pub(super) fn parse(frame: &[u8], port: u16, queue: u16, interface: u32) -> Result<Datagram, NotADatagram> {
    let local_mac: [u8; 6] = bytes(frame, 0)?;
    let neighbour: [u8; 6] = bytes(frame, 6)?;
    // An answer to a group address would be a broadcast on the air.
    if neighbour[0] & 1 != 0 || local_mac[0] & 1 != 0 || neighbour == [0; 6] {
        return Err(NotADatagram::Address);
    }
    let mut link = Link { local: local_mac, neighbour, tags: Default::default(), tag_count: 0, queue };
    let mut at = ETHERNET_BYTES;
    let mut kind = number(frame, at - 2)?;
    while kind == TYPE_CUSTOMER_TAG || kind == TYPE_SERVICE_TAG {
        let tag = link.tags.get_mut(usize::from(link.tag_count)).ok_or(NotADatagram::NotOurs)?;
        *tag = Tag { service: kind == TYPE_SERVICE_TAG, identifier: number(frame, at)? & 0xfff };
        link.tag_count += 1;
        kind = number(frame, at + 2)?;
        at += TAG_BYTES;
    }
    let (udp, source, destination) = match kind {
        TYPE_IPV4 => parse_ipv4(frame, at)?,
        TYPE_IPV6 => parse_ipv6(frame, at)?,
        _ => return Err(NotADatagram::NotOurs),
    };
    let source_port = number(frame, udp.start)?;
    if number(frame, udp.start + 2)? != port {
        return Err(NotADatagram::NotOurs);
    }
    let length = usize::from(number(frame, udp.start + 4)?);
    if length < UDP_BYTES || length > udp.len() {
        return Err(NotADatagram::Truncated);
    }
    if length - UDP_BYTES > DATAGRAM_MAX_BYTES {
        return Err(NotADatagram::Oversized);
    }
    let address = match source {
        IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, source_port)),
        IpAddr::V6(ip) => {
            // As the kernel does for sockets: only a link-local address needs to say on which link.
            let scope = if ip.is_unicast_link_local() { interface } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(ip, source_port, 0, scope))
        }
    };
    let peer = Peer { address, local: Some(destination), link: link.encode(interface) };
    Ok(Datagram { payload: udp.start + UDP_BYTES..udp.start + length, peer })
}

/// The range of the UDP datagram, source and destination.
type Found = (Range<usize>, IpAddr, IpAddr);

fn parse_ipv4(frame: &[u8], at: usize) -> Result<Found, NotADatagram> {
    let header: [u8; IPV4_BYTES] = bytes(frame, at)?;
    let header_bytes = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 {
        return Err(NotADatagram::NotOurs);
    }
    if header_bytes < IPV4_BYTES || total < header_bytes || frame.len() - at < total {
        return Err(NotADatagram::Truncated);
    }
    if header[9] != PROTOCOL_UDP || u16::from_be_bytes([header[6], header[7]]) & IPV4_FRAGMENT != 0 {
        return Err(NotADatagram::NotOurs);
    }
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let (source, destination) = (address(12), address(16));
    if !is_host_v4(source) || !is_host_v4(destination) {
        return Err(NotADatagram::Address);
    }
    Ok((at + header_bytes..at + total, source.into(), destination.into()))
}

fn parse_ipv6(frame: &[u8], at: usize) -> Result<Found, NotADatagram> {
    let header: [u8; IPV6_BYTES] = bytes(frame, at)?;
    if header[0] >> 4 != 6 {
        return Err(NotADatagram::NotOurs);
    }
    let end = at + IPV6_BYTES + usize::from(u16::from_be_bytes([header[4], header[5]]));
    // Behind the end there may be padding, which must not be taken for headers.
    let packet = frame.get(..end).ok_or(NotADatagram::Truncated)?;
    let mut next = header[6];
    let mut start = at + IPV6_BYTES;
    let mut extensions = 0;
    while next != PROTOCOL_UDP {
        if !matches!(next, IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION_OPTIONS) || extensions == EXTENSIONS_MAX {
            return Err(NotADatagram::NotOurs);
        }
        let [after, units, _, segments_left]: [u8; 4] = bytes(packet, start)?;
        if next == IPV6_ROUTING && segments_left != 0 {
            // It has further to go; we are a stop on its way.
            return Err(NotADatagram::NotOurs);
        }
        next = after;
        start += 8 + usize::from(units) * 8;
        extensions += 1;
    }
    if start > end {
        return Err(NotADatagram::Truncated);
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("sixteen bytes"));
    let (source, destination) = (address(8), address(24));
    if !is_host_v6(source) || !is_host_v6(destination) {
        return Err(NotADatagram::Address);
    }
    Ok((start..end, source.into(), destination.into()))
}

/// An address of one host on a link, as source and as destination.
fn is_host_v4(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.octets()[0] == 0 || ip.octets()[0] >= 240)
}

fn is_host_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.to_ipv4_mapped().is_some())
}

/// What a datagram of `payload_bytes` to `peer` takes of an interface's MTU: the IP packet.
pub(super) fn ip_bytes(peer: &Peer, payload_bytes: usize) -> usize {
    let header = if peer.address.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES };
    header + UDP_BYTES + payload_bytes
}

/// Writes the packet with `parts` as payload, to `peer` by `link`, to the beginning of `frame`, which must have room for [`HEADERS_MAX_BYTES`] more than
/// that. Returns the packet's length.
pub(super) fn write(
    frame: &mut [u8],
    peer: &Peer,
    link: &Link,
    port: u16,
    marks: Marks,
    parts: &[&[u8]],
) -> Result<usize, CannotSend> {
    let local = peer.local.ok_or(CannotSend::NoSource)?;
    let remote_port = peer.address.port();
    if remote_port == 0 {
        return Err(CannotSend::Address);
    }
    frame[..6].copy_from_slice(&link.neighbour);
    frame[6..12].copy_from_slice(&link.local);
    let mut at = 12;
    for tag in link.tags() {
        let kind = if tag.service { TYPE_SERVICE_TAG } else { TYPE_CUSTOMER_TAG };
        let control = u16::from(marks.vlan_priority) << 13 | tag.identifier & 0xfff;
        frame[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        frame[at + 2..at + 4].copy_from_slice(&control.to_be_bytes());
        at += TAG_BYTES;
    }
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let udp_bytes = (UDP_BYTES + payload_bytes) as u16;
    let (kind, addresses, ip_bytes) = match (local, peer.address.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) if is_host_v4(remote) => {
            let (header, addresses) = ipv4_header(local, remote, marks, udp_bytes);
            frame[at + 2..at + 2 + IPV4_BYTES].copy_from_slice(&header);
            (TYPE_IPV4, addresses, IPV4_BYTES)
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) if is_host_v6(remote) => {
            let header = ipv6_header(local, remote, marks, udp_bytes);
            frame[at + 2..at + 2 + IPV6_BYTES].copy_from_slice(&header);
            (TYPE_IPV6, Sum::default().add(&local.octets()).add(&remote.octets()), IPV6_BYTES)
        }
        _ => return Err(CannotSend::Address),
    };
    frame[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    let udp = at + 2 + ip_bytes;
    let payload = udp + UDP_BYTES;
    // Payload and numbers are added as they come, not read back from where they were just written, which would stall; only a
    // part that begins at an odd offset makes it necessary.
    let mut end = payload;
    let mut sum = Sum::default();
    let mut summed_to = payload;
    for part in parts {
        if summed_to == end && (end - payload).is_multiple_of(2) {
            sum = sum.add(part);
            summed_to += part.len();
        }
        frame[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    if summed_to < end {
        sum = Sum::default().add(&frame[payload..end]);
    }
    // The pseudo-header (addresses, protocol, length), the header, and the payload.
    let pseudo = addresses.add_number(u16::from(PROTOCOL_UDP)).add_number(udp_bytes);
    let header = pseudo.add_number(port).add_number(remote_port).add_number(udp_bytes);
    let checksum = header.add_sum(sum).finish();
    // Zero would say that there is none (RFC 768).
    let checksum = if checksum == [0, 0] { [0xff, 0xff] } else { checksum };
    let ([p0, p1], [r0, r1], [l0, l1]) = (port.to_be_bytes(), remote_port.to_be_bytes(), udp_bytes.to_be_bytes());
    frame[udp..payload].copy_from_slice(&[p0, p1, r0, r1, l0, l1, checksum[0], checksum[1]]);
    if end < FRAME_MIN_BYTES {
        frame[end..FRAME_MIN_BYTES].fill(0);
        end = FRAME_MIN_BYTES;
    }
    Ok(end)
}

/// The header, and the sum over its addresses.
fn ipv4_header(local: Ipv4Addr, remote: Ipv4Addr, marks: Marks, udp_bytes: u16) -> ([u8; IPV4_BYTES], Sum) {
    const VERSION_AND_LENGTH: u8 = 4 << 4 | (IPV4_BYTES / 4) as u8;
    let total = IPV4_BYTES as u16 + udp_bytes;
    let addresses = Sum::default().add_word(local.octets()).add_word(remote.octets());
    let [c0, c1] = addresses
        .add_number(u16::from_be_bytes([VERSION_AND_LENGTH, marks.traffic_class]))
        .add_number(total)
        .add_number(IPV4_DO_NOT_FRAGMENT)
        .add_number(u16::from_be_bytes([HOPS, PROTOCOL_UDP]))
        .finish();
    let ([t0, t1], [f0, f1]) = (total.to_be_bytes(), IPV4_DO_NOT_FRAGMENT.to_be_bytes());
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (local.octets(), remote.octets());
    let header = [
        [VERSION_AND_LENGTH, marks.traffic_class, t0, t1],
        // No identification: the packet is never fragmented.
        [0, 0, f0, f1],
        [HOPS, PROTOCOL_UDP, c0, c1],
        [s0, s1, s2, s3],
        [d0, d1, d2, d3],
    ];
    (*header.as_flattened().first_chunk().expect("five words"), addresses)
}

fn ipv6_header(local: Ipv6Addr, remote: Ipv6Addr, marks: Marks, udp_bytes: u16) -> [u8; IPV6_BYTES] {
    let mut header = [0; IPV6_BYTES];
    let first = 6 << 28 | u32::from(marks.traffic_class) << 20;
    header[..4].copy_from_slice(&first.to_be_bytes());
    header[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
    header[6] = PROTOCOL_UDP;
    header[7] = HOPS;
    header[8..24].copy_from_slice(&local.octets());
    header[24..40].copy_from_slice(&remote.octets());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkData;
    use proptest::prelude::*;

    const PORT: u16 = 7433;
    const MARKS: Marks = Marks { traffic_class: 0xc0, vlan_priority: 6 };
    const LOCAL_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn config() -> ProptestConfig {
        let cases = if cfg!(miri) { 8 } else { 512 };
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    const INTERFACE: u32 = 9;

    fn link(tag_count: u8, tags: [(bool, u16); 2], queue: u16) -> Link {
        let tag = |at: usize| {
            let used = at < usize::from(tag_count);
            if used { Tag { service: tags[at].0, identifier: tags[at].1 & 0xfff } } else { Tag::default() }
        };
        Link { local: LOCAL_MAC, neighbour: NEIGHBOUR, tags: [tag(0), tag(1)], tag_count, queue }
    }

    /// Addresses that a host may have.
    fn hosts() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        let v4 = (any::<u32>(), any::<u32>()).prop_map(|(a, b)| (Ipv4Addr::from(a), Ipv4Addr::from(b)));
        let v6 = (any::<u128>(), any::<u128>()).prop_map(|(a, b)| (Ipv6Addr::from(a), Ipv6Addr::from(b)));
        prop_oneof![
            v4.prop_filter("hosts", |(a, b)| is_host_v4(*a) && is_host_v4(*b)).prop_map(|(a, b)| (a.into(), b.into())),
            v6.prop_filter("hosts", |(a, b)| is_host_v6(*a) && is_host_v6(*b)).prop_map(|(a, b)| (a.into(), b.into())),
        ]
    }

    /// What an answer looks like to the one who gets it: MAC addresses swapped back.
    fn at_the_peer(frame: &[u8]) -> Vec<u8> {
        [&frame[6..12], &frame[..6], &frame[12..]].concat()
    }

    /// The sum over a datagram and its pseudo-header, checksum included, by the definition: all ones if it is right.
    fn sum_at_receiver(frame: &[u8], peer: &Peer, udp: usize, end: usize) -> u16 {
        let mut bytes = Vec::new();
        for ip in [peer.local.expect("set"), peer.address.ip()] {
            match ip {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
        }
        bytes.extend([0, PROTOCOL_UDP]);
        bytes.extend((end as u16 - udp as u16).to_be_bytes());
        bytes.extend(&frame[udp..end]);
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn what_is_written_is_read_back_with_a_right_checksum(
            (local, remote) in hosts(),
            remote_port in 1u16..,
            tag_count in 0u8..=2,
            tags: [(bool, u16); 2],
            queue: u16,
            payload in proptest::collection::vec(any::<u8>(), 0..=DATAGRAM_MAX_BYTES),
            cut in any::<proptest::sample::Index>(),
        ) {
            let scope = match remote {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => INTERFACE,
                _ => 0,
            };
            let address = match remote {
                IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, remote_port)),
                IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, remote_port, 0, scope)),
            };
            let link = link(tag_count, tags, queue);
            let peer = Peer { address, local: Some(local), link: link.encode(INTERFACE) };
            let mut frame = vec![0xee; 2048];
            let (head, tail) = payload.split_at(cut.index(payload.len() + 1));
            let length = write(&mut frame, &peer, &link, PORT, MARKS, &[head, tail]).expect("a peer that can be answered");
            prop_assert!(frame[length..].iter().all(|byte| *byte == 0xee), "nothing is written behind the packet");
            prop_assert!(length >= FRAME_MIN_BYTES);

            let udp = 14 + 4 * usize::from(tag_count) + if remote.is_ipv4() { 20 } else { 40 };
            let end = udp + 8 + payload.len();
            prop_assert_eq!(sum_at_receiver(&frame, &peer, udp, end), 0xffff);
            prop_assert_ne!(&frame[udp + 6..udp + 8], [0u8, 0]);
            prop_assert_eq!(ip_bytes(&peer, payload.len()), end - 14 - 4 * usize::from(tag_count));

            // An echo of it to us, seen as a request: parse with source and destination exchanged.
            let request = at_the_peer(&frame[..length]);
            let seen = parse(&request, remote_port, queue, INTERFACE).expect("a whole datagram");
            prop_assert_eq!(&request[seen.payload.clone()], &payload[..]);
            prop_assert_eq!(seen.peer.address.ip(), local);
            prop_assert_eq!(seen.peer.local, Some(remote));
            prop_assert_eq!(seen.peer.link, peer.link);
            prop_assert_eq!(parse(&request, remote_port.wrapping_add(1), queue, INTERFACE), Err(NotADatagram::NotOurs));
            // Cut anywhere before its end, it is no datagram.
            let short = cut.index(end);
            prop_assert!(parse(&request[..short], remote_port, queue, INTERFACE).is_err());
        }

        #[test]
        fn no_bytes_panic_and_what_is_read_lies_within_them(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 0usize..5,
        ) {
            // Near enough to a packet that every branch is reached.
            let starts: [&[u8]; 5] = [&[], &[0x08, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0, 0, 1, 0x08, 0, 0x46], &[0x88, 0xa8, 0, 1, 0x86, 0xdd, 0x60]];
            for (at, byte) in starts[kind].iter().enumerate() {
                if let Some(place) = bytes.get_mut(12 + at) {
                    *place = *byte;
                }
            }
            for place in [0, 6] {
                if let Some(first) = bytes.get_mut(place) {
                    *first &= 0xfe;
                }
            }
            if let Ok(datagram) = parse(&bytes, PORT, 0, 1) {
                prop_assert!(datagram.payload.end <= bytes.len() && datagram.payload.len() <= DATAGRAM_MAX_BYTES);
            }
        }
    }

    /// An IPv6 frame whose UDP header follows these extension headers, given as (kind, units, fourth byte).
    fn with_extensions(extensions: &[(u8, u8, u8)]) -> Vec<u8> {
        let mut rest = Vec::new();
        for (place, (_, units, fourth)) in extensions.iter().enumerate() {
            let next = extensions.get(place + 1).map_or(PROTOCOL_UDP, |extension| extension.0);
            rest.extend([next, *units, 0, *fourth]);
            rest.extend(vec![0; 4 + usize::from(*units) * 8]);
        }
        rest.extend(4000u16.to_be_bytes());
        rest.extend(PORT.to_be_bytes());
        rest.extend([0, 12, 0, 0]);
        rest.extend(b"body");
        let mut frame = [LOCAL_MAC, NEIGHBOUR].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((rest.len() as u16).to_be_bytes());
        frame.extend([extensions.first().map_or(PROTOCOL_UDP, |extension| extension.0), 64]);
        frame.extend(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2).octets());
        frame.extend(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1).octets());
        frame.extend(rest);
        frame
    }

    #[test]
    fn six_extension_headers_are_walked_and_no_more() {
        let walked = [(0, 0, 0), (60, 3, 9), (43, 1, 0), (60, 0, 0), (60, 0, 0), (60, 31, 0)];
        for count in 0..=6 {
            let frame = with_extensions(&walked[..count]);
            let datagram = parse(&frame, PORT, 0, 1).expect("a datagram");
            assert_eq!(&frame[datagram.payload], b"body");
        }
        assert_eq!(parse(&with_extensions(&[(60, 0, 0); 7]), PORT, 0, 1), Err(NotADatagram::NotOurs));
        for foreign in [44, 51, 50, 59, 6, 58] {
            assert_eq!(
                parse(&with_extensions(&[(foreign, 0, 0)]), PORT, 0, 1),
                Err(NotADatagram::NotOurs),
                "{foreign}"
            );
        }
        // A routing header with a stop to come.
        assert_eq!(parse(&with_extensions(&[(43, 0, 1)]), PORT, 0, 1), Err(NotADatagram::NotOurs));
        // One that claims to be longer than the packet.
        let mut frame = with_extensions(&[(60, 0, 0)]);
        frame[14 + 40 + 1] = 255;
        assert_eq!(parse(&frame, PORT, 0, 1), Err(NotADatagram::Truncated));
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        // The payload's word is chosen so that everything sums up to all ones, whose complement would be zero.
        let peer = Peer {
            address: "198.18.0.2:4000".parse().expect("an address"),
            local: Some(Ipv4Addr::new(198, 18, 0, 1).into()),
            link: LinkData::default(),
        };
        let link = link(0, [(false, 0); 2], 0);
        let mut frame = [0; 2048];
        write(&mut frame, &peer, &link, PORT, MARKS, &[&[0, 0]]).expect("a packet");
        let word = [frame[40], frame[41]];
        write(&mut frame, &peer, &link, PORT, MARKS, &[&word]).expect("a packet");
        assert_eq!(frame[40..42], [0xff, 0xff]);
        assert_eq!(sum_at_receiver(&frame, &peer, 34, 44), 0xffff);
    }

    #[test]
    fn peers_that_cannot_be_answered_are_refused_by_reason() {
        let good = Peer {
            address: "198.18.0.2:4000".parse().expect("an address"),
            local: Some(Ipv4Addr::new(198, 18, 0, 1).into()),
            link: LinkData::default(),
        };
        let link = link(0, [(false, 0); 2], 0);
        let to = |address: &str| Peer { address: address.parse().expect("an address"), ..good };
        let mut frame = [0; 2048];
        for (peer, reason) in [
            (Peer { local: None, ..good }, CannotSend::NoSource),
            (to("198.18.0.2:0"), CannotSend::Address),
            (to("224.0.0.1:9"), CannotSend::Address),
            (to("255.255.255.255:9"), CannotSend::Address),
            (to("[2001:2::2]:9"), CannotSend::Address),
        ] {
            assert_eq!(write(&mut frame, &peer, &link, PORT, MARKS, &[b"x"]), Err(reason), "{peer:?}");
        }
    }
}
