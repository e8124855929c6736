//! The filter as the daemon loads it, attached to nothing, for programs that measure it alone.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use meshpay_authority::FilterProgram;
use meshpay_net::host;
use meshpay_net::xdp::{MappedArray, Program};
use meshpay_wire::TokenKey;
use meshpay_wire::filter::{FilterWriter, Outcome, Rate, Settings, TableSizes, maps};

use crate::link::Side;

/// The filter in the kernel, attached to nothing yet, with room for one AF_XDP socket.
pub(super) struct LoadedFilter {
    filter: FilterProgram,
    shared: MappedArray,
}

/// One end of a link as frames and filters name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// The interface's index in its namespace.
    pub(super) index: u32,
    /// Its hardware address.
    pub(super) mac: [u8; 6],
}

impl Host {
    /// Looks a side's interface up.
    pub(super) fn of(side: &Side) -> Result<Self> {
        let link = side.inside(|| host::Link::named(side.interface()))??;
        Ok(Self { index: link.index, mac: link.mac.context("the interface has no hardware address")? })
    }
}

impl LoadedFilter {
    /// Loads it with the tables of an ordinary gateway.
    pub(super) fn load() -> Result<Self> {
        let filter = FilterProgram::load(TableSizes::ORDINARY, 1)?;
        let shared = filter.program().mapped(maps::SHARED)?;
        Ok(Self { filter, shared })
    }

    pub(super) fn program(&self) -> &Program {
        self.filter.program()
    }

    pub(super) fn writer(&self) -> FilterWriter<'_> {
        self.filter.tables().writer()
    }

    /// Sets a word of the entry that all sources share (`word_of_shared`): a bucket is never full, or always.
    pub(super) fn set_shared(&self, word: usize, value: u64) {
        let words: &[AtomicU64] = self.shared.words();
        words[word].store(value, Ordering::SeqCst);
    }

    /// Switches it on for these addresses.
    pub(super) fn start(&self, settings: &Settings, own: &[IpAddr]) -> Result<()> {
        self.filter.start(settings);
        ensure!(self.filter.tables().set_own_addresses(own), "{} addresses are more than the filter holds", own.len());
        Ok(())
    }

    /// Where the messages go that it delivers.
    pub(super) fn set_socket(&self, socket: BorrowedFd<'_>) -> Result<()> {
        Ok(self.filter.sockets().set(0, socket)?)
    }

    /// How often an outcome came so far.
    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.filter.counts()[outcome as usize]
    }
}

/// Key of the return tokens here; nothing is secret in a benchmark.
pub(super) fn token_key() -> TokenKey {
    TokenKey::new([9; 16])
}

/// Settings without any limit of rate, for one worker.
pub(super) fn settings(port: u16, mac: [u8; 6]) -> Settings {
    let unlimited = Rate::per_second(0, 0);
    let mut settings = Settings::new([1; 16], token_key(), port, mac);
    settings.workers = 1;
    (settings.shared_rate, settings.source_rate, settings.newcomer_rate) = (unlimited, unlimited, unlimited);
    settings
}

/// Milliseconds of the calendar.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
