//! What becomes of messages for our port.

use crate::scene::{ALICE, BOB, Draft, Scene, certificate, of_kind, order, other_source, source, token_key};
use meshpay_wire::filter::{Outcome, Rate};
use meshpay_wire::{Kind, TokenKey};
use std::net::SocketAddr;

#[test]
fn a_message_goes_to_the_socket_of_its_shard_on_its_queue() {
    let scene = Scene::new();
    let verdict = scene.verdict(&order([5; 32], 0).bytes(), source());
    assert_eq!((verdict.outcome, verdict.socket()), (Outcome::Delivered, Some(2 * 3 + 5 % 3)));
    let scene = Scene::with(|settings| settings.workers = 0);
    assert_eq!(scene.verdict(&order(ALICE, 0).bytes(), source()).socket(), None);
}

#[test]
fn only_kinds_that_are_served_pass() {
    let scene = Scene::new();
    for kind in [Kind::TransferResponse, Kind::Refusal, Kind::PeerDiscovery, Kind::Control, Kind::Heartbeat] {
        assert_eq!(scene.outcome(&of_kind(kind).bytes(), source()), Outcome::WrongClass, "{kind:?}");
    }
    assert_eq!(scene.outcome(&of_kind(Kind::AccountQuery).bytes(), source()), Outcome::Delivered);
    let mut wrong_class = order(ALICE, 0).bytes();
    wrong_class[5] = 1;
    assert_eq!(scene.outcome(&wrong_class, source()), Outcome::MalformedMessage);
}

#[test]
fn shedding_takes_lower_classes_and_never_class_0() {
    let scene = Scene::with(|settings| settings.kinds = u64::MAX);
    let outcomes = |level| {
        scene.writer().set_shed_level(level);
        [Kind::PeerDiscovery, Kind::AccountQuery, Kind::ConfirmationRequest]
            .map(|kind| scene.outcome(&of_kind(kind).id(level).bytes(), source()))
    };
    use Outcome::{Delivered, Shed};
    assert_eq!(outcomes(0), [Delivered, Delivered, Delivered]);
    assert_eq!(outcomes(1), [Shed, Delivered, Delivered]);
    assert_eq!(outcomes(2), [Shed, Shed, Delivered]);
    assert_eq!(outcomes(9), [Shed, Shed, Delivered]);
}

#[test]
fn a_bundle_goes_on_for_any_message_in_it() {
    let scene = Scene::new();
    scene.writer().set_shed_level(2);
    let mut bundle = of_kind(Kind::PeerDiscovery).bytes();
    bundle.extend(certificate(ALICE, 0).bytes());
    assert_eq!(scene.outcome(&bundle, source()), Outcome::Delivered);
}

#[test]
fn sources_without_a_token_share_a_rate_and_holders_have_their_own() {
    let scene = Scene::with(|settings| settings.shared_rate = Rate::per_second(10, 2));
    for id in 0..2 {
        assert_eq!(scene.outcome(&order(ALICE, 0).id(id).bytes(), source()), Outcome::Delivered);
    }
    assert_eq!(scene.outcome(&order(ALICE, 0).id(9).bytes(), other_source()), Outcome::OverSharedRate);
    assert_eq!(scene.outcome(&order(ALICE, 0).id(9).token(source()).bytes(), source()), Outcome::Delivered);
    // Another source's token is none.
    assert_eq!(scene.outcome(&order(ALICE, 0).id(8).token(source()).bytes(), other_source()), Outcome::OverSharedRate);
}

#[test]
fn a_source_is_charged_by_message_and_earns_a_better_rate() {
    let scene = Scene::with(|settings| settings.source_rate = Rate::per_second(1_000, 4));
    let first = order(ALICE, 0).token(source());
    let bundle = [first.id(1).bytes(), first.id(2).bytes(), first.id(3).bytes(), first.id(4).bytes()].concat();
    assert_eq!(scene.outcome(&bundle, source()), Outcome::Delivered);
    assert_eq!(scene.outcome(&first.id(5).bytes(), source()), Outcome::OverRate);
    let mut scene = scene;
    for _ in 0..100 {
        scene.writer().verified(&source().ip(), 64);
    }
    scene.pass_ms(5);
    let passed =
        (0..100).filter(|id| scene.outcome(&first.id(100 + id).bytes(), source()) == Outcome::Delivered).count();
    assert!(passed > 50, "{passed}");
    let known: Vec<_> = scene.writer().sources().collect();
    assert_eq!(known, [(source().ip(), 4 + passed as u64, 1 + (100 - passed as u64))]);
}

#[test]
fn what_the_kernel_ends_is_charged_to_nobody() {
    let scene = Scene::with(|settings| settings.source_rate = Rate::per_second(10, 2));
    let message = order(ALICE, 0).token(source());
    assert_eq!(scene.outcome(&message.bytes(), source()), Outcome::Delivered);
    for _ in 0..100 {
        assert_eq!(scene.outcome(&message.bytes(), source()), Outcome::Echo);
    }
    assert_eq!(scene.outcome(&message.id(2).bytes(), source()), Outcome::Delivered);
}

#[test]
fn tokens_are_those_that_answers_carry_for_two_hours() {
    let hour_ms = 3_600_000;
    let holds = |scene: &Scene, key: &TokenKey, given_ms: u64, source: SocketAddr| {
        let draft = Draft { return_token: key.token(&source, given_ms), ..order(ALICE, 0).id(scene.now_ns + given_ms) };
        scene.outcome(&draft.bytes(), source) == Outcome::Delivered
    };
    // No rate for others, so that only holders pass.
    let mut scene = Scene::with(|settings| {
        settings.shared_rate = Rate::per_second(1, 1);
        settings.newcomer_rate = Rate::per_second(0, 0);
    });
    assert_eq!(scene.outcome(&order(ALICE, 0).bytes(), other_source()), Outcome::Delivered);
    let sources: [SocketAddr; 2] = [source(), "[fd00::7]:5000".parse().unwrap()];
    for source in sources {
        let now_ms = crate::scene::WALL_MS + (scene.now_ns - crate::scene::NOW_NS) / 1_000_000;
        assert!(holds(&scene, &token_key(), now_ms, source));
        assert!(holds(&scene, &token_key(), now_ms - hour_ms, source));
        assert!(!holds(&scene, &token_key(), now_ms - 2 * hour_ms, source));
        assert!(!holds(&scene, &TokenKey::new([8; 16]), now_ms, source));
        scene.pass_ms(1);
    }
}

#[test]
fn ipv6_newcomers_are_bounded_together_until_they_have_earned_something() {
    let scene = Scene::with(|settings| settings.newcomer_rate = Rate::per_second(1, 1));
    let [first, second]: [SocketAddr; 2] = ["[fd00::7]:1".parse().unwrap(), "[fd00::8]:1".parse().unwrap()];
    assert_eq!(scene.outcome(&order(ALICE, 0).token(first).bytes(), first), Outcome::Delivered);
    assert_eq!(scene.outcome(&order(ALICE, 0).token(second).bytes(), second), Outcome::OverNewcomerRate);
    scene.writer().verified(&first.ip(), 1);
    assert_eq!(scene.outcome(&order(ALICE, 0).id(2).token(first).bytes(), first), Outcome::Delivered);
}

#[test]
fn a_penalty_stops_orders_until_its_time_and_never_certificates() {
    let mut scene = Scene::new();
    scene.writer().penalised(&ALICE, scene.now_ns + 1_000_000);
    assert_eq!(scene.outcome(&order(ALICE, 0).bytes(), source()), Outcome::Penalised);
    assert_eq!(scene.outcome(&certificate(ALICE, 0).bytes(), source()), Outcome::Delivered);
    assert_eq!(scene.outcome(&order(BOB, 0).bytes(), source()), Outcome::Delivered);
    let mut bundle = order(ALICE, 0).bytes();
    bundle.extend(certificate(ALICE, 0).bytes());
    assert_eq!(scene.outcome(&bundle, source()), Outcome::Delivered, "a certificate behind it must arrive");
    scene.pass_ms(1);
    assert_eq!(scene.outcome(&order(ALICE, 0).bytes(), source()), Outcome::Delivered);
}

#[test]
fn a_penalty_bars_new_orders_and_no_retry() {
    let mut scene = Scene::new();
    scene.writer().executed(&ALICE, 5);
    scene.writer().locked(&ALICE, 5, [7; 8]);
    scene.writer().penalised(&ALICE, u64::MAX);
    assert_eq!(scene.outcome(&order(ALICE, 5).tag(7).bytes(), source()), Outcome::Delivered, "the vote was lost");
    scene.pass_ms(30);
    assert_eq!(
        scene.outcome(&order(ALICE, 4).bytes(), source()),
        Outcome::DeliveredStale,
        "the acknowledgement was lost"
    );
    assert_eq!(scene.outcome(&order(ALICE, 5).tag(8).bytes(), source()), Outcome::Penalised);
    assert_eq!(scene.outcome(&order(ALICE, 6).bytes(), source()), Outcome::Penalised);
}

#[test]
fn a_stale_message_passes_once_a_window_for_each_account_kind_and_source() {
    let mut scene = Scene::new();
    scene.writer().executed(&ALICE, 5);
    let stale = |id| order(ALICE, 4).id(id);
    assert_eq!(scene.outcome(&stale(1).bytes(), source()), Outcome::DeliveredStale);
    assert_eq!(scene.outcome(&stale(2).bytes(), source()), Outcome::Stale);
    assert_eq!(scene.outcome(&stale(2).bytes(), other_source()), Outcome::DeliveredStale);
    assert_eq!(scene.outcome(&certificate(ALICE, 4).bytes(), source()), Outcome::DeliveredStale);
    // Whoever forges the address cannot hold the token, and so spends another allowance.
    assert_eq!(scene.outcome(&stale(3).token(source()).bytes(), source()), Outcome::DeliveredStale);
    assert_eq!(scene.outcome(&order(ALICE, 5).bytes(), source()), Outcome::Delivered);
    scene.pass_ms(meshpay_wire::FIRST_RETRY_MS);
    assert_eq!(scene.outcome(&stale(4).bytes(), source()), Outcome::DeliveredStale, "every retry of an honest client");
}

#[test]
fn the_budget_of_stale_messages_keeps_half_for_token_holders() {
    let scene = Scene::with(|settings| settings.stale_rate = Rate::per_second(1, 4));
    for account in 0..20 {
        scene.writer().executed(&[account; 32], 5);
    }
    let stale = |account: u8| order([account; 32], 1);
    let without = (0..10).filter(|at| scene.outcome(&stale(*at).bytes(), source()) == Outcome::DeliveredStale).count();
    let with = (10..20)
        .filter(|at| scene.outcome(&stale(*at).token(source()).bytes(), source()) == Outcome::DeliveredStale)
        .count();
    assert_eq!((without, with), (2, 2));
}

#[test]
fn one_conflicting_order_a_window_passes_and_others_are_evidence() {
    let mut scene = Scene::new();
    scene.writer().locked(&ALICE, 5, [1; 8]);
    let other = |id| order(ALICE, 5).tag(2).id(id);
    assert_eq!(scene.outcome(&order(ALICE, 5).bytes(), source()), Outcome::Delivered, "the locked order itself");
    assert_eq!(scene.outcome(&other(1).bytes(), source()), Outcome::DeliveredConflict);
    let dropped = scene.verdict(&other(2).bytes(), source());
    assert_eq!(dropped.outcome, Outcome::Conflict);
    assert!(dropped.evidence().is_some());
    assert_eq!(scene.outcome(&certificate(ALICE, 5).tag(2).bytes(), source()), Outcome::Delivered);
    assert_eq!(scene.outcome(&order(ALICE, 6).tag(2).bytes(), source()), Outcome::Delivered);
    scene.pass_ms(100);
    assert_eq!(scene.outcome(&other(3).bytes(), source()), Outcome::DeliveredConflict);
    scene.writer().unlocked(&ALICE);
    assert_eq!(scene.outcome(&other(4).bytes(), source()), Outcome::Delivered);
}

#[test]
fn an_execution_ends_the_lock_and_never_goes_back() {
    let scene = Scene::new();
    scene.writer().locked(&ALICE, 5, [1; 8]);
    scene.writer().executed(&ALICE, 6);
    scene.writer().executed(&ALICE, 2);
    scene.writer().locked(&ALICE, 3, [1; 8]);
    let facts = scene.writer().facts(&ALICE).unwrap();
    assert_eq!((facts.next_sequence, facts.locked), (6, false));
}

#[test]
fn an_entry_that_is_being_written_is_unknown() {
    use meshpay_wire::filter::accounts::word_of_account::VERSION;
    use meshpay_wire::filter::tables::ACCOUNT_WORDS;
    use std::sync::atomic::Ordering;
    let scene = Scene::new();
    scene.writer().penalised(&ALICE, u64::MAX);
    for entry in scene.tables().accounts.chunks(ACCOUNT_WORDS) {
        entry[VERSION].fetch_or(1, Ordering::SeqCst);
    }
    assert_eq!(scene.outcome(&order(ALICE, 0).bytes(), source()), Outcome::Delivered);
}

#[test]
fn an_echo_is_the_same_bytes_from_the_same_source_within_the_window() {
    let mut scene = Scene::new();
    let message = order(ALICE, 0).bytes();
    assert_eq!(scene.outcome(&message, source()), Outcome::Delivered);
    assert_eq!(scene.outcome(&message, source()), Outcome::Echo);
    assert_eq!(scene.outcome(&message, other_source()), Outcome::Delivered);
    assert_eq!(scene.outcome(&order(ALICE, 0).id(2).bytes(), source()), Outcome::Delivered);
    scene.pass_ms(meshpay_wire::ECHO_WINDOW_MS);
    assert_eq!(scene.outcome(&message, source()), Outcome::Delivered);
    assert!(scene.writer().answered(&source(), [0; 6], &message));
    assert!(!scene.writer().answered(&source(), [0; 6], &message));
    assert_eq!(scene.outcome(&message, source()), Outcome::Delivered);
}

#[test]
fn switched_off_everything_passes() {
    let scene = Scene::new();
    scene.writer().set_on(false);
    assert_eq!(scene.outcome(&[0; 20], source()), Outcome::Off);
    assert_eq!(scene.frame(&[0; 20]), Outcome::Off);
}
