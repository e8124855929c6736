//! The stage that locks orders and votes for them: screen, verify many at once, decide in order, record, apply; then sign.

use arrayvec::ArrayVec;
use meshpay_net::Peer;
use meshpay_protocol::{
    Accounts, OrderDecision, PendingOrder, Refusal, Signatures, VerifiedOrder, apply, decide_order, order_digests,
    record, screen_order, verify_orders, vote_digests,
};
use meshpay_wire::{Digest, Header, Kind, Message, OrderBody, RefusalCode, Signature, SignedOrder};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::certificates::executed_before;
use super::counters::WorkerCounters;
use super::own_votes::OwnVotes;
use super::ports::{AppendRefused, Clock, Filter, Journal, Room};
use super::replies::Answer;
use super::worker::{Fatal, JOURNAL_BUSY_RETRY_MS, Voting, Worker, judge, push, tell};

/// Orders whose signatures are checked together, and votes that are signed together.
const CHUNK: usize = 64;

/// What an order is asked to wait while only certificates may use what room is left, in milliseconds.
const RESERVE_RETRY_MS: u32 = 1_000;

struct Origin<'a> {
    at: u32,
    header: &'a Header,
    peer: Peer,
    bundled: bool,
}

impl<A: Accounts, J: Journal, S: Signatures, F: Filter> Worker<A, J, S, F> {
    /// Carries the orders among the taken messages through.
    pub(super) fn orders(&mut self, taken: &[u32], now_ms: u64, now_ns: u64) -> Result<(), Fatal> {
        let mut chunk: ArrayVec<u32, CHUNK> = ArrayVec::new();
        for &at in taken {
            if self.payments.kind(at) != Some(Kind::TransferRequest) {
                continue;
            }
            chunk.push(at);
            if chunk.is_full() {
                self.order_chunk(&chunk, now_ms, now_ns)?;
                chunk.clear();
            }
        }
        if chunk.is_empty() { Ok(()) } else { self.order_chunk(&chunk, now_ms, now_ns) }
    }

    fn order_chunk(&mut self, chunk: &[u32], now_ms: u64, now_ns: u64) -> Result<(), Fatal> {
        let Self {
            rules, accounts, journal, signatures, filter, voting, counters, payments, replies, penalty_ms, ..
        } = self;
        let mut received: ArrayVec<(Origin<'_>, &SignedOrder), CHUNK> = ArrayVec::new();
        let mut bodies: ArrayVec<&OrderBody, CHUNK> = ArrayVec::new();
        for &at in chunk {
            let (bytes, peer, bundled) = payments.message(at);
            let Ok((Message::TransferRequest(header, order), _)) = Message::decode(bytes) else { continue };
            accounts.expect_slot(&header.account);
            accounts.expect(&order.body.recipient);
            received.push((Origin { at, header, peer: *peer, bundled }, order));
            bodies.push(&order.body);
        }
        counters.totals.orders.add(received.len() as u64);
        let mut digests = [Digest::default(); CHUNK];
        order_digests(&rules.genesis, &bodies, &mut digests[..bodies.len()]);
        let mut pending: ArrayVec<PendingOrder<'_>, CHUNK> = ArrayVec::new();
        let mut origins: ArrayVec<Origin<'_>, CHUNK> = ArrayVec::new();
        for ((origin, order), digest) in received.into_iter().zip(digests) {
            let Origin { header, ref peer, bundled, .. } = origin;
            let candidate = PendingOrder { order, digest };
            let screened = if header.tag_matches(&candidate.digest) {
                screen_order(rules, accounts, &candidate, now_ms)
            } else {
                Err(Refusal::new(RefusalCode::HeaderMismatch))
            };
            let answer = match screened {
                Err(refusal) => Answer::Refused(refusal),
                Ok(OrderDecision::ExecutedBefore) => {
                    counters.totals.executed_before.add(1);
                    tell(filter, accounts, &header.account);
                    executed_before(accounts, &header.account, header.sequence.get())
                }
                Ok(OrderDecision::VoteAgain(true)) => vote_again(voting, counters, candidate.digest),
                Ok(decision) => {
                    // What cannot be locked now anyway is refused before its signature costs anything.
                    if decision == OrderDecision::Lock
                        && let Some(refusal) = may_not_lock(voting, journal)
                    {
                        push(replies, journal, counters, header, peer, bundled, Answer::Refused(refusal), now_ns);
                        continue;
                    }
                    pending.push(candidate);
                    origins.push(origin);
                    continue;
                }
            };
            push(replies, journal, counters, header, peer, bundled, answer, now_ns);
        }
        let mut results: ArrayVec<Option<VerifiedOrder<'_>>, CHUNK> = ArrayVec::new();
        if !pending.is_empty() {
            verify_orders(signatures, &pending, &mut [false; CHUNK], |_, result| results.push(result));
        }
        let mut judged: ArrayVec<(u32, bool), CHUNK> = ArrayVec::new();
        for (origin, result) in origins.iter().zip(&results) {
            judged.push((origin.at, result.is_some()));
            let answer = match result {
                None => Answer::Refused(Refusal::new(RefusalCode::BadSignature)),
                Some(verified) => match decide_order(rules, accounts, verified, now_ms) {
                    Err(refusal) => Answer::Refused(refusal),
                    Ok(OrderDecision::ExecutedBefore) => {
                        counters.totals.executed_before.add(1);
                        executed_before(accounts, &origin.header.account, origin.header.sequence.get())
                    }
                    Ok(OrderDecision::VoteAgain(_)) => vote_again(voting, counters, verified.digest()),
                    Ok(OrderDecision::Lock) => {
                        let answer = lock(accounts, journal, voting, counters, verified)?;
                        tell(filter, accounts, &origin.header.account);
                        answer
                    }
                    Ok(OrderDecision::Conflict) => {
                        let answer = conflict(accounts, journal, counters, verified, now_ms, *penalty_ms)?;
                        tell(filter, accounts, &origin.header.account);
                        answer
                    }
                },
            };
            push(replies, journal, counters, origin.header, &origin.peer, origin.bundled, answer, now_ns);
        }
        drop((results, origins, pending, bodies));
        for (at, valid) in judged {
            judge(filter, payments, at, valid);
        }
        Ok(())
    }

    /// Signs the votes among this turn's answers, many at once. A vote made before is remembered, since signing is deterministic.
    pub(super) fn sign_votes(&mut self, clock: &impl Clock) {
        let Self { rules, signatures, replies, own_votes, counters, .. } = self;
        let started_ns = clock.monotonic_ns();
        let mut signed = 0;
        let mut slots: ArrayVec<(&Digest, &mut Signature), CHUNK> = ArrayVec::new();
        let mut sign = |slots: &mut ArrayVec<(&Digest, &mut Signature), CHUNK>, own_votes: &mut OwnVotes| {
            let orders: ArrayVec<Digest, CHUNK> = slots.iter().map(|(digest, _)| **digest).collect();
            let mut messages = [[0; 32]; CHUNK];
            vote_digests(&rules.genesis, rules.epoch, &orders, &mut messages[..orders.len()]);
            let mut made = [[0; 64]; CHUNK];
            signatures.sign_votes(&messages[..slots.len()], &mut made[..slots.len()]);
            for ((digest, slot), signature) in slots.drain(..).zip(made) {
                own_votes.remember(*digest, signature);
                *slot = signature;
                signed += 1;
            }
        };
        for reply in replies.fresh_mut() {
            let Answer::Vote { order, signature } = &mut reply.answer else { continue };
            match own_votes.signature_for(order) {
                Some(made) => *signature = made,
                None => slots.push((order, signature)),
            }
            if slots.is_full() {
                sign(&mut slots, own_votes);
            }
        }
        if !slots.is_empty() {
            sign(&mut slots, own_votes);
        }
        drop(slots);
        replies.settle();
        if signed > 0 {
            counters.sign.record_ns(clock.monotonic_ns() - started_ns);
        }
    }
}

/// Why no new order may be locked now, if so.
fn may_not_lock(voting: &Voting, journal: &impl Journal) -> Option<Refusal> {
    if voting.stopped().is_some() {
        Some(Refusal::new(RefusalCode::NotVoting))
    } else if journal.room() != Room::Votes {
        Some(Refusal::new(RefusalCode::RetryLater).value(RESERVE_RETRY_MS))
    } else {
        None
    }
}

fn vote_again(voting: &Voting, counters: &WorkerCounters, digest: Digest) -> Answer {
    if voting.stopped().is_some() {
        return Answer::Refused(Refusal::new(RefusalCode::NotVoting));
    }
    counters.totals.voted_again.add(1);
    Answer::Vote { order: digest, signature: [0; 64] }
}

/// Records the lock, then applies it; the vote that follows leaves when the record is durable.
fn lock<A: Accounts, J: Journal>(
    accounts: &mut A,
    journal: &mut J,
    voting: &Voting,
    counters: &WorkerCounters,
    verified: &VerifiedOrder<'_>,
) -> Result<Answer, Fatal> {
    // Asked again: a certificate of the same burst may have stopped voting or used up the room.
    if let Some(refusal) = may_not_lock(voting, journal) {
        return Ok(Answer::Refused(refusal));
    }
    let record = record::LockRecord { digest: verified.digest(), order: *verified.order() };
    let position = match journal.append(record::kind::LOCK, &[record.as_bytes()]) {
        Ok(position) => position,
        Err(AppendRefused::Busy) => {
            return Ok(Answer::Refused(Refusal::new(RefusalCode::RetryLater).value(JOURNAL_BUSY_RETRY_MS)));
        }
        Err(AppendRefused::Stopped) => return Err(Fatal::JournalStopped),
    };
    apply::lock(accounts, verified.order(), verified.digest(), position)?;
    counters.totals.locked.add(1);
    Ok(Answer::Vote { order: verified.digest(), signature: [0; 64] })
}

/// A second order for a locked sequence, signed by the sender: evidence, kept once per penalty (DESIGN 5.14), and answered with the
/// order that is locked.
fn conflict<A: Accounts, J: Journal>(
    accounts: &mut A,
    journal: &mut J,
    counters: &WorkerCounters,
    verified: &VerifiedOrder<'_>,
    now_ms: u64,
    penalty_ms: u64,
) -> Result<Answer, Fatal> {
    counters.totals.conflicts.add(1);
    let sender = &verified.order().body.sender;
    let (mut lock_position, mut next, mut penalised_until_ms) = (0, 0, 0);
    if let Some(account) = accounts.account(sender) {
        lock_position = account.lock_position.get();
        next = account.next_sequence.get();
        penalised_until_ms = account.penalised_until_ms.get();
    }
    if penalised_until_ms <= now_ms && journal.room() == Room::Votes {
        let until_ms = now_ms.saturating_add(penalty_ms);
        let evidence = record::EvidenceRecord {
            lock_position: U64::new(lock_position),
            conflicting: *verified.order(),
            penalised_until_ms: U64::new(until_ms),
        };
        match journal.append(record::kind::EVIDENCE, &[evidence.as_bytes()]) {
            Ok(_) => {
                apply::penalise(accounts, sender, until_ms);
                counters.totals.evidence.add(1);
            }
            Err(AppendRefused::Busy) => {}
            Err(AppendRefused::Stopped) => return Err(Fatal::JournalStopped),
        }
    }
    Ok(Answer::Conflict { refusal: Refusal::new(RefusalCode::Conflict).sequence(next), lock_position })
}
