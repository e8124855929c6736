//! Whose frame it is: Ethernet, VLAN tags, IPv4 with options, IPv6 with extension headers, UDP.
//!
//! Ours means all of it: our MAC, a permitted VLAN, a destination address of this host, our UDP port. Otherwise a gateway that
//! routes would eat other authorities' payments. What is not ours passes, and is read no further than it takes to see that.

use super::config::{flag, word};
use super::tables::{OWN_MAX, Words};
use super::{Outcome, Packet};

/// Most IPv6 extension headers that are walked.
pub const EXTENSION_HEADERS_MAX: usize = 6;
/// Most VLAN tags that a frame of ours may carry.
pub const VLAN_TAGS_MAX: usize = 2;

pub(super) const ETHERNET_LENGTH: usize = 14;
pub(super) const TYPE_IPV4: u16 = 0x0800;
pub(super) const TYPE_IPV6: u16 = 0x86dd;
pub(super) const TYPE_VLAN: u16 = 0x8100;
pub(super) const TYPE_SERVICE_VLAN: u16 = 0x88a8;
pub(super) const PROTOCOL_UDP: u8 = 17;
const UDP_LENGTH: usize = 8;

/// A UDP datagram for our port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address, IPv4 as IPv4-mapped, as two little-endian words of its 16 bytes.
    pub source: [u64; 2],
    /// Hardware address that it came from, little-endian in the lower 48 bits, 0 for a datagram from a socket; source port above. One word,
    /// since the kernel's stack has 512 bytes for all that is called.
    pub sender: u64,
    /// Where the UDP payload begins.
    pub payload_at: usize,
    /// Its length in bytes, by the UDP header.
    pub payload_length: usize,
}

impl Flow {
    /// Source port.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        (self.sender >> 48) as u16
    }

    /// Hardware address that it came from, with 16 free bits below.
    #[inline(always)]
    pub(super) fn neighbour_above(&self) -> u64 {
        self.sender << 16
    }
}

/// An IPv4 address, as it stands in the header read little-endian, in the form of [`Flow::source`].
#[inline(always)]
pub(super) fn mapped(address: u32) -> [u64; 2] {
    [0, u64::from(address) << 32 | 0xffff_0000]
}

/// Whether these two words are an IPv4-mapped address.
#[inline(always)]
pub(super) fn is_ipv4(address: [u64; 2]) -> bool {
    address[0] == 0 && address[1] as u32 == 0xffff_0000
}

/// Reads the headers and fills in the flow.
///
/// # Errors
/// The outcome for a frame that is not ours, or that no reader could make sense of.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn parse<P: Packet, W: Words>(packet: &P, config: W, own: W, flow: &mut Flow) -> Result<(), Outcome> {
    // Eight bytes for the six of the MAC: a frame has at least 14.
    let start = packet.u64(0).ok_or(Outcome::MalformedFrame)?;
    let mac = start & 0xffff_ffff_ffff;
    flow.sender = packet.u64(6).ok_or(Outcome::MalformedFrame)? & 0xffff_ffff_ffff;
    let mut kind = packet.be16(ETHERNET_LENGTH - 2).ok_or(Outcome::MalformedFrame)?;
    if mac != config.load(word::MACS) && mac != config.load(word::MACS + 1) || mac == 0 {
        return Err(Outcome::OtherMac);
    }
    let mut at = ETHERNET_LENGTH;
    let mut tagged = false;
    for _ in 0..VLAN_TAGS_MAX {
        if kind != TYPE_VLAN && kind != TYPE_SERVICE_VLAN {
            break;
        }
        let tag = packet.u32(at).ok_or(Outcome::MalformedFrame)?;
        let id = usize::from((tag as u16).swap_bytes() & 0x0fff);
        // Id 0 carries a priority and no VLAN.
        if id != 0 {
            tagged = true;
            if config.load(word::VLANS + (id >> 6)) >> (id & 63) & 1 == 0 {
                return Err(Outcome::OtherVlan);
            }
        }
        kind = ((tag >> 16) as u16).swap_bytes();
        at += 4;
    }
    if !tagged && config.load(word::FLAGS) & flag::UNTAGGED == 0 {
        return Err(Outcome::OtherVlan);
    }
    match kind {
        TYPE_IPV4 => ipv4(packet, at, config, own, flow),
        TYPE_IPV6 => ipv6(packet, at, config, own, flow),
        TYPE_VLAN | TYPE_SERVICE_VLAN => Err(Outcome::OtherVlan),
        _ => Err(Outcome::OtherNetwork),
    }
}

#[inline(always)]
fn ipv4<P: Packet, W: Words>(packet: &P, at: usize, config: W, own: W, flow: &mut Flow) -> Result<(), Outcome> {
    let destination = packet.u32(at + 16).ok_or(Outcome::MalformedFrame)?;
    let first = packet.u8(at).ok_or(Outcome::MalformedFrame)?;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(packet.be16(at + 2).ok_or(Outcome::MalformedFrame)?);
    if first >> 4 != 4 || header < 20 || total < header || at + total > packet.length() {
        return Err(Outcome::MalformedFrame);
    }
    if packet.u8(at + 9).ok_or(Outcome::MalformedFrame)? != PROTOCOL_UDP {
        return Err(Outcome::OtherProtocol);
    }
    let fragment = packet.be16(at + 6).ok_or(Outcome::MalformedFrame)?;
    if fragment & 0x1fff != 0 {
        return Err(Outcome::LaterFragment);
    }
    if !is_own(mapped(destination), own) {
        return Err(Outcome::OtherDestination);
    }
    flow.source = mapped(packet.u32(at + 12).ok_or(Outcome::MalformedFrame)?);
    flow.payload_at = at + header;
    flow.payload_length = total - header;
    udp(packet, fragment & 0x2000 != 0, config, flow)
}

#[cfg_attr(target_arch = "bpf", inline(never))]
fn ipv6<P: Packet, W: Words>(packet: &P, at: usize, config: W, own: W, flow: &mut Flow) -> Result<(), Outcome> {
    let addresses = packet.four_u64(at + 8).ok_or(Outcome::MalformedFrame)?;
    let first = packet.u8(at).ok_or(Outcome::MalformedFrame)?;
    let length = usize::from(packet.be16(at + 4).ok_or(Outcome::MalformedFrame)?);
    let end = at + 40 + length;
    if first >> 4 != 6 || end > packet.length() {
        return Err(Outcome::MalformedFrame);
    }
    let mut next = packet.u8(at + 6).ok_or(Outcome::MalformedFrame)?;
    if next != PROTOCOL_UDP && !is_extension(next) {
        return Err(Outcome::OtherProtocol);
    }
    // Before the walk: what we merely forward is none of our business, however deep its headers are.
    if !is_own([addresses[2], addresses[3]], own) {
        return Err(Outcome::OtherDestination);
    }
    let source = [addresses[0], addresses[1]];
    let mut here = at + 40;
    let mut first_fragment = false;
    for _ in 0..EXTENSION_HEADERS_MAX {
        if !is_extension(next) {
            break;
        }
        if here + 8 > end {
            return Err(Outcome::MalformedFrame);
        }
        let head = packet.u64(here).ok_or(Outcome::MalformedFrame)?;
        let units = head as usize >> 8 & 0xff;
        let size = match next {
            FRAGMENT => {
                let fragment = ((head >> 16) as u16).swap_bytes();
                if fragment & 0xfff8 != 0 {
                    return Err(Outcome::LaterFragment);
                }
                first_fragment |= fragment & 1 != 0;
                8
            }
            AUTHENTICATION => (units + 2) * 4,
            // Segments that are left: its last destination is somebody else.
            ROUTING if head >> 24 & 0xff != 0 => return Err(Outcome::OtherDestination),
            _ => (units + 1) * 8,
        };
        next = head as u8;
        here += size;
        if here > end {
            return Err(Outcome::MalformedFrame);
        }
    }
    if is_extension(next) {
        return Err(Outcome::DeepHeaders);
    }
    if next != PROTOCOL_UDP {
        return Err(Outcome::OtherProtocol);
    }
    if is_ipv4(source) {
        // On the wire nobody has such an address, and here it would be taken for an IPv4 source.
        return Err(Outcome::MalformedFrame);
    }
    flow.source = source;
    flow.payload_at = here;
    flow.payload_length = end - here;
    udp(packet, first_fragment, config, flow)
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// The IPv6 extension headers that can be walked (IANA's registry, without encryption and experiments).
#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6
    )
}

/// Reads the UDP header where the flow's payload is said to begin, and says where it begins behind that.
#[inline(always)]
fn udp<P: Packet, W: Words>(packet: &P, first_fragment: bool, config: W, flow: &mut Flow) -> Result<(), Outcome> {
    let (at, length) = (flow.payload_at, flow.payload_length);
    if length < UDP_LENGTH {
        return Err(Outcome::MalformedFrame);
    }
    flow.sender |= u64::from(packet.be16(at).ok_or(Outcome::MalformedFrame)?) << 48;
    if u64::from(packet.be16(at + 2).ok_or(Outcome::MalformedFrame)?) != config.load(word::PORT) {
        return Err(Outcome::OtherPort);
    }
    if first_fragment {
        return Err(Outcome::Fragmented);
    }
    let datagram = usize::from(packet.be16(at + 4).ok_or(Outcome::MalformedFrame)?);
    if datagram < UDP_LENGTH || datagram > length {
        return Err(Outcome::MalformedFrame);
    }
    flow.payload_at = at + UDP_LENGTH;
    flow.payload_length = datagram - UDP_LENGTH;
    Ok(())
}

/// Whether an address is this host's.
#[inline(always)]
fn is_own<W: Words>(address: [u64; 2], own: W) -> bool {
    let count = own.load(0);
    for place in 0..OWN_MAX {
        if place as u64 >= count {
            return false;
        }
        if own.load(2 + 2 * place) == address[0] && own.load(3 + 2 * place) == address[1] {
            return true;
        }
    }
    false
}
