//! A worker's side of the filter, through the tables that they share: some nanoseconds, no system call but the clock's.

use std::net::IpAddr;

use meshpay_net::Peer;
use meshpay_protocol::Account;
use meshpay_wire::filter::Outcome;

use super::Coverage;
use super::program::{Tables, kernel_ns, wall_ms};
use crate::filter::{judge, note_account, note_source};
use crate::pipeline::Filter;

/// How often the date is told, by which return tokens are judged.
const DATE_EVERY_NS: u64 = 1_000_000_000;

/// The filter as the daemon's workers know it: the kernel's tables, or its own where no program is loaded.
pub struct WorkerFilter {
    tables: Tables,
    coverage: Coverage,
    date_told_ns: u64,
}

impl WorkerFilter {
    /// Over tables that all workers share.
    pub fn new(tables: Tables, coverage: Coverage) -> Self {
        Self { tables, coverage, date_told_ns: 0 }
    }
}

impl Filter for WorkerFilter {
    fn account(&mut self, account: &Account) {
        let now_ms = if account.penalised_until_ms.get() > 0 { wall_ms() } else { 0 };
        let now_ns = if now_ms > 0 { kernel_ns() } else { 0 };
        note_account(&self.tables.writer(), account, now_ns, now_ms);
    }

    fn source(&mut self, source: IpAddr, valid: bool) {
        note_source(&self.tables.writer(), &source, valid);
    }

    fn judge(&mut self, datagram: &[u8], peer: &Peer) -> Option<Outcome> {
        let interface = peer.link.socket_interface()?;
        if !self.coverage.leaves(interface) {
            return None;
        }
        let now_ns = kernel_ns();
        let writer = self.tables.writer();
        if now_ns.saturating_sub(self.date_told_ns) >= DATE_EVERY_NS {
            writer.set_wall_clock(wall_ms(), now_ns);
            self.date_told_ns = now_ns;
        }
        judge(&writer.tables(), datagram, peer, now_ns)
    }
}
