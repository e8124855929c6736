//! Userspace's side of the tables: what was verified, written by plain stores without a system call.
//!
//! Nothing here reads a packet that was not verified, except to forget its echo. Several threads may write at once: a place that
//! another thread is writing is left to it, since it will hold something else then anyway.

use super::accounts::{account_hash, word_of_account};
use super::config::{Rate, Settings, flag, word};
use super::decision::{address_words, flow_of};
use super::echoes::{packet_hash, word_of_echo};
use super::rates::{source_hash, word_of_source};
use super::tables::{ACCOUNT_WORDS, ECHO_WORDS, FilterTables, OWN_MAX, SOURCE_WORDS, Tables, Words};
use super::{Packet as _, SlicePacket};
use crate::PublicKey;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// More addresses than the filter's table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyAddresses {
    /// How many there are.
    pub given: usize,
}

/// Writes verified facts into the tables.
#[derive(Clone, Copy, Debug)]
pub struct FilterWriter<'a> {
    tables: FilterTables<'a>,
}

impl<'a> FilterWriter<'a> {
    /// A writer over tables that [`FilterWriter::start`] has set up, or will.
    pub fn new(tables: FilterTables<'a>) -> Self {
        Self { tables }
    }

    /// The tables.
    pub fn tables(&self) -> FilterTables<'a> {
        self.tables
    }

    /// Clears all tables, writes the settings and switches the filter on. Own addresses have to be set then: until they are,
    /// nothing is ours and everything passes.
    ///
    /// Returns `false`, and leaves everything as it was, where a table is too short or no power of two of entries.
    #[must_use]
    pub fn start(&self, settings: &Settings) -> bool {
        let Some(sizes) = self.tables.sizes() else { return false };
        let tables = &self.tables;
        tables.config.store(word::FLAGS, 0);
        for table in [
            tables.own_addresses,
            tables.shared,
            tables.accounts,
            tables.sources,
            tables.allowances,
            tables.echoes,
            &tables.config[word::VLANS..],
        ] {
            table.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        let config = tables.config;
        let [key_low, key_high] = address_words(&settings.key);
        let [token_low, token_high] = address_words(settings.token_key.bytes());
        let rate = |at: usize, rate: Rate| {
            config.store(at, rate.cost_ns);
            config.store(at + 1, rate.burst_ns);
        };
        config.store(word::ZERO, 0);
        config.store(word::KEY, key_low);
        config.store(word::KEY + 1, key_high);
        config.store(word::TOKEN_KEY, token_low);
        config.store(word::TOKEN_KEY + 1, token_high);
        config.store(word::PORT, u64::from(settings.port));
        for (place, mac) in settings.macs.iter().enumerate() {
            config.store(word::MACS + place, mac.map_or(0, mac_word));
        }
        config.store(word::WORKERS, u64::from(settings.workers));
        config.store(word::SHED_LEVEL, 0);
        config.store(word::KINDS, settings.kinds);
        config.store(word::ACCOUNTS_MASK, u64::from(sizes.accounts - 1));
        config.store(word::SOURCES_MASK, u64::from(sizes.sources - 1));
        config.store(word::ALLOWANCES_MASK, u64::from(sizes.allowances - 1));
        config.store(word::ECHOES_MASK, u64::from(sizes.echoes - 1));
        config.store(word::ECHO_WINDOW_NS, settings.echo_window_ns);
        config.store(word::ALLOWANCE_WINDOW_NS, settings.allowance_window_ns);
        config.store(word::SOURCE_IDLE_NS, settings.source_idle_ns);
        let [a, b, c, d] = settings.kept_ports.map(u64::from);
        config.store(word::KEPT_PORTS, a | b << 16 | c << 32 | d << 48);
        rate(word::SHARED_RATE, settings.shared_rate);
        rate(word::SOURCE_RATE, settings.source_rate);
        rate(word::NEWCOMER_RATE, settings.newcomer_rate);
        rate(word::STALE_RATE, settings.stale_rate);
        rate(word::EVIDENCE_RATE, settings.evidence_rate);
        config.store(word::SOURCE_COST_BOUNDS, u64::from(settings.source_cost_bounds_ns[0].max(1)));
        config.store(word::SOURCE_COST_BOUNDS + 1, u64::from(settings.source_cost_bounds_ns[1].max(1)));
        let untagged = if settings.untagged { flag::UNTAGGED } else { 0 };
        let interface = if settings.shed_interface { flag::SHED_INTERFACE } else { 0 };
        config.store(word::FLAGS, flag::ON | untagged | interface);
        true
    }

    /// Switches the filter off or on again; off, everything passes.
    pub fn set_on(&self, on: bool) {
        self.set_flag(flag::ON, on);
    }

    /// Whether the kernel leaves its own state as it is: for measuring one verdict again and again.
    pub fn set_frozen(&self, frozen: bool) {
        self.set_flag(flag::FROZEN, frozen);
    }

    fn set_flag(&self, bit: u64, on: bool) {
        if let Some(flags) = self.tables.config.get(word::FLAGS) {
            if on {
                flags.fetch_or(bit, Ordering::Release)
            } else {
                flags.fetch_and(!bit, Ordering::Release)
            };
        }
    }

    /// Says what time it is: milliseconds since 1970 at a monotonic time. Again whenever the wall clock was set; return tokens
    /// are then judged by the right hour.
    pub fn set_wall_clock(&self, now_ms: u64, monotonic_ns: u64) {
        self.tables.config.store(word::WALL_OFFSET_MS, now_ms.wrapping_sub(monotonic_ns / 1_000_000));
    }

    /// Sheds class 2 (1), classes 1 and 2 (2), or nothing (0).
    pub fn set_shed_level(&self, level: u64) {
        self.tables.config.store(word::SHED_LEVEL, level.min(2));
    }

    /// How many AF_XDP sockets each receive queue has; 0 sends messages to the stack.
    pub fn set_workers(&self, workers: u32) {
        self.tables.config.store(word::WORKERS, u64::from(workers));
    }

    /// Our MAC address, after it changed.
    pub fn set_mac(&self, mac: [u8; 6]) {
        self.tables.config.store(word::MACS, mac_word(mac));
    }

    /// Permits frames of a VLAN (1 to 4,094), or no longer.
    pub fn set_vlan(&self, id: u16, permitted: bool) {
        let (place, bit) = (word::VLANS + usize::from(id & 0x0fff) / 64, 1 << (id % 64));
        if let Some(word) = self.tables.config.get(place) {
            if permitted {
                word.fetch_or(bit, Ordering::Release)
            } else {
                word.fetch_and(!bit, Ordering::Release)
            };
        }
    }

    /// This host's own addresses, all of them. While they are written, a frame may pass as not ours; none is taken that is not.
    ///
    /// # Errors
    /// There are more than [`OWN_MAX`]; then the table stays as it was, and what is sent to the others passes to the stack.
    pub fn set_own_addresses(&self, addresses: &[IpAddr]) -> Result<(), TooManyAddresses> {
        if addresses.len() > OWN_MAX {
            return Err(TooManyAddresses { given: addresses.len() });
        }
        let own = self.tables.own_addresses;
        own.store(0, 0);
        for (place, address) in addresses.iter().enumerate() {
            let [low, high] = words_of(address);
            own.store(2 + 2 * place, low);
            own.store(3 + 2 * place, high);
        }
        own.store(0, addresses.len() as u64);
        Ok(())
    }

    /// Everything of an account below `next_sequence` was executed. A lock below it is gone. Never goes back.
    pub fn executed(&self, account: &PublicKey, next_sequence: u64) {
        self.change(account, |facts| {
            if next_sequence > facts.next_sequence {
                facts.next_sequence = next_sequence;
                facts.locked = false;
            }
        });
    }

    /// An order of this account was verified and locked at its next sequence.
    pub fn locked(&self, account: &PublicKey, sequence: u64, order_tag: [u8; 8]) {
        self.change(account, |facts| {
            if sequence >= facts.next_sequence {
                facts.next_sequence = sequence;
                facts.locked = true;
                facts.lock_tag = u64::from_le_bytes(order_tag);
            }
        });
    }

    /// No order of this account is locked any more.
    pub fn unlocked(&self, account: &PublicKey) {
        if self.facts(account).is_some() {
            self.change(account, |facts| facts.locked = false);
        }
    }

    /// Orders of this account are unwanted until a time of the monotonic clock; 0 lifts that.
    pub fn penalised(&self, account: &PublicKey, until_ns: u64) {
        if until_ns != 0 || self.facts(account).is_some() {
            self.change(account, |facts| facts.penalised_until_ns = until_ns);
        }
    }

    /// What the table knows of an account, for tests and status.
    pub fn facts(&self, account: &PublicKey) -> Option<super::accounts::Facts> {
        super::accounts::facts(&self.tables, self.tables.config, account_words(account))
    }

    /// Messages of this source were verified: each makes its next one cheaper, down to a bound. Only for a source that holds a return
    /// token; others have no place in the table, and nothing happens.
    pub fn verified(&self, source: &IpAddr, messages: u32) {
        // A 256th for each: 256 verified messages at the standard rate earn about e times that rate.
        self.reprice(source, |cost_ns| cost_ns - (cost_ns * u64::from(messages.min(64))).div_ceil(256).min(cost_ns));
    }

    /// A signature of this source was bad: its messages cost twice as much, up to a bound. It is never shut out.
    pub fn bad(&self, source: &IpAddr) {
        self.reprice(source, |cost_ns| cost_ns.saturating_mul(2));
    }

    fn reprice(&self, source: &IpAddr, change: impl Fn(u64) -> u64) {
        let config = self.tables.config;
        let fingerprint = source_hash(config, words_of(source));
        let Some(entry) = self.tables.source(fingerprint as u32 & config.load(word::SOURCES_MASK) as u32) else {
            return;
        };
        if entry.load(word_of_source::FINGERPRINT) != fingerprint {
            return;
        }
        let bounds = [config.load(word::SOURCE_COST_BOUNDS), config.load(word::SOURCE_COST_BOUNDS + 1)];
        let earned = entry.load(word_of_source::EARNED);
        let known = earned >> 32 == fingerprint >> 32;
        let cost_ns = if known { earned & 0xffff_ffff } else { config.load(word::SOURCE_RATE) };
        let cost_ns = change(cost_ns).min(bounds[1]).max(bounds[0]);
        entry.store(word_of_source::EARNED, fingerprint >> 32 << 32 | cost_ns.min(u64::from(u32::MAX)));
    }

    /// Forgets a packet that was answered or discarded, so that the same bytes may come again. It must be the whole datagram, and
    /// `neighbour` the hardware address that it came from.
    /// Returns whether it had been remembered.
    pub fn answered(&self, source: &SocketAddr, neighbour: [u8; 6], datagram: &[u8]) -> bool {
        let config = self.tables.config;
        let flow = flow_of(datagram, source, mac_word(neighbour));
        let Some(hash) = packet_hash(&SlicePacket(datagram), config, &flow) else { return false };
        let place = (hash as u32 & config.load(word::ECHOES_MASK) as u32) as usize * ECHO_WORDS;
        let Some(fingerprint) = self.tables.echoes.get(place + word_of_echo::FINGERPRINT) else { return false };
        fingerprint.compare_exchange(hash, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The sources that the kernel knows, in no order: address, messages that went on, datagrams over the rate.
    pub fn sources(&self) -> impl Iterator<Item = (IpAddr, u64, u64)> + use<'a> {
        self.tables.sources.chunks_exact(SOURCE_WORDS).filter(|entry| entry.load(word_of_source::FINGERPRINT) != 0).map(
            |entry| {
                let words = [entry.load(word_of_source::ADDRESS), entry.load(word_of_source::ADDRESS + 1)];
                let octets = (u128::from(words[1]) << 64 | u128::from(words[0])).to_le_bytes();
                let address = IpAddr::from(octets).to_canonical();
                (address, entry.load(word_of_source::PASSED), entry.load(word_of_source::DROPPED))
            },
        )
    }

    /// How many places of the table of accounts are taken.
    pub fn accounts_known(&self) -> usize {
        let taken = |entry: &&[AtomicU64]| entry.load(word_of_account::FINGERPRINT) != 0;
        self.tables.accounts.chunks_exact(ACCOUNT_WORDS).filter(taken).count()
    }

    /// Changes an account's entry under its version word. A place that held another account forgets that one.
    fn change(&self, account: &PublicKey, change: impl FnOnce(&mut super::accounts::Facts)) {
        let config = self.tables.config;
        let fingerprint = account_hash(config, account_words(account));
        let place = fingerprint as u32 & config.load(word::ACCOUNTS_MASK) as u32;
        let Some(entry) = self.tables.account(place) else { return };
        let Some(version_word) = entry.get(word_of_account::VERSION) else { return };
        let version = version_word.load(Ordering::Relaxed);
        if version & 1 != 0
            || version_word.compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            // Another worker is writing another account here, which takes the place from ours: the same in the end.
            return;
        }
        // What follows may not become visible before the odd version (Boehm, "Can seqlocks get along with programming language
        // memory models?", 2012).
        fence(Ordering::Release);
        let mut facts = if entry.load(word_of_account::FINGERPRINT) == fingerprint {
            super::accounts::Facts {
                next_sequence: entry.load(word_of_account::NEXT_SEQUENCE),
                lock_tag: entry.load(word_of_account::LOCK_TAG),
                locked: entry.load(word_of_account::LOCKED) != 0,
                penalised_until_ns: entry.load(word_of_account::PENALISED_UNTIL_NS),
            }
        } else {
            super::accounts::Facts::default()
        };
        change(&mut facts);
        entry.store(word_of_account::FINGERPRINT, fingerprint);
        entry.store(word_of_account::NEXT_SEQUENCE, facts.next_sequence);
        entry.store(word_of_account::LOCK_TAG, facts.lock_tag);
        entry.store(word_of_account::LOCKED, u64::from(facts.locked));
        entry.store(word_of_account::PENALISED_UNTIL_NS, facts.penalised_until_ns);
        version_word.store(version.wrapping_add(2), Ordering::Release);
    }
}

fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

fn words_of(address: &IpAddr) -> [u64; 2] {
    address_words(&crate::token::source_address(&SocketAddr::new(*address, 0)))
}

pub(super) fn account_words(account: &PublicKey) -> [u64; 4] {
    SlicePacket(account).four_u64(0).unwrap_or_default()
}
