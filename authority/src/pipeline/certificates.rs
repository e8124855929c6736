//! The stage that executes certificates: screen, verify many at once, decide in order, record, apply.

use arrayvec::ArrayVec;
use meshpay_net::Peer;
use meshpay_protocol::account::shard_of;
use meshpay_protocol::{
    Accounts, CertificateDecision, CertificateScreen, PendingCertificate, Refusal, Signatures, VerifiedCertificate,
    apply, decide_certificate, order_digests, record, screen_certificate, verify_certificates, vote_digests,
};
use meshpay_wire::{
    CertificateView, Digest, Executed, ExecutionStatus, Header, Kind, Message, OrderBody, PublicKey, RefusalCode,
};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::counters::WorkerCounters;
use super::crossing::{CrossingCredit, CrossingPorts};
use super::ports::{AppendRefused, Filter, Journal, Room};
use super::replies::Answer;
use super::worker::{Fatal, JOURNAL_BUSY_RETRY_MS, Voting, Worker, judge, push, tell};

/// Certificates whose signatures are checked together.
const CHUNK: usize = 64;

/// Reason number of [`record::VotingStoppedRecord`]: shown a vote of our own that the journal does not hold.
const UNKNOWN_OWN_VOTE: u32 = 1;

struct Origin<'a> {
    at: u32,
    header: &'a Header,
    peer: Peer,
    bundled: bool,
}

impl<A: Accounts, J: Journal, S: Signatures, F: Filter> Worker<A, J, S, F> {
    /// Carries the certificates among the taken messages through.
    pub(super) fn certificates(&mut self, taken: &[u32], now_ns: u64) -> Result<(), Fatal> {
        let mut chunk: ArrayVec<u32, CHUNK> = ArrayVec::new();
        for &at in taken {
            if self.payments.kind(at) != Some(Kind::ConfirmationRequest) {
                continue;
            }
            chunk.push(at);
            if chunk.is_full() {
                self.certificate_chunk(&chunk, now_ns)?;
                chunk.clear();
            }
        }
        if chunk.is_empty() { Ok(()) } else { self.certificate_chunk(&chunk, now_ns) }
    }

    fn certificate_chunk(&mut self, chunk: &[u32], now_ns: u64) -> Result<(), Fatal> {
        let Self {
            rules,
            place,
            accounts,
            journal,
            signatures,
            filter,
            crossing,
            voting,
            counters,
            payments,
            replies,
            own_votes,
            ..
        } = self;
        let mut received: ArrayVec<(Origin<'_>, CertificateView<'_>), CHUNK> = ArrayVec::new();
        let mut bodies: ArrayVec<&OrderBody, CHUNK> = ArrayVec::new();
        for &at in chunk {
            let (bytes, peer, bundled) = payments.message(at);
            let Ok((Message::ConfirmationRequest(header, certificate), _)) = Message::decode(bytes) else { continue };
            accounts.expect_slot(&header.account);
            accounts.expect(&certificate.head.order.body.recipient);
            received.push((Origin { at, header, peer: *peer, bundled }, certificate));
            bodies.push(&certificate.head.order.body);
        }
        counters.totals.certificates.add(received.len() as u64);
        let mut digests = [Digest::default(); CHUNK];
        order_digests(&rules.genesis, &bodies, &mut digests[..bodies.len()]);
        let mut vote_messages = [[0; 32]; CHUNK];
        vote_digests(&rules.genesis, rules.epoch, &digests[..bodies.len()], &mut vote_messages[..bodies.len()]);
        let mut pending: ArrayVec<PendingCertificate<'_>, CHUNK> = ArrayVec::new();
        let mut origins: ArrayVec<Origin<'_>, CHUNK> = ArrayVec::new();
        for (((origin, certificate), digest), vote_digest) in received.into_iter().zip(digests).zip(vote_messages) {
            let Origin { header, ref peer, bundled, .. } = origin;
            let screened = if header.tag_matches(&digest) {
                screen_certificate(rules, accounts, &certificate, &digest)
            } else {
                Err(Refusal::new(RefusalCode::HeaderMismatch))
            };
            match screened {
                Err(refusal) => {
                    push(replies, journal, counters, header, peer, bundled, Answer::Refused(refusal), now_ns)
                }
                Ok(CertificateScreen::ExecutedBefore) => {
                    counters.totals.executed_before.add(1);
                    tell(filter, accounts, &header.account);
                    let answer = executed_before(accounts, &header.account, header.sequence.get());
                    push(replies, journal, counters, header, peer, bundled, answer, now_ns);
                }
                Ok(CertificateScreen::Verify { sender_known }) => {
                    let own_vote = certificate
                        .votes()
                        .find(|(signer, signature)| signer == place && own_votes.recognises(&digest, signature))
                        .map(|(signer, _)| signer);
                    counters.totals.own_votes_recognised.add(u64::from(own_vote.is_some()));
                    counters.totals.sender_signatures_known.add(u64::from(sender_known));
                    // It is credited when the signatures are checked.
                    accounts.expect_slot(&certificate.head.order.body.recipient);
                    pending.push(PendingCertificate { certificate, digest, vote_digest, sender_known, own_vote });
                    origins.push(origin);
                }
            }
        }
        let mut results: ArrayVec<Result<VerifiedCertificate<'_>, Refusal>, CHUNK> = ArrayVec::new();
        if !pending.is_empty() {
            verify_certificates(rules, signatures, &pending, |_, result| results.push(result));
        }
        let mut judged: ArrayVec<(u32, bool), CHUNK> = ArrayVec::new();
        for (origin, result) in origins.iter().zip(&results) {
            judged.push((origin.at, result.is_ok()));
            let answer = match result {
                Err(refusal) => Answer::Refused(*refusal),
                Ok(verified) => match decide_certificate(accounts, verified) {
                    Err(refusal) => {
                        // Beyond a gap too a vote of ours is one that the journal does not hold: only the next sequence is ever locked.
                        stop_voting_if_unknown(*place, accounts, journal, voting, verified)?;
                        Answer::Refused(refusal)
                    }
                    Ok(CertificateDecision::ExecutedBefore) => {
                        counters.totals.executed_before.add(1);
                        executed_before(accounts, &origin.header.account, origin.header.sequence.get())
                    }
                    Ok(CertificateDecision::Execute) => {
                        let answer = execute(*place, accounts, journal, crossing, voting, counters, verified)?;
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
}

/// Records an execution, then applies it. What would make it impossible to apply is found out before it is recorded.
fn execute<A: Accounts, J: Journal>(
    place: usize,
    accounts: &mut A,
    journal: &mut J,
    crossing: &mut CrossingPorts,
    voting: &Voting,
    counters: &WorkerCounters,
    verified: &VerifiedCertificate<'_>,
) -> Result<Answer, Fatal> {
    let certificate = verified.certificate();
    let order = &certificate.head.order;
    let body = &order.body;
    let (token, amount) = (body.token.get(), body.amount.get());
    let retry_later = Answer::Refused(
        Refusal::new(RefusalCode::RetryLater).sequence(body.sequence.get()).value(JOURNAL_BUSY_RETRY_MS),
    );
    // The execution is not recorded before the stop is: once executed, the certificate would never be looked at again.
    if !stop_voting_if_unknown(place, accounts, journal, voting, verified)? || journal.room() == Room::None {
        return Ok(retry_later);
    }
    let recipient_owner = (!accounts.owns(&body.recipient)).then(|| shard_of(&body.recipient) % crossing.workers());
    if recipient_owner.is_some_and(|owner| !crossing.has_room_for_credit(owner)) {
        return Ok(retry_later);
    }
    let sender_slot_missing = accounts.balance_slot(&body.sender, token).is_none();
    // A slot is set aside only where one is needed, so that a full table keeps nobody who is in it from being paid.
    let recipient_slot_missing = accounts.credit_takes_slot(&body.recipient, token);
    if sender_slot_missing && accounts.reserve(&body.sender).is_err() {
        return Ok(retry_later);
    }
    if recipient_slot_missing && accounts.reserve(&body.recipient).is_err() {
        if sender_slot_missing {
            accounts.release_reserved(&body.sender);
        }
        return Ok(retry_later);
    }
    let head = apply::execution_head(accounts, verified);
    let [fixed, signatures] = certificate.parts();
    let position = match journal.append(record::kind::EXECUTION, &[head.as_bytes(), fixed, signatures]) {
        Ok(position) => position,
        Err(refused) => {
            if sender_slot_missing {
                accounts.release_reserved(&body.sender);
            }
            if recipient_slot_missing {
                accounts.release_reserved(&body.recipient);
            }
            return match refused {
                AppendRefused::Busy => Ok(retry_later),
                AppendRefused::Stopped => Err(Fatal::JournalStopped),
            };
        }
    };
    if sender_slot_missing {
        accounts.release_reserved(&body.sender);
    }
    apply::debit(accounts, order, verified.digest(), position)?;
    match recipient_owner {
        None => {
            if recipient_slot_missing {
                accounts.release_reserved(&body.recipient);
            }
            apply::credit(accounts, &body.recipient, token, amount, Some(position))?;
        }
        Some(owner) => {
            crate::fault::between_debit_and_credit();
            let credit = CrossingCredit {
                recipient: body.recipient,
                token,
                amount,
                execution: position,
                reserved: recipient_slot_missing,
            };
            // Room was seen above, and this worker is the queue's only sender.
            if crossing.to[owner].credits.push(credit).is_err() {
                return Err(Fatal::TableFull);
            }
            counters.totals.credits_sent.add(1);
            crossing.wake_later(owner);
        }
    }
    counters.totals.executed.add(1);
    counters.totals.left_owing.add(u64::from(head.flags.get() & record::LEFT_OWING != 0));
    counters.totals.beaten_locks.add(u64::from(head.beaten_lock.get() != 0));
    Ok(Answer::Executed(Executed {
        order: verified.digest(),
        next_sequence: U64::new(body.sequence.get() + 1),
        status: ExecutionStatus::Now as u8,
        reserved: [0; 7],
    }))
}

/// A verified certificate that holds this authority's own vote, for an order that is not locked here, shows that the journal has
/// forgotten it: from then on this authority must not vote (DESIGN 5.4). The certificate itself is executed. Returns false where voting
/// has stopped but the journal was too busy to record it.
fn stop_voting_if_unknown<A: Accounts, J: Journal>(
    place: usize,
    accounts: &A,
    journal: &mut J,
    voting: &Voting,
    verified: &VerifiedCertificate<'_>,
) -> Result<bool, Fatal> {
    let certificate = verified.certificate();
    let voted = certificate.head.signers.get() >> place & 1 == 1;
    let locked = accounts
        .account(&certificate.head.order.body.sender)
        .is_some_and(|account| account.is_locked() && account.lock_digest == verified.digest());
    if !voted || locked {
        return Ok(true);
    }
    if voting.stop(UNKNOWN_OWN_VOTE) {
        tracing::error!(
            order = hex::encode(verified.digest().0),
            "shown a valid vote of our own that the journal does not hold: this directory was lost, copied or restored. \
             Voting has stopped for good; certificates are still executed. Retire this key and join the next epoch with a new one."
        );
    }
    if voting.is_recorded() {
        return Ok(true);
    }
    let stopped =
        record::VotingStoppedRecord { reason: UNKNOWN_OWN_VOTE.into(), reserved: 0.into(), order: verified.digest() };
    match journal.append(record::kind::VOTING_STOPPED, &[stopped.as_bytes()]) {
        Ok(_) => {
            voting.set_recorded();
            Ok(true)
        }
        Err(AppendRefused::Busy) => Ok(false),
        Err(AppendRefused::Stopped) => Err(Fatal::JournalStopped),
    }
}

/// The answer to an order or certificate of an old sequence: what was executed there, never what the request claims (DESIGN 5.9).
pub(super) fn executed_before(accounts: &impl Accounts, account: &PublicKey, sequence: u64) -> Answer {
    let Some(account) = accounts.account(account) else {
        return Answer::Refused(Refusal::new(RefusalCode::NotFound));
    };
    let next = account.next_sequence.get();
    if sequence + 1 == next {
        return Answer::Executed(Executed {
            order: account.last_executed,
            next_sequence: U64::new(next),
            status: ExecutionStatus::Before as u8,
            reserved: [0; 7],
        });
    }
    Answer::ExecutedLongAgo { sequence, next_sequence: next, debit_heads: account.debit_heads.map(|head| head.get()) }
}
