//! What the filter in front is told: verified facts and the account's own state, and nothing that a packet merely claims (DESIGN 5.11).

use meshpay_protocol::Account;
use meshpay_wire::RefusalCode;

use crate::network::{Network, Says, Scheme, Wallet, body};
use crate::scene::{PENALTY_MS, Place, Scene, peer};

fn scene() -> (Scene, Vec<Wallet>) {
    let wallets: Vec<Wallet> = (0..4).map(|n| Wallet::in_shard(Scheme::Real, n, 0)).collect();
    let network = Network::new(Scheme::Real, &wallets.iter().collect::<Vec<_>>());
    (Place::new(network, 2).start(), wallets)
}

fn told(scene: &Scene, wallet: &Wallet) -> Option<Account> {
    scene.told.accounts.lock().unwrap().get(&wallet.key).copied()
}

#[test]
fn lock_execution_and_penalty_are_told_and_the_lock_ends_with_the_execution() {
    let (mut scene, wallets) = scene();
    let (alice, bob) = (&wallets[0], &wallets[1]);
    let order = scene.net().pay(alice, 0, bob, 5);
    scene.ask_one(&scene.net().order_request(&order)).vote();
    let account = told(&scene, alice).expect("told of the lock");
    assert_eq!((account.next_sequence.get(), account.lock_digest), (0, scene.net().digest(&order)));

    let other = scene.net().pay(alice, 0, bob, 6);
    assert_eq!(scene.ask_one(&scene.net().order_request(&other)).says, Says::Conflict(order));
    let account = told(&scene, alice).unwrap();
    assert_eq!(account.penalised_until_ms.get(), scene.clock.now_ms.get() + PENALTY_MS);
    assert_eq!(account.lock_digest, scene.net().digest(&order), "the first order stays locked");

    scene.ask_one(&scene.net().certificate_request(&scene.net().certified(&other))).executed();
    let account = told(&scene, alice).unwrap();
    assert_eq!((account.next_sequence.get(), account.is_locked()), (1, false), "a certificate beats a lock");
    assert!(told(&scene, bob).is_none(), "a credit changes nothing that a filter looks at");
}

#[test]
fn garbage_in_somebodys_name_teaches_nothing() {
    let (mut scene, wallets) = scene();
    let (alice, bob, mallory) = (&wallets[0], &wallets[1], &wallets[2]);
    let forged = scene.net().sign(mallory, body(alice, 0, bob, 5));
    assert_eq!(scene.ask_one(&scene.net().order_request(&forged)).refusal(), RefusalCode::BadSignature);
    let certificate = scene.net().certify(&forged, &[0, 1, 2]);
    assert_eq!(scene.ask_one(&scene.net().certificate_request(&certificate)).refusal(), RefusalCode::BadSignature);
    let later = scene.net().paid(alice, 7, bob, 5);
    assert_eq!(scene.ask_one(&scene.net().certificate_request(&later)).refusal(), RefusalCode::MissingCertificate);
    assert!(scene.told.accounts.lock().unwrap().is_empty());
    assert!(scene.told.sources.lock().unwrap().is_empty(), "nobody has shown a return token");
}

#[test]
fn an_account_that_the_filter_has_forgotten_is_told_again_when_it_is_asked_for_what_is_past() {
    let (mut scene, wallets) = scene();
    let (alice, bob) = (&wallets[0], &wallets[1]);
    let order = scene.net().pay(alice, 0, bob, 5);
    let certificate = scene.net().certified(&order);
    scene.ask_one(&scene.net().certificate_request(&certificate)).executed();
    for request in [scene.net().order_request(&order), scene.net().certificate_request(&certificate)] {
        scene.told.accounts.lock().unwrap().clear();
        scene.ask_one(&request).executed();
        assert_eq!(told(&scene, alice).expect("told again").next_sequence.get(), 1);
    }
}

#[test]
fn sources_that_hold_a_token_are_judged_by_their_signatures() {
    let (mut scene, wallets) = scene();
    let (alice, bob) = (&wallets[0], &wallets[1]);
    let from = peer(1);
    let token = scene.token_key.token(&from.address, scene.clock.now_ms.get());
    let with_token = |mut request: Vec<u8>| {
        request[80..88].copy_from_slice(&token);
        request
    };
    let good = with_token(scene.net().order_request(&scene.net().pay(alice, 0, bob, 5)));
    scene.ask_one(&good).vote();
    let forged = scene.net().sign(alice, body(bob, 0, alice, 5));
    let bad = with_token(scene.net().order_request(&forged));
    assert_eq!(scene.ask_one(&bad).refusal(), RefusalCode::BadSignature);
    assert_eq!(*scene.told.sources.lock().unwrap(), [(from.address.ip(), true), (from.address.ip(), false)]);
}
