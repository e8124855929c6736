//! The stages that answer: queries are turned into answers here, and answers that may leave are composed and sent.

use meshpay_net::PacketPort;
use meshpay_protocol::{Accounts, Refusal, Signatures};
use meshpay_wire::{
    AccountAnswer, DATAGRAM_MAX, DIRECTION_DEBIT, Digest, Executed, ExecutionStatus, Message, PublicKey, RefusalCode,
    SignedOrder, Vote, account_answer, account_flags, certificate_answer, certificate_answer_length,
    confirmation_response, refusal, transfer_response,
};
use zerocopy::FromZeros;
use zerocopy::little_endian::U64;

use super::counters::WorkerCounters;
use super::history::{Found, RECORD_MAX, Reads, find_credit, find_debit, find_lock};
use super::ports::{Clock, Filter, Journal, ReadRefused};
use super::replies::{AccountState, Answer, Reply};
use super::worker::{Fatal, Voting, Worker, push};

/// Records that the answers of one turn may read from the journal. Once that many were read, further answers that need to search are
/// dropped, and their clients ask again: anybody may ask for what is old, and it shall not take the time of what is new.
const HISTORY_READS_PER_TURN: usize = 1024;

impl<A: Accounts, J: Journal, S: Signatures, F: Filter> Worker<A, J, S, F> {
    /// Turns the taken queries into answers.
    pub(super) fn answer_queries(&mut self, taken: &[u32], now_ns: u64) {
        let Self { accounts, journal, voting, counters, queries, replies, .. } = self;
        for &at in taken {
            let (bytes, peer, bundled) = queries.message(at);
            let (header, answer) = match Message::decode(bytes) {
                Ok((Message::AccountQuery(header, query), _)) => {
                    counters.totals.account_queries.add(1);
                    (header, account(accounts, voting, &header.account, query.token.get()))
                }
                Ok((Message::CertificateQuery(header, query), _)) => {
                    counters.totals.certificate_queries.add(1);
                    let debit = query.direction == DIRECTION_DEBIT;
                    let answer =
                        certificate(accounts, &header.account, debit, header.sequence.get(), query.locator.get());
                    (header, answer)
                }
                _ => continue,
            };
            push(replies, journal, counters, header, peer, bundled, answer, now_ns);
        }
    }

    /// Sends the answers whose turn has come: the journal is durable through all that they could have seen.
    pub(super) fn release(
        &mut self,
        port: &mut impl PacketPort,
        clock: &impl Clock,
        now_ms: u64,
    ) -> Result<usize, Fatal> {
        let Self { place, journal, voting, token_key, counters, replies, outgoing, record, .. } = self;
        let durable = journal.durable();
        if replies.peek_durable(durable).is_none() {
            return Ok(0);
        }
        let started_ns = clock.monotonic_ns();
        let (mut released, mut reads) = (0, 0);
        while let Some(first) = replies.pop_durable(durable) {
            let token = token_key.token(&first.peer.address, now_ms);
            let mut length = 0;
            let mut next = Some(first);
            // Answers to one bundle share a datagram, as far as they fit.
            while let Some(reply) = next {
                let journal = Reads { journal: &mut *journal, count: &mut reads };
                let mut scratch = Compose { place: *place, journal, voting, counters, record };
                length += scratch.compose(&reply, token, &mut outgoing[length..]);
                counters.durable_wait.record_ns(started_ns.saturating_sub(reply.queued_ns));
                released += 1;
                let shares = |next: &Reply| {
                    first.bundled
                        && next.bundled
                        && next.peer == first.peer
                        && (length == 0 || usize::from(next.request.length.get()) <= DATAGRAM_MAX - length)
                };
                next = match replies.peek_durable(durable).is_some_and(shares) {
                    true => replies.pop_durable(durable),
                    false => None,
                };
            }
            if length > 0 && !port.queue(&first.peer, &[&outgoing[..length]]) {
                counters.totals.answers_sent.add(port.flush()?.sent as u64);
                // An empty transmit burst takes a datagram of this size.
                let _ = port.queue(&first.peer, &[&outgoing[..length]]);
            }
        }
        counters.totals.history_reads.add(reads as u64);
        counters.totals.answers_sent.add(port.flush()?.sent as u64);
        counters.reply.record_ns(clock.monotonic_ns() - started_ns);
        Ok(released)
    }
}

fn account(accounts: &impl Accounts, voting: &Voting, key: &PublicKey, token: u32) -> Answer {
    let mut state = AccountState {
        balance: 0,
        token,
        flags: if voting.stopped().is_some() { account_flags::NOT_VOTING } else { 0 },
        next_sequence: 0,
        last_executed: Digest::default(),
        debit_locator: 0,
        credit_locator: 0,
        lock_position: 0,
    };
    if let Some(account) = accounts.account(key) {
        state.flags |= account_flags::KNOWN;
        state.balance = accounts.balance(key, token);
        if state.balance < 0 {
            state.flags |= account_flags::OWING;
        }
        if account.is_locked() {
            state.flags |= account_flags::LOCKED;
            state.lock_position = account.lock_position.get();
        }
        state.next_sequence = account.next_sequence.get();
        state.last_executed = account.last_executed;
        state.debit_locator = account.debit_heads[0].get();
        state.credit_locator = account.credit_head.get();
    }
    Answer::Account(state)
}

fn certificate(accounts: &impl Accounts, key: &PublicKey, debit: bool, sequence: u64, locator: u64) -> Answer {
    let not_found = |next: u64| Answer::Refused(Refusal::new(RefusalCode::NotFound).sequence(next));
    let Some(account) = accounts.account(key) else { return not_found(0) };
    let next = account.next_sequence.get();
    if debit {
        if sequence >= next {
            return not_found(next);
        }
        return Answer::Debit {
            sequence,
            next_sequence: next,
            debit_heads: account.debit_heads.map(|head| head.get()),
        };
    }
    match (locator, account.credit_head.get()) {
        (0, 0) => not_found(next),
        (0, newest) => Answer::Credit { locator: newest },
        (locator, _) => Answer::Credit { locator },
    }
}

/// Writes one answer's bytes, reading the journal where the answer needs it.
struct Compose<'a, J> {
    place: usize,
    journal: Reads<'a, J>,
    voting: &'a Voting,
    counters: &'a WorkerCounters,
    record: &'a mut [u8; RECORD_MAX],
}

impl<J: Journal> Compose<'_, J> {
    /// Returns the length written; 0 where nothing is sent.
    fn compose(&mut self, reply: &Reply, token: [u8; 8], to: &mut [u8]) -> usize {
        let request = &reply.request;
        match &reply.answer {
            Answer::Vote { order, signature } => {
                // Voting may have stopped after this vote was decided: a key in doubt signs nothing that leaves.
                if self.voting.stopped().is_some() {
                    self.counters.totals.votes_withheld.add(1);
                    return self.refuse(reply, token, to, Refusal::new(RefusalCode::NotVoting));
                }
                let authority = self.place as u8;
                let vote = Vote { authority, reserved: [0; 3], order: *order, signature: *signature };
                transfer_response(to, request, token, &vote)
            }
            Answer::Executed(executed) => confirmation_response(to, request, token, executed),
            Answer::Refused(body) => self.refuse(reply, token, to, *body),
            Answer::Conflict { refusal: body, lock_position } => {
                match find_lock(&mut self.journal, *lock_position, self.record) {
                    Ok(locked) => refusal(to, request, token, &body.body(), Some(&locked)),
                    Err(error) => self.unreadable(reply, token, to, error),
                }
            }
            Answer::Account(state) => {
                let locked = match state.lock_position {
                    0 => None,
                    // An archived lock cannot be shown; its flag stays, with an empty order.
                    position => find_lock(&mut self.journal, position, self.record).ok(),
                };
                let answer = AccountAnswer {
                    balance: state.balance.into(),
                    token: state.token.into(),
                    flags: state.flags.into(),
                    next_sequence: state.next_sequence.into(),
                    last_executed: state.last_executed,
                    debit_locator: state.debit_locator.into(),
                    credit_locator: state.credit_locator.into(),
                    locked: locked.unwrap_or(SignedOrder::new_zeroed()),
                };
                account_answer(to, request, token, &answer)
            }
            Answer::ExecutedLongAgo { sequence, next_sequence, debit_heads } => {
                if !self.may_search() {
                    return 0;
                }
                let account = request.account;
                let found =
                    find_debit(&mut self.journal, &account, *sequence, *next_sequence, *debit_heads, self.record);
                match found.map(|found| found.head.digest) {
                    Ok(order) => {
                        let status = ExecutionStatus::Before as u8;
                        let next_sequence = U64::new(*next_sequence);
                        confirmation_response(
                            to,
                            request,
                            token,
                            &Executed { order, next_sequence, status, reserved: [0; 7] },
                        )
                    }
                    Err(error) => self.unreadable(reply, token, to, error),
                }
            }
            Answer::Debit { sequence, next_sequence, debit_heads } => {
                if !self.may_search() {
                    return 0;
                }
                let account = request.account;
                let found =
                    find_debit(&mut self.journal, &account, *sequence, *next_sequence, *debit_heads, self.record);
                let written = found.map(|found| certificate_or_length(&found, reply, token, to));
                self.finish(reply, token, to, written)
            }
            Answer::Credit { locator } => {
                if !self.may_search() {
                    return 0;
                }
                let found = find_credit(&mut self.journal, &request.account, *locator, self.record);
                let written = found.map(|found| certificate_or_length(&found, reply, token, to));
                self.finish(reply, token, to, written)
            }
        }
    }

    fn may_search(&mut self) -> bool {
        let may = *self.journal.count < HISTORY_READS_PER_TURN;
        if !may {
            self.counters.totals.dropped_history_budget.add(1);
        }
        may
    }

    fn finish(
        &mut self,
        reply: &Reply,
        token: [u8; 8],
        to: &mut [u8],
        written: Result<Result<usize, usize>, ReadRefused>,
    ) -> usize {
        match written {
            Ok(Ok(length)) => length,
            Ok(Err(needed)) => {
                let too_short = Refusal::new(RefusalCode::RequestTooShort).value(needed as u32);
                self.counters.refused(too_short.code);
                self.refuse(reply, token, to, too_short)
            }
            Err(error) => self.unreadable(reply, token, to, error),
        }
    }

    fn unreadable(&mut self, reply: &Reply, token: [u8; 8], to: &mut [u8], error: ReadRefused) -> usize {
        self.counters.totals.answers_unreadable.add(1);
        let code = match error {
            ReadRefused::Archived => RefusalCode::Archived,
            ReadRefused::NotFound => RefusalCode::NotFound,
        };
        self.refuse(reply, token, to, Refusal::new(code))
    }

    fn refuse(&self, reply: &Reply, token: [u8; 8], to: &mut [u8], body: Refusal) -> usize {
        refusal(to, &reply.request, token, &body.body(), None)
    }
}

/// Writes a certificate answer, or says how long the request must be for it.
fn certificate_or_length(found: &Found<'_>, reply: &Reply, token: [u8; 8], to: &mut [u8]) -> Result<usize, usize> {
    let needed = certificate_answer_length(found.certificate.signatures.len());
    if needed > usize::from(reply.request.length.get()) {
        return Err(needed);
    }
    Ok(certificate_answer(to, &reply.request, token, &found.links, &found.certificate))
}
