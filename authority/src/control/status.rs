//! What the control plane can see of the daemon.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::Serialize;

use super::latency::LatencyHistogram;
use crate::accounts::TableGauge;
use crate::daemon::ThreadShared;
use crate::dump::DumpRing;
use crate::journal::{Handle, Room};
use crate::network::NetworkView;
use crate::pipeline::Voting;
use crate::pipeline::counters::{Histogram, WorkerCounters};

/// Histograms of the journal's commits.
#[derive(Debug, Default)]
pub struct StageHistograms {
    /// Closing, hashing and writing.
    pub write: Histogram,
    /// Syncing.
    pub sync: Histogram,
    /// Syncing once more, finely: every promise of latency is one above the disk's own.
    pub sync_latency: LatencyHistogram,
}

/// Everything that is shown.
pub struct ControlState {
    /// Public key in hex.
    pub authority: String,
    /// Name in the genesis.
    pub name: String,
    /// Genesis digest in hex.
    pub genesis: String,
    /// "power-loss" or "process".
    pub durability: &'static str,
    /// Which signature kernels run.
    pub signatures: &'static str,
    /// Where payments are served.
    pub listen: SocketAddr,
    /// The journal.
    pub journal: Handle,
    /// Whether votes are given.
    pub voting: Arc<Voting>,
    /// Fill of the table; taken away at the end, since it keeps the table alive.
    pub gauge: Mutex<Option<TableGauge>>,
    /// Counters of each worker.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// What each worker's thread shares, for its port's counters.
    pub threads: Vec<Arc<ThreadShared>>,
    /// Copies of packets for whoever watches.
    pub dump: Arc<DumpRing>,
    /// By which means packets come and go, and the filter.
    pub network: Arc<NetworkView>,
    /// The journal's commits.
    pub commits: Arc<StageHistograms>,
    /// Position of the newest checkpoint.
    pub checkpoint: AtomicU64,
    /// When the daemon began to answer.
    pub started: Instant,
}

/// The answer to `/status`.
#[derive(Debug, Serialize)]
pub struct Status {
    authority: String,
    name: String,
    genesis: String,
    listen: SocketAddr,
    rung: &'static str,
    signatures: &'static str,
    durability: &'static str,
    voting: bool,
    voting_stopped_reason: Option<&'static str>,
    room: &'static str,
    head: u64,
    durable: u64,
    checkpoint: u64,
    journal_bytes_left: u64,
    account_slots_used: u64,
    account_slots: u64,
    executed: u64,
    locked: u64,
    workers: usize,
    uptime_seconds: u64,
}

impl ControlState {
    /// A picture of now.
    pub fn status(&self) -> Status {
        let total = |pick: fn(&WorkerCounters) -> u64| self.workers.iter().map(|counters| pick(counters)).sum();
        let (used, slots) = self.fill();
        Status {
            authority: self.authority.clone(),
            name: self.name.clone(),
            genesis: self.genesis.clone(),
            listen: self.listen,
            rung: self.network.rung().name(),
            signatures: self.signatures,
            durability: self.durability,
            voting: self.voting.stopped().is_none(),
            voting_stopped_reason: self.voting.stopped().map(voting_stopped_reason),
            room: self.room(),
            // Frames are padded, so at rest the durable end lies a little beyond the last record's.
            head: self.journal.appended().max(self.journal.durable()).0,
            durable: self.journal.durable().0,
            checkpoint: self.checkpoint.load(Ordering::Relaxed),
            journal_bytes_left: self.journal.bytes_left(),
            account_slots_used: used,
            account_slots: slots,
            executed: total(|counters| counters.totals.executed.get()),
            locked: total(|counters| counters.totals.locked.get()),
            workers: self.workers.len(),
            uptime_seconds: self.started.elapsed().as_secs(),
        }
    }

    /// Why the authority is not healthy, if so.
    pub fn unhealthy(&self) -> Option<String> {
        if let Some(failure) = self.journal.failure() {
            return Some(failure.to_string());
        }
        if let Some(reason) = self.voting.stopped() {
            return Some(format!("voting has stopped: {}", voting_stopped_reason(reason)));
        }
        match self.journal.room() {
            Room::Votes => None,
            Room::CertificatesOnly => Some(
                "the disk is nearly full: only certificates are taken; make room, it recovers by itself".to_owned(),
            ),
            Room::None => Some("the disk is full: nothing is taken; make room, it recovers by itself".to_owned()),
        }
    }

    /// Slots used, and slots.
    pub fn fill(&self) -> (u64, u64) {
        match self.gauge.lock() {
            Ok(gauge) => gauge.as_ref().map_or((0, 0), |gauge| (gauge.used(), gauge.slots())),
            Err(_) => (0, 0),
        }
    }

    /// The journal's room as a word.
    pub fn room(&self) -> &'static str {
        match self.journal.room() {
            Room::Votes => "votes",
            Room::CertificatesOnly => "certificates-only",
            Room::None => "none",
        }
    }
}

/// The reason of [`meshpay_protocol::record::VotingStoppedRecord`] in words.
pub fn voting_stopped_reason(reason: u32) -> &'static str {
    match reason {
        1 => "shown a valid vote of its own that the journal does not hold",
        2 => "the directory is a copy or was restored",
        3 => "stopped by the operator",
        _ => "unknown reason",
    }
}
