//! A packet port made of memory, which is also the clients: what a worker answers decides what arrives next.
//!
//! A closed loop: so many payments are under way at once, each first as an order, then, when its vote has come, as its certificate. No
//! datagram is copied and nothing is allocated after the port was made. What it costs counts as the worker's receiving and replying; it
//! stands where a driver and a kernel would.
//!
//! A worker that asks to be asked later gets the very datagram again when it said, as from a client (whose new request id would matter to a filter
//! only, and none is here). Meanwhile the payment keeps its place among those under way. Payments are offered in rounds, so that several authorities
//! can be measured in turns.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshpay_net::{BURST_MAX, PacketPort, Peer, PortCounters, Sent};
use meshpay_wire::{Executed, HEADER_LENGTH, Header, Kind, RefusalBody, RefusalCode, Vote};

use super::supply::{Supply, peer};
use crate::workload::NONE;

/// A datagram that arrives: a payment's number, and in the top bit whether it is the certificate.
type Arrival = u32;
const CERTIFICATE: Arrival = 1 << 31;

/// How far a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Ordered,
    Voted,
    Settled,
}

/// See the module.
pub struct MemoryPort {
    supply: Arc<Supply>,
    stages: Vec<Stage>,
    /// Addresses of the sources, so that none is composed for a packet.
    peers: Vec<Peer>,
    /// The next payment that has not begun.
    fresh: u32,
    /// Payments from here on do not begin yet.
    limit: u32,
    /// Payments from here on belong to a later round.
    end: u32,
    under_way: usize,
    in_flight: usize,
    arrivals: VecDeque<Arrival>,
    /// What was put off, and when it is due.
    retries: BinaryHeap<Reverse<(Instant, Arrival)>>,
    burst: Vec<Arrival>,
    queued: usize,
    settled: u64,
    retried: u64,
    /// The first answer that is not what it must be.
    fault: Option<String>,
}

impl MemoryPort {
    /// A port through which `supply` arrives, `in_flight` payments at once, nothing before [`MemoryPort::begin_round`].
    pub fn new(supply: Arc<Supply>, in_flight: usize) -> Self {
        let sources = supply.payments.iter().map(|payment| payment.source + 1).max().unwrap_or(0);
        Self {
            stages: vec![Stage::Waiting; supply.payments.len()],
            peers: (0..sources).map(peer).collect(),
            fresh: 0,
            limit: 0,
            end: 0,
            under_way: 0,
            in_flight,
            // Every payment under way has at most one datagram on its way, here or there.
            arrivals: VecDeque::with_capacity(in_flight + 1),
            retries: BinaryHeap::with_capacity(in_flight + 1),
            burst: Vec::with_capacity(BURST_MAX),
            queued: 0,
            settled: 0,
            retried: 0,
            fault: None,
            supply,
        }
    }

    /// Offers the next `payments`, of which only `warm_up` may begin before [`MemoryPort::release`].
    pub fn begin_round(&mut self, payments: u32, warm_up: u32) {
        self.end = self.fresh.saturating_add(payments).min(self.supply.payments.len() as u32);
        self.limit = self.fresh.saturating_add(warm_up).min(self.end);
    }

    /// Lets all payments of the round begin.
    pub fn release(&mut self) {
        self.limit = self.end;
    }

    /// Payments that no round has offered yet.
    pub fn left(&self) -> u32 {
        self.supply.payments.len() as u32 - self.end
    }

    /// Payments settled so far, in all rounds.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// How often a datagram was put off by the worker and offered again, in all rounds.
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// Whether no further payment of the round will begin.
    pub fn is_fed_out(&self) -> bool {
        self.fresh == self.end
    }

    /// Whether all payments of the round are settled.
    pub fn is_done(&self) -> bool {
        self.settled == u64::from(self.end)
    }

    /// Whether the next [`PacketPort::receive`] gives something.
    pub fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty() || self.can_begin() || self.next_retry().is_some_and(|wait| wait.is_zero())
    }

    /// How long until something that was put off is due.
    pub fn next_retry(&self) -> Option<Duration> {
        self.retries.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()))
    }

    /// The first answer that was wrong, if there was one.
    pub fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// How many payments wait for which answer, for the message of a run that stands still.
    pub fn waiting_for(&self) -> String {
        let count = |stage| self.stages.iter().filter(|at| **at == stage).count();
        let put_off = self.retries.len();
        format!(
            "{} for a vote, {} for an acknowledgement, {put_off} were put off",
            count(Stage::Ordered),
            count(Stage::Voted)
        )
    }

    fn can_begin(&self) -> bool {
        self.under_way < self.in_flight && self.fresh < self.limit
    }

    fn begin(&mut self) {
        while self.can_begin() {
            let at = self.fresh;
            self.fresh += 1;
            self.under_way += 1;
            self.stages[at as usize] = Stage::Ordered;
            let previous = self.supply.payments[at as usize].previous;
            // Its order is sent when the one before is settled.
            if previous == NONE || self.stages[previous as usize] == Stage::Settled {
                self.arrivals.push_back(at);
            }
        }
    }

    fn take_due_retries(&mut self) {
        if self.retries.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((due, arrival))) = self.retries.peek().copied()
            && due <= now
        {
            self.retries.pop();
            self.arrivals.push_back(arrival);
        }
    }

    fn answered(&mut self, datagram: &[u8]) {
        let at = u64::from_le_bytes(array(datagram, offset_of!(Header, request_id)));
        let kind = datagram.get(offset_of!(Header, kind)).copied().and_then(Kind::from_byte);
        let Some(payment) = usize::try_from(at).ok().and_then(|at| self.supply.payments.get(at)) else {
            return self.wrong(at, "it echoes a request that was never sent");
        };
        let at = at as u32;
        match (kind, self.stages[at as usize]) {
            (Some(Kind::TransferResponse), Stage::Ordered) => {
                let signature = HEADER_LENGTH + offset_of!(Vote, signature);
                if datagram.get(signature..) != Some(&payment.vote[..]) {
                    return self.wrong(at.into(), "the vote is not the one that the key and the order give");
                }
                self.stages[at as usize] = Stage::Voted;
                self.arrivals.push_back(at | CERTIFICATE);
            }
            (Some(Kind::ConfirmationResponse), Stage::Voted) => {
                let order: [u8; 32] = array(datagram, HEADER_LENGTH + offset_of!(Executed, order));
                if order != payment.digest.0 {
                    return self.wrong(at.into(), "another order was executed");
                }
                self.stages[at as usize] = Stage::Settled;
                self.settled += 1;
                self.under_way -= 1;
                let following = payment.following;
                if following != NONE && following < self.fresh {
                    self.arrivals.push_back(following);
                }
            }
            (Some(Kind::Refusal), stage) => {
                let number = u16::from_le_bytes(array(datagram, HEADER_LENGTH + offset_of!(RefusalBody, code)));
                let arrival = match (RefusalCode::from_number(number), stage) {
                    (Some(RefusalCode::RetryLater), Stage::Ordered) => at,
                    (Some(RefusalCode::RetryLater), Stage::Voted) => at | CERTIFICATE,
                    (code, _) => return self.wrong(at.into(), &format!("it was refused ({code:?}) while {stage:?}")),
                };
                let wait_ms = u32::from_le_bytes(array(datagram, HEADER_LENGTH + offset_of!(RefusalBody, value)));
                let due = Instant::now() + Duration::from_millis(wait_ms.into());
                self.retries.push(Reverse((due, arrival)));
                self.retried += 1;
            }
            (kind, stage) => self.wrong(at.into(), &format!("{kind:?} came while it was {stage:?}")),
        }
    }

    #[cold]
    fn wrong(&mut self, at: u64, what: &str) {
        self.fault.get_or_insert_with(|| format!("payment {at} got a wrong answer: {what}"));
    }
}

fn array<const N: usize>(datagram: &[u8], at: usize) -> [u8; N] {
    datagram.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0xff; N])
}

impl PacketPort for MemoryPort {
    fn receive(&mut self) -> io::Result<usize> {
        self.take_due_retries();
        self.begin();
        self.burst.clear();
        while self.burst.len() < BURST_MAX
            && let Some(arrival) = self.arrivals.pop_front()
        {
            self.burst.push(arrival);
        }
        Ok(self.burst.len())
    }

    fn packet(&self, index: usize) -> (&[u8], Peer) {
        let arrival = self.burst[index];
        let at = arrival & !CERTIFICATE;
        let bytes = if arrival & CERTIFICATE != 0 { self.supply.certificate(at) } else { self.supply.order(at) };
        (bytes, self.peers[usize::from(self.supply.payments[at as usize].source)])
    }

    fn queue(&mut self, _to: &Peer, parts: &[&[u8]]) -> bool {
        if self.queued == BURST_MAX {
            return false;
        }
        self.queued += 1;
        // Requests are not bundled, so answers never are, and each part is a whole one.
        for part in parts {
            self.answered(part);
        }
        true
    }

    fn flush(&mut self) -> io::Result<Sent> {
        let sent = std::mem::take(&mut self.queued);
        Ok(Sent { sent, refused: 0 })
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshpay_wire::refusal;
    use zerocopy::FromZeros as _;

    fn port(payments: usize) -> MemoryPort {
        MemoryPort::new(Arc::new(Supply::unsigned(payments)), 8)
    }

    fn refuse(port: &mut MemoryPort, at: u64, code: RefusalCode, wait_ms: u32) {
        let mut buffer = [0; meshpay_wire::DATAGRAM_MAX];
        let mut request = Header::new_zeroed();
        request.request_id = at.to_le_bytes();
        let mut body = RefusalBody::new_zeroed();
        body.code = (code as u16).into();
        body.value = wait_ms.into();
        let length = refusal(&mut buffer, &request, [0; 8], &body, None);
        assert!(port.queue(&peer(0), &[&buffer[..length]]));
    }

    #[test]
    fn what_was_put_off_comes_again_and_not_before_it_is_due() {
        let mut port = port(2);
        port.begin_round(2, 2);
        assert_eq!(port.receive().expect("memory"), 2);
        refuse(&mut port, 0, RefusalCode::RetryLater, 0);
        refuse(&mut port, 1, RefusalCode::RetryLater, 3_600_000);
        assert_eq!((port.retried(), port.take_fault()), (2, None));
        assert!(port.has_arrivals());
        assert_eq!(port.receive().expect("memory"), 1);
        assert_eq!(port.burst, [0]);
        assert!(!port.has_arrivals() && port.next_retry().expect("the other one") > Duration::from_secs(600));
        assert!(port.waiting_for().contains("1 were put off"), "{}", port.waiting_for());
    }

    #[test]
    fn any_other_refusal_is_a_fault() {
        let mut port = port(1);
        port.begin_round(1, 1);
        assert_eq!(port.receive().expect("memory"), 1);
        refuse(&mut port, 0, RefusalCode::BadSignature, 0);
        assert!(port.take_fault().expect("it is wrong").contains("BadSignature"));
    }

    #[test]
    fn a_round_offers_its_payments_and_no_more() {
        let mut port = port(5);
        port.begin_round(3, 1);
        assert_eq!(port.receive().expect("memory"), 1);
        port.release();
        assert_eq!(port.receive().expect("memory"), 2);
        assert!(port.is_fed_out() && !port.is_done() && !port.has_arrivals());
        assert_eq!(port.left(), 2);
        port.begin_round(u32::MAX, u32::MAX);
        assert_eq!((port.receive().expect("memory"), port.left()), (2, 0));
    }
}
