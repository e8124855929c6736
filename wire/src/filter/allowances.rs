//! What passes although it is stale or in conflict: one message for each source in a window, under a budget.
//!
//! A client whose acknowledgement was lost must get it again, and a wallet that forgot its order must get it back. The key holds
//! whether the sender held a return token, so that nobody who forges an address spends the allowance of whoever lives there.

use super::config::{Rate, word};
use super::frame::Flow;
use super::rates::{key, word_of_shared};
use super::sip::table_hash;
use super::tables::{Tables, Words};
use crate::Kind;

/// Words of an allowance.
pub mod word_of_allowance {
    /// Whose it is, 0 where the place is empty.
    pub const FINGERPRINT: usize = 0;
    /// When it was used last, in ns.
    pub const USED_NS: usize = 1;
}

/// Hash of what may pass once a window as a stale message.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn stale_hash<W: Words>(config: W, account: [u64; 4], kind: Kind, flow: &Flow, has_token: bool) -> u64 {
    let [a, b, c, d] = account;
    // The hardware address too, so that a neighbour who forges an IP address spends an allowance of his own.
    let last = u64::from(kind as u8) | u64::from(has_token) << 8 | flow.neighbour_above();
    table_hash(key(config), [a, b, c, d, flow.source[0], flow.source[1], last])
}

/// Hash of what may pass once a window as a conflicting order.
#[inline(always)]
pub fn conflict_hash<W: Words>(config: W, flow: &Flow, has_token: bool) -> u64 {
    table_hash(key(config), [flow.source[0], flow.source[1], u64::from(has_token) | flow.neighbour_above()])
}

/// Whether this allowance has not been used within the window.
#[inline(always)]
pub fn is_open<T: Tables>(tables: &T, config: T::Entry, hash: u64, now_ns: u64) -> bool {
    let Some(entry) = tables.allowance(hash as u32 & config.load(word::ALLOWANCES_MASK) as u32) else { return true };
    entry.load(word_of_allowance::FINGERPRINT) != hash
        || now_ns.saturating_sub(entry.load(word_of_allowance::USED_NS)) >= config.load(word::ALLOWANCE_WINDOW_NS)
}

/// Uses it.
#[inline(always)]
pub fn spend<T: Tables>(tables: &T, config: T::Entry, hash: u64, now_ns: u64) {
    if let Some(entry) = tables.allowance(hash as u32 & config.load(word::ALLOWANCES_MASK) as u32) {
        entry.store(word_of_allowance::FINGERPRINT, hash);
        entry.store(word_of_allowance::USED_NS, now_ns);
    }
}

/// Whether the budget of all stale messages has room. Whoever holds no token may use the first half of the burst only.
#[inline(always)]
pub fn budget_allows<W: Words>(config: W, shared: W, has_token: bool, now_ns: u64) -> bool {
    let mut rate = Rate::read(config, word::STALE_RATE);
    if !has_token {
        rate.burst_ns /= 2;
    }
    rate.allows(shared.load(word_of_shared::STALE), now_ns)
}

/// Charges that budget for one message.
#[inline(always)]
pub fn charge_budget<W: Words>(config: W, shared: W, now_ns: u64) {
    charge_one(config, shared, word::STALE_RATE, word_of_shared::STALE, now_ns);
}

/// Whether userspace is to see a conflicting order that is dropped; charges the bound on that.
#[inline(always)]
pub fn takes_evidence<W: Words>(config: W, shared: W, now_ns: u64, frozen: bool) -> bool {
    let takes = Rate::read(config, word::EVIDENCE_RATE).allows(shared.load(word_of_shared::EVIDENCE), now_ns);
    if takes && !frozen {
        charge_one(config, shared, word::EVIDENCE_RATE, word_of_shared::EVIDENCE, now_ns);
    }
    takes
}

#[inline(always)]
fn charge_one<W: Words>(config: W, shared: W, rate_at: usize, bucket_at: usize, now_ns: u64) {
    let rate = Rate::read(config, rate_at);
    shared.store(bucket_at, rate.charge(shared.load(bucket_at), now_ns, 1));
}
