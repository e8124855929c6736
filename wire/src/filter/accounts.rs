//! What userspace has verified of accounts: written by it alone, only read here (DESIGN 5.11).
//!
//! An entry is one cache line under a version word, odd while it is being written. What is read torn counts as unknown, and
//! what is unknown passes.

use super::config::word;
use super::rates::key;
use super::sip::table_hash;
use super::tables::{Tables, Words};

/// Words of an entry.
pub mod word_of_account {
    /// Odd while the entry is being written.
    pub const VERSION: usize = 0;
    /// Keyed hash of the account, 0 where the place is empty.
    pub const FINGERPRINT: usize = 1;
    /// Sequence of the account's next order: everything below has been executed.
    pub const NEXT_SEQUENCE: usize = 2;
    /// Tag of the order that is locked at that sequence.
    pub const LOCK_TAG: usize = 3;
    /// 1 where an order is locked.
    pub const LOCKED: usize = 4;
    /// Until when orders of this account are unwanted, in ns of the monotonic clock.
    pub const PENALISED_UNTIL_NS: usize = 5;
}

/// What is known of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Sequence of its next order.
    pub next_sequence: u64,
    /// Tag of the locked order.
    pub lock_tag: u64,
    /// Whether one is locked.
    pub locked: bool,
    /// Until when its orders are unwanted.
    pub penalised_until_ns: u64,
}

/// Keyed hash of an account's 32 bytes.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(super) fn account_hash<W: Words>(config: W, account: [u64; 4]) -> u64 {
    table_hash(key(config), account)
}

/// What the facts of an account say to a message of it. Numbers and no enumeration, so that the kernel's program hands one register back.
pub mod standing {
    /// Nothing speaks against it, or nothing is known.
    pub const CLEAN: u64 = 0;
    /// Its sequence has been executed.
    pub const STALE: u64 = 1;
    /// An order with another tag is locked at its sequence.
    pub const CONFLICT: u64 = 2;
    /// Its sender is penalised, and it is no retry.
    pub const PENALISED: u64 = 3;
}

/// The place of an account in its table.
#[inline(always)]
pub(super) fn place<T: Tables>(config: T::Entry, fingerprint: u64) -> u32 {
    fingerprint as u32 & config.load(word::ACCOUNTS_MASK) as u32
}

/// The standing of a message of the account of a place. What may be a retry comes before the penalty: who has signed two orders gets the
/// locked one's vote and the executed one's acknowledgement all the same, as every client does (DESIGN 5.8, 5.9), and nothing new.
/// A function of its own in the kernel: its stack is not that of the rules.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(super) fn standing<W: Words>(entry: W, fingerprint: u64, sequence: u64, order_tag: u64, now_ns: u64) -> u64 {
    match read(entry, fingerprint) {
        None => standing::CLEAN,
        Some(facts) if sequence < facts.next_sequence => standing::STALE,
        Some(facts) => {
            let at_lock = facts.locked && sequence == facts.next_sequence;
            if at_lock && order_tag == facts.lock_tag {
                standing::CLEAN
            } else if facts.penalised_until_ns > now_ns {
                standing::PENALISED
            } else if at_lock {
                standing::CONFLICT
            } else {
                standing::CLEAN
            }
        }
    }
}

/// Looks an account up. `None`: nothing is known of it, or its entry is being written.
pub(super) fn facts<T: Tables>(tables: &T, config: T::Entry, account: [u64; 4]) -> Option<Facts> {
    let fingerprint = account_hash(config, account);
    read(tables.account(place::<T>(config, fingerprint))?, fingerprint)
}

#[inline(always)]
fn read<W: Words>(entry: W, fingerprint: u64) -> Option<Facts> {
    let version = entry.load(word_of_account::VERSION);
    if version & 1 != 0 || entry.load(word_of_account::FINGERPRINT) != fingerprint {
        return None;
    }
    let facts = Facts {
        next_sequence: entry.load(word_of_account::NEXT_SEQUENCE),
        lock_tag: entry.load(word_of_account::LOCK_TAG),
        locked: entry.load(word_of_account::LOCKED) != 0,
        penalised_until_ns: entry.load(word_of_account::PENALISED_UNTIL_NS),
    };
    (entry.load(word_of_account::VERSION) == version).then_some(facts)
}
