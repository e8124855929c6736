//! The state machine as a whole: three honest authorities and a lying one, wallets that equivocate, forged certificates, restarts.
//!
//! Promised, after every operation: no input panics; an honest authority never votes for two orders of one sequence, also across restarts; never
//! are two orders of one sequence executed, by whomever; money is conserved per token; replaying the journal gives the state; and in the end
//! authorities that were shown the same certificates have the same state (DESIGN 5).

use meshpay_protocol::account::Account;
use meshpay_protocol::genesis::allocate;
use meshpay_protocol::record::{self, EvidenceRecord, LockRecord, Record};
use meshpay_protocol::{
    Accounts, CertificateDecision, CertificateScreen, MemoryAccounts, OrderDecision, PendingCertificate, PendingOrder,
    Refusal, Signatures, StateDigest, apply, decide_certificate, decide_order, screen_certificate, screen_order,
    verify_certificates, verify_orders,
};
use meshpay_wire::{
    CertificateHead, CertificateView, Digest, PublicKey, RefusalCode, Signature, SignedOrder, vote_digest,
};
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

use crate::chance::Chance;
use crate::network::{AUTHORITIES, Hashes, NETWORK, TOKENS, WALLETS};

/// Authorities that follow the rules; the last one signs everything.
const HONEST: usize = 3;
const LIAR: usize = 3;
/// Penalty of an equivocator, in operations.
const PENALTY: u64 = 3;
/// Orders and certificates that are remembered to be sent again.
const REMEMBERED_MAX: usize = 64;

/// A certificate of whatever worth.
#[derive(Clone)]
struct Certificate {
    head: CertificateHead,
    signatures: Vec<Signature>,
}

impl Certificate {
    fn view(&self) -> CertificateView<'_> {
        CertificateView { head: &self.head, signatures: &self.signatures }
    }
}

struct Authority {
    signatures: Hashes,
    table: MemoryAccounts,
    /// Position, kind, payload.
    journal: Vec<(u64, u8, Vec<u8>)>,
    end: u64,
}

/// What the honest have done, as the outside saw it.
#[derive(Default)]
struct Seen {
    votes: BTreeMap<(usize, PublicKey, u64), Digest>,
    executed: BTreeMap<(PublicKey, u64), Digest>,
}

impl Authority {
    fn new(place: usize) -> Self {
        let mut table = MemoryAccounts::default();
        allocate(&mut table, &NETWORK.allocations).expect("memory has room");
        Self { signatures: Hashes { place }, table, journal: Vec::new(), end: 64 }
    }

    fn append(&mut self, kind: u8, parts: &[&[u8]]) -> u64 {
        let (position, payload) = (self.end, parts.concat());
        self.end += payload.len() as u64 + 16;
        self.journal.push((position, kind, payload));
        position
    }

    fn order(&mut self, order: &SignedOrder, now_ms: u64) -> Result<Signature, Refusal> {
        let rules = &NETWORK.rules;
        let pending = PendingOrder { order, digest: NETWORK.digest(&order.body) };
        screen_order(rules, &self.table, &pending, now_ms)?;
        let mut verified = None;
        verify_orders(&mut self.signatures, &[pending], &mut [false], |_, order| verified = order);
        let verified = verified.ok_or(Refusal::new(RefusalCode::BadSignature))?;
        match decide_order(rules, &self.table, &verified, now_ms)? {
            OrderDecision::Lock => {
                let before = self.table.balance(&order.body.sender, order.body.token.get());
                assert!(before >= i128::from(order.body.amount.get()), "a vote for what is not there");
                let record = LockRecord { digest: verified.digest(), order: *order };
                let position = self.append(record::kind::LOCK, &[record.as_bytes()]);
                apply::lock(&mut self.table, order, verified.digest(), position).expect("memory has room");
            }
            OrderDecision::VoteAgain(_) => {}
            OrderDecision::Conflict => {
                let lock = self.table.account(&order.body.sender).expect("it has a lock").lock_position;
                let record = EvidenceRecord {
                    lock_position: lock,
                    conflicting: *order,
                    penalised_until_ms: (now_ms + PENALTY).into(),
                };
                self.append(record::kind::EVIDENCE, &[record.as_bytes()]);
                apply::penalise(&mut self.table, &order.body.sender, now_ms + PENALTY);
                return Err(Refusal::new(RefusalCode::Conflict));
            }
            OrderDecision::ExecutedBefore => return Err(Refusal::new(RefusalCode::NotFound)),
        }
        let mut vote = [[0; 64]];
        self.signatures.sign_votes(&[vote_digest(&rules.genesis, rules.epoch, &verified.digest())], &mut vote);
        Ok(vote[0])
    }

    /// True where it was executed now.
    fn certificate(&mut self, certificate: &CertificateView<'_>) -> Result<bool, Refusal> {
        let rules = &NETWORK.rules;
        let order = &certificate.head.order;
        let digest = NETWORK.digest(&order.body);
        let CertificateScreen::Verify { sender_known } = screen_certificate(rules, &self.table, certificate, &digest)?
        else {
            return Ok(false);
        };
        let vote_digest = NETWORK.vote_digest(&digest);
        let pending =
            PendingCertificate { certificate: *certificate, digest, vote_digest, sender_known, own_vote: None };
        let mut result = Err(Refusal::new(RefusalCode::BadVote));
        verify_certificates(rules, &mut self.signatures, &[pending], |_, verified| result = verified);
        let verified = result?;
        if decide_certificate(&self.table, &verified)? == CertificateDecision::ExecutedBefore {
            return Ok(false);
        }
        let head = apply::execution_head(&self.table, &verified);
        let [fixed, signatures] = certificate.parts();
        let position = self.append(record::kind::EXECUTION, &[head.as_bytes(), fixed, signatures]);
        let body = &order.body;
        apply::debit(&mut self.table, order, digest, position).expect("memory has room");
        apply::credit(&mut self.table, &body.recipient, body.token.get(), body.amount.get(), Some(position))
            .expect("memory has room");
        Ok(true)
    }

    /// The power goes after everything that was answered was made durable.
    fn restart(&mut self) {
        let mut table = MemoryAccounts::default();
        allocate(&mut table, &NETWORK.allocations).expect("memory has room");
        for (position, kind, payload) in &self.journal {
            let record = Record::parse(*kind, payload).expect("it was written by this version");
            apply::replay(&mut table, &record, *position).expect("memory has room");
        }
        assert_eq!(slots(&table), slots(&self.table), "a replay gives another state");
        self.table = table;
    }

    fn assert_money_is_conserved(&self) {
        for token in &NETWORK.rules.tokens {
            let held = self.table.slots().iter().filter(|slot| slot.token.get() == token.id);
            let sum: i128 = held.map(|slot| slot.balance.get()).sum();
            assert_eq!(sum, i128::from(token.supply), "token {}", token.id);
        }
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = StateDigest::default();
        self.table.slots().iter().for_each(|slot| digest.add(slot));
        digest.bytes()
    }
}

fn slots(table: &MemoryAccounts) -> BTreeMap<(PublicKey, u32), &Account> {
    table.slots().iter().map(|slot| ((slot.key, slot.token.get()), slot)).collect()
}

struct World {
    honest: Vec<Authority>,
    seen: Seen,
    orders: Vec<SignedOrder>,
    certificates: Vec<Certificate>,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let honest = (0..HONEST).map(Authority::new).collect();
        Self { honest, seen: Seen::default(), orders: Vec::new(), certificates: Vec::new(), now_ms: 1 }
    }

    /// Asks the authorities named by `asked` for votes, and makes a certificate if they come to a quorum.
    fn ask(&mut self, order: &SignedOrder, asked: u8) {
        let digest = NETWORK.digest(&order.body);
        let mut votes = Vec::new();
        for place in (0..HONEST).filter(|place| asked >> place & 1 == 1) {
            let Ok(vote) = self.honest[place].order(order, self.now_ms) else { continue };
            let key = (place, order.body.sender, order.body.sequence.get());
            let voted = self.seen.votes.entry(key).or_insert(digest);
            assert_eq!(*voted, digest, "authority {place} has voted for two orders of one sequence");
            votes.push((place, vote));
        }
        if asked >> LIAR & 1 == 1 {
            votes.push((LIAR, NETWORK.vote(LIAR, &digest)));
        }
        let signers = votes.iter().fold(0u32, |signers, (place, _)| signers | 1 << place);
        if let Some(kept) = NETWORK.rules.committee.minimal_quorum_of(signers) {
            let signatures = votes.iter().filter(|(place, _)| kept >> place & 1 == 1).map(|(_, vote)| *vote);
            let head = CertificateHead { order: *order, signers: kept.into(), reserved: 0.into() };
            self.remember(Certificate { head, signatures: signatures.collect() });
        }
    }

    fn remember(&mut self, certificate: Certificate) {
        if self.certificates.len() < REMEMBERED_MAX {
            self.certificates.push(certificate);
        }
    }

    fn show(&mut self, place: usize, certificate: &Certificate) -> bool {
        let view = certificate.view();
        let Ok(executed) = self.honest[place].certificate(&view) else { return false };
        if executed {
            let body = &view.head.order.body;
            let digest = NETWORK.digest(body);
            let first = self.seen.executed.entry((body.sender, body.sequence.get())).or_insert(digest);
            assert_eq!(*first, digest, "two orders of one sequence were executed");
            let signers = view.head.signers.get();
            assert!(NETWORK.rules.committee.is_quorum(signers), "executed by {signers:b}");
            for (signer, signature) in view.votes() {
                assert_eq!(*signature, NETWORK.vote(signer, &digest), "executed by a vote that {signer} never gave");
            }
        }
        executed
    }

    fn sequence_of(&self, wallet: usize) -> u64 {
        let account = &NETWORK.wallets[wallet];
        let next = |authority: &Authority| authority.table.account(account).map_or(0, |slot| slot.next_sequence.get());
        self.honest.iter().map(next).max().unwrap_or(0)
    }
}

pub fn operations(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let mut world = World::new();
    while !chance.is_over() {
        world.now_ms += 1;
        match chance.below(8) {
            0..=2 => {
                let order = new_order(&mut chance, &world);
                let asked = chance.take::<u8>();
                if world.orders.len() < REMEMBERED_MAX {
                    world.orders.push(order);
                }
                world.ask(&order, asked);
            }
            3 => {
                // A retry, or a forgotten order that comes late.
                let Some(order) = pick(&mut chance, &world.orders).copied() else { continue };
                let asked = chance.take::<u8>();
                world.ask(&order, asked);
            }
            4 | 5 => {
                let Some(certificate) = pick(&mut chance, &world.certificates).cloned() else { continue };
                let shown = chance.take::<u8>();
                for place in (0..HONEST).filter(|place| shown >> place & 1 == 1) {
                    world.show(place, &certificate);
                }
            }
            6 => {
                let forged = forgery(&mut chance, &world);
                for place in 0..HONEST {
                    world.show(place, &forged);
                }
            }
            _ => world.honest[chance.below(HONEST)].restart(),
        }
        world.honest.iter().for_each(Authority::assert_money_is_conserved);
    }
    settle(&mut world);
}

/// In the end everything is shown to everybody.
fn settle(world: &mut World) {
    let certificates = world.certificates.clone();
    loop {
        let mut progress = false;
        for certificate in &certificates {
            for place in 0..HONEST {
                progress |= world.show(place, certificate);
            }
        }
        if !progress {
            break;
        }
    }
    let states: Vec<_> = world.honest.iter().map(Authority::digest).collect();
    assert!(states.iter().all(|state| *state == states[0]), "the same certificates, and different states");
    for authority in &mut world.honest {
        authority.restart();
        authority.assert_money_is_conserved();
    }
}

fn new_order(chance: &mut Chance<'_>, world: &World) -> SignedOrder {
    let (from, to) = (chance.below(WALLETS), chance.below(WALLETS));
    let next = world.sequence_of(from);
    let sequence = match chance.below(8) {
        0 => next.wrapping_add(1),
        1 => next.wrapping_sub(1),
        2 => chance.take(),
        _ => next,
    };
    let amount = match chance.below(8) {
        0 => chance.take(),
        1 => 0,
        _ => u64::from(chance.take::<u8>()),
    };
    let token = if chance.one_in(16) { chance.take() } else { TOKENS[chance.below(2)] };
    let mut order = NETWORK.pay(from, sequence, to, token, amount);
    if chance.one_in(8) {
        order.body.expiry_ms = u64::from(chance.take::<u8>()).into();
        order.signature = crate::network::sign(&order.body.sender, &NETWORK.digest(&order.body).0);
    }
    if chance.one_in(16) {
        order.signature[chance.below(64)] ^= 1;
    }
    order
}

/// A certificate of votes that were not all given: the liar's own, copies of it, noise, and another certificate's.
fn forgery(chance: &mut Chance<'_>, world: &World) -> Certificate {
    let order = pick(chance, &world.orders).copied().unwrap_or_else(|| NETWORK.pay(0, 0, 1, TOKENS[0], 1));
    let digest = NETWORK.digest(&order.body);
    let signers = u32::from(chance.take::<u8>());
    let other = pick(chance, &world.certificates).map(|certificate| certificate.signatures.clone()).unwrap_or_default();
    let signature = |place: usize, how: usize| match how {
        0 => other.get(place % other.len().max(1)).copied().unwrap_or([0; 64]),
        1 => [0; 64],
        _ => NETWORK.vote(LIAR, &digest),
    };
    let places = (0..8).filter(|place| signers >> place & 1 == 1);
    let signatures: Vec<_> = places
        .map(|place| if place == LIAR { NETWORK.vote(LIAR, &digest) } else { signature(place, chance.below(3)) })
        .collect();
    debug_assert_eq!(AUTHORITIES, LIAR + 1);
    Certificate { head: CertificateHead { order, signers: signers.into(), reserved: 0.into() }, signatures }
}

fn pick<'a, T>(chance: &mut Chance<'_>, from: &'a [T]) -> Option<&'a T> {
    if from.is_empty() { None } else { from.get(chance.below(from.len())) }
}
