//! Everything a worker counts. One writer, any number of readers; the metrics page shows all of it.

use std::sync::atomic::{AtomicU64, Ordering};

use meshpay_wire::filter::Outcome;
use meshpay_wire::{Malformed, RefusalCode};

/// A total that only grows, written by one worker.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. One writer only, so no locked instruction is needed.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets, for a total that somebody else keeps.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of histogram buckets, in microseconds; one more bucket holds the rest.
pub const BUCKETS_US: [u64; 14] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000];

/// A histogram of durations in microseconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Enters a duration.
    pub fn record_ns(&self, ns: u64) {
        let us = ns / 1_000;
        let at = BUCKETS_US.iter().position(|bound| us < *bound).unwrap_or(BUCKETS_US.len());
        self.buckets[at].add(1);
        self.sum_ns.add(ns);
    }

    /// Counts per bucket.
    pub fn counts(&self) -> [u64; BUCKETS_US.len() + 1] {
        std::array::from_fn(|at| self.buckets[at].get())
    }

    /// Sum of all durations in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$field_doc])* pub $field: Counter,)* }

        impl $name {
            /// Names and values, for the metrics page.
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.get()),)*]
            }
        }
    };
}

counters! {
    /// What a worker has done and dropped.
    Totals {
        /// Turns that had something to do.
        turns,
        /// Datagrams received.
        datagrams,
        /// Messages decoded.
        messages,
        /// Answers or reserved kinds that came as requests; dropped.
        unexpected_kind,
        /// Messages dropped because their source's queue was full.
        dropped_source_queue,
        /// Messages dropped because all buffers were in use.
        dropped_no_buffer,
        /// Messages for another network dropped without a refusal, because too many answers wait.
        dropped_other_network,
        /// Messages handed to the worker that owns their account.
        crossed,
        /// Messages dropped because the other worker's queue was full.
        dropped_crossing,
        /// Messages received from other workers.
        received_crossing,
        /// Orders looked at.
        orders,
        /// Orders locked for the first time.
        locked,
        /// Votes repeated for the locked order.
        voted_again,
        /// Conflicting orders with a valid signature.
        conflicts,
        /// Proofs of equivocation recorded.
        evidence,
        /// Certificates looked at.
        certificates,
        /// Certificates executed.
        executed,
        /// Orders and certificates of sequences that were executed before.
        executed_before,
        /// Executions that left the sender below zero here.
        left_owing,
        /// Executions against another order's lock.
        beaten_locks,
        /// Credits handed to another worker.
        credits_sent,
        /// Credits received from another worker.
        credits_received,
        /// Own votes in certificates recognised by comparison.
        own_votes_recognised,
        /// Sender signatures of certificates not checked again, being the locked one.
        sender_signatures_known,
        /// Account queries.
        account_queries,
        /// Certificate queries.
        certificate_queries,
        /// Answers queued.
        answers,
        /// Answers handed to the network.
        answers_sent,
        /// Answers dropped because what they need could not be read from the journal.
        answers_unreadable,
        /// Votes withheld because voting had stopped before they left.
        votes_withheld,
        /// Old certificates and sequences not looked up because too many were asked for at once.
        dropped_history_budget,
        /// Records read from the journal to look such things up.
        history_reads,
    }
}

/// A worker's counters and histograms.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Totals.
    pub totals: Totals,
    /// Malformed messages, by [`Malformed`].
    pub malformed: [Counter; Malformed::ALL.len()],
    /// Datagrams that the filter ended in userspace, by [`Outcome`].
    pub filtered: [Counter; Outcome::COUNT],
    /// Refusals, by place in [`RefusalCode::ALL`].
    pub refusals: Vec<Counter>,
    /// Time per turn for receiving and decoding.
    pub receive: Histogram,
    /// For certificates: screening, verifying, applying.
    pub certificates: Histogram,
    /// For orders: screening, verifying, locking.
    pub orders: Histogram,
    /// For queries.
    pub queries: Histogram,
    /// For signing votes.
    pub sign: Histogram,
    /// For composing and sending answers.
    pub reply: Histogram,
    /// From the queueing of a burst's answers to their release, the journal's part.
    pub durable_wait: Histogram,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            malformed: std::array::from_fn(|_| Counter::default()),
            filtered: std::array::from_fn(|_| Counter::default()),
            refusals: RefusalCode::ALL.iter().map(|_| Counter::default()).collect(),
            receive: Histogram::default(),
            certificates: Histogram::default(),
            orders: Histogram::default(),
            queries: Histogram::default(),
            sign: Histogram::default(),
            reply: Histogram::default(),
            durable_wait: Histogram::default(),
        }
    }
}

impl WorkerCounters {
    /// Counts a malformed message.
    pub fn malformed(&self, reason: Malformed) {
        self.malformed[reason as usize].add(1);
    }

    /// Counts a datagram that the filter ended in userspace.
    pub fn filtered(&self, outcome: Outcome) {
        self.filtered[outcome as usize].add(1);
    }

    /// Counts a refusal.
    pub fn refused(&self, code: RefusalCode) {
        if let Some(at) = RefusalCode::ALL.iter().position(|known| *known == code) {
            self.refusals[at].add(1);
        }
    }

    /// The histograms with their stage names.
    pub fn stages(&self) -> [(&'static str, &Histogram); 7] {
        [
            ("receive", &self.receive),
            ("certificates", &self.certificates),
            ("orders", &self.orders),
            ("queries", &self.queries),
            ("sign", &self.sign),
            ("reply", &self.reply),
            ("durable_wait", &self.durable_wait),
        ]
    }
}
