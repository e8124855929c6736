//! What the rest of the daemon sees of the network, and the operator's one command to it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use meshpay_net::rung::Missed;
use meshpay_net::xdp::AttachMode;
use meshpay_net::{RingSlot, Rung, XskCounters};
use meshpay_wire::filter::Outcome;
use serde::Serialize;

use super::FilterProgram;

/// Sources that are shown, those with the most messages first.
const SOURCES_SHOWN: usize = 20;

/// Packet I/O as it is now.
pub struct NetworkView {
    rung: AtomicU8,
    missed: Vec<Missed>,
    filter: Option<Arc<FilterView>>,
    slots: Vec<Arc<RingSlot>>,
    closed: AtomicBool,
}

impl NetworkView {
    pub(super) fn new(
        rung: Rung,
        missed: Vec<Missed>,
        filter: Option<Arc<FilterView>>,
        slots: Vec<Arc<RingSlot>>,
    ) -> Self {
        Self { rung: AtomicU8::new(rung.level()), missed, filter, slots, closed: AtomicBool::new(false) }
    }

    /// The rung now; it falls when an interface goes away, and climbs back.
    pub fn rung(&self) -> Rung {
        let level = self.rung.load(Ordering::Acquire);
        Rung::BEST_FIRST.into_iter().find(|rung| rung.level() == level).unwrap_or(Rung::Udp)
    }

    pub(super) fn set_rung(&self, rung: Rung) {
        self.rung.store(rung.level(), Ordering::Release);
    }

    /// Better rungs that were tried at the start, and why they were not reached.
    pub fn missed(&self) -> &[Missed] {
        &self.missed
    }

    /// The filter, if one was asked for and loaded.
    pub fn filter(&self) -> Option<&Arc<FilterView>> {
        self.filter.as_ref()
    }

    /// A picture of the filter now, if there is one.
    pub fn filter_status(&self) -> Option<FilterStatus> {
        let missed = self.missed.iter().map(ToString::to_string).collect();
        self.filter.as_ref().map(|filter| filter.status(self.rung(), missed))
    }

    /// Details of the AF_XDP rings of all workers.
    pub fn rings(&self) -> XskCounters {
        let mut sum = XskCounters::default();
        for slot in &self.slots {
            sum += slot.details();
        }
        sum
    }

    /// Takes the filter off at the end; the interface is left as it was found.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The filter as it is now.
pub struct FilterView {
    interface: String,
    mode: AttachMode,
    not_native: Option<String>,
    program: Arc<FilterProgram>,
    state: Mutex<&'static str>,
    wants_off: AtomicBool,
    off: AtomicBool,
    pub(super) shed_level: AtomicU64,
    /// Samples of dropped conflicting orders that were handed to workers.
    pub evidence: AtomicU64,
}

/// What `filter status` shows.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub struct FilterStatus {
    /// Where it runs.
    pub interface: String,
    /// "native" or "generic".
    pub mode: String,
    /// Why not natively, if so.
    pub not_native: Option<String>,
    /// What it is doing.
    pub state: String,
    /// Whether the operator took it off.
    pub is_off: bool,
    /// By which means packets come and go now.
    pub rung: String,
    /// Better rungs that were tried at the start, and why they were not reached.
    pub missed: Vec<String>,
    /// 0: nothing is shed; 1: class 2; 2: queries too.
    pub shed_level: u64,
    /// How often each outcome came.
    pub outcomes: Vec<(String, u64)>,
    /// Dropped conflicting orders that were looked at in userspace.
    pub evidence: u64,
    /// Accounts that the filter knows.
    pub accounts_known: usize,
    /// Accounts that it has room for.
    pub accounts_max: usize,
    /// Sources with a rate of their own: address, messages that went on, datagrams over the rate; most first.
    pub sources: Vec<(String, u64, u64)>,
    /// How many sources it knows.
    pub sources_known: usize,
}

impl FilterView {
    pub(super) fn new(
        interface: String,
        mode: AttachMode,
        not_native: Option<String>,
        program: Arc<FilterProgram>,
    ) -> Self {
        Self {
            interface,
            mode,
            not_native,
            program,
            state: Mutex::new("filtering"),
            wants_off: AtomicBool::new(false),
            off: AtomicBool::new(false),
            shed_level: AtomicU64::new(0),
            evidence: AtomicU64::new(0),
        }
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The program and its tables.
    pub fn program(&self) -> &FilterProgram {
        &self.program
    }

    /// Asks that the filter be taken off the interface, or put on again. It happens within a moment; sockets serve on in any case.
    pub fn want_off(&self, off: bool) {
        self.wants_off.store(off, Ordering::Release);
    }

    pub(super) fn wants_off(&self) -> bool {
        self.wants_off.load(Ordering::Acquire)
    }

    /// Whether it was taken off by the operator.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::Acquire)
    }

    pub(super) fn set_off(&self, off: bool) {
        self.off.store(off, Ordering::Release);
    }

    pub(super) fn set_state(&self, state: &'static str) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// What it is doing, in words.
    pub fn state(&self) -> &'static str {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often each outcome came.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.iter().copied().zip(self.program.counts())
    }

    /// A picture of now.
    fn status(&self, rung: Rung, missed: Vec<String>) -> FilterStatus {
        let writer = self.program.tables().writer();
        let mut sources: Vec<(String, u64, u64)> =
            writer.sources().map(|(address, passed, dropped)| (address.to_string(), passed, dropped)).collect();
        let sources_known = sources.len();
        sources.sort_by_key(|(_, passed, dropped)| std::cmp::Reverse(passed + dropped));
        sources.truncate(SOURCES_SHOWN);
        FilterStatus {
            interface: self.interface.clone(),
            mode: match self.mode {
                AttachMode::Native => "native",
                AttachMode::Generic => "generic",
            }
            .to_owned(),
            not_native: self.not_native.clone(),
            state: self.state().to_owned(),
            is_off: self.is_off(),
            rung: rung.name().to_owned(),
            missed,
            shed_level: self.shed_level.load(Ordering::Relaxed),
            outcomes: self.outcomes().map(|(outcome, count)| (outcome.name().to_owned(), count)).collect(),
            evidence: self.evidence.load(Ordering::Relaxed),
            accounts_known: writer.accounts_known(),
            accounts_max: writer.tables().sizes().map_or(0, |sizes| sizes.accounts as usize),
            sources,
            sources_known,
        }
    }
}
