//! Settings as the kernel reads them: one entry of words, written by userspace.
//!
//! All zero means off: a program that was loaded and not yet told anything passes everything.

use super::tables::Words;

/// What a word of the entry holds.
pub mod word {
    /// Random key of all tables, two words.
    pub const KEY: usize = 0;
    /// Key of return tokens, two words.
    pub const TOKEN_KEY: usize = 2;
    /// Milliseconds since 1970 at monotonic time zero, so that the kernel, which has only that, knows the hour of tokens.
    pub const WALL_OFFSET_MS: usize = 4;
    /// Our UDP port.
    pub const PORT: usize = 5;
    /// Our MAC addresses, as 48 bits little-endian; zero where there is none. Two words.
    pub const MACS: usize = 6;
    /// Bits of [`super::flag`].
    pub const FLAGS: usize = 8;
    /// Workers for each receive queue; 0: everything goes to the stack.
    pub const WORKERS: usize = 9;
    /// Lowest classes are shed: 0 none, 1 class 2, 2 classes 1 and 2.
    pub const SHED_LEVEL: usize = 10;
    /// Bit `k` set: kind `k` is served on our port. Kinds above 63 are not.
    pub const KINDS: usize = 11;
    /// Masks of the tables' places.
    pub const ACCOUNTS_MASK: usize = 12;
    /// See [`ACCOUNTS_MASK`].
    pub const SOURCES_MASK: usize = 13;
    /// See [`ACCOUNTS_MASK`].
    pub const ALLOWANCES_MASK: usize = 14;
    /// See [`ACCOUNTS_MASK`].
    pub const ECHOES_MASK: usize = 15;
    /// How long a copy counts as an echo, in ns.
    pub const ECHO_WINDOW_NS: usize = 16;
    /// How long a stale or conflicting message keeps others of its kind out, in ns.
    pub const ALLOWANCE_WINDOW_NS: usize = 17;
    /// A source that was silent for so long gives its place to another, in ns.
    pub const SOURCE_IDLE_NS: usize = 18;
    /// Ports of foreign traffic that is never shed: four of 16 bits.
    pub const KEPT_PORTS: usize = 19;
    /// Rates, two words each, see [`super::Rate`]: sources without a token, together.
    pub const SHARED_RATE: usize = 20;
    /// A source with a token, until it earns more.
    pub const SOURCE_RATE: usize = 22;
    /// IPv6 sources with a token that have earned nothing yet, together.
    pub const NEWCOMER_RATE: usize = 24;
    /// Stale messages, together; sources without a token may use the first half of the burst only.
    pub const STALE_RATE: usize = 26;
    /// Conflicting orders that userspace gets to see.
    pub const EVIDENCE_RATE: usize = 28;
    /// Bounds of what a source can earn or lose, in ns for a message: least, most.
    pub const SOURCE_COST_BOUNDS: usize = 30;
    /// Always zero, which the kernel's verifier does not know; see [`super::Words::opaque`].
    pub const ZERO: usize = 32;
    /// Permitted VLAN ids, 4,096 bits.
    pub const VLANS: usize = 64;
}

/// Bits of [`word::FLAGS`].
pub mod flag {
    /// The filter decides; without it everything passes.
    pub const ON: u64 = 1;
    /// Untagged frames may be ours.
    pub const UNTAGGED: u64 = 2;
    /// Under load, best-effort traffic of others on this interface is shed too.
    pub const SHED_INTERFACE: u64 = 4;
    /// The kernel writes no state: for measuring one verdict again and again.
    pub const FROZEN: u64 = 8;
}

/// A rate in the terms of the generic cell rate algorithm (ITU-T I.371): a message costs time, and so much may be owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What a message costs, in ns. 0: no limit.
    pub cost_ns: u64,
    /// How far ahead of time a bucket may be, in ns.
    pub burst_ns: u64,
}

impl Rate {
    /// So many messages a second, so many of them at once. `per_second` 0 means no limit.
    pub const fn per_second(per_second: u64, burst: u64) -> Rate {
        match 1_000_000_000_u64.checked_div(per_second) {
            Some(cost_ns) => Rate { cost_ns, burst_ns: cost_ns.saturating_mul(burst.saturating_sub(1)) },
            None => Rate { cost_ns: 0, burst_ns: 0 },
        }
    }

    #[inline(always)]
    pub(super) fn read<W: Words>(config: W, at: usize) -> Rate {
        Rate { cost_ns: config.load(at), burst_ns: config.load(at + 1) }
    }

    /// Whether a bucket that stands at `owed_until_ns` has room.
    #[inline(always)]
    pub fn allows(&self, owed_until_ns: u64, now_ns: u64) -> bool {
        owed_until_ns <= now_ns.saturating_add(self.burst_ns)
    }

    /// Where a bucket stands after `messages` more.
    #[inline(always)]
    pub fn charge(&self, owed_until_ns: u64, now_ns: u64, messages: u64) -> u64 {
        owed_until_ns.max(now_ns).saturating_add(self.cost_ns.wrapping_mul(messages))
    }
}

/// Everything that userspace decides at start. Times are in ns of the monotonic clock.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Random and secret: who knows it can choose whom to share a table's place with.
    pub key: [u8; 16],
    /// Key of return tokens, the one that answers carry.
    pub token_key: crate::TokenKey,
    /// Our UDP port.
    pub port: u16,
    /// MAC addresses that frames for us carry: the interface's own, and a further one such as a virtual router's.
    pub macs: [Option<[u8; 6]>; 2],
    /// Whether untagged frames may be ours.
    pub untagged: bool,
    /// AF_XDP sockets for each receive queue; 0 where messages take the stack.
    pub workers: u32,
    /// Kinds that this port serves, bit `k` for kind `k`.
    pub kinds: u64,
    /// Whether best-effort traffic of others is shed too, by the shed level.
    pub shed_interface: bool,
    /// Ports of others' traffic that is never shed; 0 for none.
    pub kept_ports: [u16; 4],
    /// How long a copy counts as an echo.
    pub echo_window_ns: u64,
    /// How long one stale or conflicting message keeps out further ones.
    pub allowance_window_ns: u64,
    /// How long a silent source keeps its place against another.
    pub source_idle_ns: u64,
    /// All sources without a token, together.
    pub shared_rate: Rate,
    /// A source with a token, at first.
    pub source_rate: Rate,
    /// All IPv6 sources with a token that have earned nothing yet, together: whoever has a /64 has 2^64 sources.
    pub newcomer_rate: Rate,
    /// All stale messages that pass, together.
    pub stale_rate: Rate,
    /// Conflicting orders that are shown to userspace.
    pub evidence_rate: Rate,
    /// Cheapest and dearest message of a source, in ns: what verified messages can earn, and bad ones cost.
    pub source_cost_bounds_ns: [u32; 2],
}

impl Settings {
    /// Kinds that an authority serves.
    pub const REQUEST_KINDS: u64 = 1 << crate::Kind::TransferRequest as u8
        | 1 << crate::Kind::ConfirmationRequest as u8
        | 1 << crate::Kind::AccountQuery as u8
        | 1 << crate::Kind::CertificateQuery as u8;

    /// What suits an authority on a gateway, with its three secrets and names filled in.
    ///
    /// The allowance window is shorter than [`crate::FIRST_RETRY_MS`], so that every retry of an honest client passes. The rates
    /// leave room for 100,000 messages a second of known sources, and bound newcomers to a fraction of what one core verifies.
    pub fn new(key: [u8; 16], token_key: crate::TokenKey, port: u16, mac: [u8; 6]) -> Self {
        Self {
            key,
            token_key,
            port,
            macs: [Some(mac), None],
            untagged: true,
            workers: 0,
            kinds: Self::REQUEST_KINDS,
            shed_interface: false,
            // SSH, name resolution, and both DHCPs: what a hurried operator must not lose.
            kept_ports: [22, 53, 68, 546],
            echo_window_ns: crate::ECHO_WINDOW_MS * 1_000_000,
            allowance_window_ns: 50_000_000,
            source_idle_ns: 10_000_000_000,
            shared_rate: Rate::per_second(50_000, 4_096),
            source_rate: Rate::per_second(20_000, 2_048),
            newcomer_rate: Rate::per_second(50_000, 4_096),
            stale_rate: Rate::per_second(1_000, 128),
            evidence_rate: Rate::per_second(100, 16),
            source_cost_bounds_ns: [1_000, 10_000_000],
        }
    }
}
