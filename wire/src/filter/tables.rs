//! The tables that kernel and userspace share: arrays of 64-bit words, direct-mapped, each entry a whole number of words.
//!
//! In the kernel they are array maps with BPF_F_MMAPABLE, so userspace writes them by plain stores. Userspace's own copy of
//! the filter runs the identical code over plain memory. A place is found by a keyed hash; whoever comes later takes it.

/// Names and entry sizes of the kernel's maps, for the loader.
pub mod maps {
    /// Settings: one entry.
    pub const CONFIG: &str = "CONFIG";
    /// This host's own addresses: one entry.
    pub const OWN_ADDRESSES: &str = "OWN_ADDRESSES";
    /// Buckets that many sources share: one entry.
    pub const SHARED: &str = "SHARED";
    /// What was verified of accounts.
    pub const ACCOUNTS: &str = "ACCOUNTS";
    /// Rates of sources that hold a return token.
    pub const SOURCES: &str = "SOURCES";
    /// When stale and conflicting messages passed last.
    pub const ALLOWANCES: &str = "ALLOWANCES";
    /// Fingerprints of the newest packets.
    pub const ECHOES: &str = "ECHOES";
    /// Counters by [`super::super::Outcome`], per CPU, a `u64` each.
    pub const COUNTERS: &str = "COUNTERS";
    /// AF_XDP sockets by receive queue * workers + worker.
    pub const SOCKETS: &str = "SOCKETS";
    /// Ring buffer of [`super::super::evidence::Record`]s.
    pub const EVIDENCE: &str = "EVIDENCE";
    /// Time and verdict of the test build: one entry of [`super::TEST_RUN_WORDS`] words.
    pub const TEST_RUN: &str = "TEST_RUN";
    /// Name of the program itself.
    pub const PROGRAM: &str = "meshpay_filter";
}

/// Words of the one settings entry.
pub const CONFIG_WORDS: usize = 128;
/// Words of the one entry of own addresses: a count, a spare word, then two words for each address.
pub const OWN_WORDS: usize = 2 + 2 * OWN_MAX;
/// Most addresses that this host may have.
pub const OWN_MAX: usize = 63;
/// Words of the one entry of shared buckets.
pub const SHARED_WORDS: usize = 8;
/// Words of an account: one cache line.
pub const ACCOUNT_WORDS: usize = 8;
/// Words of a source: one cache line.
pub const SOURCE_WORDS: usize = 8;
/// Words of an allowance.
pub const ALLOWANCE_WORDS: usize = 2;
/// Words of an echo.
pub const ECHO_WORDS: usize = 2;
/// Words of the test build's entry: in: now in ns, receive queue; out: outcome, place of the socket, evidence flag and payload offset.
pub const TEST_RUN_WORDS: usize = 8;

const _: () = assert!(ACCOUNT_WORDS * 8 == 64 && SOURCE_WORDS * 8 == 64);

/// How many entries each table has. Powers of two, so that a place is a mask away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// Accounts, 64 bytes each.
    pub accounts: u32,
    /// Sources with a token, 64 bytes each.
    pub sources: u32,
    /// Stale and conflicting messages, 16 bytes each.
    pub allowances: u32,
    /// Echoes, 16 bytes each.
    pub echoes: u32,
}

impl TableSizes {
    /// For a merchant's gateway: about 5 MiB.
    pub const ORDINARY: TableSizes =
        TableSizes { accounts: 1 << 16, sources: 1 << 12, allowances: 1 << 14, echoes: 1 << 14 };

    /// Whether all are powers of two.
    pub fn are_valid(&self) -> bool {
        [self.accounts, self.sources, self.allowances, self.echoes].iter().all(|size| size.is_power_of_two())
    }

    /// Map names with the number of entries that each is to have, for the loader.
    pub fn entries(&self) -> [(&'static str, u32); 4] {
        [
            (maps::ACCOUNTS, self.accounts),
            (maps::SOURCES, self.sources),
            (maps::ALLOWANCES, self.allowances),
            (maps::ECHOES, self.echoes),
        ]
    }
}

/// One entry of a table. What lies beyond it reads as zero and is not written.
pub trait Words: Copy {
    /// Reads a word.
    fn load(self, word: usize) -> u64;
    /// Writes a word.
    fn store(self, word: usize, value: u64);
    /// `value`, which must not exceed `mask`. Asked of the settings' entry. In the kernel its history is hidden: the verifier walks the
    /// rest of the program once for each value that it can tell from others, and would not come to an end.
    #[inline(always)]
    fn opaque(self, value: u64, mask: u64) -> u64 {
        value & mask
    }
}

/// All tables. An entry that is not there is treated as one that knows nothing.
pub trait Tables {
    /// How an entry is reached.
    type Entry: Words;
    /// The settings, [`CONFIG_WORDS`].
    fn config(&self) -> Option<Self::Entry>;
    /// This host's addresses, [`OWN_WORDS`].
    fn own_addresses(&self) -> Option<Self::Entry>;
    /// Shared buckets, [`SHARED_WORDS`].
    fn shared(&self) -> Option<Self::Entry>;
    /// An account's entry, [`ACCOUNT_WORDS`].
    fn account(&self, place: u32) -> Option<Self::Entry>;
    /// A source's entry, [`SOURCE_WORDS`].
    fn source(&self, place: u32) -> Option<Self::Entry>;
    /// An allowance, [`ALLOWANCE_WORDS`].
    fn allowance(&self, place: u32) -> Option<Self::Entry>;
    /// An echo, [`ECHO_WORDS`].
    fn echo(&self, place: u32) -> Option<Self::Entry>;
}

#[cfg(not(target_arch = "bpf"))]
mod memory {
    use super::{
        ACCOUNT_WORDS, ALLOWANCE_WORDS, CONFIG_WORDS, ECHO_WORDS, OWN_WORDS, SHARED_WORDS, SOURCE_WORDS, TableSizes,
        Tables, Words,
    };
    use core::sync::atomic::{AtomicU64, Ordering};

    /// The tables as userspace sees them: memory-mapped maps, or plain memory where no kernel program runs.
    #[derive(Clone, Copy, Debug)]
    pub struct FilterTables<'a> {
        /// [`CONFIG_WORDS`] words.
        pub config: &'a [AtomicU64],
        /// [`OWN_WORDS`] words.
        pub own_addresses: &'a [AtomicU64],
        /// [`SHARED_WORDS`] words.
        pub shared: &'a [AtomicU64],
        /// A power of two of entries.
        pub accounts: &'a [AtomicU64],
        /// A power of two of entries.
        pub sources: &'a [AtomicU64],
        /// A power of two of entries.
        pub allowances: &'a [AtomicU64],
        /// A power of two of entries.
        pub echoes: &'a [AtomicU64],
    }

    impl FilterTables<'_> {
        /// How many entries the slices hold; `None` where one of them is too short or no power of two.
        pub fn sizes(&self) -> Option<TableSizes> {
            let entries = |words: &[AtomicU64], each: usize| u32::try_from(words.len() / each).ok();
            let sizes = TableSizes {
                accounts: entries(self.accounts, ACCOUNT_WORDS)?,
                sources: entries(self.sources, SOURCE_WORDS)?,
                allowances: entries(self.allowances, ALLOWANCE_WORDS)?,
                echoes: entries(self.echoes, ECHO_WORDS)?,
            };
            let fixed = self.config.len() >= CONFIG_WORDS
                && self.own_addresses.len() >= OWN_WORDS
                && self.shared.len() >= SHARED_WORDS;
            (fixed && sizes.are_valid()).then_some(sizes)
        }
    }

    impl Words for &[AtomicU64] {
        #[inline(always)]
        fn load(self, word: usize) -> u64 {
            self.get(word).map_or(0, |word| word.load(Ordering::Acquire))
        }

        #[inline(always)]
        fn store(self, word: usize, value: u64) {
            if let Some(word) = self.get(word) {
                word.store(value, Ordering::Release);
            }
        }
    }

    #[inline(always)]
    fn entry(table: &[AtomicU64], place: u32, words: usize) -> Option<&[AtomicU64]> {
        let start = place as usize * words;
        table.get(start..start + words)
    }

    impl<'a> Tables for FilterTables<'a> {
        type Entry = &'a [AtomicU64];

        fn config(&self) -> Option<Self::Entry> {
            Some(self.config)
        }

        fn own_addresses(&self) -> Option<Self::Entry> {
            Some(self.own_addresses)
        }

        fn shared(&self) -> Option<Self::Entry> {
            Some(self.shared)
        }

        fn account(&self, place: u32) -> Option<Self::Entry> {
            entry(self.accounts, place, ACCOUNT_WORDS)
        }

        fn source(&self, place: u32) -> Option<Self::Entry> {
            entry(self.sources, place, SOURCE_WORDS)
        }

        fn allowance(&self, place: u32) -> Option<Self::Entry> {
            entry(self.allowances, place, ALLOWANCE_WORDS)
        }

        fn echo(&self, place: u32) -> Option<Self::Entry> {
            entry(self.echoes, place, ECHO_WORDS)
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
pub use memory::FilterTables;
