//! [`PlainTables`]: the filter's tables in ordinary memory, where no program of the kernel has any.

use std::sync::atomic::AtomicU64;

use meshpay_wire::TokenKey;
use meshpay_wire::filter::tables::{
    ACCOUNT_WORDS, ALLOWANCE_WORDS, CONFIG_WORDS, ECHO_WORDS, OWN_WORDS, SHARED_WORDS, SOURCE_WORDS,
};
use meshpay_wire::filter::{FilterTables, FilterWriter, Settings, TableSizes};

/// Tables that are shared by the workers of one process. What is lost with them is lost on purpose: the filter knows nothing after a start.
pub struct PlainTables {
    config: Vec<AtomicU64>,
    own_addresses: Vec<AtomicU64>,
    shared: Vec<AtomicU64>,
    accounts: Vec<AtomicU64>,
    sources: Vec<AtomicU64>,
    allowances: Vec<AtomicU64>,
    echoes: Vec<AtomicU64>,
}

impl PlainTables {
    /// Tables of these sizes, with the filter switched on. `key` is random and secret; `token_key` is that of the answers' return tokens.
    ///
    /// # Panics
    /// If a size is no power of two.
    pub fn new(sizes: TableSizes, key: [u8; 16], token_key: TokenKey) -> Self {
        let words = |entries: u32, each: usize| (0..entries as usize * each).map(|_| AtomicU64::new(0)).collect();
        let tables = Self {
            config: words(1, CONFIG_WORDS),
            own_addresses: words(1, OWN_WORDS),
            shared: words(1, SHARED_WORDS),
            accounts: words(sizes.accounts, ACCOUNT_WORDS),
            sources: words(sizes.sources, SOURCE_WORDS),
            allowances: words(sizes.allowances, ALLOWANCE_WORDS),
            echoes: words(sizes.echoes, ECHO_WORDS),
        };
        // A socket hands us datagrams of its own port alone, and nothing of the link below.
        let settings = Settings::new(key, token_key, 0, [0; 6]);
        assert!(FilterWriter::new(tables.tables()).start(&settings), "sizes are powers of two");
        tables
    }

    /// The tables as the rules read them.
    pub fn tables(&self) -> FilterTables<'_> {
        FilterTables {
            config: &self.config,
            own_addresses: &self.own_addresses,
            shared: &self.shared,
            accounts: &self.accounts,
            sources: &self.sources,
            allowances: &self.allowances,
            echoes: &self.echoes,
        }
    }
}
