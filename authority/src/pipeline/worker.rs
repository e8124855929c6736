//! A worker: it owns a core, a socket and the shards steered to it, and carries each burst through all stages.
//!
//! What always holds after a turn: every record that an answer could have seen was appended before the answer was queued, and the
//! journal was asked to make it durable, or will be by [`CommitPacing`]; no answer has left ahead of that (DESIGN 5.1).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use meshpay_net::{BURST_MAX, PacketPort, Peer};
use meshpay_protocol::account::shard_of;
use meshpay_protocol::{Accounts, Refusal, Rules, Signatures, TableFull, apply, record};
use meshpay_wire::{DATAGRAM_MAX, Header, Kind, Message, PublicKey, RefusalCode, TokenKey, messages};
use zerocopy::IntoBytes;

use super::commit_pacing::CommitPacing;
use super::counters::WorkerCounters;
use super::crossing::{CrossingCredit, CrossingMessage, CrossingPorts};
use super::fair_queue::{Dropped, FairQueue};
use super::history::RECORD_MAX;
use super::own_votes::OwnVotes;
use super::ports::{AppendRefused, Clock, Filter, Journal, NoFilter};
use super::replies::{Answer, REPLIES_MAX, Replies, Reply};

/// Orders and certificates that may wait to be verified: 70 ms at 60,000 payments a second. Kernel threads have taken a core for 32 of 44 ms.
const PAYMENTS_WAITING_MAX: usize = 8192;
/// Queries that may wait.
const QUERIES_WAITING_MAX: usize = 512;
/// Orders and certificates that one turn carries through.
const PAYMENTS_PER_TURN: usize = 256;
/// Queries that one turn answers.
const QUERIES_PER_TURN: usize = 64;
/// Bursts that one turn receives before it works on them, so that the fair queue, not the socket, decides what is dropped.
const RECEIVE_BURSTS_PER_TURN: usize = 8;
/// Credits and messages taken from each other worker per turn.
const CROSSINGS_PER_TURN: usize = 256;
/// What a request is asked to wait when the journal takes nothing now, in milliseconds.
pub(super) const JOURNAL_BUSY_RETRY_MS: u32 = 50;

/// The process must end: its state can no longer be trusted to be an image of the journal.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The journal stopped.
    #[error("the journal takes no more records")]
    JournalStopped,
    /// A recorded effect found no room, although room had been set aside.
    #[error("a recorded effect found no room in the account table")]
    TableFull,
    /// The socket is unusable.
    #[error("the socket failed: {0}")]
    Port(#[from] io::Error),
}

impl From<TableFull> for Fatal {
    fn from(_: TableFull) -> Self {
        Fatal::TableFull
    }
}

/// Whether this authority may vote, shared by all workers. Stopping is recorded in the journal and final (DESIGN 5.4).
#[derive(Debug, Default)]
pub struct Voting {
    reason: AtomicU32,
    /// The journal holds the record of it.
    recorded: AtomicBool,
}

impl Voting {
    /// Voting, or stopped for a reason of [`record::VotingStoppedRecord::reason`]; 0 stands for voting. That is what the journal says.
    pub fn new(stopped_reason: u32) -> Self {
        Self { reason: AtomicU32::new(stopped_reason), recorded: AtomicBool::new(stopped_reason != 0) }
    }

    /// Why voting has stopped, if it has.
    pub fn stopped(&self) -> Option<u32> {
        match self.reason.load(Ordering::SeqCst) {
            0 => None,
            reason => Some(reason),
        }
    }

    /// Stops at once, before it is recorded. Returns whether this call did it.
    pub fn stop(&self, reason: u32) -> bool {
        self.reason.compare_exchange(0, reason, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether the record of the stop was appended.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::SeqCst)
    }

    /// The record of the stop was appended.
    pub(super) fn set_recorded(&self) {
        self.recorded.store(true, Ordering::SeqCst);
    }
}

/// What a worker is made of.
pub struct WorkerParts<A, J, S, F = NoFilter> {
    /// The network's rules.
    pub rules: Arc<Rules>,
    /// This authority's place in the committee.
    pub place: usize,
    /// The accounts of its shards.
    pub accounts: A,
    /// The journal that all workers share.
    pub journal: J,
    /// Verifies and signs.
    pub signatures: S,
    /// The filter in front, which learns what was verified.
    pub filter: F,
    /// Queues to and from the other workers.
    pub crossing: CrossingPorts,
    /// Whether votes may be given.
    pub voting: Arc<Voting>,
    /// Key of return tokens, the same for all workers.
    pub token_key: TokenKey,
    /// Secret key for telling sources apart.
    pub source_key: [u8; 16],
    /// How long a proven equivocation bars new orders, in milliseconds.
    pub penalty_ms: u64,
    /// Where to count.
    pub counters: Arc<WorkerCounters>,
}

/// What a turn has left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// It did something, or left something that another turn can do at once.
    pub busy: bool,
    /// Answers wait for the journal to be durable up to here.
    pub waits_for: Option<u64>,
    /// Nothing waits anywhere.
    pub drained: bool,
}

/// One worker. See [`Worker::turn`].
pub struct Worker<A, J, S, F = NoFilter> {
    pub(super) rules: Arc<Rules>,
    pub(super) place: usize,
    pub(super) accounts: A,
    pub(super) journal: J,
    pub(super) signatures: S,
    pub(super) filter: F,
    pub(super) crossing: CrossingPorts,
    pub(super) voting: Arc<Voting>,
    pub(super) token_key: TokenKey,
    pub(super) penalty_ms: u64,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) payments: FairQueue,
    pub(super) queries: FairQueue,
    pub(super) replies: Replies,
    pub(super) own_votes: OwnVotes,
    pub(super) outgoing: Box<[u8; DATAGRAM_MAX]>,
    pub(super) record: Box<[u8; RECORD_MAX]>,
    taken: Vec<u32>,
    commit_pacing: CommitPacing,
    /// A credit that was taken from its queue and not yet recorded, since the journal was busy; and how far that was durable then.
    stalled_credit: Option<(CrossingCredit, u64)>,
}

impl<A: Accounts, J: Journal, S: Signatures, F: Filter> Worker<A, J, S, F> {
    /// Makes a worker with all its buffers.
    pub fn new(parts: WorkerParts<A, J, S, F>) -> Self {
        Self {
            rules: parts.rules,
            place: parts.place,
            accounts: parts.accounts,
            journal: parts.journal,
            signatures: parts.signatures,
            filter: parts.filter,
            crossing: parts.crossing,
            voting: parts.voting,
            token_key: parts.token_key,
            penalty_ms: parts.penalty_ms,
            counters: parts.counters,
            payments: FairQueue::new(PAYMENTS_WAITING_MAX, parts.source_key),
            queries: FairQueue::new(QUERIES_WAITING_MAX, parts.source_key),
            replies: Replies::new(),
            own_votes: OwnVotes::new(),
            outgoing: Box::new([0; DATAGRAM_MAX]),
            record: Box::new([0; RECORD_MAX]),
            taken: Vec::with_capacity(PAYMENTS_PER_TURN.max(QUERIES_PER_TURN)),
            commit_pacing: CommitPacing::default(),
            stalled_credit: None,
        }
    }

    /// One pass: takes what has arrived, carries it through, and sends the answers that may leave.
    ///
    /// # Errors
    /// When the process must end.
    pub fn turn(&mut self, port: &mut impl PacketPort, clock: &impl Clock) -> Result<Turn, Fatal> {
        let started_ns = clock.monotonic_ns();
        let now_ms = clock.now_ms();
        let mut work = self.take_crossings(now_ms)?;
        work += self.receive(port, now_ms, started_ns)?;

        let mut taken = std::mem::take(&mut self.taken);
        taken.clear();
        self.payments.take(PAYMENTS_PER_TURN.min(self.replies.room()), &mut taken);
        if !taken.is_empty() {
            let received_ns = clock.monotonic_ns();
            self.counters.receive.record_ns(received_ns - started_ns);
            // Certificates first: in a bundle, a certificate makes room for the sender's next order.
            self.certificates(&taken, received_ns)?;
            let certified_ns = clock.monotonic_ns();
            self.orders(&taken, now_ms, certified_ns)?;
            let ordered_ns = clock.monotonic_ns();
            self.counters.certificates.record_ns(certified_ns - received_ns);
            self.counters.orders.record_ns(ordered_ns - certified_ns);
            work += taken.len();
            for at in taken.drain(..) {
                self.payments.release(at);
            }
        }
        self.queries.take(QUERIES_PER_TURN.min(self.replies.room()), &mut taken);
        if !taken.is_empty() {
            let before_ns = clock.monotonic_ns();
            self.answer_queries(&taken, before_ns);
            self.counters.queries.record_ns(clock.monotonic_ns() - before_ns);
            work += taken.len();
            for at in taken.drain(..) {
                self.queries.release(at);
            }
        }
        self.taken = taken;

        let is_idle = work == 0 || self.replies.room() == 0;
        if self.journal.appended() > self.journal.durable() && self.commit_pacing.is_due(started_ns, is_idle) {
            self.journal.submit();
        }
        self.crossing.wake_others();
        // The journal writes while votes are signed; they leave only when it is durable.
        self.sign_votes(clock);
        work += self.release(port, clock, now_ms)?;
        if work > 0 {
            self.counters.totals.turns.add(1);
        }
        let waiting = self.payments.waiting() + self.queries.waiting();
        let stalled = self.stalled_credit.is_some();
        // With no room for answers, or with the journal full, another turn now could only burn the time that the journal needs.
        let can_go_on = (waiting > 0 && self.replies.room() > 0) || (!stalled && !self.crossing.is_empty());
        // The commit that makes room may have ended meanwhile; then there is nothing to wait for.
        let next_commit = self.stalled_credit.map(|(_, durable)| durable + 1);
        Ok(Turn {
            busy: work > 0 || can_go_on,
            waits_for: self.replies.first_ticket().or(next_commit),
            drained: work == 0 && waiting == 0 && !stalled && self.crossing.is_empty() && self.replies.waiting() == 0,
        })
    }

    /// Whether every credit that was sent to this worker is in its accounts. When all workers have ended this is exact: with true for
    /// each of them, the accounts are those of the journal's end.
    pub fn has_taken_all_credits(&self) -> bool {
        self.stalled_credit.is_none() && self.crossing.has_no_credit()
    }

    /// Gives the accounts back, after the last turn.
    pub fn into_accounts(self) -> A {
        self.accounts
    }

    fn receive(&mut self, port: &mut impl PacketPort, now_ms: u64, now_ns: u64) -> Result<usize, Fatal> {
        let mut received = 0;
        for _ in 0..RECEIVE_BURSTS_PER_TURN {
            let burst = port.receive()?;
            for index in 0..burst {
                let (datagram, peer) = port.packet(index);
                if let Some(outcome) = self.filter.judge(datagram, &peer) {
                    self.counters.filtered(outcome);
                    continue;
                }
                self.accept_datagram(datagram, &peer, now_ms, now_ns);
            }
            received += burst;
            if burst < BURST_MAX {
                break;
            }
        }
        self.counters.totals.datagrams.add(received as u64);
        Ok(received)
    }

    fn accept_datagram(&mut self, datagram: &[u8], peer: &Peer, now_ms: u64, now_ns: u64) {
        let mut rest = datagram;
        for message in messages(datagram) {
            match message {
                Err(malformed) => self.counters.malformed(malformed),
                Ok(message) => {
                    let length = usize::from(message.header().length.get());
                    let (bytes, after) = rest.split_at(length);
                    rest = after;
                    self.accept_message(&message, bytes, peer, length < datagram.len(), now_ms, now_ns);
                }
            }
        }
    }

    /// Refuses what is not for this network, hands on what is another worker's, and queues the rest by class.
    fn accept_message(
        &mut self,
        message: &Message<'_>,
        bytes: &[u8],
        peer: &Peer,
        bundled: bool,
        now_ms: u64,
        now_ns: u64,
    ) {
        let totals = &self.counters.totals;
        totals.messages.add(1);
        let header = message.header();
        let payment = match header.kind() {
            Some(Kind::TransferRequest | Kind::ConfirmationRequest) => true,
            Some(Kind::AccountQuery | Kind::CertificateQuery) => false,
            _ => return totals.unexpected_kind.add(1),
        };
        if header.network != self.rules.network {
            // These are told so without a turn in the fair queue, so they get no more than half of the answers' places.
            if self.replies.room() <= REPLIES_MAX / 2 {
                totals.dropped_other_network.add(1);
            } else {
                let refusal = Refusal::new(RefusalCode::WrongNetwork);
                self.push(header, peer, bundled, Answer::Refused(refusal), now_ns);
            }
            return;
        }
        if !self.accounts.owns(&header.account) {
            return self.hand_on(header, bytes, peer);
        }
        self.accounts.expect(&header.account);
        let has_token = self.token_key.accepts(&header.return_token, &peer.address, now_ms);
        let queue = if payment { &mut self.payments } else { &mut self.queries };
        match queue.offer(peer, has_token, bundled, bytes) {
            Ok(()) => {}
            Err(Dropped::SourceFull) => self.counters.totals.dropped_source_queue.add(1),
            Err(Dropped::NoBuffer) => self.counters.totals.dropped_no_buffer.add(1),
        }
    }

    fn hand_on(&mut self, header: &Header, bytes: &[u8], peer: &Peer) {
        let owner = shard_of(&header.account) % self.crossing.workers();
        let mut message = CrossingMessage { peer: *peer, length: bytes.len() as u16, bytes: [0; DATAGRAM_MAX] };
        message.bytes[..bytes.len()].copy_from_slice(bytes);
        if self.crossing.to[owner].messages.push(message).is_ok() {
            self.counters.totals.crossed.add(1);
            self.crossing.wake_later(owner);
        } else {
            self.counters.totals.dropped_crossing.add(1);
        }
    }

    /// Takes what other workers have sent: credits, each recorded in its recipient's history, and messages.
    fn take_crossings(&mut self, now_ms: u64) -> Result<usize, Fatal> {
        let mut taken = 0;
        for other in 0..self.crossing.workers() {
            if other == self.crossing.worker {
                continue;
            }
            let from = Arc::clone(&self.crossing.from[other]);
            for _ in 0..CROSSINGS_PER_TURN {
                let stalled = self.stalled_credit.take().map(|(credit, _)| credit);
                let Some(credit) = stalled.or_else(|| from.credits.pop()) else { break };
                let durable = self.journal.durable();
                if !self.take_credit(credit)? {
                    self.stalled_credit = Some((credit, durable));
                    return Ok(taken);
                }
                taken += 1;
            }
            for _ in 0..CROSSINGS_PER_TURN {
                let Some(message) = from.messages.pop() else { break };
                taken += 1;
                self.counters.totals.received_crossing.add(1);
                let bytes = &message.bytes[..usize::from(message.length)];
                let Ok((decoded, _)) = Message::decode(bytes) else { continue };
                let has_token = self.token_key.accepts(&decoded.header().return_token, &message.peer.address, now_ms);
                let payment = matches!(decoded, Message::TransferRequest(..) | Message::ConfirmationRequest(..));
                let queue = if payment { &mut self.payments } else { &mut self.queries };
                match queue.offer(&message.peer, has_token, false, bytes) {
                    Ok(()) => {}
                    Err(Dropped::SourceFull) => self.counters.totals.dropped_source_queue.add(1),
                    Err(Dropped::NoBuffer) => self.counters.totals.dropped_no_buffer.add(1),
                }
            }
        }
        Ok(taken)
    }

    /// Applies a credit whose execution another worker has recorded. False where the journal is busy: nothing was done.
    fn take_credit(&mut self, credit: CrossingCredit) -> Result<bool, Fatal> {
        let previous = self.accounts.account(&credit.recipient).map_or(0, |account| account.credit_head.get());
        let link = record::CreditLinkRecord {
            recipient: credit.recipient,
            execution: credit.execution.into(),
            previous_credit: previous.into(),
        };
        let position = match self.journal.append(record::kind::CREDIT_LINK, &[link.as_bytes()]) {
            Ok(position) => position,
            Err(AppendRefused::Busy) => return Ok(false),
            Err(AppendRefused::Stopped) => return Err(Fatal::JournalStopped),
        };
        if credit.reserved {
            self.accounts.release_reserved(&credit.recipient);
        }
        apply::credit(&mut self.accounts, &credit.recipient, credit.token, credit.amount, Some(position))?;
        self.counters.totals.credits_received.add(1);
        Ok(true)
    }

    /// Queues an answer that may leave when all that was appended up to now is durable.
    pub(super) fn push(&mut self, request: &Header, peer: &Peer, bundled: bool, answer: Answer, now_ns: u64) {
        push(&mut self.replies, &self.journal, &self.counters, request, peer, bundled, answer, now_ns);
    }
}

/// [`Worker::push`] over its parts, for stages that hold other parts of the worker.
#[expect(clippy::too_many_arguments, reason = "each is another part of the worker, borrowed by itself")]
pub(super) fn push(
    replies: &mut Replies,
    journal: &impl Journal,
    counters: &WorkerCounters,
    request: &Header,
    peer: &Peer,
    bundled: bool,
    answer: Answer,
    now_ns: u64,
) {
    if let Answer::Refused(refusal) | Answer::Conflict { refusal, .. } = &answer {
        counters.refused(refusal.code);
    }
    counters.totals.answers.add(1);
    let reply =
        Reply { ticket: journal.appended(), queued_ns: now_ns, peer: *peer, bundled, request: *request, answer };
    replies.push(reply);
}

/// Tells the filter what stands of an account now.
pub(super) fn tell(filter: &mut impl Filter, accounts: &impl Accounts, key: &PublicKey) {
    if let Some(account) = accounts.account(key) {
        filter.account(account);
    }
}

/// Says how a taken message's signatures turned out, to the fair queue and, of a source that is known by its address, to the filter.
pub(super) fn judge(filter: &mut impl Filter, payments: &mut FairQueue, at: u32, valid: bool) {
    if let Some(source) = payments.verified(at, valid) {
        filter.source(source, valid);
    }
}
