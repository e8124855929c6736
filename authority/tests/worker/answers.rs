//! Votes, repeats, conflicts, bundles: what is answered, to whom, and in how many datagrams.

use meshpay_wire::{DATAGRAM_MAX, ExecutionStatus, RefusalCode};

use crate::network::{EURO, FUNDS, Network, Says, Scheme, Wallet, answers, body};
use crate::scene::{PENALTY_MS, Place, Scene, peer};

fn scene() -> (Scene, Wallet, Wallet, Wallet) {
    let [alice, bob, carol] = [0, 1, 2].map(|n| Wallet::in_shard(Scheme::Real, 4 + n, 0));
    let network = Network::new(Scheme::Real, &[&alice, &bob]);
    (Place::new(network, 1).start(), alice, bob, carol)
}

#[test]
fn an_order_gets_its_vote_and_the_same_again_gets_it_again() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    let first = scene.net().order_request(&order);
    let first_vote = scene.ask_one(&first);
    assert_eq!(first_vote.header.request_id, first[72..80]);
    let again = scene.net().order_request(&order);
    let second_vote = scene.ask_one(&again);
    assert_eq!(second_vote.header.request_id, again[72..80]);
    assert_eq!(first_vote.vote(), second_vote.vote());
    assert!(meshpay_crypto::verify(
        &scene.net().authority(),
        &meshpay_wire::vote_digest(&scene.net().rules.genesis, 0, &scene.net().digest(&order)),
        &first_vote.vote().signature
    ));
    assert_eq!(scene.total(|c| c.totals.locked.get()), 1);
}

#[test]
fn a_retry_under_way_in_the_same_burst_is_answered_too() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    for _ in 0..5 {
        scene.deliver(0, &peer(1), &scene.net().order_request(&order));
    }
    scene.settle();
    let answers = scene.answers();
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| answer.vote() == answers[0].vote()));
    let ids: std::collections::HashSet<_> = answers.iter().map(|answer| answer.header.request_id).collect();
    assert_eq!(ids.len(), 5, "every transmission gets its own answer");
}

#[test]
fn a_second_signature_makes_no_second_order() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    let vote = scene.ask_one(&scene.net().order_request(&order)).vote();
    let mut other_signature = order;
    other_signature.signature[40] ^= 1;
    let answer = scene.ask_one(&scene.net().order_request(&other_signature));
    assert_eq!(answer.refusal(), RefusalCode::BadSignature, "not verified, no vote");
    assert_eq!(scene.ask_one(&scene.net().order_request(&order)).vote(), vote);
    assert_eq!(scene.total(|c| c.totals.conflicts.get()), 0);
}

#[test]
fn a_conflict_gets_the_locked_order_and_leaves_evidence_once_per_penalty() {
    let (mut scene, alice, bob, carol) = scene();
    let locked = scene.net().pay(&alice, 0, &bob, 5);
    scene.ask_one(&scene.net().order_request(&locked));
    for amount in 10..20 {
        let other = scene.net().pay(&alice, 0, &carol, amount);
        assert_eq!(scene.ask_one(&scene.net().order_request(&other)).says, Says::Conflict(locked));
    }
    assert_eq!(scene.total(|c| c.totals.conflicts.get()), 10);
    assert_eq!(scene.total(|c| c.totals.evidence.get()), 1);
    // Without the sender's signature it is no conflict and no evidence.
    let mut forged = scene.net().pay(&alice, 0, &carol, 10);
    forged.signature[0] ^= 1;
    assert_eq!(scene.ask_one(&scene.net().order_request(&forged)).refusal(), RefusalCode::BadSignature);

    // The penalty bars new orders, never the locked one, and never a certificate.
    assert_eq!(scene.ask_one(&scene.net().order_request(&locked)).vote().order, scene.net().digest(&locked));
    let certificate = scene.net().certified(&locked);
    let executed = scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
    assert_eq!(executed.status, ExecutionStatus::Now as u8);
    let next = scene.net().pay(&alice, 1, &bob, 5);
    assert_eq!(scene.ask_one(&scene.net().order_request(&next)).refusal(), RefusalCode::Penalised);

    // When it is over, the account goes on, and a new equivocation is new evidence.
    scene.clock.now_ms.set(scene.clock.now_ms.get() + PENALTY_MS);
    scene.ask_one(&scene.net().order_request(&next)).vote();
    let other = scene.net().pay(&alice, 1, &carol, 30);
    assert_eq!(scene.ask_one(&scene.net().order_request(&other)).says, Says::Conflict(next));
    assert_eq!(scene.total(|c| c.totals.evidence.get()), 2);
    let place = scene.stop();
    assert_eq!(place.audit().result, "passed");
}

#[test]
fn two_conflicting_orders_in_one_burst_lock_one() {
    let (mut scene, alice, bob, carol) = scene();
    let orders = [scene.net().pay(&alice, 0, &bob, 5), scene.net().pay(&alice, 0, &carol, 50)];
    for order in &orders {
        scene.deliver(0, &peer(1), &scene.net().order_request(order));
    }
    scene.settle();
    let says: Vec<Says> = scene.answers().into_iter().map(|answer| answer.says).collect();
    assert!(matches!(&says[0], Says::Vote(vote) if vote.order == scene.net().digest(&orders[0])));
    assert_eq!(says[1], Says::Conflict(orders[0]));
}

#[test]
fn a_certificate_makes_room_for_the_next_order_of_its_bundle_in_one_turn() {
    let (mut scene, alice, bob, _) = scene();
    let first = scene.net().pay(&alice, 0, &bob, 5);
    let next = scene.net().pay(&alice, 1, &bob, 6);
    // The order stands before the certificate on purpose.
    let bundle =
        [scene.net().order_request(&next), scene.net().certificate_request(&scene.net().certified(&first))].concat();
    scene.deliver(0, &peer(1), &bundle);
    scene.turn(0);
    scene.commit();
    scene.turn(0);
    let sent = scene.sent(0);
    assert_eq!(sent.len(), 1, "the answers share a datagram");
    assert!(sent[0].1.len() <= bundle.len());
    let answers = answers(&sent[0].1);
    assert_eq!(answers[0].executed().order, scene.net().digest(&first));
    assert_eq!(answers[1].vote().order, scene.net().digest(&next));
}

#[test]
fn two_certificates_of_one_sender_in_one_burst_are_both_executed() {
    let (mut scene, alice, bob, _) = scene();
    for sequence in 0..2 {
        scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().paid(&alice, sequence, &bob, 5)));
    }
    scene.turn(0);
    scene.commit();
    scene.turn(0);
    let next: Vec<u64> = scene.answers().iter().map(|answer| answer.executed().next_sequence.get()).collect();
    assert_eq!(next, [1, 2]);
    // In the wrong order the later one names what is missing, and comes again.
    for sequence in [3, 2, 3] {
        scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().paid(&alice, sequence, &bob, 5)));
    }
    scene.settle();
    let answers = scene.answers();
    assert_eq!(answers[0].says, Says::Refused(RefusalCode::MissingCertificate, 2));
    assert_eq!(answers[1].executed().next_sequence.get(), 3);
    assert_eq!(answers[2].executed().next_sequence.get(), 4);
}

#[test]
fn the_same_certificate_twice_in_a_burst_is_executed_once() {
    let (mut scene, alice, bob, _) = scene();
    let certificate = scene.net().paid(&alice, 0, &bob, 5);
    let others = scene.net().certify(&certificate.view().head.order, &[0, 1, 2]);
    scene.ask_one(&scene.net().order_request(&certificate.view().head.order)).vote();
    for certificate in [&certificate, &others, &certificate] {
        scene.deliver(0, &peer(1), &scene.net().certificate_request(certificate));
    }
    scene.settle();
    let statuses: Vec<u8> = scene.answers().iter().map(|answer| answer.executed().status).collect();
    assert_eq!(statuses, [1, 2, 2]);
    let (state, place) = scene.state();
    assert_eq!(state.balance(&bob.key), i128::from(FUNDS) + 5);
    assert_eq!(place.audit().result, "passed");
}

#[test]
fn a_bundles_answers_share_datagrams_that_never_exceed_the_bound() {
    let (mut scene, alice, bob, carol) = scene();
    scene.ask(&scene.net().certificate_request(&scene.net().paid(&alice, 0, &bob, 5)));
    // Queries of all kinds, some with long answers, up to the length of a datagram; several such bundles from two clients at once.
    let mut bundles = Vec::new();
    for client in 1..=2 {
        for _ in 0..3 {
            let mut bundle = Vec::new();
            let parts = [
                scene.net().account_request(&alice.key, EURO),
                scene.net().debit_request(&alice.key, 0),
                scene.net().order_request(&scene.net().pay(&carol, 0, &bob, 5)),
            ];
            for part in parts {
                if bundle.len() + part.len() <= DATAGRAM_MAX {
                    bundle.extend(part);
                }
            }
            bundles.push((client, bundle));
        }
    }
    let messages: usize = bundles.len() * answers_expected(&bundles[0].1);
    for (client, bundle) in &bundles {
        scene.deliver(0, &peer(*client), bundle);
    }
    scene.settle();
    let sent = scene.sent(0);
    let mut count = 0;
    for (_, datagram) in &sent {
        assert!(datagram.len() <= DATAGRAM_MAX);
        count += answers(datagram).len();
    }
    assert_eq!(count, messages);
    assert!(sent.len() < messages, "answers to bundles share datagrams");
    let (asked, answered): (usize, usize) =
        (bundles.iter().map(|(_, bundle)| bundle.len()).sum(), sent.iter().map(|(_, bytes)| bytes.len()).sum());
    assert!(answered <= asked);
}

fn answers_expected(bundle: &[u8]) -> usize {
    meshpay_wire::messages(bundle).map(Result::unwrap).count()
}

#[test]
fn a_header_that_does_not_match_its_body_is_refused() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    let mut wrong_tag = scene.net().order_request(&order);
    wrong_tag[64] ^= 1;
    assert_eq!(scene.ask_one(&wrong_tag).refusal(), RefusalCode::HeaderMismatch);
    let mut wrong_tag = scene.net().certificate_request(&scene.net().certified(&order));
    wrong_tag[71] ^= 0x80;
    assert_eq!(scene.ask_one(&wrong_tag).refusal(), RefusalCode::HeaderMismatch);
    // Account and sequence in the header are checked while decoding: such a message is none.
    let mut wrong_sequence = scene.net().order_request(&order);
    wrong_sequence[56] ^= 1;
    assert!(scene.ask(&wrong_sequence).is_empty());
    assert_eq!(scene.total(|c| c.totals.locked.get()), 0);
    assert_eq!(scene.total(|c| c.totals.executed.get()), 0);
}

#[test]
fn another_network_is_refused_and_no_longer_than_asked() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    let requests = [
        scene.net().order_request(&order),
        scene.net().certificate_request(&scene.net().certified(&order)),
        scene.net().account_request(&alice.key, EURO),
        scene.net().debit_request(&alice.key, 0),
    ];
    for mut request in requests {
        request[16] ^= 1;
        let answer = scene.ask_one(&request);
        assert_eq!(answer.refusal(), RefusalCode::WrongNetwork);
        assert!(usize::from(answer.header.length.get()) <= request.len());
    }
    assert_eq!(scene.total(|c| c.totals.locked.get()), 0);
}

#[test]
fn answers_and_reserved_kinds_get_no_answer() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    scene.deliver(0, &peer(1), &scene.net().order_request(&order));
    scene.settle();
    let vote = scene.sent(0).remove(0).1;
    scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().certified(&order)));
    scene.settle();
    let executed = scene.sent(0).remove(0).1;
    scene.deliver(0, &peer(1), &scene.net().debit_request(&alice.key, 0));
    scene.deliver(0, &peer(1), &scene.net().account_request(&alice.key, EURO));
    scene.deliver(0, &peer(1), &scene.net().debit_request(&alice.key, 9));
    scene.settle();
    let others = scene.sent(0);
    let unexpected = scene.total(|c| c.totals.unexpected_kind.get());
    let all: Vec<Vec<u8>> = [vote, executed].into_iter().chain(others.into_iter().map(|(_, bytes)| bytes)).collect();
    for datagram in &all {
        assert!(scene.ask(datagram).is_empty(), "an answer was answered");
    }
    let as_many = all.iter().map(|datagram| answers_expected(datagram)).sum::<usize>() as u64;
    assert_eq!(scene.total(|c| c.totals.unexpected_kind.get()), unexpected + as_many);
    // Reserved kinds, with the class that they must have.
    for (kind, class) in
        [(16, 0), (17, 0), (18, 0), (24, 1), (25, 1), (32, 2), (33, 2), (40, 1), (48, 0), (56, 0), (64, 1)]
    {
        let mut request = scene.net().order_request(&order);
        (request[6], request[5]) = (kind, class);
        assert!(scene.ask(&request).is_empty(), "kind {kind}");
    }
}

#[test]
fn an_expired_order_that_is_locked_is_voted_for_again() {
    let (mut scene, alice, bob, _) = scene();
    let now = scene.clock.now_ms.get();
    let order =
        scene.net().sign(&alice, meshpay_wire::OrderBody { expiry_ms: (now + 10).into(), ..body(&alice, 0, &bob, 5) });
    scene.ask_one(&scene.net().order_request(&order)).vote();
    scene.clock.now_ms.set(now + 1_000_000);
    scene.ask_one(&scene.net().order_request(&order)).vote();
    let late =
        scene.net().sign(&bob, meshpay_wire::OrderBody { expiry_ms: (now + 10).into(), ..body(&bob, 0, &alice, 5) });
    assert_eq!(scene.ask_one(&scene.net().order_request(&late)).refusal(), RefusalCode::Expired);
}

#[test]
fn time_that_goes_back_harms_nothing() {
    let (mut scene, alice, bob, carol) = scene();
    let locked = scene.net().pay(&alice, 0, &bob, 5);
    scene.ask_one(&scene.net().order_request(&locked)).vote();
    scene.ask(&scene.net().order_request(&scene.net().pay(&alice, 0, &carol, 50)));
    for now in [0, 1, u64::MAX, 5, u64::MAX - 1] {
        scene.clock.now_ms.set(now);
        scene.ask(&scene.net().order_request(&scene.net().pay(&alice, 0, &carol, 60)));
        scene.ask_one(&scene.net().order_request(&locked)).vote();
    }
    let executed = scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&locked)));
    assert_eq!(executed.executed().status, ExecutionStatus::Now as u8);
    assert_eq!(scene.stop().audit().result, "passed");
}

#[test]
fn a_certificate_beats_another_lock_and_keeps_both_as_evidence() {
    let (mut scene, alice, bob, carol) = scene();
    let locked = scene.net().pay(&alice, 0, &bob, 5);
    scene.ask_one(&scene.net().order_request(&locked)).vote();
    let other = scene.net().pay(&alice, 0, &carol, 50);
    let executed = scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&other))).executed();
    assert_eq!(executed.order, scene.net().digest(&other));
    assert_eq!(scene.total(|c| c.totals.beaten_locks.get()), 1);
    // The order that was locked here once is now told what was executed instead.
    let answer = scene.ask_one(&scene.net().order_request(&locked)).executed();
    assert_eq!((answer.order, answer.status), (scene.net().digest(&other), ExecutionStatus::Before as u8));
    assert_eq!(scene.voting.stopped(), None);
    assert_eq!(scene.stop().audit().result, "passed");
}

#[test]
fn a_certified_debit_below_zero_is_owing_until_the_credit_comes() {
    let (mut scene, alice, bob, carol) = scene();
    // Carol spends what she has from Alice, before this authority has heard of that.
    let spent = scene.net().paid(&carol, 0, &bob, 50);
    scene.ask_one(&scene.net().certificate_request(&spent)).executed();
    let owing = scene.ask_one(&scene.net().account_request(&carol.key, EURO)).account();
    assert_eq!((owing.balance.get(), owing.flags.get()), (-50, 1 | 4));
    scene.ask_one(&scene.net().certificate_request(&scene.net().paid(&alice, 0, &carol, 70))).executed();
    let repaired = scene.ask_one(&scene.net().account_request(&carol.key, EURO)).account();
    assert_eq!((repaired.balance.get(), repaired.flags.get()), (20, 1));
    let (state, place) = scene.state();
    assert_eq!(state.euros, 2 * i128::from(FUNDS));
    assert_eq!(place.audit().result, "passed");
}

#[test]
fn a_payment_to_oneself_moves_the_sequence_only() {
    let (mut scene, alice, _, _) = scene();
    let order = scene.net().pay(&alice, 0, &alice, 5);
    scene.ask_one(&scene.net().order_request(&order)).vote();
    scene.ask_one(&scene.net().certificate_request(&scene.net().certify(&order, &[0, 1, 2]))).executed();
    let account = scene.ask_one(&scene.net().account_request(&alice.key, EURO)).account();
    assert_eq!((account.balance.get(), account.next_sequence.get()), (i128::from(FUNDS), 1));
    assert_eq!(scene.stop().audit().result, "passed");
}
