//! The payments of a batch as a state machine: what is due and what was answered go in, requests to send come out.
//!
//! Knows neither sockets nor clocks; times are arguments.

use std::collections::VecDeque;
use std::net::SocketAddr;

use hdrhistogram::Histogram;
use meshpay_wire::{
    CERTIFICATE_FIXED_LENGTH, CertificateHead, CertificateView, Envelope, HEADER_LENGTH, Message, SIGNERS_MAX,
    Signature, TRANSFER_REQUEST_LENGTH, confirmation_request, transfer_request,
};

use super::answer::{Answer, check, request_of};
use super::outcome::Outcome;
use super::request_id::{RequestId, Step};
use super::state::Phase;
use super::{Plan, Quorum};
use crate::workload::NONE;

/// All payments of a batch, where each stands, and what is to be sent.
pub struct Payments<'a> {
    plan: &'a Plan<'a>,
    window_ns: std::ops::Range<u64>,
    all_targets: u32,
    /// The next payment to start.
    next: usize,
    in_flight: usize,
    unacknowledged: usize,
    ready: VecDeque<RequestId>,
    /// Figures so far.
    pub outcome: Outcome,
}

impl<'a> Payments<'a> {
    /// Nothing started yet. Figures are taken of what is due within `window_ns`.
    pub fn new(plan: &'a Plan<'a>, window_ns: std::ops::Range<u64>) -> Self {
        Self {
            plan,
            window_ns,
            all_targets: plan.targets.iter().fold(0, |bits, target| bits | 1 << target.place),
            next: 0,
            in_flight: 0,
            unacknowledged: 0,
            ready: VecDeque::new(),
            outcome: Outcome::new(plan.batch.len()),
        }
    }

    /// Number of the next payment to start, if there is one.
    pub fn next(&self) -> Option<usize> {
        (self.next < self.plan.batch.len()).then_some(self.next)
    }

    /// Payments started and not settled.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether every payment that was started is acknowledged by everybody asked.
    pub fn is_drained(&self) -> bool {
        self.in_flight == 0 && self.unacknowledged == 0
    }

    /// Whether a time lies in the measured part.
    pub fn is_measured(&self, intended_ns: u64) -> bool {
        self.window_ns.contains(&intended_ns)
    }

    /// Starts the next payment. One whose sender's payment before it is not settled is held until then; its latency counts
    /// from its intended time all the same.
    pub fn start(&mut self, intended_ns: u64) {
        let at = self.next;
        self.next += 1;
        self.in_flight += 1;
        self.outcome.progress[at].intended_ns = intended_ns;
        if self.is_measured(intended_ns) {
            self.outcome.offered_in_window += 1;
        }
        let previous = self.plan.batch.payments()[at].previous;
        if previous != NONE && self.outcome.progress[previous as usize].phase < Phase::Settled {
            self.outcome.progress[at].phase = Phase::Held;
            self.outcome.progress[at].was_held = true;
            self.outcome.held += 1;
        } else {
            self.ask_for_votes(at);
        }
    }

    /// Puts a request back into the queue, if its answer is still wanted.
    pub fn repeat(&mut self, request: RequestId) {
        if !self.is_open(&request) {
            return;
        }
        self.outcome.retries += 1;
        if self.is_measured(self.outcome.progress[request.payment as usize].intended_ns) {
            self.outcome.retries_in_window += 1;
        }
        self.ready.push_back(RequestId { attempt: request.attempt + 1, ..request });
    }

    /// The next request to send.
    pub fn pop_ready(&mut self) -> Option<RequestId> {
        loop {
            let request = self.ready.pop_front()?;
            // A quorum may have come before the last request of a payment left.
            if self.is_open(&request) {
                return Some(request);
            }
        }
    }

    /// Whether something waits to be sent.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Writes a request's message; returns its length.
    pub fn write(&self, buffer: &mut [u8], request: &RequestId, return_token: [u8; 8]) -> usize {
        let at = request.payment as usize;
        let payment = &self.plan.batch.payments()[at];
        let rules = self.plan.rules;
        let envelope =
            Envelope { network: rules.network, epoch: rules.epoch, request_id: request.to_bytes(), return_token };
        match request.step {
            Step::Vote => transfer_request(buffer, &envelope, &payment.order, &payment.digest),
            Step::Execute => {
                let signers = self.outcome.progress[at].signers;
                let (mut signatures, mut count) = ([[0; 64]; SIGNERS_MAX], 0);
                for place in (0..32).filter(|place| signers >> place & 1 == 1) {
                    signatures[count] = *self.plan.batch.vote(at, place);
                    count += 1;
                }
                let head = CertificateHead { order: payment.order, signers: signers.into(), reserved: 0.into() };
                let certificate = CertificateView { head: &head, signatures: &signatures[..count] };
                confirmation_request(buffer, &envelope, &certificate, &payment.digest)
            }
        }
    }

    /// The length of a request's message.
    pub fn request_length(&self, request: &RequestId) -> usize {
        match request.step {
            Step::Vote => TRANSFER_REQUEST_LENGTH,
            Step::Execute => {
                let signers = self.outcome.progress[request.payment as usize].signers.count_ones() as usize;
                HEADER_LENGTH + CERTIFICATE_FIXED_LENGTH + signers * size_of::<Signature>()
            }
        }
    }

    /// Takes a message that came from `from`. Returns the request that it answers, where it answers one.
    pub fn take(&mut self, message: &Message<'_>, from: SocketAddr, now_ns: u64) -> Option<RequestId> {
        let Some(request) = request_of(self.plan, message, from) else {
            self.outcome.foreign += 1;
            return None;
        };
        match check(self.plan, &request, message) {
            Answer::Vote => self.take_vote(&request, now_ns),
            Answer::Executed => self.take_execution(&request, now_ns),
            Answer::Refused(code) => {
                let name = code.map_or("unknown_code", |code| code.name());
                *self.outcome.refusals.entry(name).or_insert(0) += 1;
            }
            Answer::Wrong(what) => self.note_wrong(&request, what),
        }
        Some(request)
    }

    /// Counts a datagram that is no message.
    pub fn note_malformed(&mut self) {
        self.outcome.foreign += 1;
    }

    fn note_wrong(&mut self, request: &RequestId, what: &str) {
        self.outcome.wrong_answers += 1;
        self.outcome
            .first_wrong
            .get_or_insert_with(|| format!("authority {} sent {what}, payment {}", request.place, request.payment));
    }

    /// Whether the answer to a request is still wanted.
    fn is_open(&self, request: &RequestId) -> bool {
        let progress = &self.outcome.progress[request.payment as usize];
        match request.step {
            Step::Vote => progress.phase == Phase::Voting && progress.voted >> request.place & 1 == 0,
            Step::Execute => progress.acknowledged >> request.place & 1 == 0,
        }
    }

    fn ask_for_votes(&mut self, at: usize) {
        self.outcome.progress[at].phase = Phase::Voting;
        self.ask_all(at, Step::Vote);
    }

    fn ask_all(&mut self, at: usize, step: Step) {
        for target in self.plan.targets {
            let (place, batch) = (target.place, self.plan.batch_number);
            self.ready.push_back(RequestId { payment: at as u32, place, step, attempt: 0, batch });
        }
    }

    fn is_quorum(&self, places: u32) -> bool {
        match self.plan.quorum {
            Quorum::OneOfMany => places == self.all_targets,
            Quorum::Committee => self.plan.rules.committee.is_quorum(places),
        }
    }

    fn take_vote(&mut self, request: &RequestId, now_ns: u64) {
        let at = request.payment as usize;
        let progress = &mut self.outcome.progress[at];
        let bit = 1 << request.place;
        if progress.voted & bit != 0 {
            self.outcome.repeated_answers += 1;
            return;
        }
        progress.voted |= bit;
        let voted = progress.voted;
        if progress.phase != Phase::Voting || !self.is_quorum(voted) {
            return;
        }
        let chosen = match self.plan.quorum {
            Quorum::OneOfMany => self.plan.batch.payments()[at].signers,
            Quorum::Committee => self.plan.rules.committee.minimal_quorum_of(voted).unwrap_or(voted),
        };
        let progress = &mut self.outcome.progress[at];
        progress.signers = chosen;
        progress.phase = Phase::Executing;
        let intended_ns = progress.intended_ns;
        if self.is_measured(intended_ns) {
            record_us(&mut self.outcome.finality_us, now_ns.saturating_sub(intended_ns));
        }
        self.ask_all(at, Step::Execute);
    }

    fn take_execution(&mut self, request: &RequestId, now_ns: u64) {
        let at = request.payment as usize;
        let progress = &mut self.outcome.progress[at];
        if progress.phase < Phase::Executing {
            self.note_wrong(request, "the execution of a payment that has no certificate yet");
            return;
        }
        let bit = 1 << request.place;
        if progress.acknowledged & bit != 0 {
            self.outcome.repeated_answers += 1;
            return;
        }
        progress.acknowledged |= bit;
        let (acknowledged, intended_ns) = (progress.acknowledged, progress.intended_ns);
        if progress.phase == Phase::Executing && self.is_quorum(acknowledged) {
            self.settle(at, intended_ns, now_ns);
        }
        if acknowledged == self.all_targets && self.outcome.progress[at].phase == Phase::Settled {
            self.outcome.progress[at].phase = Phase::Complete;
            self.unacknowledged -= 1;
        }
    }

    fn settle(&mut self, at: usize, intended_ns: u64, now_ns: u64) {
        self.outcome.progress[at].phase = Phase::Settled;
        self.outcome.settled += 1;
        self.in_flight -= 1;
        self.unacknowledged += 1;
        if self.is_measured(now_ns) {
            self.outcome.settled_in_window += 1;
        }
        if self.is_measured(intended_ns) {
            record_us(&mut self.outcome.settlement_us, now_ns.saturating_sub(intended_ns));
        }
        let following = self.plan.batch.payments()[at].following;
        if following != NONE && self.outcome.progress[following as usize].phase == Phase::Held {
            self.ask_for_votes(following as usize);
        }
    }

    /// Closes the books.
    pub fn finish(mut self) -> Outcome {
        self.outcome.lost = self.in_flight as u64;
        self.outcome.incomplete = self.unacknowledged as u64;
        self.outcome
    }
}

/// Records nanoseconds in a histogram of microseconds, rounded up, so that nothing takes no time.
pub fn record_us(histogram: &mut Histogram<u64>, ns: u64) {
    histogram.saturating_record(ns.div_ceil(1_000));
}
