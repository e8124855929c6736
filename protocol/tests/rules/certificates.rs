//! What is executed, what is acknowledged, and what no certificate can be.

use meshpay_crypto::SigningKey;
use meshpay_protocol::account::Account;
use meshpay_protocol::genesis::allocate;
use meshpay_protocol::record::LEFT_OWING;
use meshpay_protocol::{
    Accounts, Allocation, Applied, Authority, CertificateScreen, Ed25519Signatures, Genesis, MemoryAccounts,
    PendingCertificate, SEQUENCE_MAX, SenderCheck, Signatures, SlotIndex, SlotName, TableFull, VoteCheck, apply,
    screen_certificate, verify_certificates,
};
use meshpay_wire::{
    BUNDLE_MAX, CERTIFICATE_FIXED_LENGTH, CertificateView, OrderBody, PublicKey, RefusalCode, SIGNERS_MAX, Signature,
    SignedOrder, vote_digest,
};

use crate::network::*;

#[test]
fn a_quorum_of_votes_is_executed() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    for quorum in [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]] {
        let mut authority = network.authority(0);
        authority.order(&order).expect("a vote");
        let applied = authority.certificate(&network.certify(&order, &quorum));
        assert_eq!(applied, Ok(Applied::Now(network.digest(&order.body))));
        assert_eq!((authority.euros(ALICE), authority.euros(BOB), authority.next_sequence(ALICE)), (900, 600, 1));
        assert!(!authority.is_locked(ALICE));
        let sender = authority.accounts.account(&account(ALICE)).expect("she has one");
        assert_eq!(sender.last_executed, network.digest(&order.body));
    }
}

/// The votes that the authorities themselves give make the certificate that they execute.
#[test]
fn a_payment_from_order_to_settlement() {
    let network = Network::four();
    let mut authorities: Vec<_> = (0..4).map(|place| network.authority(place)).collect();
    let order = network.pay(ALICE, 0, CAROL, EURO, 250);
    let votes: Vec<_> = authorities
        .iter_mut()
        .skip(1)
        .map(|authority| authority.order(&order).expect("a vote"))
        .map(|vote| (vote.authority as usize, vote.signature))
        .collect();
    let certificate = Certificate::of(&order, &votes);
    for authority in &mut authorities {
        authority.certificate(&certificate).expect("executed");
    }
    let states: Vec<_> = authorities.iter().map(Ask::state).collect();
    assert!(states.iter().all(|state| *state == states[0]), "the authority that never saw the order agrees");
}

#[test]
fn certificate_below_quorum() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    for places in [&[0][..], &[3], &[0, 1], &[1, 3], &[2, 3]] {
        let mut authority = network.authority(0);
        assert_eq!(code(authority.certificate(&network.certify(&order, places))), RefusalCode::BelowQuorum);
        assert_eq!(authority.next_sequence(ALICE), 0);
    }
    let nobody = Certificate::with_bits(&order, 0, &[]);
    assert_eq!(CertificateView::parse(nobody.bytes()), None, "a certificate without votes is no certificate");
}

#[test]
fn certificate_with_a_non_member() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let vote = |place: usize| if place < 4 { network.vote(place, &order) } else { network.vote(3, &order) };
    for places in [&[0, 1, 4][..], &[0, 1, 2, 4], &[0, 1, 31], &[4, 5, 6], &[19, 20, 21]] {
        let votes: Vec<_> = places.iter().map(|place| (*place, vote(*place))).collect();
        let certificate = Certificate::of(&order, &votes);
        assert_eq!(code(network.authority(0).certificate(&certificate)), RefusalCode::NotAMember);
    }
    // A member's place with the vote of somebody who is none.
    let outsider = SigningKey::from_seed(&[99; 32]);
    let message = vote_digest(&network.rules.genesis, 0, &network.digest(&order.body));
    let votes = [(0, vote(0)), (1, vote(1)), (2, outsider.sign(&message))];
    assert_eq!(code(network.authority(0).certificate(&Certificate::of(&order, &votes))), RefusalCode::BadVote);
}

/// Signers are bits of one word and signatures are counted by them, so 'the same signer twice' cannot be written down. What
/// can be written is the same signature under two bits, and that is no vote of the second.
#[test]
fn certificate_with_one_signer_twice() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let (zero, one) = (network.vote(0, &order), network.vote(1, &order));
    for votes in [[(0, zero), (1, one), (2, one)], [(0, zero), (1, zero), (2, zero)], [(0, zero), (1, one), (3, zero)]]
    {
        assert_eq!(code(network.authority(0).certificate(&Certificate::of(&order, &votes))), RefusalCode::BadVote);
    }
    // Three signatures under two bits: the third lies outside the certificate, which is below the quorum.
    let surplus = Certificate::with_bits(&order, 0b11, &[zero, one, one]);
    let (view, length) = CertificateView::parse(surplus.bytes()).expect("well formed");
    assert_eq!((view.signatures.len(), length), (2, CERTIFICATE_FIXED_LENGTH + 128));
    assert_eq!(code(network.authority(0).certificate(&surplus)), RefusalCode::BelowQuorum);
    // Two signatures under three bits: bytes are missing.
    assert_eq!(CertificateView::parse(Certificate::with_bits(&order, 0b111, &[zero, one]).bytes()), None);
    let places: Vec<_> = view.votes().map(|(place, _)| place).collect();
    assert_eq!(places, [0, 1], "each bit once, by rising place");
}

#[test]
fn certificate_with_votes_for_another_digest() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    for other in [
        network.pay(ALICE, 0, BOB, EURO, 101),
        network.pay(ALICE, 1, BOB, EURO, 100),
        network.pay(BOB, 0, ALICE, EURO, 100),
        network.sign(ALICE, OrderBody { memo: [1; 32], ..order.body }),
    ] {
        for wrong in 0..3 {
            let vote = |place| network.vote(place, if place == wrong { &other } else { &order });
            let certificate = Certificate::of(&order, &[0, 1, 2].map(|place| (place, vote(place))));
            assert_eq!(code(network.authority(0).certificate(&certificate)), RefusalCode::BadVote);
        }
    }
    // A member that signed the order's own digest has made no vote: the domain differs.
    let not_a_vote = authority_key(2).sign(&network.digest(&order.body).0);
    let votes = [(0, network.vote(0, &order)), (1, network.vote(1, &order)), (2, not_a_vote)];
    assert_eq!(code(network.authority(0).certificate(&Certificate::of(&order, &votes))), RefusalCode::BadVote);
}

#[test]
fn certificate_with_any_bit_of_a_vote_flipped() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let mut authority = network.authority(0);
    for byte in 0..3 * 64 {
        let mut votes = [0, 1, 2].map(|place| (place, network.vote(place, &order)));
        votes[byte / 64].1[byte % 64] ^= 1 << (byte % 8);
        let refused = code(authority.certificate(&Certificate::of(&order, &votes)));
        assert_eq!(refused, RefusalCode::BadVote, "byte {byte}");
    }
    let swapped = [(0, network.vote(1, &order)), (1, network.vote(0, &order)), (2, network.vote(2, &order))];
    assert_eq!(code(authority.certificate(&Certificate::of(&order, &swapped))), RefusalCode::BadVote);
    assert_eq!(authority.next_sequence(ALICE), 0);
}

#[test]
fn certificate_that_is_not_minimal() {
    let network = Network::four();
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let all = network.certify(&order, &[0, 1, 2, 3]);
    assert_eq!(code(network.authority(0).certificate(&all)), RefusalCode::NotMinimal);
    // Weights 3, 1, 1, 1, 1: a quorum weighs 5, so the heavy one needs two others, and a third is too many.
    let network = Network::weighted(&[3, 1, 1, 1, 1]);
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let certify = |places: &[usize]| network.authority(0).certificate(&network.certify(&order, places));
    assert_eq!(code(certify(&[0, 1, 2, 3])), RefusalCode::NotMinimal);
    assert_eq!(code(certify(&[1, 2, 3, 4])), RefusalCode::BelowQuorum);
    assert!(matches!(certify(&[0, 2, 4]), Ok(Applied::Now(_))));
}

#[test]
fn certificate_of_a_weighted_quorum() {
    // 20 authorities: 14 are a quorum, 13 are not.
    let network = Network::weighted(&[1; 20]);
    let order = network.pay(ALICE, 0, BOB, EURO, 100);
    let places: Vec<usize> = (3..17).collect();
    assert_eq!(
        code(network.authority(0).certificate(&network.certify(&order, &places[..13]))),
        RefusalCode::BelowQuorum
    );
    assert!(matches!(network.authority(0).certificate(&network.certify(&order, &places)), Ok(Applied::Now(_))));
    // More signatures than a datagram holds are no certificate at all.
    let all: Vec<usize> = (0..20).collect();
    assert_eq!(CertificateView::parse(network.certify(&order, &all[..=SIGNERS_MAX]).bytes()), None);
}

#[test]
fn certificate_with_a_bad_sender_signature() {
    let network = Network::four();
    let good = network.pay(ALICE, 0, BOB, EURO, 100);
    let mut bad = good;
    bad.signature[63] ^= 1;
    assert_eq!(code(network.authority(0).certificate(&network.certify(&bad, &[0, 1, 2]))), RefusalCode::BadSignature);
    // Nor is it let pass where the good one is locked.
    let mut authority = network.authority(0);
    authority.order(&good).expect("a vote");
    assert_eq!(code(authority.certificate(&network.certify(&bad, &[0, 1, 2]))), RefusalCode::BadSignature);
    authority.certificate(&network.certify(&good, &[0, 1, 2])).expect("executed");
}

/// Counts what is verified.
struct Counting {
    inner: Ed25519Signatures,
    senders: usize,
    votes: usize,
}

impl Signatures for Counting {
    fn verify_senders(&mut self, checks: &[SenderCheck<'_>], valid: &mut [bool]) {
        self.senders += checks.len();
        self.inner.verify_senders(checks, valid);
    }
    fn verify_votes(&mut self, checks: &[VoteCheck<'_>], valid: &mut [bool]) {
        self.votes += checks.len();
        self.inner.verify_votes(checks, valid);
    }
    fn sign_votes(&mut self, messages: &[[u8; 32]], signatures: &mut [Signature]) {
        self.inner.sign_votes(messages, signatures);
    }
}

fn pending<'a>(network: &Network, certificate: &'a Certificate) -> PendingCertificate<'a> {
    let digest = network.digest(&certificate.view().head.order.body);
    PendingCertificate {
        certificate: certificate.view(),
        digest,
        vote_digest: vote_digest(&network.rules.genesis, network.rules.epoch, &digest),
        sender_known: false,
        own_vote: None,
    }
}

fn counting(network: &Network) -> Counting {
    let inner = Ed25519Signatures::new(&network.rules.committee, authority_key(0)).expect("good keys");
    Counting { inner, senders: 0, votes: 0 }
}

/// The sender's signature is skipped only where it is byte-equal to the locked one.
#[test]
fn the_locked_senders_signature_is_not_verified_again() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let (locked, other) = (network.pay(ALICE, 0, BOB, EURO, 1), network.pay(ALICE, 0, BOB, EURO, 2));
    let screen = |authority: &TestAuthority, order: &SignedOrder| {
        let certificate = network.certify(order, &[0, 1, 2]);
        let digest = network.digest(&order.body);
        match screen_certificate(&network.rules, &authority.accounts, &certificate.view(), &digest) {
            Ok(CertificateScreen::Verify { sender_known }) => sender_known,
            refused => panic!("{refused:?}"),
        }
    };
    assert!(!screen(&authority, &locked), "nothing is locked");
    authority.order(&locked).expect("a vote");
    assert!(screen(&authority, &locked));
    assert!(!screen(&authority, &other));
    let mut resigned = locked;
    resigned.signature[0] ^= 1;
    assert!(!screen(&authority, &resigned));

    let certificate = network.certify(&locked, &[0, 1, 2]);
    for (sender_known, own_vote, expected) in [(false, None, (1, 3)), (true, None, (0, 3)), (true, Some(1), (0, 2))] {
        let mut signatures = counting(&network);
        let asked = PendingCertificate { sender_known, own_vote, ..pending(&network, &certificate) };
        verify_certificates(&network.rules, &mut signatures, &[asked], |_, result| assert!(result.is_ok()));
        assert_eq!((signatures.senders, signatures.votes), expected);
    }
}

/// Forged certificates in a burst cost the honest ones nothing, wherever they stand (DESIGN 4).
#[test]
fn every_certificate_of_a_burst_is_decided_by_itself() {
    let network = Network::weighted(&[1; 20]);
    let places: Vec<usize> = (0..14).collect();
    let certificates: Vec<_> = (0..37u64)
        .map(|sequence| {
            let order = network.pay(ALICE, sequence, BOB, EURO, 1);
            let mut votes: Vec<_> = places.iter().map(|place| (*place, network.vote(*place, &order))).collect();
            let mut sent = order;
            match sequence % 4 {
                1 => votes[(sequence % 14) as usize].1[5] ^= 1,
                2 => sent.signature[5] ^= 1,
                _ => {}
            }
            Certificate::of(&sent, &votes)
        })
        .collect();
    let pending: Vec<_> = certificates.iter().map(|certificate| pending(&network, certificate)).collect();
    let mut answers = Vec::new();
    verify_certificates(&network.rules, &mut counting(&network), &pending, |at, result| {
        answers.push((at, result.map(|verified| verified.digest()).map_err(|refusal| refusal.code)));
    });
    let expected: Vec<_> = (0..37)
        .map(|at| match at % 4 {
            1 => (at, Err(RefusalCode::BadVote)),
            2 => (at, Err(RefusalCode::BadSignature)),
            _ => (at, Ok(pending[at].digest)),
        })
        .collect();
    assert_eq!(answers, expected);
}

#[test]
fn certificate_of_an_old_sequence() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let first = network.paid(ALICE, 0, BOB, EURO, 1);
    authority.certificate(&first).expect("executed");
    let slots = authority.accounts.slots().to_vec();
    assert_eq!(authority.certificate(&first), Ok(Applied::Before));
    assert_eq!(authority.certificate(&network.paid(ALICE, 0, CAROL, EURO, 500)), Ok(Applied::Before));
    assert_eq!(authority.accounts.slots(), slots, "acknowledged again, without effect");
    authority.certificate(&network.paid(ALICE, 1, BOB, EURO, 1)).expect("executed");
    assert_eq!(authority.certificate(&first), Ok(Applied::Before));
}

/// Verified while its sequence was still to come, applied after its twin: executed once.
#[test]
fn certificate_verified_twice_is_applied_once() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let certificate = network.paid(ALICE, 0, BOB, EURO, 100);
    let first = authority.verify_certificate(certificate.view()).expect("good").expect("new");
    let second = authority.verify_certificate(certificate.view()).expect("good").expect("new");
    assert!(matches!(authority.apply_certificate(&first), Ok(Applied::Now(_))));
    assert_eq!(authority.apply_certificate(&second), Ok(Applied::Before));
    assert_eq!((authority.euros(ALICE), authority.euros(BOB)), (900, 600));
}

#[test]
fn certificate_after_a_gap() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let certificates: Vec<_> = (0..30).map(|sequence| network.paid(ALICE, sequence, BOB, EURO, 1)).collect();
    // A small gap is judged after its signatures, a large one at once; both name the missing sequence.
    for ahead in [1, BUNDLE_MAX, BUNDLE_MAX + 1, 29] {
        let refusal = authority.certificate(&certificates[ahead]).expect_err("a gap");
        assert_eq!((refusal.code, refusal.sequence), (RefusalCode::MissingCertificate, 0), "{ahead} ahead");
    }
    authority.certificate(&certificates[0]).expect("executed");
    let refusal = authority.certificate(&certificates[2]).expect_err("a gap");
    assert_eq!((refusal.code, refusal.sequence), (RefusalCode::MissingCertificate, 1));
    for certificate in &certificates[1..] {
        authority.certificate(certificate).expect("the missing ones close the gap");
    }
    assert_eq!((authority.euros(ALICE), authority.next_sequence(ALICE)), (970, 30));
    let last = network.paid(ALICE, SEQUENCE_MAX, BOB, EURO, 1);
    assert_eq!(code(authority.certificate(&last)), RefusalCode::MissingCertificate);
    // Nothing is ever executed beyond (see `exhaustive`); before its time even that is a gap.
    let beyond = network.paid(ALICE, u64::MAX, BOB, EURO, 1);
    assert_eq!(code(authority.certificate(&beyond)), RefusalCode::MissingCertificate);
}

/// DESIGN 5.13: a quorum has seen credits that this authority has not.
#[test]
fn certificate_beyond_balance() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let (to_carol, to_bob) = (network.paid(ALICE, 0, CAROL, EURO, 900), network.paid(CAROL, 0, BOB, EURO, 800));
    // Carol's payment comes first, and nothing is known of her here: executed below zero and marked as owing.
    let verified = authority.verify_certificate(to_bob.view()).expect("good").expect("new");
    let head = apply::execution_head(&authority.accounts, &verified);
    assert_eq!(head.flags.get() & LEFT_OWING, LEFT_OWING);
    authority.apply_certificate(&verified).expect("executed");
    assert_eq!((authority.euros(CAROL), authority.euros(BOB), authority.next_sequence(CAROL)), (-800, 1_300, 1));
    // No vote takes a balance further down.
    let refusal = authority.order(&network.pay(CAROL, 1, BOB, EURO, 10)).expect_err("refused");
    assert_eq!((refusal.code, refusal.amount), (RefusalCode::InsufficientBalance, 0));
    // The missing certificate repairs it, and the state is that of an authority where all came in order.
    let verified = authority.verify_certificate(to_carol.view()).expect("good").expect("new");
    assert_eq!(apply::execution_head(&authority.accounts, &verified).flags.get() & LEFT_OWING, 0);
    authority.apply_certificate(&verified).expect("executed");
    assert_eq!((authority.euros(ALICE), authority.euros(CAROL)), (100, 100));
    authority.order(&network.pay(CAROL, 1, BOB, EURO, 100)).expect("she may spend what is left");
    let mut in_order = network.authority(1);
    in_order.certificate(&to_carol).expect("executed");
    in_order.certificate(&to_bob).expect("executed");
    assert_eq!(authority.state(), in_order.state());
}

#[test]
fn certificate_of_an_unknown_sender() {
    let network = Network::four();
    let mut authority = network.authority(0);
    assert!(matches!(authority.certificate(&network.paid(STRANGER, 0, BOB, EURO, 5)), Ok(Applied::Now(_))));
    assert_eq!((authority.euros(STRANGER), authority.next_sequence(STRANGER)), (-5, 1));
    let gap = authority.certificate(&network.paid(CAROL, 3, BOB, EURO, 5)).expect_err("a gap");
    assert_eq!((gap.code, gap.sequence), (RefusalCode::MissingCertificate, 0));
}

#[test]
fn certificate_with_sender_as_recipient() {
    let network = Network::four();
    let mut authority = network.authority(0);
    let state = (authority.euros(ALICE), authority.euros(BOB));
    authority.certificate(&network.paid(ALICE, 0, ALICE, EURO, 1_000)).expect("executed");
    assert_eq!((authority.euros(ALICE), authority.euros(BOB)), state);
    // Also where she holds less, or nothing of that token, or nothing is known of her: it moves no money and leaves nothing owing.
    for certificate in [network.paid(BOB, 0, BOB, VOUCHER, 50), network.paid(STRANGER, 0, STRANGER, EURO, 1_500)] {
        let verified = authority.verify_certificate(certificate.view()).expect("good").expect("new");
        assert_eq!(apply::execution_head(&authority.accounts, &verified).flags.get(), 0);
        authority.apply_certificate(&verified).expect("executed");
    }
    assert_eq!((authority.vouchers(BOB), authority.next_sequence(BOB)), (0, 1));
    assert_eq!((authority.euros(STRANGER), authority.next_sequence(STRANGER)), (0, 1));
}

/// DESIGN 5.7: a certificate beats a lock, and both orders are kept as evidence.
#[test]
fn certificate_against_a_different_lock() {
    let network = Network::four();
    let mut authority = network.authority(3);
    let (locked, certified) = (network.pay(ALICE, 0, BOB, EURO, 100), network.pay(ALICE, 0, CAROL, EURO, 300));
    authority.order(&locked).expect("a vote");
    let lock_position = authority.accounts.account(&account(ALICE)).expect("she has one").lock_position;
    let certificate = network.certify(&certified, &[0, 1, 2]);
    let verified = authority.verify_certificate(certificate.view()).expect("good").expect("new");
    assert_eq!(apply::execution_head(&authority.accounts, &verified).beaten_lock, lock_position);
    assert_eq!(authority.apply_certificate(&verified), Ok(Applied::Now(network.digest(&certified.body))));
    assert_eq!((authority.euros(ALICE), authority.euros(BOB), authority.euros(CAROL)), (700, 500, 300));
    assert!(!authority.is_locked(ALICE));
    assert!(authority.verify_transfer(&locked, NOW_MS).expect("no refusal").is_none(), "that sequence is over");
    authority.order(&network.pay(ALICE, 1, BOB, EURO, 100)).expect("the next one is free");
}

/// A canary: what these tests call safe must break where more than f lie, else they would not notice.
#[test]
fn two_liars_of_four_make_two_certificates_for_one_sequence() {
    let network = Network::four();
    let (first, second) = (network.pay(ALICE, 0, BOB, EURO, 100), network.pay(ALICE, 0, CAROL, EURO, 100));
    let (mut here, mut there) = (network.authority(0), network.authority(1));
    here.order(&first).expect("an honest vote");
    there.order(&second).expect("an honest vote");
    // Places 2 and 3 vote for both.
    assert!(matches!(here.certificate(&network.certify(&first, &[0, 2, 3])), Ok(Applied::Now(_))));
    assert!(matches!(there.certificate(&network.certify(&second, &[1, 2, 3])), Ok(Applied::Now(_))));
    assert_ne!(here.state(), there.state(), "and the honest ones differ for good");
}

/// DESIGN 5.8: an expired order whose votes were gathered is executed whenever its certificate comes.
#[test]
fn certificate_of_an_expired_order() {
    let network = Network::four();
    let order = network.sign(ALICE, OrderBody { expiry_ms: 1.into(), ..body(ALICE, 0, BOB, EURO, 1) });
    assert!(matches!(network.authority(0).certificate(&network.certify(&order, &[0, 1, 2])), Ok(Applied::Now(_))));
}

#[test]
fn certificate_of_another_epoch_network_operation_or_token() {
    let network = Network::four();
    let next_epoch = Network::named("test", 1, &[1; 4]);
    let refusal = network.authority(0).certificate(&next_epoch.paid(ALICE, 0, BOB, EURO, 1)).expect_err("refused");
    assert_eq!((refusal.code, refusal.value), (RefusalCode::WrongEpoch, 0));
    let elsewhere = Network::named("another", 0, &[1; 4]);
    let foreign = elsewhere.paid(ALICE, 0, BOB, EURO, 1);
    assert_eq!(code(network.authority(0).certificate(&foreign)), RefusalCode::BadVote);
    let order = network.sign(ALICE, OrderBody { operation: 2, ..body(ALICE, 0, BOB, EURO, 1) });
    let refused = code(network.authority(0).certificate(&network.certify(&order, &[0, 1, 2])));
    assert_eq!(refused, RefusalCode::UnknownOperation);
    let refused = code(network.authority(0).certificate(&network.paid(ALICE, 0, BOB, 99, 1)));
    assert_eq!(refused, RefusalCode::UnknownToken);
}

/// DESIGN 5.13: amounts never wrap, whatever a faulty quorum certifies.
#[test]
fn overflow_at_the_recipient() {
    let allocations = [Allocation { account: account(ALICE), token: EURO, amount: u64::MAX }];
    let members = (0..4).map(|place| member(place, 1)).collect();
    let genesis = Genesis::new("large", 0, 0, vec![(EURO, "EUR".into(), 0)], members, &allocations).expect("a genesis");
    let network = Network { rules: genesis.rules().expect("its rules"), ..Network::four() };
    let mut accounts = MemoryAccounts::default();
    allocate(&mut accounts, &allocations).expect("memory has room");
    let signatures = Ed25519Signatures::new(&network.rules.committee, authority_key(0)).expect("good keys");
    let mut authority = Authority::new(network.rules.clone(), accounts, signatures, 0);
    for sequence in 0..3 {
        let certificate = network.paid(ALICE, sequence, BOB, EURO, u64::MAX);
        assert!(matches!(authority.certificate(&certificate), Ok(Applied::Now(_))));
    }
    assert_eq!(authority.euros(BOB), 3 * i128::from(u64::MAX));
    assert_eq!(authority.euros(ALICE), -2 * i128::from(u64::MAX));
    assert_eq!(authority.euros(ALICE) + authority.euros(BOB), i128::from(u64::MAX), "what was issued");
    // No vote helps with that: the amount of an order is at most what exists, and Bob's balance is cut to 64 bits in answers only.
    authority.order(&network.pay(BOB, 0, ALICE, EURO, u64::MAX)).expect("he has three times as much here");
    assert_eq!(code(authority.order(&network.pay(ALICE, 3, BOB, EURO, 1))), RefusalCode::InsufficientBalance);
}

/// A table with few slots, as a full daemon's.
struct SmallTable {
    inner: MemoryAccounts,
    capacity: usize,
    reserved: usize,
}

impl Accounts for SmallTable {
    fn owns(&self, key: &PublicKey) -> bool {
        self.inner.owns(key)
    }
    fn exists(&self, key: &PublicKey) -> bool {
        self.inner.exists(key)
    }
    fn credit_takes_slot(&self, key: &PublicKey, token: u32) -> bool {
        self.inner.credit_takes_slot(key, token)
    }
    fn find(&self, name: SlotName<'_>) -> Option<SlotIndex> {
        self.inner.find(name)
    }
    fn slot(&self, at: SlotIndex) -> &Account {
        self.inner.slot(at)
    }
    fn slot_mut(&mut self, at: SlotIndex) -> &mut Account {
        self.inner.slot_mut(at)
    }
    fn insert(&mut self, name: SlotName<'_>, token: u32) -> Result<SlotIndex, TableFull> {
        if self.inner.slots().len() + self.reserved >= self.capacity {
            return Err(TableFull);
        }
        self.inner.insert(name, token)
    }
    fn room_for_vote(&self, _recipient: &PublicKey) -> bool {
        self.inner.slots().len() + 1 < self.capacity
    }
    fn reserve(&mut self, _recipient: &PublicKey) -> Result<(), TableFull> {
        if self.inner.slots().len() + self.reserved >= self.capacity {
            return Err(TableFull);
        }
        self.reserved += 1;
        Ok(())
    }
    fn release_reserved(&mut self, _recipient: &PublicKey) {
        self.reserved -= 1;
    }
}

/// DESIGN 5.15: where even the reserve is used up, a certificate is refused whole; no money is lost between debit and credit.
#[test]
fn certificate_at_a_full_table() {
    let network = Network::four();
    let table = |capacity| {
        let mut accounts = SmallTable { inner: MemoryAccounts::default(), capacity, reserved: 0 };
        allocate(&mut accounts, &network.allocations).expect("three slots");
        let signatures = Ed25519Signatures::new(&network.rules.committee, authority_key(0)).expect("good keys");
        Authority::new(network.rules.clone(), accounts, signatures, 0)
    };
    let certificate = network.paid(ALICE, 0, CAROL, EURO, 100);
    let mut full = table(3);
    let before = full.accounts.inner.slots().to_vec();
    let verified = full.verify_certificate(certificate.view()).expect("good").expect("new");
    assert_eq!(code(full.apply_certificate(&verified)), RefusalCode::RetryLater);
    assert_eq!(full.accounts.inner.slots(), before, "nothing was executed");
    // An account that exists needs no slot.
    let to_bob = network.paid(ALICE, 0, BOB, EURO, 100);
    let verified = full.verify_certificate(to_bob.view()).expect("good").expect("new");
    assert!(matches!(full.apply_certificate(&verified), Ok(Applied::Now(_))));
    // Votes stop before certificates do.
    let mut nearly_full = table(4);
    let refusal = nearly_full.verify_transfer(&certificate.view().head.order, NOW_MS).expect_err("refused");
    assert_eq!(refusal.code, RefusalCode::RetryLater);
    assert!(refusal.value > 0, "it says how long to wait");
    // Bob exists, but his first voucher takes a slot as a new account does; his euros take none.
    let voucher = network.pay(ALICE, 0, BOB, VOUCHER, 1);
    assert_eq!(code(nearly_full.verify_transfer(&voucher, NOW_MS)), RefusalCode::RetryLater);
    assert!(nearly_full.verify_transfer(&network.pay(ALICE, 0, BOB, EURO, 100), NOW_MS).is_ok());
    let verified = nearly_full.verify_certificate(certificate.view()).expect("good").expect("new");
    assert!(matches!(nearly_full.apply_certificate(&verified), Ok(Applied::Now(_))));
    assert_eq!((nearly_full.accounts.inner.slots().len(), nearly_full.accounts.reserved), (4, 0));
}

/// A pending certificate that nobody screened is no way around the quorum: only a minimal quorum of members is ever verified.
#[test]
fn an_unscreened_certificate_below_quorum_or_with_a_stranger_is_never_verified() {
    let network = Network::weighted(&[1; 4]);
    let order = network.pay(ALICE, 0, BOB, EURO, 1);
    let two = network.certify(&order, &[0, 1]);
    let stranger = Certificate::with_bits(&order, 0b1_0000_0000_0011, &[[0; 64]; 3]);
    for (certificate, code) in [(&two, RefusalCode::BelowQuorum), (&stranger, RefusalCode::NotAMember)] {
        let mut answer = None;
        verify_certificates(&network.rules, &mut counting(&network), &[pending(&network, certificate)], |_, result| {
            answer = Some(result.map(|_| ()).map_err(|refusal| refusal.code));
        });
        assert_eq!(answer, Some(Err(code)));
    }
}
