//! The filter in front of a simulated authority's workers: the daemon's rules and tables, by the simulation's clock.

use std::net::IpAddr;
use std::rc::Rc;

use meshpay_authority::filter::{PlainTables, judge, note_account, note_source};
use meshpay_authority::pipeline::{Clock, Filter};
use meshpay_net::Peer;
use meshpay_protocol::Account;
use meshpay_wire::filter::{FilterWriter, Outcome, TableSizes};

use super::port::SimClock;

/// Small, so that accounts and sources often meet at one place.
pub const TABLES: TableSizes = TableSizes { accounts: 64, sources: 16, allowances: 64, echoes: 256 };

/// A worker's side of it.
pub struct SimFilter {
    /// Shared by the workers of one process.
    pub tables: Rc<PlainTables>,
    /// The authority's clock.
    pub clock: Rc<SimClock>,
}

impl SimFilter {
    fn writer(&self) -> FilterWriter<'_> {
        FilterWriter::new(self.tables.tables())
    }
}

impl Filter for SimFilter {
    fn account(&mut self, account: &Account) {
        note_account(&self.writer(), account, self.clock.monotonic_ns(), self.clock.now_ms());
    }

    fn source(&mut self, source: IpAddr, valid: bool) {
        note_source(&self.writer(), &source, valid);
    }

    fn judge(&mut self, datagram: &[u8], peer: &Peer) -> Option<Outcome> {
        let now_ns = self.clock.monotonic_ns();
        self.writer().set_wall_clock(self.clock.now_ms(), now_ns);
        judge(&self.tables.tables(), datagram, peer, now_ns)
    }
}
