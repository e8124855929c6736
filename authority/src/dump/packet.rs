//! From an Ethernet frame or IP packet to the UDP datagram in it, and from a datagram to an IP packet that other tools can read.
//!
//! Layouts: RFC 791, RFC 8200, RFC 768, IEEE 802.1Q. Fragments and what is not UDP are no datagrams here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERNET_BYTES: usize = 14;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;
const PROTOCOL_UDP: u8 = 17;
const UDP_BYTES: usize = 8;
/// As many tags and extension headers as the filter walks; what has more is shown by nobody.
const TAGS_MAX: usize = 2;
const EXTENSIONS_MAX: usize = 6;

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Innermost VLAN, where the frame had a tag.
    pub vlan: Option<u16>,
    /// What follows the UDP header, as far as it is there.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The datagram of an Ethernet frame.
    pub fn of_frame(frame: &'a [u8]) -> Option<Self> {
        let mut at = ETHERNET_BYTES;
        let mut kind = read_u16(frame, 12)?;
        let mut vlan = None;
        for _ in 0..TAGS_MAX {
            if kind != TYPE_VLAN && kind != TYPE_SERVICE_VLAN {
                break;
            }
            vlan = Some(read_u16(frame, at)? & 0xfff);
            kind = read_u16(frame, at + 2)?;
            at += 4;
        }
        let packet = frame.get(at..)?;
        let datagram = match kind {
            TYPE_IPV4 => Self::of_ipv4(packet)?,
            TYPE_IPV6 => Self::of_ipv6(packet)?,
            _ => return None,
        };
        Some(Self { vlan, ..datagram })
    }

    /// The datagram of an IP packet.
    pub fn of_packet(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_ipv4(packet),
            6 => Self::of_ipv6(packet),
            _ => None,
        }
    }

    fn of_ipv4(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || header < 20 || *packet.get(9)? != PROTOCOL_UDP {
            return None;
        }
        // More fragments, or not the first.
        if read_u16(packet, 6)? & 0x3fff != 0 {
            return None;
        }
        let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?)));
        let end = usize::from(read_u16(packet, 2)?).min(packet.len());
        Self::of_udp(packet.get(header..end)?, address(12)?, address(16)?)
    }

    fn of_ipv6(packet: &'a [u8]) -> Option<Self> {
        if packet.first()? >> 4 != 6 {
            return None;
        }
        let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?)));
        let end = (40 + usize::from(read_u16(packet, 4)?)).min(packet.len());
        let (mut next, mut at) = (*packet.get(6)?, 40);
        for _ in 0..=EXTENSIONS_MAX {
            match next {
                PROTOCOL_UDP => return Self::of_udp(packet.get(at..end)?, address(8)?, address(24)?),
                // Hop by hop, routing, destination options: length in units of 8 bytes behind the first 8.
                0 | 43 | 60 => {
                    next = *packet.get(at)?;
                    at += 8 + 8 * usize::from(*packet.get(at + 1)?);
                }
                _ => return None,
            }
        }
        None
    }

    fn of_udp(udp: &'a [u8], source: IpAddr, destination: IpAddr) -> Option<Self> {
        let length = usize::from(read_u16(udp, 4)?).min(udp.len());
        Some(Self {
            source: SocketAddr::new(source, read_u16(udp, 0)?),
            destination: SocketAddr::new(destination, read_u16(udp, 2)?),
            vlan: None,
            payload: udp.get(UDP_BYTES..length)?,
        })
    }
}

/// The IP packet that carries a datagram, with valid checksums: what a worker received through AF_XDP or a socket has lost its headers,
/// and other tools want some. Ends of different families are both written as IPv6.
pub fn packet_of(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let udp_bytes = UDP_BYTES + payload.len();
    let mut packet = Vec::with_capacity(40 + udp_bytes);
    let mut sum = Checksum::default();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0]);
            packet.extend(((20 + udp_bytes) as u16).to_be_bytes());
            // No identification, do not fragment, 64 hops, UDP, checksum to come.
            packet.extend([0, 0, 0x40, 0, 64, PROTOCOL_UDP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let mut header = Checksum::default();
            header.add(&packet);
            packet[10..12].copy_from_slice(&header.finish().to_be_bytes());
            sum.add(&packet[12..20]);
        }
        (from, to) => {
            let v6 = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((udp_bytes as u16).to_be_bytes());
            packet.extend([PROTOCOL_UDP, 64]);
            packet.extend(v6(from).octets());
            packet.extend(v6(to).octets());
            sum.add(&packet[8..40]);
        }
    }
    let at = packet.len();
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend((udp_bytes as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    sum.add(&(udp_bytes as u16).to_be_bytes());
    sum.add(&[0, PROTOCOL_UDP]);
    sum.add(&packet[at..]);
    // Zero would say that there is none.
    let sum = match sum.finish() {
        0 => 0xffff,
        other => other,
    };
    packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The Internet checksum, RFC 1071.
#[derive(Default)]
struct Checksum(u32);

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            self.0 += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }

    fn finish(self) -> u16 {
        let folded = (self.0 >> 16) + (self.0 & 0xffff);
        !((folded + (folded >> 16)) as u16)
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(family: u8) -> (SocketAddr, SocketAddr) {
        match family {
            4 => ("192.0.2.7:4321".parse().unwrap(), "192.0.2.1:7450".parse().unwrap()),
            _ => ("[2001:db8::7]:4321".parse().unwrap(), "[2001:db8::1]:7450".parse().unwrap()),
        }
    }

    fn frame(tags: &[[u8; 4]], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in tags {
            frame.extend(tag);
        }
        frame.extend(if packet[0] >> 4 == 4 { TYPE_IPV4 } else { TYPE_IPV6 }.to_be_bytes());
        frame.extend(packet);
        frame
    }

    #[test]
    fn what_is_made_is_read_again_behind_any_tags() {
        for family in [4, 6] {
            let (source, destination) = ends(family);
            let packet = packet_of(source, destination, b"payload");
            let expected = Datagram { source, destination, vlan: None, payload: b"payload" };
            assert_eq!(Datagram::of_packet(&packet), Some(expected));
            assert_eq!(Datagram::of_frame(&frame(&[], &packet)), Some(expected));
            let tagged = frame(&[[0x88, 0xa8, 0, 9], [0x81, 0, 0xe0, 7]], &packet);
            assert_eq!(Datagram::of_frame(&tagged), Some(Datagram { vlan: Some(7), ..expected }));
            // Ethernet pads short frames; the padding is not payload.
            let padded = [frame(&[], &packet), vec![0; 9]].concat();
            assert_eq!(Datagram::of_frame(&padded), Some(expected));
        }
    }

    #[test]
    fn extension_headers_and_options_are_walked() {
        let (source, destination) = ends(6);
        let mut packet = packet_of(source, destination, b"payload");
        packet[6] = 0;
        let extension = [60, 0, 1, 4, 0, 0, 0, 0, PROTOCOL_UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        packet.splice(40..40, extension);
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Datagram::of_packet(&packet).unwrap().payload, b"payload");

        let (source, destination) = ends(4);
        let mut packet = packet_of(source, destination, b"payload");
        packet.splice(20..20, [1; 8]);
        packet[0] = 0x47;
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Datagram::of_packet(&packet).unwrap().payload, b"payload");
        packet[7] = 1;
        assert_eq!(Datagram::of_packet(&packet), None, "a fragment has no ports");
    }

    #[test]
    fn every_cut_is_harmless() {
        for family in [4, 6] {
            let (source, destination) = ends(family);
            let whole = frame(&[[0x81, 0, 0, 7]], &packet_of(source, destination, &[7; 50]));
            for length in 0..whole.len() {
                if let Some(datagram) = Datagram::of_frame(&whole[..length]) {
                    assert!(datagram.payload.len() < 50);
                }
            }
        }
    }

    #[test]
    fn checksums_are_valid() {
        let (source, destination) = ends(4);
        let packet = packet_of(source, destination, b"odd");
        let mut sum = Checksum::default();
        sum.add(&packet[..20]);
        assert_eq!(sum.finish(), 0);
        let mut sum = Checksum::default();
        sum.add(&packet[12..20]);
        sum.add(&[0, PROTOCOL_UDP, 0, 11]);
        sum.add(&packet[20..]);
        assert_eq!(sum.finish(), 0);
    }
}
