//! No answer of any kind leaves before the journal is durable through everything that it could have seen (DESIGN 5.1).

use meshpay_wire::{ExecutionStatus, RefusalCode};

use crate::network::{EURO, Network, Says, Scheme, Wallet};
use crate::scene::{Place, Scene, peer};

/// Alice and Bob are funded; Carol is not known.
fn scene() -> (Scene, Wallet, Wallet, Wallet) {
    let [alice, bob, carol] = [0, 1, 2].map(|n| Wallet::in_shard(Scheme::Cheap, 4 + n, 0));
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    (Place::new(network, 1).start(), alice, bob, carol)
}

/// Delivers a request while a record is not durable, and shows that nothing leaves before it is.
fn held_back(scene: &mut Scene, request: &[u8], what: &str) -> Vec<crate::network::Answer> {
    assert!(scene.journal.handle().appended() > scene.journal.handle().durable(), "{what}: nothing is under way");
    scene.deliver(0, &peer(1), request);
    for _ in 0..3 {
        let turn = scene.turn(0);
        assert!(scene.sent(0).is_empty(), "{what}: an answer ran ahead of the disk");
        assert!(turn.waits_for.is_some(), "{what}: the worker must say what it waits for");
        assert!(!turn.drained, "{what}");
    }
    // Written, but not synced: still nothing.
    assert!(scene.journal.begin().unwrap());
    scene.turn(0);
    assert!(scene.sent(0).is_empty(), "{what}: an answer left between write and sync");
    scene.journal.finish().unwrap();
    scene.turn(0);
    let answers = scene.answers();
    assert!(!answers.is_empty(), "{what}: no answer although durable");
    assert_eq!(scene.turn(0).waits_for, None, "{what}");
    answers
}

/// Puts a lock of Alice into the journal without making it durable.
fn lock_under_way(scene: &mut Scene, alice: &Wallet, sequence: u64, bob: &Wallet) {
    let request = scene.net().order_request(&scene.net().pay(alice, sequence, bob, 5));
    scene.deliver(0, &peer(9), &request);
    scene.turn(0);
    assert!(scene.sent(0).is_empty());
}

#[test]
fn a_vote_waits() {
    let (mut scene, alice, bob, _) = scene();
    let order = scene.net().pay(&alice, 0, &bob, 5);
    scene.deliver(0, &peer(1), &scene.net().order_request(&order));
    scene.turn(0);
    assert!(scene.sent(0).is_empty());
    scene.commit();
    scene.turn(0);
    let vote = scene.answers().remove(0).vote();
    assert_eq!(vote.order, scene.net().digest(&order));
    assert_eq!(vote.signature, scene.net().vote(0, &order));
}

#[test]
fn a_vote_asked_for_again_while_the_first_is_under_way_waits_too() {
    let (mut scene, alice, bob, _) = scene();
    lock_under_way(&mut scene, &alice, 0, &bob);
    let again = scene.net().order_request(&scene.net().pay(&alice, 0, &bob, 5));
    let answers = held_back(&mut scene, &again, "a repeated vote");
    assert_eq!(answers.len(), 2, "first and repeat are both answered");
    assert_eq!(answers[0].vote(), answers[1].vote());
    assert_ne!(answers[0].header.request_id, answers[1].header.request_id);
    assert_eq!(scene.total(|c| c.totals.locked.get()), 1);
}

#[test]
fn a_conflict_waits_for_the_lock_that_it_shows() {
    let (mut scene, alice, bob, carol) = scene();
    lock_under_way(&mut scene, &alice, 0, &bob);
    let locked = scene.net().pay(&alice, 0, &bob, 5);
    let other = scene.net().order_request(&scene.net().pay(&alice, 0, &carol, 50));
    let answers = held_back(&mut scene, &other, "a conflict");
    assert_eq!(answers[1].says, Says::Conflict(locked));
}

#[test]
fn refusals_of_every_stage_wait() {
    let (mut scene, alice, bob, carol) = scene();
    lock_under_way(&mut scene, &alice, 0, &bob);
    // Unknown sender: decided by looking at the table only. It waits nevertheless: what it saw may be lost.
    let unknown = scene.net().order_request(&scene.net().pay(&carol, 0, &bob, 5));
    let answers = held_back(&mut scene, &unknown, "a screened refusal");
    assert_eq!(answers[1].refusal(), RefusalCode::UnknownSender);

    lock_under_way(&mut scene, &bob, 0, &alice);
    let mut forged = scene.net().pay(&alice, 0, &carol, 60);
    forged.signature[3] ^= 1;
    let forged = scene.net().order_request(&forged);
    let answers = held_back(&mut scene, &forged, "a bad signature");
    assert_eq!(answers[1].refusal(), RefusalCode::BadSignature);

    let executed = scene.net().certificate_request(&scene.net().paid(&bob, 0, &alice, 7));
    scene.deliver(0, &peer(9), &executed);
    scene.turn(0);
    let gap = scene.net().certificate_request(&scene.net().paid(&bob, 5, &alice, 7));
    let answers = held_back(&mut scene, &gap, "a gap");
    assert_eq!(answers[1].says, Says::Refused(RefusalCode::MissingCertificate, 1));
}

#[test]
fn an_execution_and_what_is_said_of_it_again_wait() {
    let (mut scene, alice, bob, _) = scene();
    let certificate = scene.net().paid(&alice, 0, &bob, 5);
    scene.deliver(0, &peer(1), &scene.net().certificate_request(&certificate));
    scene.turn(0);
    assert!(scene.sent(0).is_empty());
    let again = scene.net().certificate_request(&certificate);
    let answers = held_back(&mut scene, &again, "an acknowledgement");
    assert_eq!(answers[0].executed().status, ExecutionStatus::Now as u8);
    assert_eq!(answers[1].executed().status, ExecutionStatus::Before as u8);
    assert_eq!(answers[0].executed().order, answers[1].executed().order);

    // An order of that old sequence, while the next execution is under way.
    let next = scene.net().certificate_request(&scene.net().paid(&alice, 1, &bob, 5));
    scene.deliver(0, &peer(1), &next);
    scene.turn(0);
    let old = scene.net().order_request(&scene.net().pay(&alice, 0, &bob, 99));
    let answers = held_back(&mut scene, &old, "an old sequence");
    assert_eq!(answers[1].executed().order, scene.net().digest(&certificate.view().head.order));
}

#[test]
fn queries_wait() {
    let (mut scene, alice, bob, _) = scene();
    lock_under_way(&mut scene, &alice, 0, &bob);
    let query = scene.net().account_request(&alice.key, EURO);
    let answers = held_back(&mut scene, &query, "an account query");
    assert_eq!(answers[1].account().locked, scene.net().pay(&alice, 0, &bob, 5));

    let certificate = scene.net().paid(&alice, 0, &bob, 5);
    scene.deliver(0, &peer(1), &scene.net().certificate_request(&certificate));
    scene.turn(0);
    let debit = scene.net().debit_request(&alice.key, 0);
    let answers = held_back(&mut scene, &debit, "a certificate query");
    assert_eq!(answers[1].certificate().1, certificate.view().head.order);

    lock_under_way(&mut scene, &alice, 1, &bob);
    let nothing = scene.net().debit_request(&alice.key, 7);
    let answers = held_back(&mut scene, &nothing, "a query for nothing");
    assert_eq!(answers[1].refusal(), RefusalCode::NotFound);
}

#[test]
fn an_answer_waits_for_records_of_other_workers_that_it_could_have_seen() {
    let alice = Wallet::in_shard(Scheme::Cheap, 0, 0);
    let bob = Wallet::in_shard(Scheme::Cheap, 1, 0);
    let network = Network::new(Scheme::Cheap, &[&alice, &bob]);
    let mut scene = Place::new(network, 2).start();
    // Worker 0 executes a payment to Bob, of worker 1. Nothing is durable.
    scene.deliver(0, &peer(1), &scene.net().certificate_request(&scene.net().paid(&alice, 0, &bob, 5)));
    scene.turn(0);
    // Worker 1 takes the credit and shows the balance: it must wait for the execution.
    scene.deliver(1, &peer(2), &scene.net().account_request(&bob.key, EURO));
    scene.turn(1);
    assert!(scene.sent(1).is_empty(), "a balance was shown that a crash could take back");
    scene.commit();
    scene.turn(1);
    let answers = scene.answers();
    assert_eq!(answers[0].account().balance.get(), i128::from(crate::network::FUNDS) + 5);
}
