//! Tables in plain memory, for the filter in userspace.

use meshpay_wire::filter::tables::{
    ACCOUNT_WORDS, ALLOWANCE_WORDS, CONFIG_WORDS, ECHO_WORDS, OWN_WORDS, SHARED_WORDS, SOURCE_WORDS,
};
use meshpay_wire::filter::{FilterTables, TableSizes};
use std::sync::atomic::AtomicU64;

/// All tables, zero at first.
pub struct Memory([Vec<AtomicU64>; 7]);

impl Memory {
    pub fn new(sizes: TableSizes) -> Self {
        let words = |entries: u32, each: usize| (0..entries as usize * each).map(|_| AtomicU64::new(0)).collect();
        Self([
            words(1, CONFIG_WORDS),
            words(1, OWN_WORDS),
            words(1, SHARED_WORDS),
            words(sizes.accounts, ACCOUNT_WORDS),
            words(sizes.sources, SOURCE_WORDS),
            words(sizes.allowances, ALLOWANCE_WORDS),
            words(sizes.echoes, ECHO_WORDS),
        ])
    }

    pub fn tables(&self) -> FilterTables<'_> {
        let [config, own_addresses, shared, accounts, sources, allowances, echoes] = &self.0;
        FilterTables { config, own_addresses, shared, accounts, sources, allowances, echoes }
    }
}
