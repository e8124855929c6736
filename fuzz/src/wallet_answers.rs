//! A paying wallet among authorities that answer anything.
//!
//! Promised: no answer panics; a payment is called certified only by votes that were signed for that very order and weigh a quorum; a
//! machine that is not done has a timer, and no datagram is longer than a datagram may be.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use meshpay_client::machine::{Machine, Outcome, Pace, Payment, PersistedOrder, Survey};
use meshpay_client::{MemoryBook, Randomness, SignatureChecks, Verifier};
use meshpay_protocol::{SenderCheck, VoteCheck};
use meshpay_wire::{
    AccountAnswer, CertificateHead, CertificateLinks, CertificateView, DATAGRAM_MAX, Digest, Executed, Header, Message,
    RefusalBody, RefusalCode, Signature, SignedOrder, Vote, account_answer, account_flags, certificate_answer,
    confirmation_response, messages, refusal, transfer_response,
};
use zerocopy::{FromBytes, FromZeros};

use crate::chance::Chance;
use crate::network::{AUTHORITIES, NETWORK, TOKENS, WALLETS, sign};

/// Requests that are remembered to be answered.
const ASKED_MAX: usize = 64;

#[derive(Debug)]
struct Hashes;

impl SignatureChecks for Hashes {
    fn sender_is_valid(&self, check: &SenderCheck<'_>) -> bool {
        sign(check.key, check.message) == *check.signature
    }
    fn check_votes(&self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        for (check, valid) in checks.iter().zip(valid) {
            *valid = sign(NETWORK.key_of(check.place), check.message) == *check.signature;
        }
    }
}

static VERIFIER: LazyLock<Arc<Verifier>> =
    LazyLock::new(|| Arc::new(Verifier::with_signatures(NETWORK.rules.clone(), Arc::new(Hashes))));

/// Everything that was signed, by whom.
type Signed = BTreeSet<(usize, Digest)>;

pub fn hostile(bytes: &[u8]) {
    let mut chance = Chance::new(bytes);
    let first = NETWORK.pay(0, 0, 1, TOKENS[0], 10);
    let other = NETWORK.pay(0, 0, 2, TOKENS[0], 20);
    let next = NETWORK.pay(0, 1, 1, TOKENS[1], 3);
    let orders = [first, other, next];
    let pace = Pace::until(Duration::from_secs(5));
    let now = Duration::ZERO;
    let random = Randomness::new([5; 32]);
    let mut signed = Signed::new();
    if chance.one_in(3) {
        let mut survey = Survey::new(VERIFIER.clone(), NETWORK.wallets[0], &TOKENS, pace, random, now);
        drive(&mut survey, &mut chance, &orders, &mut signed);
        let _ = survey.report();
        return;
    }
    let twins = [PersistedOrder::assume(other)];
    let twins = if chance.one_in(2) { &twins[..] } else { &[] };
    let wanted = PersistedOrder::assume(if chance.one_in(2) { next } else { first });
    let digest = NETWORK.digest(&wanted.order().body);
    let book = MemoryBook::default();
    let mut payment = Payment::new(VERIFIER.clone(), wanted, twins, &[], book, pace, random, now);
    drive(&mut payment, &mut chance, &orders, &mut signed);
    let outcome = payment.report().outcome;
    while payment.poll_event().is_some() {}
    if let Some(certificate) = outcome.certificate() {
        let signers = certificate.signers();
        assert!(NETWORK.rules.committee.is_quorum(signers), "certified by {signers:b}");
        for place in (0..AUTHORITIES).filter(|place| signers >> place & 1 == 1) {
            assert!(signed.contains(&(place, certificate.digest())), "authority {place} has signed no such thing");
        }
        assert_eq!(matches!(outcome, Outcome::Certified(_)), certificate.digest() == digest);
    }
}

fn drive(machine: &mut impl Machine, chance: &mut Chance<'_>, orders: &[SignedOrder; 3], signed: &mut Signed) {
    let mut asked: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut now = Duration::ZERO;
    while !chance.is_over() && !machine.is_done() {
        while let Some(transmission) = machine.transmit() {
            assert!(transmission.datagram.len() <= DATAGRAM_MAX);
            let requests = messages(&transmission.datagram).map(|message| message.expect("wallets write well"));
            for request in requests {
                let header = zerocopy::IntoBytes::as_bytes(request.header()).to_vec();
                asked.push((transmission.authority, header));
            }
        }
        asked.drain(..asked.len().saturating_sub(ASKED_MAX));
        if asked.is_empty() || chance.one_in(8) {
            let timer = machine.next_timer().expect("a machine that is not done has a timer");
            now = now.max(timer.min(now + Duration::from_secs(1)));
            machine.advance(now);
            if asked.is_empty() {
                continue;
            }
        }
        let (authority, header) = &asked[chance.below(asked.len())];
        let header = Header::ref_from_bytes(header).expect("it was one");
        let mut datagram = answer(chance, *authority, header, orders, signed);
        if chance.one_in(6) && !datagram.is_empty() {
            let at = usize::from(chance.take::<u16>()) % datagram.len();
            datagram[at] ^= chance.take::<u8>();
        }
        // What is flipped in a vote's head may still be a vote.
        note_votes(&datagram, signed);
        machine.receive(*authority, &datagram, now);
    }
}

/// An answer to a request, by whatever truth the fuzzer likes.
fn answer(
    chance: &mut Chance<'_>,
    authority: usize,
    request: &Header,
    orders: &[SignedOrder; 3],
    signed: &mut Signed,
) -> Vec<u8> {
    let order = &orders[chance.below(orders.len())];
    let digest = NETWORK.digest(&order.body);
    let mut buffer = vec![0; DATAGRAM_MAX];
    let token = [chance.take::<u8>(); 8];
    let length = match chance.below(8) {
        0 | 1 => {
            let place = if chance.one_in(4) { chance.below(AUTHORITIES) } else { authority };
            let signature = vote(place, &digest, signed);
            let vote = Vote { authority: place as u8, reserved: [0; 3], order: digest, signature };
            transfer_response(&mut buffer, request, token, &vote)
        }
        2 => {
            let next_sequence = u64::from(chance.take::<u8>() % 4).into();
            let status = 1 + chance.take::<u8>() % 2;
            let executed = Executed { order: digest, next_sequence, status, reserved: [0; 7] };
            confirmation_response(&mut buffer, request, token, &executed)
        }
        3 => {
            let mut state = AccountAnswer::new_zeroed();
            state.balance = i128::from(chance.take::<i64>()).into();
            state.token = TOKENS[chance.below(2)].into();
            state.flags = (u32::from(chance.take::<u8>() % 16) | account_flags::KNOWN).into();
            state.next_sequence = u64::from(chance.take::<u8>() % 4).into();
            state.last_executed = digest;
            state.debit_locator = u64::from(chance.take::<u8>()).into();
            state.credit_locator = u64::from(chance.take::<u8>()).into();
            if chance.one_in(2) {
                state.locked = orders[chance.below(orders.len())];
            }
            account_answer(&mut buffer, request, token, &state)
        }
        4 => {
            let signers = u32::from(chance.take::<u8>() % 16).max(1);
            let places = (0..AUTHORITIES).filter(|place| signers >> place & 1 == 1);
            let signatures: Vec<Signature> = places.map(|place| vote(place, &digest, signed)).collect();
            let payer = if chance.one_in(2) { NETWORK.pay(chance.below(WALLETS), 0, 0, TOKENS[0], 5) } else { *order };
            let head = CertificateHead { order: payer, signers: signers.into(), reserved: 0.into() };
            let certificate = CertificateView { head: &head, signatures: &signatures };
            let mut links = CertificateLinks::new_zeroed();
            links.locator = u64::from(chance.take::<u8>()).into();
            links.previous_debit = u64::from(chance.take::<u8>()).into();
            links.previous_credit = u64::from(chance.take::<u8>()).into();
            certificate_answer(&mut buffer, request, token, &links, &certificate)
        }
        5 | 6 => {
            let code = RefusalCode::ALL[chance.below(RefusalCode::ALL.len())];
            let mut body = RefusalBody::new_zeroed();
            body.code = (code as u16).into();
            body.value = u32::from(chance.take::<u16>()).into();
            body.sequence =
                if chance.one_in(8) { chance.take::<u64>() } else { u64::from(chance.take::<u8>() % 4) }.into();
            body.amount = chance.take::<u64>().into();
            let locked = (code == RefusalCode::Conflict).then_some(order);
            refusal(&mut buffer, request, token, &body, locked)
        }
        _ => {
            let raw = chance.bytes(96);
            buffer[..raw.len()].copy_from_slice(raw);
            raw.len()
        }
    };
    buffer.truncate(length);
    buffer
}

fn vote(place: usize, digest: &Digest, signed: &mut Signed) -> Signature {
    signed.insert((place, *digest));
    NETWORK.vote(place, digest)
}

/// Keeps `signed` true for what a flipped byte turned into another member's or order's vote: it cannot, as nobody else signs for that.
fn note_votes(datagram: &[u8], signed: &Signed) {
    for message in messages(datagram).flatten() {
        if let Message::TransferResponse(_, vote) = message {
            let place = usize::from(vote.authority);
            let is_good = place < AUTHORITIES && NETWORK.vote(place, &vote.order) == vote.signature;
            assert!(!is_good || signed.contains(&(place, vote.order)), "a mutation has forged a vote");
        }
    }
}
