//! The auditor: watches all honest authorities from outside and says what must never happen.
//!
//! What always holds: it shares with the code it checks only the layouts and digests of `wire` and the layouts of journal records. Its idea of
//! balances, locks, quorums and crashes is its own ([`ledger`]).

pub mod ledger;

pub use ledger::Content;

use std::collections::BTreeMap;
use std::rc::Rc;

use meshpay_protocol::account::slot_kind;
use meshpay_protocol::record::Record;
use meshpay_protocol::{Account, StateDigest};
use meshpay_wire::{
    CertificateView, Digest, Message, PublicKey, RefusalCode, SignedOrder, account_flags, messages, order_digest,
    vote_digest,
};

use crate::setting::Setting;
use ledger::{Execution, Ledger};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: &'static str,
    /// What happened.
    pub what: String,
}

/// Names a sequence of an account.
type Slot = (PublicKey, u64);

/// Who has voted for what at one sequence.
type Ballots = Vec<(Digest, u32)>;

/// The auditor of a run.
pub struct Checker {
    setting: Rc<Setting>,
    ledgers: Vec<Ledger>,
    /// Orders that each authority has been seen to vote for; nothing is ever taken back here.
    voted: Vec<BTreeMap<Slot, Digest>>,
    ballots: BTreeMap<Slot, Ballots>,
    certificates: BTreeMap<Slot, (Digest, Vec<u8>)>,
    /// Authorities of which nothing is promised any more, as bits: the liars, and those whose disk did what no disk may.
    faulty: u32,
    /// What a state digest was for a set of executed certificates.
    states: BTreeMap<[u8; 32], ([u8; 32], usize)>,
    violation: Option<Violation>,
    /// Requests that were put off for want of room, in a journal or in a table.
    pub put_off: u64,
}

impl Checker {
    /// An auditor who knows the genesis.
    pub fn new(setting: Rc<Setting>) -> Self {
        let members = setting.members();
        Self {
            ledgers: (0..members).map(|_| Ledger::new(&setting.allocations)).collect(),
            voted: vec![BTreeMap::new(); members],
            ballots: BTreeMap::new(),
            certificates: BTreeMap::new(),
            faulty: setting.liars,
            states: BTreeMap::new(),
            violation: None,
            put_off: 0,
            setting,
        }
    }

    /// The first broken promise, if any.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A promise is broken. The first one stays.
    pub fn broken(&mut self, promise: &'static str, what: String) {
        self.violation.get_or_insert(Violation { promise, what });
    }

    /// Nothing is promised of this authority any more.
    pub fn give_up(&mut self, place: usize) {
        self.faulty |= 1 << place;
    }

    /// Whether nothing is promised of an authority.
    pub fn is_faulty(&self, place: usize) -> bool {
        self.faulty >> place & 1 == 1
    }

    /// Weight that may still become faulty.
    pub fn faults_left(&self) -> u64 {
        let committee = &self.setting.rules.committee;
        committee.tolerated().saturating_sub(self.weight(self.faulty))
    }

    /// All certificates that anybody has been seen to hold.
    pub fn certificates(&self) -> &BTreeMap<(PublicKey, u64), (Digest, Vec<u8>)> {
        &self.certificates
    }

    /// What an authority should hold.
    pub fn ledger(&self, place: usize) -> &Ledger {
        &self.ledgers[place]
    }

    fn weight(&self, places: u32) -> u64 {
        let members = self.setting.rules.committee.members().iter().enumerate();
        members.filter(|(place, _)| places >> place & 1 == 1).map(|(_, member)| u64::from(member.weight)).sum()
    }

    fn quorum(&self) -> u64 {
        let total: u64 = self.setting.rules.committee.members().iter().map(|member| u64::from(member.weight)).sum();
        2 * total / 3 + 1
    }

    fn digest(&self, order: &SignedOrder) -> Digest {
        order_digest(&self.setting.rules.genesis, &order.body)
    }

    /// Whether so many distinct members have signed what a certificate says. Counted here, by this file's own rule.
    fn is_certificate(&self, view: &CertificateView<'_>) -> bool {
        let digest = self.digest(&view.head.order);
        let message = vote_digest(&self.setting.rules.genesis, self.setting.rules.epoch, &digest);
        let mut places = 0u32;
        for (at, signature) in view.signatures.iter().enumerate() {
            let Some(place) = (0..32).filter(|place| view.head.signers.get() >> place & 1 == 1).nth(at) else {
                return false;
            };
            let Some(member) = self.setting.rules.committee.members().get(place) else { return false };
            if !self.setting.scribe.is_valid(&member.key, &message, signature) {
                return false;
            }
            places |= 1 << place;
        }
        let order = &view.head.order;
        self.setting.scribe.is_valid(&order.body.sender, &digest.0, &order.signature)
            && self.weight(places) >= self.quorum()
    }

    /// Somebody holds these bytes and takes them for a certificate.
    pub fn certificate(&mut self, holder: &str, bytes: &[u8]) {
        let Some((view, _)) = CertificateView::parse(bytes) else {
            return self.broken("a certificate is whole", format!("{holder} holds bytes that are none"));
        };
        if !self.is_certificate(&view) {
            return self
                .broken("a quorum is counted", format!("{holder} holds a certificate that no quorum has signed"));
        }
        let (digest, body) = (self.digest(&view.head.order), view.head.order.body);
        let slot = (body.sender, body.sequence.get());
        match self.certificates.get(&slot) {
            Some((other, _)) if *other != digest => self.broken(
                "one certificate per sequence",
                format!("{holder} holds a second certificate for sequence {} of {}", slot.1, short(&slot.0)),
            ),
            Some(_) => {}
            None => drop(self.certificates.insert(slot, (digest, bytes.to_vec()))),
        }
    }

    /// An honest authority has appended a record.
    pub fn appended(&mut self, place: usize, position: u64, kind: u8, payload: &[u8]) {
        self.enter(place, position, kind, payload);
        self.ledgers[place].note_content(position, content(kind, payload));
    }

    fn enter(&mut self, place: usize, position: u64, kind: u8, payload: &[u8]) {
        let Some(record) = Record::parse(kind, payload) else {
            return self
                .broken("a journal can be read", format!("authority {place} appended a record of no known form"));
        };
        match record {
            Record::Lock(lock) => {
                let digest = self.digest(&lock.order);
                let signed = self.setting.scribe.is_valid(&lock.order.body.sender, &digest.0, &lock.order.signature);
                let refused = match signed {
                    false => Some("an order that its sender has not signed".to_owned()),
                    true => self.ledgers[place].lock(position, &lock.order.body, digest).err(),
                };
                if let Some(why) = refused.filter(|_| !self.is_faulty(place)) {
                    let body = &lock.order.body;
                    self.broken(
                        "an order is locked only where it may be",
                        format!(
                            "authority {place} locked sequence {} of {}: {why}",
                            body.sequence,
                            short(&body.sender)
                        ),
                    );
                }
            }
            Record::Execution(_, view) => {
                let body = view.head.order.body;
                if !self.is_certificate(&view) {
                    return self.broken(
                        "execute on a certificate only",
                        format!(
                            "authority {place} executed sequence {} of {} without the signatures of a quorum",
                            body.sequence,
                            short(&body.sender)
                        ),
                    );
                }
                self.certificate(&format!("authority {place}"), &view.parts().concat());
                let digest = self.digest(&view.head.order);
                if let Err(why) = self.ledgers[place].execute(position, &body, digest) {
                    self.broken("certificates are executed in sequence", format!("authority {place}: {why}"));
                }
            }
            Record::Evidence(evidence) => {
                let digest = self.digest(&evidence.conflicting);
                let order = &evidence.conflicting;
                let signed = self.setting.scribe.is_valid(&order.body.sender, &digest.0, &order.signature);
                if !signed || self.ledgers[place].locked(&order.body.sender) == Some(digest) {
                    self.broken("evidence is a proof", format!("authority {place} holds evidence that proves nothing"));
                }
                self.ledgers[place].other(position);
            }
            Record::VotingStopped(_) if !self.is_faulty(place) => self.broken(
                "an honest authority knows its own votes",
                format!(
                    "authority {place} stopped voting: it was shown a vote of its own that its journal does not hold"
                ),
            ),
            Record::Genesis(_) | Record::CreditLink(_) | Record::VotingStopped(_) => {
                self.ledgers[place].other(position);
            }
        }
    }

    /// A datagram leaves an honest authority.
    pub fn sent(&mut self, place: usize, datagram: &[u8]) {
        for message in messages(datagram) {
            match message {
                Ok(message) => self.answered(place, &message),
                Err(malformed) => {
                    self.broken("answers are well formed", format!("authority {place} sent {malformed:?}"));
                }
            }
        }
    }

    fn answered(&mut self, place: usize, message: &Message<'_>) {
        let header = *message.header();
        let (account, sequence) = (header.account, header.sequence.get());
        let shown = match message {
            Message::TransferResponse(_, vote) => {
                self.vote(place, (account, sequence), vote.order);
                self.ledgers[place].show_lock(&account, sequence, &vote.order)
            }
            Message::ConfirmationResponse(_, executed) => {
                let all = self.ledgers[place].show_executions(&account, executed.next_sequence.get());
                all.and_then(|()| self.ledgers[place].show_execution(&account, sequence, &executed.order))
            }
            Message::AccountAnswer(_, answer) => {
                let flags = answer.flags.get();
                if flags & account_flags::NOT_VOTING != 0 && !self.is_faulty(place) {
                    self.broken(
                        "an honest authority votes",
                        format!("authority {place} says that it has stopped voting"),
                    );
                }
                let next = answer.next_sequence.get();
                self.ledgers[place].show_balance(&account, answer.token.get(), next, answer.balance.get());
                let mut shown = self.ledgers[place].show_executions(&account, next);
                if next > 0 {
                    shown = shown
                        .and_then(|()| self.ledgers[place].show_execution(&account, next - 1, &answer.last_executed));
                }
                if flags & account_flags::LOCKED != 0 && answer.locked.body.sender == account {
                    let digest = self.digest(&answer.locked);
                    shown = shown.and_then(|()| {
                        self.ledgers[place].show_lock(&account, answer.locked.body.sequence.get(), &digest)
                    });
                }
                shown
            }
            Message::CertificateAnswer(_, _, view) => {
                let body = &view.head.order.body;
                self.certificate(&format!("authority {place}"), &view.parts().concat());
                let digest = self.digest(&view.head.order);
                self.ledgers[place].show_execution(&body.sender, body.sequence.get(), &digest)
            }
            Message::Refusal(_, _, Some(locked)) => {
                let digest = self.digest(locked);
                self.ledgers[place].show_lock(&locked.body.sender, locked.body.sequence.get(), &digest)
            }
            Message::Refusal(_, body, None) => match RefusalCode::from_number(body.code.get()) {
                Some(RefusalCode::SequenceTooHigh | RefusalCode::MissingCertificate) => {
                    self.ledgers[place].show_executions(&account, body.sequence.get())
                }
                Some(RefusalCode::RetryLater) => {
                    self.put_off += 1;
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => Err("no answer at all".to_owned()),
        };
        if let Err(why) = shown
            && !self.is_faulty(place)
        {
            self.broken(
                "an answer says what the journal holds",
                format!("authority {place} about {}: {why}", short(&account)),
            );
        }
    }

    /// An honest authority votes. Ever after it must not vote for another order there; and nowhere may two orders be able to get a quorum.
    fn vote(&mut self, place: usize, slot: Slot, order: Digest) {
        if self.is_faulty(place) {
            return;
        }
        let first = *self.voted[place].entry(slot).or_insert(order);
        if first != order {
            self.broken(
                "one vote per sequence",
                format!("authority {place} voted for two orders at sequence {} of {}", slot.1, short(&slot.0)),
            );
        }
        let ballots = self.ballots.entry(slot).or_default();
        match ballots.iter_mut().find(|(digest, _)| *digest == order) {
            Some((_, places)) => *places |= 1 << place,
            None => ballots.push((order, 1 << place)),
        }
        let ballots = ballots.clone();
        let possible = ballots.iter().filter(|(_, places)| self.weight(places | self.faulty) >= self.quorum());
        if ballots.len() > 1 && possible.count() > 1 {
            self.broken(
                "one certificate per sequence",
                format!("two orders can be certified at sequence {} of {}", slot.1, short(&slot.0)),
            );
        }
    }

    /// Whether some order at a sequence can still get a quorum of votes, counting every authority that has not voted for another.
    pub fn can_be_certified(&self, slot: (PublicKey, u64), order: &Digest) -> bool {
        let against = self.ballots.get(&slot).into_iter().flatten().filter(|(digest, _)| digest != order);
        let lost = against.fold(self.faulty, |bits, (_, places)| bits | places);
        let all = (1u32 << self.setting.members()) - 1;
        self.weight(all & !lost) >= self.quorum()
    }

    /// An authority has started again after a start that the power ended: `held` is what its journal holds up to `head`.
    pub fn restarted_twice(
        &mut self,
        place: usize,
        held: &BTreeMap<u64, ledger::Content>,
        head: u64,
        slots: &[Account],
    ) {
        let head = self.ledgers[place].parts_from(held, head);
        self.restarted(place, head, slots);
    }

    /// An authority has started again and found its journal up to `head`, and these slots.
    pub fn restarted(&mut self, place: usize, head: u64, slots: &[Account]) {
        let lost = self.ledgers[place].cut(head);
        if let Some(lost) = lost
            && !self.is_faulty(place)
        {
            self.broken("what was acknowledged survives", format!("authority {place} lost {lost} in a crash"));
        }
        self.compare(place, slots);
    }

    /// Compares an authority's table with what it should be.
    pub fn compare(&mut self, place: usize, slots: &[Account]) {
        if let Err(why) = self.ledgers[place].compare(slots) {
            self.broken("state is a fold over the journal", format!("authority {place}: {why}"));
        }
        for token in &self.setting.rules.tokens {
            let held = slots.iter().filter(|slot| slot.kind != slot_kind::EMPTY && slot.token.get() == token.id);
            let sum: i128 = held.map(|slot| slot.balance.get()).sum();
            if sum != i128::from(token.supply) {
                let what = format!("authority {place} holds {sum} of token {}, {} were issued", token.id, token.supply);
                self.violation.get_or_insert(Violation { promise: "money is conserved", what });
            }
        }
        let mut digest = StateDigest::default();
        slots.iter().for_each(|slot| digest.add(slot));
        let (state, executed) = (digest.bytes(), self.ledgers[place].executed_set());
        let (first, whose) = *self.states.entry(executed).or_insert((state, place));
        if first != state {
            self.broken(
                "the same certificates make the same state",
                format!("authorities {whose} and {place} have executed the same and differ"),
            );
        }
    }

    /// What an authority has not executed although it exists.
    pub fn missing(&self, place: usize) -> Vec<(PublicKey, u64)> {
        self.certificates
            .keys()
            .filter(|(sender, sequence)| self.ledgers[place].next(sender) <= *sequence)
            .copied()
            .collect()
    }

    /// The execution at a sequence, if an authority has it.
    pub fn execution(&self, place: usize, account: &PublicKey, sequence: u64) -> Option<&Execution> {
        self.ledgers[place].execution(account, sequence)
    }
}

/// Hash of a record, by which it is known again.
pub fn content(kind: u8, payload: &[u8]) -> ledger::Content {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(payload);
    let mut content = ledger::Content::default();
    hasher.finalize_xof().fill(&mut content);
    content
}

/// The beginning of a key, for messages.
pub fn short(key: &PublicKey) -> String {
    hex::encode(&key[..4])
}
