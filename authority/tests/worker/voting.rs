//! An authority that is shown a valid vote of its own which its journal does not hold stops voting, for good (DESIGN 5.4).

use meshpay_authority::journal::CrashFault;
use meshpay_wire::{ExecutionStatus, RefusalCode, account_flags};

use crate::network::{EURO, Network, Scheme, Wallet};
use crate::scene::{Place, Scene, fill_frame, peer};

fn wallets() -> [Wallet; 4] {
    [0, 1, 2, 3].map(|n| Wallet::in_shard(Scheme::Real, n, 0))
}

fn start(workers: usize, wallets: &[Wallet; 4]) -> Scene {
    Place::new(Network::new(Scheme::Real, &wallets.iter().collect::<Vec<_>>()), workers).start()
}

/// Shows the authority a certificate with a vote of its own that it never gave.
fn shown(scene: &mut Scene, sender: &Wallet, sequence: u64, to: &Wallet) -> Vec<u8> {
    let order = scene.net().pay(sender, sequence, to, 5);
    scene.net().certificate_request(&scene.net().certify(&order, &[0, 1, 2]))
}

fn refuses_votes(scene: &mut Scene, from: &Wallet, sequence: u64, to: &Wallet, why: &str) {
    assert_eq!(scene.voting.stopped(), Some(1), "{why}");
    let answer = scene.ask_one(&scene.net().order_request(&scene.net().pay(from, sequence, to, 9)));
    assert_eq!(answer.refusal(), RefusalCode::NotVoting, "{why}");
    let flags = scene.ask_one(&scene.net().account_request(&from.key, EURO)).account().flags.get();
    assert_eq!(flags & account_flags::NOT_VOTING, account_flags::NOT_VOTING, "{why}");
}

#[test]
fn an_unknown_own_vote_stops_voting_and_the_certificate_is_executed() {
    let wallets = wallets();
    let mut scene = start(2, &wallets);
    let request = shown(&mut scene, &wallets[0], 0, &wallets[1]);
    assert_eq!(scene.ask_one(&request).executed().status, ExecutionStatus::Now as u8);
    refuses_votes(&mut scene, &wallets[1], 0, &wallets[0], "at once, also in the other worker");
    // Certificates go on.
    let next = scene.net().certificate_request(&scene.net().paid(&wallets[1], 0, &wallets[0], 5));
    scene.ask_one(&next).executed();

    let mut scene = scene.stop().start();
    assert_eq!(scene.origin, "the image of a clean stop");
    refuses_votes(&mut scene, &wallets[2], 0, &wallets[0], "after a clean stop, by the image's stamp");

    let place = scene.kill();
    let mut scene = place.start();
    assert_eq!(scene.origin, "the genesis");
    refuses_votes(&mut scene, &wallets[2], 0, &wallets[0], "after a kill, by replay");

    let checkpointer = scene.place.checkpointer();
    checkpointer.make(&scene.journal.handle(), [6; 16]).unwrap();
    let mut scene = scene.kill().start();
    assert!(scene.origin.starts_with("the checkpoint"), "{}", scene.origin);
    refuses_votes(&mut scene, &wallets[2], 0, &wallets[0], "by a checkpoint");
    assert_eq!(scene.stop().audit().result, "passed");
}

#[test]
fn votes_under_way_are_withheld() {
    let wallets = wallets();
    let mut scene = start(1, &wallets);
    scene.deliver(0, &peer(1), &scene.net().order_request(&scene.net().pay(&wallets[1], 0, &wallets[2], 9)));
    scene.turn(0);
    let request = shown(&mut scene, &wallets[0], 0, &wallets[1]);
    scene.deliver(0, &peer(1), &request);
    scene.turn(0);
    scene.commit();
    scene.turn(0);
    let answers = scene.answers();
    assert_eq!(answers[0].refusal(), RefusalCode::NotVoting, "a vote left although the key is in doubt");
    assert_eq!(answers[1].executed().status, ExecutionStatus::Now as u8);
    assert_eq!(scene.total(|c| c.totals.votes_withheld.get()), 1);
    // Not even a vote that is locked and was given before.
    let again = scene.ask_one(&scene.net().order_request(&scene.net().pay(&wallets[1], 0, &wallets[2], 9)));
    assert_eq!(again.refusal(), RefusalCode::NotVoting);
}

#[test]
fn a_forged_own_vote_stops_nothing() {
    let wallets = wallets();
    let mut scene = start(1, &wallets);
    let order = scene.net().pay(&wallets[0], 0, &wallets[1], 5);
    let signatures = [scene.net().vote(1, &order), scene.net().vote(1, &order), scene.net().vote(2, &order)];
    let forged = crate::network::Certificate::of(&order, 0b111, &signatures);
    assert_eq!(scene.ask_one(&scene.net().certificate_request(&forged)).refusal(), RefusalCode::BadVote);
    assert_eq!(scene.voting.stopped(), None);
    scene.ask_one(&scene.net().order_request(&order)).vote();
}

#[test]
fn our_own_vote_for_what_we_locked_stops_nothing_also_after_a_restart() {
    let wallets = wallets();
    let mut scene = start(1, &wallets);
    let order = scene.net().pay(&wallets[0], 0, &wallets[1], 5);
    scene.ask_one(&scene.net().order_request(&order)).vote();
    let mut scene = scene.crash(CrashFault::Lost, 0).start();
    let certificate = scene.net().certify(&order, &[0, 1, 2]);
    scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
    assert_eq!(scene.voting.stopped(), None);
    // Shown again when it is executed already, it proves nothing.
    scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
    assert_eq!(scene.voting.stopped(), None);
}

#[test]
fn an_unknown_own_vote_beyond_a_gap_stops_voting_too() {
    // The journal has lost everything from sequence 0 on; the client shows what came later first.
    let wallets = wallets();
    let mut scene = start(1, &wallets);
    let request = shown(&mut scene, &wallets[0], 1, &wallets[1]);
    assert_eq!(scene.ask_one(&request).refusal(), RefusalCode::MissingCertificate);
    refuses_votes(&mut scene, &wallets[0], 0, &wallets[1], "the vote at sequence 1 was ours");
    let mut scene = scene.kill().start();
    refuses_votes(&mut scene, &wallets[0], 0, &wallets[1], "and it is remembered");
}

#[test]
fn stopping_survives_a_journal_that_was_busy_when_it_happened() {
    // The frame is full when the vote is shown: neither the stop nor the execution finds room. Later the execution does.
    let wallets = wallets();
    let network = Network::new(Scheme::Real, &wallets.iter().collect::<Vec<_>>());
    let mut scene = Place::with_frames(network, 1, 64 * 1024).start();
    let handle = scene.journal.handle();
    fill_frame(&handle);
    let request = shown(&mut scene, &wallets[0], 0, &wallets[1]);
    scene.deliver(0, &peer(1), &request);
    scene.turn(0);
    assert_eq!(scene.voting.stopped(), Some(1), "at once");
    scene.commit();
    scene.turn(0);
    assert_eq!(scene.answers()[0].refusal(), RefusalCode::RetryLater);
    let again = shown(&mut scene, &wallets[0], 0, &wallets[1]);
    scene.ask_one(&again).executed();
    let mut scene = scene.crash(CrashFault::Lost, 0).start();
    refuses_votes(
        &mut scene,
        &wallets[1],
        0,
        &wallets[0],
        "the certificate is executed now and is never looked at again",
    );
}
