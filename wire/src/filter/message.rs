//! What is in a datagram for our port: heads of messages, without looking at bodies.

use super::config::word;
use super::tables::Words;
use super::{Outcome, Packet};
use crate::{
    BUNDLE_MAX, Class, DATAGRAM_MAX, HEADER_LENGTH, Header, Kind, MAGIC, REQUEST_MIN, TRANSFER_REQUEST_LENGTH, VERSION,
};
use core::mem::offset_of;

/// The head of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Its traffic class, 0 to 2.
    pub class: u8,
    /// Its length in bytes, 112 to 1,400, and not more than there is.
    pub length: usize,
}

/// Reads a message's head. `None`: malformed by the rules that [`crate::Message::decode`] applies to heads.
#[inline(always)]
pub fn head<P: Packet>(packet: &P, at: usize, rest: usize) -> Option<Head> {
    if rest < HEADER_LENGTH {
        return None;
    }
    let first = packet.u64(at)?;
    let second = packet.u64(at + offset_of!(Header, length))?;
    if first as u32 != u32::from_le_bytes(MAGIC) || (first >> 32) as u8 != VERSION || first >> 56 != 0 {
        return None;
    }
    // Length, and the reserved bytes behind it.
    if second >> 16 & 0xffff != 0 {
        return None;
    }
    let length = second as usize & 0xffff;
    if !(REQUEST_MIN..=DATAGRAM_MAX).contains(&length) || length > rest {
        return None;
    }
    let class = (first >> 40) as u8;
    let kind = Kind::from_byte((first >> 48) as u8)?;
    if class != kind.class() as u8 && !(matches!(kind, Kind::Refusal) && class <= Class::BestEffort as u8) {
        return None;
    }
    if matches!(kind, Kind::TransferRequest) && length != TRANSFER_REQUEST_LENGTH {
        return None;
    }
    Some(Head { kind, class, length })
}

/// What the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The first message.
    pub first: Head,
    /// How many well-formed messages there are, at least 1: what a source is charged for.
    pub messages: u64,
}

impl Datagram {
    /// Whether it is one message and nothing else. Only then may that message's own faults end it: behind it there is nobody's
    /// certificate that would die too.
    #[inline(always)]
    pub fn is_single(&self, payload_length: usize) -> bool {
        self.first.length == payload_length
    }
}

/// Reads the heads of all messages and applies the rules of class and shedding: a datagram goes on if any of its messages would.
///
/// # Errors
/// [`Outcome::MalformedMessage`] where the first message is malformed; messages behind a malformed one do not exist.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn read<P: Packet, W: Words>(packet: &P, at: usize, length: usize, config: W) -> Result<Datagram, Outcome> {
    if length > DATAGRAM_MAX {
        return Err(Outcome::MalformedMessage);
    }
    // What the loop finds out about this copy is forgotten behind it.
    let length = config.opaque(length as u64, 0x7ff) as usize;
    let kinds = config.load(word::KINDS);
    let shed_level = config.load(word::SHED_LEVEL);
    let first = head(packet, at, length).ok_or(Outcome::MalformedMessage)?;
    let mut served = is_served(first, kinds);
    let mut wanted = served && !is_shed(first, shed_level);
    let mut messages = 1;
    let mut offset = first.length;
    for _ in 1..BUNDLE_MAX {
        if offset >= length {
            break;
        }
        let Some(next) = head(packet, at + offset, length - offset) else { break };
        let next_served = is_served(next, kinds);
        served |= next_served;
        wanted |= next_served && !is_shed(next, shed_level);
        messages += 1;
        offset += next.length;
    }
    if !served {
        return Err(Outcome::WrongClass);
    }
    if !wanted {
        return Err(Outcome::Shed);
    }
    Ok(Datagram { first, messages: config.opaque(messages, 15) })
}

#[inline(always)]
fn is_served(head: Head, kinds: u64) -> bool {
    let kind = head.kind as u8;
    kind < 64 && kinds >> kind & 1 != 0
}

/// Level 1 sheds class 2, level 2 classes 1 and 2; class 0 never is.
#[inline(always)]
fn is_shed(head: Head, level: u64) -> bool {
    head.class > 0 && u64::from(head.class) + level > 2
}
