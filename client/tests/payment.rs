//! Payments through a simulated committee: bad networks, lagging, silent and lying authorities.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy knows that of test functions only")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::authority::Behaviour;
use common::network::{CLEAR, STORM, TestNetwork};
use common::{EUR, TestCommittee, account, account_key};
use meshpay_client::machine::{Outcome, Pace, Payment, PaymentEvent, PaymentReport, PersistedOrder};
use meshpay_client::{Certificate, MemoryBook, Transfer};
use meshpay_wire::SignedOrder;

const DEADLINE: Duration = Duration::from_secs(60);

fn order(committee: &TestCommittee, from: u8, to: u8, sequence: u64, amount: u64) -> SignedOrder {
    Transfer::new(sequence, EUR, account(to), amount).sign(committee.verifier.rules(), &account_key(from))
}

/// Pays and returns the report and all events.
fn pay_order(
    committee: &mut TestCommittee,
    network: &mut TestNetwork,
    book: &mut MemoryBook,
    order: SignedOrder,
) -> (PaymentReport, Vec<PaymentEvent>) {
    let pace = Pace::until(network.now + DEADLINE);
    let mut payment = Payment::new(
        committee.verifier.clone(),
        PersistedOrder::assume(order),
        &[],
        &[],
        book,
        pace,
        network.random(),
        network.now,
    );
    let mut events = Vec::new();
    network.run(&mut payment, &mut committee.authorities, |payment, _| {
        events.extend(std::iter::from_fn(|| payment.poll_event()));
    });
    (payment.report(), events)
}

fn pay(
    committee: &mut TestCommittee,
    network: &mut TestNetwork,
    book: &mut MemoryBook,
    (from, to): (u8, u8),
    sequence: u64,
    amount: u64,
) -> PaymentReport {
    let order = order(committee, from, to, sequence, amount);
    pay_order(committee, network, book, order).0
}

fn certificate(report: &PaymentReport) -> Arc<Certificate> {
    match &report.outcome {
        Outcome::Certified(certificate) => certificate.clone(),
        other => panic!("expected a certificate, got {other:?}\n{report:#?}"),
    }
}

#[test]
fn a_payment_is_certified_and_executed_everywhere() {
    let mut committee = TestCommittee::new(4);
    let mut network = TestNetwork::new(1, CLEAR);
    let report = pay(&mut committee, &mut network, &mut MemoryBook::new(), (0, 9), 0, 1_250);
    let certificate = certificate(&report);
    assert_eq!(committee.verifier.check_certificate(&certificate.view()).as_ref(), Ok(&*certificate));
    assert_eq!(certificate.view().signatures.len(), 3, "a minimal quorum");
    assert!(report.quorum_acknowledged);
    for authority in &committee.authorities {
        assert_eq!(authority.balance(&account(0)), 8_750);
        assert_eq!(authority.balance(&account(9)), 1_250);
    }
    // Four votes and four acknowledgements, nothing twice.
    assert_eq!(network.datagrams, 8);
}

#[test]
fn a_storm_only_delays() {
    for seed in 0..20 {
        let mut committee = TestCommittee::new(4);
        let mut network = TestNetwork::new(seed, STORM);
        let mut book = MemoryBook::new();
        for sequence in 0..5 {
            let report = pay(&mut committee, &mut network, &mut book, (0, 1), sequence, 100);
            certificate(&report);
            assert!(report.quorum_acknowledged, "seed {seed}");
        }
        let executed = committee.authorities.iter().filter(|authority| authority.balance(&account(0)) == 9_500);
        assert!(executed.count() >= 3, "seed {seed}");
    }
}

#[test]
fn faulty_authorities_are_tolerated_up_to_f() {
    let kinds = [Behaviour::Silent, Behaviour::WrongSignatures, Behaviour::FalseRefusals, Behaviour::Garbage];
    for behaviour in kinds {
        for weather in [CLEAR, STORM] {
            for (size, faulty) in [(4, 1), (7, 2)] {
                let mut committee = TestCommittee::new(size);
                for place in 0..faulty {
                    committee.authorities[place * 2].behaviour = behaviour;
                }
                let mut network = TestNetwork::new(7, weather);
                let mut book = MemoryBook::new();
                for sequence in 0..3 {
                    let report = pay(&mut committee, &mut network, &mut book, (0, 1), sequence, 100);
                    certificate(&report);
                    assert!(report.quorum_acknowledged, "{behaviour:?} {weather:?} {size}");
                }
            }
        }
    }
}

#[test]
fn more_than_f_silent_leave_it_pending_and_a_later_run_finishes_it() {
    let mut committee = TestCommittee::new(4).behave(0, Behaviour::Silent).behave(1, Behaviour::Silent);
    let mut network = TestNetwork::new(3, CLEAR);
    let mut book = MemoryBook::new();
    let order = order(&committee, 0, 1, 0, 100);
    let (report, _) = pay_order(&mut committee, &mut network, &mut book, order);
    assert!(matches!(report.outcome, Outcome::Pending));
    assert_eq!(network.now, DEADLINE, "it goes on until the deadline");
    committee.authorities[0].behaviour = Behaviour::Honest;
    let (report, _) = pay_order(&mut committee, &mut network, &mut book, order);
    assert_eq!(certificate(&report).order().body, order.body);
}

#[test]
fn retries_wait_sixty_milliseconds_and_back_off() {
    let mut committee = TestCommittee::new(4);
    for authority in &mut committee.authorities {
        authority.behaviour = Behaviour::Silent;
    }
    let mut network = TestNetwork::new(3, CLEAR);
    let report = pay(&mut committee, &mut network, &mut MemoryBook::new(), (0, 1), 0, 100);
    // 100, 200, 400, 800, 1600 ms, then every 2 to 3 s until 60 s.
    assert!((4 * 24..=4 * 36).contains(&report.counters.transmitted), "{:?}", report.counters);
}

#[test]
fn an_authority_that_slept_is_brought_up_to_date_with_own_certificates() {
    let mut committee = TestCommittee::new(4);
    let mut network = TestNetwork::new(5, CLEAR);
    let mut book = MemoryBook::new();
    network.reachable = 0b0111;
    for sequence in 0..30 {
        certificate(&pay(&mut committee, &mut network, &mut book, (0, 1), sequence, 100));
    }
    assert_eq!(committee.authorities[3].next_sequence(&account(0)), 0);
    network.reachable = 0b1110;
    certificate(&pay(&mut committee, &mut network, &mut book, (0, 1), 30, 100));
    assert_eq!(committee.authorities[3].next_sequence(&account(0)), 31);
    assert_eq!(committee.authorities[3].balance(&account(1)), 10_000 + 3_100);
}

#[test]
fn own_certificates_that_the_wallet_lost_are_fetched_from_other_authorities() {
    for weather in [CLEAR, STORM] {
        let mut committee = TestCommittee::new(4);
        let mut network = TestNetwork::new(5, weather);
        let mut book = MemoryBook::new();
        network.reachable = 0b0111;
        for sequence in 0..20 {
            certificate(&pay(&mut committee, &mut network, &mut book, (0, 1), sequence, 100));
        }
        network.reachable = 0b1110;
        certificate(&pay(&mut committee, &mut network, &mut MemoryBook::new(), (0, 1), 20, 100));
        assert_eq!(committee.authorities[3].next_sequence(&account(0)), 21);
    }
}

#[test]
fn an_authority_that_missed_the_credits_is_brought_them_with_the_payers_earlier_payments() {
    for weather in [CLEAR, STORM] {
        let mut committee = TestCommittee::new(4);
        let mut network = TestNetwork::new(9, weather);
        network.reachable = 0b0111;
        // Account 1 pays others first, so that authority 3 lacks a chain before the credit.
        let mut others_book = MemoryBook::new();
        for sequence in 0..12 {
            certificate(&pay(&mut committee, &mut network, &mut others_book, (1, 2), sequence, 100));
        }
        certificate(&pay(&mut committee, &mut network, &mut others_book, (1, 9), 12, 4_000));
        certificate(&pay(&mut committee, &mut network, &mut MemoryBook::new(), (2, 9), 0, 4_000));
        // Account 9 lives from these credits alone, knows none of their certificates, and now needs authority 3.
        network.reachable = 0b1110;
        let report = pay(&mut committee, &mut network, &mut MemoryBook::new(), (9, 0), 0, 7_500);
        certificate(&report);
        assert!(report.authorities[3].voted, "{report:#?}");
        assert_eq!(committee.authorities[3].balance(&account(9)), 500);
        assert_eq!(committee.authorities[3].next_sequence(&account(1)), 13);
    }
}

#[test]
fn received_certificates_help_where_no_authority_has_executed_them() {
    let mut committee = TestCommittee::new(4);
    let mut network = TestNetwork::new(2, CLEAR);
    // The payer makes the certificate and vanishes before anybody executes it.
    let order_in = order(&committee, 1, 9, 0, 5_000);
    let certified = committee.certify(&order_in);
    let mut book = MemoryBook::new();
    meshpay_client::CertificateBook::keep(&mut book, &Arc::new(certified));
    let report = pay(&mut committee, &mut network, &mut book, (9, 2), 0, 5_000);
    certificate(&report);
    assert_eq!(committee.authorities[0].balance(&account(2)), 15_000);
}

#[test]
fn a_forgotten_order_that_is_locked_is_adopted_and_wins() {
    let mut committee = TestCommittee::new(4);
    let mut network = TestNetwork::new(2, CLEAR);
    let forgotten = order(&committee, 0, 1, 0, 111);
    for place in 0..3 {
        committee.authorities[place].vote(&forgotten);
    }
    let new = order(&committee, 0, 2, 0, 222);
    let (report, events) = pay_order(&mut committee, &mut network, &mut MemoryBook::new(), new);
    match &report.outcome {
        Outcome::Superseded(certificate) => assert_eq!(certificate.order().body, forgotten.body),
        other => panic!("{other:?}"),
    }
    let proofs: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            PaymentEvent::Equivocation(proof) => Some(proof),
            _ => None,
        })
        .collect();
    assert_eq!(proofs.len(), 1);
    assert_eq!(proofs[0].verify(&committee.verifier.rules().genesis), Ok(()));
    assert!(events.iter().any(|event| matches!(event, PaymentEvent::Adopted(order) if order.body == forgotten.body)));
    for authority in &committee.authorities {
        assert_eq!(authority.balance(&account(1)), 10_111);
        assert_eq!(authority.balance(&account(2)), 10_000);
    }
}

#[test]
fn an_order_that_was_executed_while_the_wallet_slept_gets_its_certificate_back() {
    let mut committee = TestCommittee::new(4);
    let mut network = TestNetwork::new(2, CLEAR);
    let order = order(&committee, 0, 1, 0, 100);
    let (first, _) = pay_order(&mut committee, &mut network, &mut MemoryBook::new(), order);
    let (again, _) = pay_order(&mut committee, &mut network, &mut MemoryBook::new(), order);
    assert_eq!(certificate(&again).order(), certificate(&first).order());
    assert_eq!(committee.authorities[0].balance(&account(1)), 10_100, "paid once");
}

#[test]
fn a_liar_at_the_sequence_cannot_end_the_payment() {
    // One authority claims that the sequence was executed and shows a certificate with wrong votes.
    let mut committee = TestCommittee::new(4).behave(2, Behaviour::WrongSignatures);
    let mut network = TestNetwork::new(2, CLEAR);
    let order = order(&committee, 0, 1, 0, 100);
    pay_order(&mut committee, &mut network, &mut MemoryBook::new(), order);
    let (again, _) = pay_order(&mut committee, &mut network, &mut MemoryBook::new(), order);
    certificate(&again);
    assert!(again.authorities[2].lies > 0);
}
