//! What the filter ends in userspace, where no program of the kernel stood in the way: counted by its outcome, and never what is new and honest.

use meshpay_authority::filter::PlainTables;
use meshpay_wire::filter::{Outcome, TableSizes};

use crate::network::{Network, Says, Scheme, Wallet};
use crate::scene::{Place, Scene};

const MS: u64 = 1_000_000;
const SIZES: TableSizes = TableSizes { accounts: 64, sources: 16, allowances: 64, echoes: 64 };

fn scene() -> (Scene, Vec<Wallet>) {
    let wallets: Vec<Wallet> = (0..4).map(|n| Wallet::in_shard(Scheme::Real, n, 0)).collect();
    let network = Network::new(Scheme::Real, &wallets.iter().collect::<Vec<_>>());
    let scene = Place::new(network, 2).start();
    let tables = PlainTables::new(SIZES, [7; 16], scene.token_key.clone());
    *scene.told.tables.lock().unwrap() = Some((tables, 1_000 * MS));
    (scene, wallets)
}

fn pass_ms(scene: &Scene, ms: u64) {
    if let Some((_, now_ns)) = &mut *scene.told.tables.lock().unwrap() {
        *now_ns += ms * MS;
    }
}

fn ended(scene: &Scene, outcome: Outcome) -> u64 {
    scene.total(|counters| counters.filtered[outcome as usize].get())
}

#[test]
fn an_exact_copy_is_answered_once_and_a_retry_gets_its_answer() {
    let (mut scene, wallets) = scene();
    let order = scene.net().pay(&wallets[0], 0, &wallets[1], 5);
    let request = scene.net().order_request(&order);
    scene.ask_one(&request).vote();
    assert!(scene.ask(&request).is_empty(), "the same bytes within the window are an echo");
    assert_eq!(ended(&scene, Outcome::Echo), 1);
    scene.ask_one(&scene.net().order_request(&order)).vote();
    pass_ms(&scene, 20);
    scene.ask_one(&request).vote();
    assert_eq!(ended(&scene, Outcome::Echo), 1);
}

#[test]
fn what_is_executed_is_acknowledged_once_a_window() {
    let (mut scene, wallets) = scene();
    let certificate = scene.net().paid(&wallets[0], 0, &wallets[1], 5);
    for expected in [1, 1, 0, 0] {
        // The first executes; the second is a retry, and those behind it come too soon.
        assert_eq!(scene.ask(&scene.net().certificate_request(&certificate)).len(), expected);
    }
    assert_eq!(ended(&scene, Outcome::Stale), 2);
    pass_ms(&scene, 60);
    scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
}

#[test]
fn a_conflicting_order_still_becomes_evidence_and_the_locked_one_its_vote() {
    let (mut scene, wallets) = scene();
    let (alice, bob) = (&wallets[0], &wallets[1]);
    let locked = scene.net().pay(alice, 0, bob, 5);
    scene.ask_one(&scene.net().order_request(&locked)).vote();
    let other = scene.net().pay(alice, 0, bob, 6);
    assert_eq!(scene.ask_one(&scene.net().order_request(&other)).says, Says::Conflict(locked));
    assert_eq!(scene.total(|counters| counters.totals.evidence.get()), 1);
    // She is penalised from now on: nothing new of hers, every retry.
    pass_ms(&scene, 60);
    assert!(scene.ask(&scene.net().order_request(&other)).is_empty());
    assert_eq!(ended(&scene, Outcome::Penalised), 1);
    scene.ask_one(&scene.net().order_request(&locked)).vote();
    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&other))).executed();
}

#[test]
fn garbage_ends_before_it_is_decoded() {
    let (mut scene, wallets) = scene();
    let request = scene.net().order_request(&scene.net().pay(&wallets[0], 0, &wallets[1], 5));
    let mut garbage = request.clone();
    garbage[0] ^= 1;
    assert!(scene.ask(&garbage).is_empty() && scene.ask(&request[..200]).is_empty());
    assert_eq!(ended(&scene, Outcome::MalformedMessage), 2);
    assert_eq!(scene.total(|counters| counters.malformed.iter().map(|counter| counter.get()).sum()), 0);
}
