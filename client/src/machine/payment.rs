//! One payment: from a signed order to a certificate, and from the certificate to acknowledgements.
//!
//! What always holds:
//! - an order comes in as a [`PersistedOrder`], so it is on disk before it is on the air;
//! - nothing is ever signed here. Where an authority holds another order with this very account's signature, that order becomes a
//!   further candidate, since it may be the one that a quorum can still vote for;
//! - a refusal alone ends nothing: the order is asked for again until the deadline (DESIGN 5.10). Only certificates are believed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use meshpay_protocol::Equivocation;
use meshpay_wire::{Digest, Executed, PublicKey, RefusalBody, RefusalCode, SignedOrder, Vote};

use super::{
    Answer, Answered, Courier, CourierEvent, Exchange, ExchangeCounters, Machine, Pace, RequestKey, Transmission,
};
use crate::{Certificate, CertificateBook, Randomness, Request, Verifier, VoteCollector};

/// Orders of this account for one sequence that are pursued at once. More than one exist only where a wallet forgot one.
pub const CANDIDATES_MAX: usize = 4;

/// How often one authority can turn us to another candidate; afterwards it is asked for the one at hand only.
const SWITCHES_MAX: u32 = 8;

/// An order that is on disk: the witness that it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistedOrder(SignedOrder);

impl PersistedOrder {
    /// For whoever has made sure of it: the wallet's store, or a simulator or test that has no disk to lose.
    pub fn assume(order: SignedOrder) -> Self {
        Self(order)
    }

    /// The order.
    pub fn order(&self) -> &SignedOrder {
        &self.0
    }
}

/// What a driver should know at once.
#[derive(Clone, Debug)]
pub enum PaymentEvent {
    /// A vote verified.
    Voted {
        /// Place in the committee.
        authority: usize,
    },
    /// The payment is final. Comes before the certificate is sent to anybody.
    Certified(Arc<Certificate>),
    /// An authority says that it has executed the certificate.
    Acknowledged {
        /// Place in the committee.
        authority: usize,
    },
    /// An order of this account that the wallet did not know; it is pursued too and must be kept on disk.
    Adopted(SignedOrder),
    /// This account has signed two orders for one sequence.
    Equivocation(Box<Equivocation>),
}

/// A refusal as an authority gave it: unsigned, so a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalHint {
    /// The reason.
    pub code: RefusalCode,
    /// See [`RefusalBody::value`].
    pub value: u32,
    /// See [`RefusalBody::sequence`].
    pub sequence: u64,
    /// See [`RefusalBody::amount`].
    pub amount: u64,
}

impl RefusalHint {
    pub(super) fn new(code: RefusalCode, body: &RefusalBody) -> Self {
        let (value, sequence, amount) = (body.value.get(), body.sequence.get(), body.amount.get());
        Self { code, value, sequence, amount }
    }
}

/// What came from one authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthorityProgress {
    /// It voted for an order of ours.
    pub voted: bool,
    /// It said that it executed the certificate.
    pub acknowledged: bool,
    /// Its last refusal.
    pub refusal: Option<RefusalHint>,
    /// Answers whose signatures are wrong, or that a certificate disproves.
    pub lies: u32,
    /// It answered at all.
    pub answered: bool,
    /// Certificates it was brought that it had lacked.
    pub brought: u32,
}

/// How far the payment is.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// No certificate yet. The order stays where it is; `resume` goes on.
    Pending,
    /// The order has its certificate, which makes it final.
    Certified(Arc<Certificate>),
    /// Another order of this account took the sequence, by this certificate; the one asked for will never be executed.
    Superseded(Arc<Certificate>),
}

impl Outcome {
    /// The certificate, whichever order it is for.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        match self {
            Outcome::Pending => None,
            Outcome::Certified(certificate) | Outcome::Superseded(certificate) => Some(certificate),
        }
    }
}

/// How a payment went.
#[derive(Clone, Debug)]
pub struct PaymentReport {
    /// How far it is.
    pub outcome: Outcome,
    /// Whether a quorum has acknowledged.
    pub quorum_acknowledged: bool,
    /// By place in the committee.
    pub authorities: Vec<AuthorityProgress>,
    /// When the certificate was complete.
    pub certified_at: Option<Duration>,
    /// When a quorum had acknowledged it.
    pub settled_at: Option<Duration>,
    /// Datagrams.
    pub counters: ExchangeCounters,
}

#[derive(Default)]
struct Approach {
    vote_request: Option<RequestKey>,
    certificate_request: Option<RequestKey>,
    candidate: usize,
    switches: u32,
    progress: AuthorityProgress,
}

/// Carries one order through.
pub struct Payment<B> {
    verifier: Arc<Verifier>,
    courier: Courier<B>,
    pace: Pace,
    account: PublicKey,
    sequence: u64,
    candidates: Vec<VoteCollector>,
    approaches: Vec<Approach>,
    outcome: Outcome,
    certified_at: Option<Duration>,
    settled_at: Option<Duration>,
    done: bool,
    events: VecDeque<PaymentEvent>,
}

/// Where a payment has a certificate and a quorum's acknowledgements, its end: the slower authorities are waited for as long as
/// the certificate's way to the quorum justifies.
fn payment_end(pace: &Pace, certified_at: Option<Duration>, settled_at: Option<Duration>) -> Option<Duration> {
    Some(pace.linger_until(certified_at?, settled_at?))
}

impl<B: CertificateBook> Payment<B> {
    /// Begins to ask all authorities for votes. `wanted` is the order that this payment is about; others are further orders of the same
    /// account for the same sequence that the wallet knows of, and orders for another sequence are passed over. Where several exist,
    /// `locked` says which of them which authorities (as bits) hold: those are asked for what they hold, and all others for the one
    /// that weighs most, because that one can still win.
    #[allow(clippy::too_many_arguments, reason = "the ports come one by one")]
    pub fn new(
        verifier: Arc<Verifier>,
        wanted: PersistedOrder,
        others: &[PersistedOrder],
        locked: &[(SignedOrder, u32)],
        book: B,
        pace: Pace,
        random: Randomness,
        now: Duration,
    ) -> Self {
        let (account, sequence) = (wanted.0.body.sender, wanted.0.body.sequence.get());
        let exchange = Exchange::new(verifier.clone(), pace.retry, random);
        let authorities = verifier.authorities();
        let mut payment = Self {
            courier: Courier::new(verifier.clone(), exchange, book, account),
            candidates: vec![VoteCollector::new(verifier.clone(), wanted.0)],
            verifier,
            pace,
            account,
            sequence,
            approaches: (0..authorities).map(|_| Approach::default()).collect(),
            outcome: Outcome::Pending,
            certified_at: None,
            settled_at: None,
            done: false,
            events: VecDeque::new(),
        };
        for other in others {
            payment.candidate_of(&other.0);
        }
        let held: Vec<(usize, u32)> =
            locked.iter().filter_map(|(order, places)| Some((payment.candidate_of(order)?, *places))).collect();
        let weight = |places: u32| payment.verifier.rules().committee.weight_of(places);
        let heaviest = held.iter().max_by_key(|(_, places)| weight(*places)).map_or(0, |(at, _)| *at);
        for authority in 0..authorities {
            let holds = held.iter().find(|(_, places)| places >> authority & 1 == 1);
            payment.ask_for_vote(authority, holds.map_or(heaviest, |(at, _)| *at), now);
        }
        payment
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<PaymentEvent> {
        self.events.pop_front()
    }

    /// How it stands.
    pub fn report(&self) -> PaymentReport {
        PaymentReport {
            outcome: self.outcome.clone(),
            quorum_acknowledged: self.settled_at.is_some(),
            authorities: self.approaches.iter().map(|approach| approach.progress).collect(),
            certified_at: self.certified_at,
            settled_at: self.settled_at,
            counters: self.courier.exchange.counters(),
        }
    }

    /// The book, for a driver that keeps more in it than certificates.
    pub fn book_mut(&mut self) -> &mut B {
        &mut self.courier.book
    }

    /// Gives the book back.
    pub fn into_book(self) -> B {
        self.courier.book
    }

    fn ask_for_vote(&mut self, authority: usize, candidate: usize, now: Duration) {
        let approach = &mut self.approaches[authority];
        if let Some(key) = approach.vote_request.take() {
            self.courier.exchange.finish(key);
        }
        approach.candidate = candidate;
        let wanted = &self.candidates[candidate];
        let request = Request::Vote { order: *wanted.order(), digest: wanted.digest() };
        approach.vote_request = Some(self.courier.exchange.ask(authority, request, now));
    }

    fn voted(&mut self, answered: &Answered<'_>, vote: &Vote, now: Duration) {
        let approach = &mut self.approaches[answered.authority];
        let candidate = &mut self.candidates[approach.candidate];
        let Ok(place) = candidate.add(vote) else {
            approach.progress.lies += 1;
            return;
        };
        if let Some(certificate) = candidate.certificate() {
            self.approaches[place].progress.voted = true;
            self.events.push_back(PaymentEvent::Voted { authority: place });
            self.certified(Arc::new(certificate), now);
            return;
        }
        // A vote counts whoever brings it, but only its maker need not be asked again.
        if place == answered.authority
            && let Some(key) = approach.vote_request.take()
        {
            self.courier.exchange.finish(key);
        }
        self.approaches[place].progress.voted = true;
        self.events.push_back(PaymentEvent::Voted { authority: place });
    }

    /// Something was executed at our sequence, they say: its certificate proves it or there is none.
    fn executed_already(&mut self, authority: usize, _executed: &Executed, now: Duration) {
        if self.approaches[authority].certificate_request.is_none() {
            let request = Request::Debit { account: self.account, sequence: self.sequence };
            self.approaches[authority].certificate_request = Some(self.courier.exchange.ask(authority, request, now));
        }
    }

    fn vote_refused(
        &mut self,
        answered: &Answered<'_>,
        code: RefusalCode,
        body: &RefusalBody,
        locked: Option<&SignedOrder>,
        now: Duration,
    ) {
        let authority = answered.authority;
        self.approaches[authority].progress.refusal = Some(RefusalHint::new(code, body));
        match code {
            RefusalCode::SequenceTooHigh if body.sequence.get() < self.sequence => {
                self.courier.deliver(authority, self.account, body.sequence.get(), self.sequence - 1, now);
            }
            RefusalCode::InsufficientBalance => {
                let amount = self.candidates[self.approaches[authority].candidate].order().body.amount.get();
                let shortfall = amount.saturating_sub(body.amount.get()).max(1);
                self.courier.require_credits(authority, shortfall, self.voters(), now);
            }
            // Nobody has paid this account there yet.
            RefusalCode::UnknownSender => {
                let amount = self.candidates[self.approaches[authority].candidate].order().body.amount.get();
                self.courier.require_credits(authority, amount, self.voters(), now);
            }
            RefusalCode::Conflict => {
                if let Some(locked) = locked {
                    self.conflict(authority, locked, now);
                }
            }
            RefusalCode::RetryLater => {
                let wait = Duration::from_millis(u64::from(body.value.get()));
                self.courier.exchange.repeat_later(answered.key, wait, now);
            }
            _ => {}
        }
    }

    fn voters(&self) -> u32 {
        self.candidates.iter().fold(0, |bits, candidate| bits | candidate.voters())
    }

    /// An authority shows another order of ours that it has locked.
    fn conflict(&mut self, authority: usize, locked: &SignedOrder, now: Duration) {
        let body = &locked.body;
        let is_ours = body.sender == self.account
            && body.sequence.get() == self.sequence
            && body.epoch.get() == self.verifier.rules().epoch
            && self.verifier.order_is_signed(locked);
        if !is_ours {
            self.approaches[authority].progress.lies += 1;
            return;
        }
        let Some(candidate) = self.candidate_of(locked) else { return };
        let approach = &mut self.approaches[authority];
        if approach.candidate != candidate && approach.switches < SWITCHES_MAX {
            approach.switches += 1;
            self.ask_for_vote(authority, candidate, now);
        }
    }

    /// Place of an order among the candidates; it becomes one where there is room.
    fn candidate_of(&mut self, order: &SignedOrder) -> Option<usize> {
        if order.body.sender != self.account || order.body.sequence.get() != self.sequence {
            return None;
        }
        let digest: Digest = self.verifier.order_digest(order);
        if let Some(known) = self.candidates.iter().position(|candidate| candidate.digest() == digest) {
            return Some(known);
        }
        if self.candidates.len() == CANDIDATES_MAX {
            return None;
        }
        let proof = Equivocation { first: *self.candidates[0].order(), second: *order };
        self.events.push_back(PaymentEvent::Adopted(*order));
        self.events.push_back(PaymentEvent::Equivocation(Box::new(proof)));
        self.candidates.push(VoteCollector::new(self.verifier.clone(), *order));
        Some(self.candidates.len() - 1)
    }

    fn certificate_answered(&mut self, answered: &Answered<'_>, now: Duration) {
        let authority = answered.authority;
        match &answered.answer {
            Answer::Certificate(_, view) => {
                let body = &view.head.order.body;
                let is_ours = body.sender == self.account && body.sequence.get() == self.sequence;
                match self.verifier.check_certificate(view) {
                    Ok(certificate) if is_ours => self.certified(Arc::new(certificate), now),
                    _ => self.approaches[authority].progress.lies += 1,
                }
            }
            Answer::Refusal(code, body, _) => {
                self.approaches[authority].progress.refusal = Some(RefusalHint::new(*code, body));
                self.approaches[authority].certificate_request = None;
                self.courier.exchange.finish(answered.key);
            }
            _ => {}
        }
    }

    /// The sequence has its certificate, made here or proven elsewhere.
    fn certified(&mut self, certificate: Arc<Certificate>, now: Duration) {
        if self.certified_at.is_some() {
            return;
        }
        self.certified_at = Some(now);
        for approach in &mut self.approaches {
            for key in approach.vote_request.take().into_iter().chain(approach.certificate_request.take()) {
                self.courier.exchange.finish(key);
            }
        }
        self.courier.book.keep(&certificate);
        let wanted = self.candidates[0].digest();
        if certificate.digest() == wanted {
            self.outcome = Outcome::Certified(certificate.clone());
        } else {
            let proof = Equivocation { first: *self.candidates[0].order(), second: *certificate.order() };
            if !self.candidates.iter().any(|candidate| candidate.digest() == certificate.digest()) {
                self.events.push_back(PaymentEvent::Equivocation(Box::new(proof)));
            }
            self.outcome = Outcome::Superseded(certificate.clone());
        }
        self.events.push_back(PaymentEvent::Certified(certificate));
        for authority in 0..self.approaches.len() {
            self.courier.deliver(authority, self.account, self.sequence, self.sequence, now);
        }
    }

    fn take_courier_events(&mut self, now: Duration) {
        while let Some(event) = self.courier.poll_event() {
            match event {
                CourierEvent::Delivered { authority, certificate, now: executed_now } => {
                    let progress = &mut self.approaches[authority].progress;
                    if certificate.sender() == self.account && certificate.sequence() == self.sequence {
                        progress.acknowledged = true;
                        self.events.push_back(PaymentEvent::Acknowledged { authority });
                    } else {
                        progress.brought += u32::from(executed_now);
                    }
                }
                CourierEvent::ChainDone { authority, account } if account == self.account => {
                    self.ask_again(authority, now);
                }
                CourierEvent::CreditsPresented { authority, gained } if gained > 0 => self.ask_again(authority, now),
                CourierEvent::Lied { authority } => self.approaches[authority].progress.lies += 1,
                CourierEvent::Refused { authority, code } => {
                    let hint = RefusalHint { code, value: 0, sequence: 0, amount: 0 };
                    self.approaches[authority].progress.refusal = Some(hint);
                }
                _ => {}
            }
        }
        self.conclude(now);
    }

    /// An obstacle is gone, so the next answer may be a vote.
    fn ask_again(&mut self, authority: usize, now: Duration) {
        if let Some(key) = self.approaches[authority].vote_request {
            self.courier.exchange.repeat_now(key, now);
        }
    }

    fn conclude(&mut self, now: Duration) {
        let acknowledged = (self.approaches.iter().enumerate())
            .filter(|(_, approach)| approach.progress.acknowledged)
            .fold(0u32, |bits, (place, _)| bits | 1 << place);
        if self.verifier.rules().committee.is_quorum(acknowledged) {
            self.settled_at.get_or_insert(now);
        }
        let all = self.approaches.iter().all(|approach| approach.progress.acknowledged);
        let end = payment_end(&self.pace, self.certified_at, self.settled_at);
        let lingered = end.is_some_and(|end| now >= end);
        self.done |= all || lingered || now >= self.pace.deadline;
    }
}

impl<B: CertificateBook> Machine for Payment<B> {
    fn receive(&mut self, authority: usize, datagram: &[u8], now: Duration) {
        if self.done {
            return;
        }
        for answered in self.courier.exchange.receive(authority, datagram) {
            self.approaches[authority].progress.answered = true;
            if self.courier.receive(&answered, now) {
                continue;
            }
            let approach = &self.approaches[authority];
            if approach.vote_request == Some(answered.key) {
                match answered.answer {
                    Answer::Vote(vote) => self.voted(&answered, vote, now),
                    Answer::Executed(executed) => self.executed_already(authority, executed, now),
                    Answer::Refusal(code, body, locked) => self.vote_refused(&answered, code, body, locked, now),
                    _ => {}
                }
            } else if approach.certificate_request == Some(answered.key) {
                self.certificate_answered(&answered, now);
            }
        }
        self.take_courier_events(now);
    }

    fn advance(&mut self, now: Duration) {
        if !self.done {
            self.courier.advance(now);
            self.take_courier_events(now);
        }
    }

    fn next_timer(&self) -> Option<Duration> {
        if self.done {
            return None;
        }
        let lingered = payment_end(&self.pace, self.certified_at, self.settled_at);
        self.courier.next_timer().into_iter().chain(lingered).chain([self.pace.deadline]).min()
    }

    fn transmit(&mut self) -> Option<Transmission> {
        self.courier.exchange.transmit()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
