//! Where all cases can be tried, they are: sequences around 0, 1 and the end of 64 bits, and quorums of all small weights.

use crate::network::*;
use meshpay_protocol::genesis::allocate;
use meshpay_protocol::{
    Accounts, Authority, CertificateDecision, CertificateScreen, Committee, Ed25519Signatures, Member, MemoryAccounts,
    OrderDecision, PendingCertificate, PendingOrder, SEQUENCE_MAX, apply, decide_certificate, screen_certificate,
    screen_order, verify_certificates,
};
use meshpay_wire::{BUNDLE_MAX, COMMITTEE_MAX, RefusalCode, SIGNERS_MAX, vote_digest};

/// Numbers around every border that a sequence has.
const SEQUENCES: [u64; 12] = [
    0,
    1,
    2,
    BUNDLE_MAX as u64 - 1,
    BUNDLE_MAX as u64,
    BUNDLE_MAX as u64 + 1,
    u64::MAX / 2,
    u64::MAX - BUNDLE_MAX as u64 - 1,
    u64::MAX - BUNDLE_MAX as u64,
    u64::MAX - 2,
    u64::MAX - 1,
    u64::MAX,
];

/// What is locked at the account's next sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Locked {
    Nothing,
    This,
    Another,
}

fn table(network: &Network, next: u64, locked: Locked) -> MemoryAccounts {
    let mut accounts = MemoryAccounts::default();
    allocate(&mut accounts, &network.allocations).expect("the genesis fits");
    let at = accounts.account_or_insert(&account(ALICE), EURO).expect("a place for Alice");
    accounts.slot_mut(at).next_sequence = next.into();
    let order = match locked {
        Locked::Nothing => return accounts,
        Locked::This => network.pay(ALICE, next, BOB, EURO, 20),
        Locked::Another => network.pay(ALICE, next, BOB, EURO, 21),
    };
    apply::lock(&mut accounts, &order, network.digest(&order.body), 64).expect("an order that can be locked");
    accounts
}

/// The rule as its sentence says it, apart from the code: below is done, above is a gap, at the next one the lock decides, and the last number is
/// nobody's.
fn expected_of_order(sequence: u64, next: u64, locked: Locked) -> Result<OrderDecision, RefusalCode> {
    match sequence.cmp(&next) {
        std::cmp::Ordering::Less => Ok(OrderDecision::ExecutedBefore),
        std::cmp::Ordering::Greater => Err(RefusalCode::SequenceTooHigh),
        std::cmp::Ordering::Equal if sequence == u64::MAX => Err(RefusalCode::SequenceTooHigh),
        std::cmp::Ordering::Equal => Ok(match locked {
            Locked::Nothing => OrderDecision::Lock,
            Locked::This => OrderDecision::VoteAgain(true),
            Locked::Another => OrderDecision::Conflict,
        }),
    }
}

#[test]
fn orders_at_every_relation_of_sequences() {
    let network = Network::four();
    for next in SEQUENCES {
        for locked in [Locked::Nothing, Locked::This, Locked::Another] {
            let accounts = table(&network, next, locked);
            for sequence in SEQUENCES {
                let order = network.pay(ALICE, sequence, BOB, EURO, 20);
                let pending = PendingOrder { order: &order, digest: network.digest(&order.body) };
                let decided = screen_order(&network.rules, &accounts, &pending, NOW_MS).map_err(|refusal| refusal.code);
                let expected = expected_of_order(sequence, next, locked);
                assert_eq!(decided, expected, "order {sequence}, next {next}, locked {locked:?}");
            }
        }
    }
}

#[test]
fn certificates_at_every_relation_of_sequences() {
    let network = Network::four();
    let mut signatures = Ed25519Signatures::new(&network.rules.committee, authority_key(0)).unwrap();
    for sequence in SEQUENCES {
        let certificate = network.paid(ALICE, sequence, BOB, EURO, 20);
        let view = certificate.view();
        let digest = network.digest(&view.head.order.body);
        for next in SEQUENCES {
            for locked in [Locked::Nothing, Locked::This, Locked::Another] {
                let mut accounts = table(&network, next, locked);
                let context = format!("certificate {sequence}, next {next}, locked {locked:?}");
                let screened = screen_certificate(&network.rules, &accounts, &view, &digest);
                let is_known = locked == Locked::This && sequence == next;
                if sequence < next {
                    assert_eq!(screened, Ok(CertificateScreen::ExecutedBefore), "{context}");
                    continue;
                }
                if sequence - next > BUNDLE_MAX as u64 {
                    assert_eq!(screened.unwrap_err().code, RefusalCode::MissingCertificate, "{context}");
                    continue;
                }
                assert_eq!(screened, Ok(CertificateScreen::Verify { sender_known: is_known }), "{context}");
                let pending = PendingCertificate {
                    certificate: view,
                    digest,
                    vote_digest: vote_digest(&network.rules.genesis, network.rules.epoch, &digest),
                    // Signatures have tests of their own; here they would only take time.
                    sender_known: true,
                    own_vote: None,
                };
                let mut verified = None;
                verify_certificates(&network.rules, &mut signatures, &[pending], |_, result| verified = result.ok());
                let verified = verified.expect("three of four have signed");
                match decide_certificate(&accounts, &verified) {
                    Ok(CertificateDecision::Execute) => {
                        assert_eq!(sequence, next, "{context}");
                        let order = &view.head.order;
                        apply::debit(&mut accounts, order, digest, 128).unwrap();
                        let after = accounts.account(&account(ALICE)).unwrap();
                        assert_eq!(after.next_sequence.get(), sequence + 1, "{context}");
                        assert!(!after.is_locked(), "{context}: a certificate beats a lock");
                        assert_eq!(decide_certificate(&accounts, &verified), Ok(CertificateDecision::ExecutedBefore));
                    }
                    Ok(CertificateDecision::ExecutedBefore) => panic!("{context}: not below the next one"),
                    Err(refusal) if sequence == u64::MAX && next == sequence => {
                        assert_eq!(
                            refusal.code,
                            RefusalCode::SequenceTooHigh,
                            "{context}: the last number is nobody's"
                        );
                    }
                    Err(refusal) => {
                        assert_eq!(refusal.code, RefusalCode::MissingCertificate, "{context}");
                        assert!(sequence > next, "{context}");
                    }
                }
            }
        }
    }
}

/// An account at its last sequence pays once more and then never again.
#[test]
fn the_last_sequence_is_used_up() {
    let network = Network::four();
    let signatures = Ed25519Signatures::new(&network.rules.committee, authority_key(0)).unwrap();
    let accounts = table(&network, SEQUENCE_MAX, Locked::Nothing);
    let mut authority = Authority::new(network.rules.clone(), accounts, signatures, 0);
    authority.order(&network.pay(ALICE, SEQUENCE_MAX, BOB, EURO, 20)).unwrap();
    authority.certificate(&network.paid(ALICE, SEQUENCE_MAX, BOB, EURO, 20)).unwrap();
    assert_eq!(authority.next_sequence(ALICE), u64::MAX);
    for sequence in [u64::MAX, 0] {
        let order = network.pay(ALICE, sequence, BOB, EURO, 20);
        assert!(authority.verify_transfer(&order, NOW_MS).is_err() || sequence == 0);
        assert_ne!(
            authority.certificate(&network.paid(ALICE, sequence, BOB, EURO, 20)).ok(),
            Some(applied_now(&network, sequence))
        );
    }
    assert_eq!(authority.euros(ALICE), i128::from(ALICE_EUROS) - 20);
}

fn applied_now(network: &Network, sequence: u64) -> meshpay_protocol::Applied {
    meshpay_protocol::Applied::Now(network.digest(&network.pay(ALICE, sequence, BOB, EURO, 20).body))
}

fn committee(weights: &[u32]) -> Option<Committee> {
    let member = |(place, weight): (usize, &u32)| Member {
        name: place.to_string(),
        key: authority_key(place).public_key(),
        weight: *weight,
    };
    Committee::new(weights.iter().enumerate().map(member).collect()).ok()
}

/// All that safety and liveness need of the numbers, for one list of weights. Returns how many sets of signers were tried.
fn check_quorums(weights: &[u32]) -> u64 {
    let Some(committee) = committee(weights) else { return 0 };
    let (total, quorum, tolerated) = (committee.total_weight(), committee.quorum(), committee.tolerated());
    assert_eq!(total, weights.iter().map(|weight| u64::from(*weight)).sum::<u64>());
    assert!(3 * tolerated < total && 3 * (tolerated + 1) >= total, "{weights:?}: f is the most below a third");
    assert!(2 * quorum > total + tolerated, "{weights:?}: two quorums share an honest authority");
    assert!(total - tolerated >= quorum, "{weights:?}: the honest alone are a quorum");
    let mut largest = 0;
    for signers in 0..1u32 << weights.len() {
        let named = || weights.iter().enumerate().filter(|(place, _)| signers >> place & 1 == 1);
        let sum: u64 = named().map(|(_, weight)| u64::from(*weight)).sum();
        assert_eq!((committee.weight_of(signers), committee.is_quorum(signers)), (sum, sum >= quorum));
        let without_one = |weight: &u32| sum - u64::from(*weight) < quorum;
        let minimal = sum >= quorum && named().all(|(_, weight)| without_one(weight));
        assert_eq!(committee.is_minimal_quorum(signers), minimal, "{weights:?}, {signers:b}");
        match committee.minimal_quorum_of(signers) {
            None => assert!(sum < quorum),
            Some(kept) => {
                assert_eq!(kept & !signers, 0, "{weights:?}: only of those who signed");
                assert!(committee.is_minimal_quorum(kept), "{weights:?}, {signers:b} to {kept:b}");
            }
        }
        if minimal {
            largest = largest.max(signers.count_ones() as usize);
        }
    }
    assert_eq!(committee.largest_minimal_quorum(), largest, "{weights:?}");
    assert!(largest <= SIGNERS_MAX);
    1 << weights.len()
}

/// Every list of weights from 1 to 6 of up to 5 members, in every order that matters, and every set of signers of each.
#[test]
fn quorums_of_all_small_weights() {
    let mut tried = 0;
    for members in 1..=5u32 {
        for number in 0..6u32.pow(members) {
            let weights: Vec<u32> = (0..members).map(|place| number / 6u32.pow(place) % 6 + 1).collect();
            // Quorums do not ask for the order of members: one of each arrangement is enough.
            if weights.is_sorted() {
                tried += check_quorums(&weights);
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

/// Committees of equal weights, of every size there may be: all sets of signers up to 12 members, and all numbers of signers above.
#[test]
fn quorums_of_every_size_of_committee() {
    for members in 1..=COMMITTEE_MAX {
        let weights = vec![1; members];
        if members <= 12 {
            check_quorums(&weights);
            continue;
        }
        let committee = committee(&weights).expect("14 of 20 sign at most");
        for count in 0..=members as u32 {
            let signers = (1u64 << count) as u32 - 1;
            let enough = 3 * u64::from(count) > 2 * members as u64;
            assert_eq!(committee.is_quorum(signers), enough, "{count} of {members}");
            let minimal = enough && 3 * u64::from(count - 1) <= 2 * members as u64;
            assert_eq!(committee.is_minimal_quorum(signers), minimal, "{count} of {members}");
        }
        assert_eq!(committee.largest_minimal_quorum(), 2 * members / 3 + 1);
    }
}

/// Where the two numbers come from, without a committee: every total weight up to a million.
#[test]
fn the_arithmetic_of_quorums_for_every_total_weight() {
    for total in 1..=1_000_000u64 {
        let (quorum, tolerated) = (2 * total / 3 + 1, (total - 1) / 3);
        assert!(2 * quorum > total + tolerated && total - tolerated >= quorum, "{total}");
    }
}
