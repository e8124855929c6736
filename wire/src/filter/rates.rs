//! Who has sent too much. Holders of a return token have buckets of their own, all others share one.
//!
//! Charged is what goes on to a worker, message by message; what the kernel ends costs us little, and charging it would let
//! copies of somebody's packets spend his rate. A source that userspace has verified messages of earns a cheaper message.

use super::config::{Rate, word};
use super::frame::{Flow, is_ipv4};
use super::sip::{Sip24, table_hash};
use super::tables::{Tables, Words};

/// Words of a source's entry.
pub mod word_of_source {
    /// Fingerprint of the address, 0 where the place is empty.
    pub const FINGERPRINT: usize = 0;
    /// Time until which the bucket is ahead, in ns.
    pub const OWED_UNTIL_NS: usize = 1;
    /// Written by userspace: upper half the upper half of the fingerprint, lower half what a message costs, in ns.
    pub const EARNED: usize = 2;
    /// Messages that went on.
    pub const PASSED: usize = 3;
    /// Datagrams over the rate.
    pub const DROPPED: usize = 4;
    /// The address, two words.
    pub const ADDRESS: usize = 5;
}

/// Words of the shared entry.
pub mod word_of_shared {
    /// Bucket of sources without a token.
    pub const SHARED: usize = 0;
    /// Bucket of IPv6 sources that have earned nothing.
    pub const NEWCOMERS: usize = 1;
    /// Bucket of stale messages.
    pub const STALE: usize = 2;
    /// Bucket of evidence.
    pub const EVIDENCE: usize = 3;
}

const HOUR_MS: u64 = 3_600_000;

/// Whether the token is the one that this source was given in this hour or the one before: as [`crate::TokenKey::accepts`].
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn holds_token<W: Words>(config: W, flow: &Flow, token: u64, now_ns: u64) -> bool {
    if token == 0 {
        return false;
    }
    let now_ms = config.load(word::WALL_OFFSET_MS).wrapping_add(now_ns / 1_000_000);
    let hour = now_ms / HOUR_MS;
    let mut sip = Sip24::new([config.load(word::TOKEN_KEY), config.load(word::TOKEN_KEY + 1)]);
    sip.word(flow.source[0]);
    sip.word(flow.source[1]);
    token == of_hour(sip, flow.port(), hour) || token == of_hour(sip, flow.port(), hour.saturating_sub(1))
}

/// The hash of address, two bytes of port and eight of hour, of which the address has been taken.
#[inline(always)]
fn of_hour(mut sip: Sip24, port: u16, hour: u64) -> u64 {
    sip.word(u64::from(port) | hour << 16);
    sip.finish(hour >> 48, 26).max(1)
}

/// Hash of a source's address.
#[inline(always)]
pub(super) fn source_hash<W: Words>(config: W, source: [u64; 2]) -> u64 {
    table_hash(key(config), source)
}

#[inline(always)]
pub(super) fn key<W: Words>(config: W) -> [u64; 2] {
    [config.load(word::KEY), config.load(word::KEY + 1)]
}

/// Who pays for a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Payer<W> {
    /// The bucket of sources without a token.
    Shared,
    /// The source itself: its entry, its fingerprint, and whether the place has to be taken over.
    Own {
        /// Its entry.
        entry: W,
        /// Its fingerprint.
        fingerprint: u64,
        /// The place is empty or was another's.
        takes_over: bool,
        /// What a message costs it, in ns.
        cost_ns: u64,
        /// It also pays from the newcomers' bucket.
        newcomer: bool,
    },
}

/// Finds who pays.
#[inline(always)]
pub fn payer<T: Tables>(tables: &T, config: T::Entry, flow: &Flow, has_token: bool, now_ns: u64) -> Payer<T::Entry> {
    if !has_token {
        return Payer::Shared;
    }
    let fingerprint = source_hash(config, flow.source);
    let place = fingerprint as u32 & config.load(word::SOURCES_MASK) as u32;
    let Some(entry) = tables.source(place) else { return Payer::Shared };
    let known = entry.load(word_of_source::FINGERPRINT);
    let takes_over = known != fingerprint;
    if takes_over && known != 0 {
        let silent_since = entry.load(word_of_source::OWED_UNTIL_NS);
        if silent_since.saturating_add(config.load(word::SOURCE_IDLE_NS)) > now_ns {
            // Two live sources at one place: the later one is counted among those without a token.
            return Payer::Shared;
        }
    }
    let standard = config.load(word::SOURCE_RATE);
    let earned = entry.load(word_of_source::EARNED);
    let cost_ns = if earned >> 32 == fingerprint >> 32 { earned & 0xffff_ffff } else { standard };
    let newcomer = cost_ns >= standard && !is_ipv4(flow.source);
    let bits = config.opaque(u64::from(takes_over) | u64::from(newcomer) << 1, 3);
    Payer::Own { entry, fingerprint, takes_over: bits & 1 != 0, cost_ns, newcomer: bits & 2 != 0 }
}

/// Which bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// That of sources without a token.
    Shared,
    /// The source's own.
    Own,
    /// That of IPv6 newcomers.
    Newcomers,
}

/// Whether the payer's buckets have room.
///
/// # Errors
/// Says which has not.
#[inline(always)]
pub fn check<W: Words>(payer: &Payer<W>, config: W, shared: W, now_ns: u64) -> Result<(), Over> {
    match *payer {
        Payer::Shared => {
            let rate = Rate::read(config, word::SHARED_RATE);
            if rate.allows(shared.load(word_of_shared::SHARED), now_ns) { Ok(()) } else { Err(Over::Shared) }
        }
        Payer::Own { entry, takes_over, cost_ns, newcomer, .. } => {
            let owed = if takes_over { 0 } else { entry.load(word_of_source::OWED_UNTIL_NS) };
            if !own_rate(config, cost_ns).allows(owed, now_ns) {
                return Err(Over::Own);
            }
            let rate = Rate::read(config, word::NEWCOMER_RATE);
            if newcomer && !rate.allows(shared.load(word_of_shared::NEWCOMERS), now_ns) {
                return Err(Over::Newcomers);
            }
            Ok(())
        }
    }
}

#[inline(always)]
fn own_rate<W: Words>(config: W, cost_ns: u64) -> Rate {
    Rate { cost_ns, burst_ns: config.load(word::SOURCE_RATE + 1) }
}

/// Charges what goes on.
#[inline(always)]
pub fn charge<W: Words>(payer: &Payer<W>, config: W, shared: W, source: [u64; 2], now_ns: u64, messages: u64) {
    match *payer {
        Payer::Shared => {
            let owed = shared.load(word_of_shared::SHARED);
            let rate = Rate::read(config, word::SHARED_RATE);
            shared.store(word_of_shared::SHARED, rate.charge(owed, now_ns, messages));
        }
        Payer::Own { entry, fingerprint, takes_over, cost_ns, newcomer } => {
            let mut owed = entry.load(word_of_source::OWED_UNTIL_NS);
            let mut passed = entry.load(word_of_source::PASSED);
            if takes_over {
                (owed, passed) = (0, 0);
                entry.store(word_of_source::FINGERPRINT, fingerprint);
                entry.store(word_of_source::DROPPED, 0);
                entry.store(word_of_source::ADDRESS, source[0]);
                entry.store(word_of_source::ADDRESS + 1, source[1]);
            }
            entry.store(word_of_source::OWED_UNTIL_NS, own_rate(config, cost_ns).charge(owed, now_ns, messages));
            entry.store(word_of_source::PASSED, passed.wrapping_add(messages));
            if newcomer {
                let owed = shared.load(word_of_shared::NEWCOMERS);
                let rate = Rate::read(config, word::NEWCOMER_RATE);
                shared.store(word_of_shared::NEWCOMERS, rate.charge(owed, now_ns, messages));
            }
        }
    }
}

/// Notes in a source's own entry that it was over its rate.
#[inline(always)]
pub fn note_dropped<W: Words>(payer: &Payer<W>) {
    if let Payer::Own { entry, takes_over: false, .. } = *payer {
        let dropped = entry.load(word_of_source::DROPPED);
        entry.store(word_of_source::DROPPED, dropped.wrapping_add(1));
    }
}
