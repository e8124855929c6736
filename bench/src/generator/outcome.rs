//! What a run of the generator came to.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::state::{Phase, Progress};
use crate::workload::Ending;

/// Longest time that a histogram holds, in microseconds: ten minutes. Longer ones count as this.
pub const HISTOGRAM_MAX_US: u64 = 600_000_000;

/// A histogram of microseconds with three significant digits.
pub fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, HISTOGRAM_MAX_US, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

/// Counters and distributions of one batch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Payments that were due in the measured part.
    pub offered_in_window: u64,
    /// Payments settled during the measured part, whenever they were due.
    pub settled_in_window: u64,
    /// Length of the measured part as it came out, in seconds.
    pub window_seconds: f64,
    /// Payments settled in all.
    pub settled: u64,
    /// Payments not settled when the run ended, after all repetitions.
    pub lost: u64,
    /// Payments settled but not acknowledged by all that were asked.
    pub incomplete: u64,
    /// Requests repeated because no answer came in time.
    pub retries: u64,
    /// Requests repeated, of payments that were due in the measured part.
    pub retries_in_window: u64,
    /// Payments not settled yet when the last one was due.
    pub backlog_at_end: u64,
    /// Payments whose wallet waited for the same sender's payment before them.
    pub held: u64,
    /// Answers that differ from what they must be.
    pub wrong_answers: u64,
    /// What the first wrong answer was, in words.
    pub first_wrong: Option<String>,
    /// Answers to requests that were answered before.
    pub repeated_answers: u64,
    /// Datagrams that are no message, or answer nothing of this batch.
    pub foreign: u64,
    /// Refusals by name.
    pub refusals: BTreeMap<&'static str, u64>,
    /// From the intended send time to a verified quorum of votes, for payments due in the measured part.
    pub finality_us: Histogram<u64>,
    /// From the intended send time to a quorum of acknowledgements, likewise.
    pub settlement_us: Histogram<u64>,
    /// From the intended send time to the hand-over of the order to the kernel, likewise, of payments that were not held.
    pub lateness_us: Histogram<u64>,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Answers that the kernel dropped at the generator's socket.
    pub dropped_at_socket: u64,
    /// Requests that the kernel refused to send.
    pub refused_by_kernel: u64,
    /// From start to end, drain included, in seconds.
    pub elapsed_seconds: f64,
    /// Where each payment ended.
    pub progress: Vec<Progress>,
}

impl Outcome {
    /// Nothing yet, of so many payments.
    pub fn new(payments: usize) -> Self {
        Self {
            offered_in_window: 0,
            settled_in_window: 0,
            window_seconds: 0.0,
            settled: 0,
            lost: 0,
            incomplete: 0,
            retries: 0,
            retries_in_window: 0,
            backlog_at_end: 0,
            held: 0,
            wrong_answers: 0,
            first_wrong: None,
            repeated_answers: 0,
            foreign: 0,
            refusals: BTreeMap::new(),
            finality_us: histogram(),
            settlement_us: histogram(),
            lateness_us: histogram(),
            sent: 0,
            received: 0,
            dropped_at_socket: 0,
            refused_by_kernel: 0,
            elapsed_seconds: 0.0,
            progress: vec![Progress::default(); payments],
        }
    }

    /// Settled payments a second in the measured part.
    pub fn settled_per_second(&self) -> f64 {
        if self.window_seconds > 0.0 { self.settled_in_window as f64 / self.window_seconds } else { 0.0 }
    }

    /// How a payment ended.
    pub fn ending(&self, payment: usize) -> Ending {
        let progress = &self.progress[payment];
        match progress.phase {
            Phase::Waiting | Phase::Held => Ending::Unsent,
            Phase::Voting | Phase::Executing | Phase::Settled => Ending::Open(progress.acknowledged),
            Phase::Complete => Ending::Complete,
        }
    }

    /// Share of repeated requests among the payments due in the measured part.
    pub fn retry_share(&self) -> f64 {
        self.retries_in_window as f64 / (self.offered_in_window.max(1)) as f64
    }
}
