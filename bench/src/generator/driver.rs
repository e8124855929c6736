//! The loop that drives a batch over packet ports, on one thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meshpay_net::{PortCounters, Waitable};
use meshpay_wire::{DATAGRAM_MAX, messages};

use super::payments::{Payments, record_us};
use super::request_id::{RequestId, Step};
use super::retries::Retries;
use super::{Clients, Idle, Interrupted, Outcome, Pacing, Plan, SendingRoom, WindowEdge};

/// Most datagrams handed to the kernel before the generator looks at what has arrived. A veth interface queues 256 packets; bursts
/// far below that leave its receiver time to run.
pub const SEND_BURST: usize = 64;

/// Most requests that relays put into their datagrams at once: all that are gathered at well over the rates that are measured, and one veth queue even
/// where none of them shared a datagram.
const GATHERED_BURST: usize = 256;

/// Most payments that one pass starts.
const START_BURST: usize = 64;

/// How long relays gather requests for their datagrams. Far below what a phone notices; it counts as latency, like all that follows the intended time.
const GATHER_NS: u64 = 1_000_000;

/// Longest sleep, so that an interrupt by the user is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Longest time that the thread which receives for us keeps the core when it is offered: a few hundred packets.
const YIELD_MAX_NS: u64 = 400_000;

/// How long the core is not offered again after somebody else took it.
const SLEEP_ONLY_NS: u64 = 100_000_000;

/// Time between two reports of progress.
const REPORT_EVERY_NS: u64 = 100_000_000;

/// Runs one batch over ports, at least one and as many as `clients` knows. `edge` is called at the edges of the measured part, on this thread.
///
/// # Errors
/// Where a port fails for good, or [`Interrupted`] inside an [`io::Error`].
pub fn run(
    plan: &Plan<'_>,
    ports: &mut [impl Waitable + SendingRoom + AsFd],
    clients: &mut Clients,
    edge: impl FnMut(WindowEdge),
) -> io::Result<Outcome> {
    // Whatever is left over from a batch before this one belongs to nobody.
    for port in ports.iter_mut() {
        while port.receive()? > 0 {}
    }
    let before = totals(ports);
    let (window_ns, edges_passed) = match &plan.pacing {
        Pacing::Open(schedule) => (schedule.window_ns(), 0),
        Pacing::Closed { .. } => (0..u64::MAX, 2),
    };
    let start = Instant::now();
    let driver = Driver {
        plan,
        ports,
        clients,
        edge,
        start,
        payments: Payments::new(plan, window_ns.clone()),
        retries: Retries::default(),
        window_ns,
        edges_passed,
        window_began: start,
        next_report_ns: 0,
        sent_ns: 0,
        burst: Vec::with_capacity(GATHERED_BURST),
        sleep_only_until_ns: 0,
    };
    let (mut outcome, after) = driver.drive()?;
    outcome.elapsed_seconds = start.elapsed().as_secs_f64();
    if let Pacing::Closed { .. } = plan.pacing {
        outcome.window_seconds = outcome.elapsed_seconds;
    }
    outcome.dropped_at_socket = after.receive_dropped_by_kernel.saturating_sub(before.receive_dropped_by_kernel);
    outcome.refused_by_kernel = after.refused.total().saturating_sub(before.refused.total());
    outcome.sent = after.sent - before.sent;
    outcome.received = after.received - before.received;
    Ok(outcome)
}

fn totals(ports: &[impl Waitable]) -> PortCounters {
    let mut total = PortCounters::default();
    for port in ports {
        total += port.counters();
    }
    total
}

struct Driver<'a, P, E> {
    plan: &'a Plan<'a>,
    ports: &'a mut [P],
    clients: &'a mut Clients,
    edge: E,
    start: Instant,
    payments: Payments<'a>,
    retries: Retries,
    window_ns: std::ops::Range<u64>,
    /// 0: before the measured part, 1: within, 2: after it.
    edges_passed: u8,
    window_began: Instant,
    next_report_ns: u64,
    /// When something was sent last.
    sent_ns: u64,
    /// The requests of a burst.
    burst: Vec<RequestId>,
    sleep_only_until_ns: u64,
}

impl<P: Waitable + SendingRoom + AsFd, E: FnMut(WindowEdge)> Driver<'_, P, E> {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn drive(mut self) -> io::Result<(Outcome, PortCounters)> {
        let mut drain_until_ns = None;
        loop {
            let now = self.now_ns();
            self.pass_edges(now);
            self.start_due(now);
            let received = self.receive()?;
            while let Some(request) = self.retries.expired(now) {
                self.payments.repeat(request);
            }
            let sent = self.send()?;
            self.report(now);
            if self.plan.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, Interrupted));
            }
            if self.all_started() {
                if drain_until_ns.is_none() {
                    self.payments.outcome.backlog_at_end = self.payments.in_flight() as u64;
                }
                let until_ns = *drain_until_ns.get_or_insert(now + self.plan.drain.as_nanos() as u64);
                if self.edges_passed == 2 && (self.payments.is_drained() || now >= until_ns) {
                    break;
                }
            }
            if received == 0 && sent == 0 {
                self.idle()?;
            }
        }
        Ok((self.payments.finish(), totals(self.ports)))
    }

    /// Calls back at the edges of the measured part.
    fn pass_edges(&mut self, now: u64) {
        if self.edges_passed == 0 && now >= self.window_ns.start {
            (self.edge)(WindowEdge::Begin);
            self.edges_passed = 1;
            self.window_began = Instant::now();
        }
        if self.edges_passed == 1 && now >= self.window_ns.end {
            self.payments.outcome.window_seconds = self.window_began.elapsed().as_secs_f64();
            (self.edge)(WindowEdge::End);
            self.edges_passed = 2;
        }
    }

    fn all_started(&self) -> bool {
        match &self.plan.pacing {
            Pacing::Open(schedule) => self.payments.next().is_none_or(|next| next >= schedule.len()),
            Pacing::Closed { .. } => self.payments.next().is_none(),
        }
    }

    /// When the next payment is due, as far as that is known beforehand.
    fn next_due_ns(&self, now: u64) -> Option<u64> {
        let next = self.payments.next()?;
        match &self.plan.pacing {
            Pacing::Open(schedule) => schedule.intended_ns().get(next).copied(),
            Pacing::Closed { in_flight } => (self.payments.in_flight() < *in_flight).then_some(now),
        }
    }

    fn start_due(&mut self, now: u64) {
        for _ in 0..START_BURST {
            match self.next_due_ns(now) {
                Some(due_ns) if due_ns <= now => self.payments.start(due_ns),
                _ => return,
            }
        }
    }

    /// Takes what has arrived.
    fn receive(&mut self) -> io::Result<usize> {
        let mut total = 0;
        for port in 0..self.ports.len() {
            let count = self.ports[port].receive()?;
            let now = self.now_ns();
            for index in 0..count {
                let (bytes, peer) = self.ports[port].packet(index);
                for message in messages(bytes) {
                    let Ok(message) = message else {
                        self.payments.note_malformed();
                        continue;
                    };
                    if let Some(request) = self.payments.take(&message, peer.address, now) {
                        let sender = self.plan.batch.payments()[request.payment as usize].transfer.sender;
                        let client = self.clients.of_account(sender);
                        self.clients.keep_token(client, usize::from(request.place), message.header().return_token);
                    }
                }
            }
            total += count;
        }
        Ok(total)
    }

    /// Sends at most [`SEND_BURST`] requests, of relays [`GATHERED_BURST`]; returns how many.
    fn send(&mut self) -> io::Result<usize> {
        let bundle = self.plan.bundle;
        if bundle > 1 && self.now_ns() < self.sent_ns + GATHER_NS {
            return Ok(0);
        }
        let most = if bundle > 1 { GATHERED_BURST } else { SEND_BURST };
        let room = most.min(self.ports.iter_mut().map(SendingRoom::room_to_send).min().unwrap_or(0));
        let mut burst = std::mem::take(&mut self.burst);
        burst.clear();
        // Each has room even where none shares a datagram.
        while burst.len() < room {
            let Some(request) = self.payments.pop_ready() else { break };
            burst.push(request);
        }
        if bundle > 1 {
            // Stable, so that a client's requests stay in order.
            burst.sort_by_key(|request| (self.client_of(request), request.place));
        }
        let mut datagram = [0; DATAGRAM_MAX];
        let mut at = 0;
        while at < burst.len() {
            at += self.queue_datagram(&burst[at..], &mut datagram);
        }
        if burst.is_empty() && room > 0 {
            self.burst = burst;
            return Ok(0);
        }
        let now = self.now_ns();
        self.sent_ns = now;
        for port in self.ports.iter_mut() {
            let _ = port.flush()?;
        }
        for &request in &burst {
            self.retries.start(now, request);
            let first =
                request.step == Step::Vote && request.attempt == 0 && request.place == self.plan.targets[0].place;
            let progress = &self.payments.outcome.progress[request.payment as usize];
            let (intended_ns, was_held) = (progress.intended_ns, progress.was_held);
            if first && !was_held && self.payments.is_measured(intended_ns) {
                record_us(&mut self.payments.outcome.lateness_us, now.saturating_sub(intended_ns));
            }
        }
        let count = burst.len();
        self.burst = burst;
        Ok(count)
    }

    fn client_of(&self, request: &RequestId) -> usize {
        self.clients.of_account(self.plan.batch.payments()[request.payment as usize].transfer.sender)
    }

    /// Queues one datagram with the first of these requests, and those behind it that may share it. Returns how many those are.
    fn queue_datagram(&mut self, requests: &[RequestId], datagram: &mut [u8; DATAGRAM_MAX]) -> usize {
        let first = &requests[0];
        let client = self.client_of(first);
        let token = self.clients.token(client, usize::from(first.place));
        let mut length = self.payments.write(datagram, first, token);
        let mut count = 1;
        for request in requests[1..].iter().take(self.plan.bundle - 1) {
            let fits = length + self.payments.request_length(request) <= DATAGRAM_MAX;
            if !fits || request.place != first.place || self.client_of(request) != client {
                break;
            }
            length += self.payments.write(&mut datagram[length..], request, token);
            count += 1;
        }
        if let Some(target) = self.plan.targets.iter().find(|target| target.place == first.place) {
            // The burst has room: `send` has asked for it.
            let peer = self.clients.peer(client, target);
            self.ports[self.clients.port(client)].queue(&peer, &[&datagram[..length]]);
        }
        count
    }

    /// Offers the core to others, or sleeps. Where somebody takes more than a share of it, such as a compiler on a machine that is not
    /// ours alone, offering would cost a time slice each time: then it sleeps for a while, and is woken in time.
    fn idle(&mut self) -> io::Result<()> {
        let before = self.now_ns();
        if self.plan.idle == Idle::Sleep || before < self.sleep_only_until_ns {
            return self.sleep();
        }
        rustix::thread::sched_yield();
        if self.now_ns() - before > YIELD_MAX_NS {
            self.sleep_only_until_ns = before + SLEEP_ONLY_NS;
        }
        Ok(())
    }

    /// Sleeps until something is due or a packet arrives.
    fn sleep(&mut self) -> io::Result<()> {
        let now = self.now_ns();
        let edge_ns = match self.edges_passed {
            0 => Some(self.window_ns.start),
            1 => Some(self.window_ns.end),
            _ => None,
        };
        let gathered_ns = self.payments.has_ready().then_some(self.sent_ns + GATHER_NS);
        let until_ns =
            [self.next_due_ns(now), self.retries.next_deadline_ns(), edge_ns, gathered_ns].into_iter().flatten().min();
        let timeout =
            until_ns.map_or(SLEEP_MAX, |until| Duration::from_nanos(until.saturating_sub(now)).min(SLEEP_MAX));
        let Some((first, rest)) = self.ports.split_first_mut() else { return Ok(()) };
        if !timeout.is_zero() {
            let others: Vec<BorrowedFd<'_>> = rest.iter().map(AsFd::as_fd).collect();
            first.wait(timeout, &others)?;
        }
        Ok(())
    }

    fn report(&mut self, now: u64) {
        if now >= self.next_report_ns {
            self.next_report_ns = now + REPORT_EVERY_NS;
            (self.plan.on_settled)(self.payments.outcome.settled);
        }
    }
}
