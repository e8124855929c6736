//! Exact copies: the same bytes from the same source within a few milliseconds, which a mesh makes by itself.
//!
//! The only thing that the kernel remembers of packets that nobody has verified: a keyed hash of all of it, source included.

use super::config::word;
use super::frame::Flow;
use super::rates::key;
use super::sip::Sip13;
use super::tables::{Tables, Words};
use super::{Outcome, Packet};
use crate::DATAGRAM_MAX;

/// Words of an echo.
pub mod word_of_echo {
    /// Hash of the packet, 0 where the place is empty or was cleared.
    pub const FINGERPRINT: usize = 0;
    /// When it came, in ns.
    pub const CAME_NS: usize = 1;
}

const CHUNK: usize = 32;

/// Hash of a datagram and its source: SipHash-1-3 over address, port, hardware address and payload.
/// `None` where there are fewer than 8 bytes, which is no message, or more than a datagram may have.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn packet_hash<P: Packet, W: Words>(packet: &P, config: W, flow: &Flow) -> Option<u64> {
    let length = flow.payload_length;
    if !(8..=DATAGRAM_MAX).contains(&length) {
        return None;
    }
    let mut sip = Sip13::new(key(config));
    sip.word(flow.source[0]);
    sip.word(flow.source[1]);
    // The hardware address too: who copies a client's packet and forges its IP address would else make an echo of the client's own packet,
    // while the answer goes to the forger. The length is part of how the hash is closed.
    sip.word(flow.sender);
    // Each part counts from the beginning again, so that the verifier need not tell apart how the part before it ended.
    let chunks = length / CHUNK;
    for chunk in 0..DATAGRAM_MAX / CHUNK {
        if chunk >= chunks {
            break;
        }
        let words = packet.four_u64(flow.payload_at + chunk * CHUNK)?;
        sip.word(words[0]);
        sip.word(words[1]);
        sip.word(words[2]);
        sip.word(words[3]);
    }
    let at = flow.payload_at + length / CHUNK * CHUNK;
    let words = length / 8 % (CHUNK / 8);
    for word in 0..CHUNK / 8 - 1 {
        if word >= words {
            break;
        }
        sip.word(packet.u64(at + word * 8)?);
    }
    let mut last = 0;
    if !length.is_multiple_of(8) {
        // The last eight bytes, without those that have been taken.
        let last_at = config.opaque((flow.payload_at + length - 8) as u64, 0x7fff) as usize;
        last = packet.u64(last_at)? >> (64 - 8 * (length % 8));
    }
    Some(sip.finish(last, 24 + length).max(1))
}

/// Judges a packet and remembers it.
///
/// # Errors
/// [`Outcome::Echo`] where its like came within the window; [`Outcome::MalformedFrame`] where bytes are missing.
#[inline(always)]
pub fn check<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    config: T::Entry,
    flow: &Flow,
    now_ns: u64,
    frozen: bool,
) -> Result<(), Outcome> {
    let hash = packet_hash(packet, config, flow).ok_or(Outcome::MalformedFrame)?;
    let Some(entry) = tables.echo(hash as u32 & config.load(word::ECHOES_MASK) as u32) else { return Ok(()) };
    let age_ns = now_ns.saturating_sub(entry.load(word_of_echo::CAME_NS));
    if entry.load(word_of_echo::FINGERPRINT) == hash && age_ns < config.load(word::ECHO_WINDOW_NS) {
        return Err(Outcome::Echo);
    }
    if !frozen {
        entry.store(word_of_echo::CAME_NS, now_ns);
        entry.store(word_of_echo::FINGERPRINT, hash);
    }
    Ok(())
}
