//! Others' traffic on this interface, shed under load where the operator asked for it.
//!
//! Only what is plainly best effort: TCP and UDP that nobody marked as network control, on no port that is kept, and no payment of
//! this wire format. ARP, neighbour discovery, ICMP, routing protocols and fragments are never shed.

use super::Packet;
use super::config::{flag, word};
use super::frame::{ETHERNET_LENGTH, PROTOCOL_UDP, TYPE_IPV4, TYPE_IPV6, TYPE_SERVICE_VLAN, TYPE_VLAN, VLAN_TAGS_MAX};
use super::tables::Words;
use crate::MAGIC;

const PROTOCOL_TCP: u8 = 6;
/// CS6, the class of network control (RFC 2474), with which our class 0 is marked.
const NETWORK_CONTROL: u8 = 48;

/// Whether a frame that is not ours is to be shed.
#[inline(always)]
pub fn sheds<P: Packet, W: Words>(packet: &P, config: W) -> bool {
    config.load(word::FLAGS) & flag::SHED_INTERFACE != 0
        && config.load(word::SHED_LEVEL) > 0
        && is_best_effort(packet, config).unwrap_or(false)
}

#[inline(always)]
fn is_best_effort<P: Packet, W: Words>(packet: &P, config: W) -> Option<bool> {
    let mut at = ETHERNET_LENGTH;
    let mut kind = packet.be16(at - 2)?;
    for _ in 0..VLAN_TAGS_MAX {
        if kind != TYPE_VLAN && kind != TYPE_SERVICE_VLAN {
            break;
        }
        kind = packet.be16(at + 2)?;
        at += 4;
    }
    let (protocol, code_point, transport) = match kind {
        TYPE_IPV4 => {
            let header = usize::from(packet.u8(at)? & 0x0f) * 4;
            if packet.be16(at + 6)? & 0x3fff != 0 || header < 20 {
                return None;
            }
            (packet.u8(at + 9)?, packet.u8(at + 1)? >> 2, at + header)
        }
        TYPE_IPV6 => (packet.u8(at + 6)?, (packet.be16(at)? >> 6) as u8 & 0x3f, at + 40),
        _ => return None,
    };
    if protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP || code_point >= NETWORK_CONTROL {
        return None;
    }
    let (source, destination) = (packet.be16(transport)?, packet.be16(transport + 2)?);
    let kept = config.load(word::KEPT_PORTS);
    for place in 0..4 {
        let port = (kept >> (16 * place)) as u16;
        if port != 0 && (port == source || port == destination) {
            return None;
        }
    }
    if protocol == PROTOCOL_UDP && packet.u32(transport + 8) == Some(u32::from_le_bytes(MAGIC)) {
        // Payments between others, class 0, are as good as ours.
        return Some(packet.u8(transport + 13)? != 0);
    }
    Some(true)
}
