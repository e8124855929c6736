//! Orders: when an authority votes, and the typed refusal for every reason not to. No refusal changes a balance or a sequence.

use crate::scene::{ALICE, Scene};
use anyhow::{Result, bail, ensure};
use meshpay_protocol::Equivocation;
use meshpay_tests::committee::Plan;
use meshpay_tests::network::{Actor, LITRE, transfer};
use meshpay_wire::{DATAGRAM_MAX, GenesisDigest, RefusalCode, order_digest, transfer_request};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[test]
fn a_payment_is_voted_for_certified_and_executed() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(250)?;
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn bad_signature() -> Result<()> {
    let mut scene = Scene::start()?;
    let good = scene.alice_pays(0, 100);
    let mut bad = good;
    bad.signature[10] ^= 1;
    scene.refused(&bad, RefusalCode::BadSignature)?;
    // Somebody else's signature of the same order.
    bad.signature = scene.bob.sign(&scene.committee.network.digest(&good.body).0);
    scene.refused(&bad, RefusalCode::BadSignature)?;
    // Nothing was locked by the forgeries.
    scene.voted(&good)?;
    Ok(())
}

#[test]
fn zero_amount() -> Result<()> {
    let mut scene = Scene::start()?;
    let order = scene.alice_pays(0, 0);
    scene.refused(&order, RefusalCode::ZeroAmount)?;
    Ok(())
}

#[test]
fn unknown_sender() -> Result<()> {
    let mut scene = Scene::start()?;
    let stranger = Actor::account(77);
    let order = scene.committee.network.order(&stranger, &scene.bob, 0, 1);
    scene.refused(&order, RefusalCode::UnknownSender)?;
    Ok(())
}

#[test]
fn sequence_too_low_is_acknowledged_with_what_was_executed_there() -> Result<()> {
    let mut scene = Scene::start()?;
    let first = scene.pay(100)?;
    scene.pay(50)?;
    let digest = scene.committee.network.digest(&first.order.body);
    for amount in [100, 7] {
        // The very same order, and another one that claims its place: both learn what was executed, not what they claim.
        let order = scene.alice_pays(0, amount);
        let executed = scene.order(&order)?.executed()?;
        ensure!(executed.order == digest && executed.status == 2, "wrong acknowledgement: {executed:?}");
        ensure!(executed.next_sequence.get() == 2, "wrong next sequence: {executed:?}");
    }
    scene.state_is_right()
}

#[test]
fn sequence_too_high() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.pay(1)?;
    let order = scene.alice_pays(2, 1);
    let (body, _) = scene.refused(&order, RefusalCode::SequenceTooHigh)?;
    ensure!(body.sequence.get() == 1, "the refusal must name the next sequence: {body:?}");
    let order = scene.alice_pays(u64::MAX, 1);
    scene.refused(&order, RefusalCode::SequenceTooHigh)?;
    Ok(())
}

#[test]
fn balance_exceeded() -> Result<()> {
    // Somebody else holds more, so that the amount is within the supply.
    let mut scene = Scene::of(Plan::single().fund(&Actor::account(5), 1_000_000))?;
    let order = scene.alice_pays(0, ALICE + 1);
    let (body, _) = scene.refused(&order, RefusalCode::InsufficientBalance)?;
    ensure!(body.amount.get() == ALICE, "the refusal must name the balance: {body:?}");
    let order = scene.alice_pays(0, ALICE);
    scene.voted(&order)?;
    Ok(())
}

#[test]
fn the_balance_of_another_token_does_not_count() -> Result<()> {
    let carol = Actor::account(2);
    let plan = Plan::single().fund_token(&Actor::account(0), LITRE, 3).fund_token(&carol, LITRE, 500);
    let mut scene = Scene::of(plan)?;
    let litres = |scene: &Scene, amount| {
        let mut body = transfer(&scene.alice, &scene.bob.public, 0, amount);
        body.token = LITRE.into();
        scene.committee.network.sign(body, &scene.alice)
    };
    let order = litres(&scene, 4);
    let (body, _) = scene.refused(&order, RefusalCode::InsufficientBalance)?;
    ensure!(body.amount.get() == 3, "the refusal must name the balance of that token: {body:?}");
    let euros = scene.committee.network.order(&carol, &scene.bob, 0, 1);
    scene.refused(&euros, RefusalCode::InsufficientBalance)?;
    let order = litres(&scene, 3);
    let certificate = scene.certified(order);
    scene.executed(&certificate)?;
    ensure!(scene.ledger.balance(&scene.bob.public, LITRE) == 3, "Bob was paid litres");
    scene.stop_and_audit()
}

#[test]
fn conflicting_order_is_refused_with_the_locked_one() -> Result<()> {
    let mut scene = Scene::start()?;
    let (first, second) = (scene.alice_pays(0, 100), scene.alice_pays(0, 200));
    let vote = scene.voted(&first)?;
    // Without her signature the other order proves nothing against Alice, and nothing is revealed.
    let mut forged = second;
    forged.signature[0] ^= 1;
    scene.refused(&forged, RefusalCode::BadSignature)?;
    let (_, locked) = scene.refused(&second, RefusalCode::Conflict)?;
    ensure!(locked == Some(first), "the refusal must carry the locked order");
    Equivocation { first, second }.verify(&scene.committee.network.rules.genesis)?;
    // The lock stands, and is voted for again.
    ensure!(scene.voted(&first)? == vote, "another vote for the same order");
    // Penalty or not, the certificate executes.
    let certificate = scene.certified(first);
    scene.executed(&certificate)?;
    scene.stop_and_audit()
}

#[test]
fn after_proven_equivocation_new_orders_are_refused_for_a_while_and_certificates_never() -> Result<()> {
    let mut scene = Scene::of(Plan::single().flag("--penalty-ms", "1000000"))?;
    let (first, second, next) = (scene.alice_pays(0, 100), scene.alice_pays(0, 200), scene.alice_pays(1, 5));
    scene.voted(&first)?;
    scene.refused(&second, RefusalCode::Conflict)?;
    // What is locked is locked.
    scene.voted(&first)?;
    let certificate = scene.certified(first);
    scene.executed(&certificate)?;
    // The filter ends it, which knows of the penalty.
    let address = scene.address();
    let digest = scene.committee.network.digest(&next.body);
    let envelope = scene.client.envelope(address);
    let mut datagram = [0; DATAGRAM_MAX];
    let length = transfer_request(&mut datagram, &envelope, &next, &digest);
    scene.client.send(address, &datagram[..length])?;
    scene.state_is_right()?;
    ensure!(scene.committee.daemons[0].ended_in_userspace("penalised")? >= 1, "nothing was kept away");
    // The penalty is remembered over a kill, while the filter knows nothing yet.
    scene.committee.daemons[0].kill()?;
    scene.committee.daemons[0].start()?;
    scene.refused(&next, RefusalCode::Penalised)?;
    let certificate = scene.certified(next);
    scene.executed(&certificate)?;
    scene.stop_and_audit()
}

#[test]
fn identical_replay_gets_the_same_vote() -> Result<()> {
    let mut scene = Scene::start()?;
    let order = scene.alice_pays(0, 100);
    let vote = scene.voted(&order)?;
    for _ in 0..10 {
        ensure!(scene.voted(&order)? == vote, "another vote for the same order");
    }
    scene.state_is_right()?;
    let certificate = scene.certified(order);
    scene.executed(&certificate)?;
    scene.stop_and_audit()
}

#[test]
fn expired() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut body = transfer(&scene.alice, &scene.bob.public, 0, 100);
    for expiry_ms in [1, now_ms() - 1] {
        body.expiry_ms = expiry_ms.into();
        let order = scene.committee.network.sign(body, &scene.alice);
        scene.refused(&order, RefusalCode::Expired)?;
    }
    Ok(())
}

#[test]
fn a_locked_order_is_voted_for_after_its_expiry_too() -> Result<()> {
    let mut scene = Scene::start()?;
    // On a slow machine an order may expire before its first vote; then one with a later expiry is sent.
    for seconds in [1, 4, 16, 64] {
        let mut body = transfer(&scene.alice, &scene.bob.public, 0, 100);
        body.expiry_ms = (now_ms() + seconds * 1_000).into();
        let order = scene.committee.network.sign(body, &scene.alice);
        let Ok(vote) = scene.order(&order)?.vote() else { continue };
        while now_ms() <= body.expiry_ms.get() {
            std::thread::sleep(Duration::from_millis(50));
        }
        ensure!(scene.voted(&order)? == vote, "another vote for the same order");
        let certificate = scene.certified(order);
        return scene.executed(&certificate);
    }
    bail!("no order was voted for within a minute of its making")
}

#[test]
fn wrong_epoch() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut body = transfer(&scene.alice, &scene.bob.public, 0, 100);
    body.epoch = 1.into();
    let order = scene.committee.network.sign(body, &scene.alice);
    // The header's epoch must be that of the order.
    let digest = scene.committee.network.digest(&body);
    let address = scene.address();
    let received = scene.client.exchange(address, |buffer, envelope| {
        let envelope = meshpay_wire::Envelope { epoch: 1, ..*envelope };
        meshpay_wire::transfer_request(buffer, &envelope, &order, &digest)
    })?;
    let (body, _) = received.answer.refusal(RefusalCode::WrongEpoch)?;
    ensure!(body.value.get() == 0, "the refusal must name the current epoch: {body:?}");
    scene.state_is_right()
}

#[test]
fn wrong_network() -> Result<()> {
    let mut scene = Scene::start()?;
    let address = scene.address();
    let body = transfer(&scene.alice, &scene.bob.public, 0, 100);
    let foreign = GenesisDigest([9; 32]);
    let digest = order_digest(&foreign, &body);
    let order = meshpay_wire::SignedOrder { body, signature: scene.alice.sign(&digest.0) };
    // As it would come from a client of the other network.
    let received = scene.client.exchange(address, |buffer, envelope| {
        let envelope = meshpay_wire::Envelope { network: [9; 8], ..*envelope };
        meshpay_wire::transfer_request(buffer, &envelope, &order, &digest)
    })?;
    received.answer.refusal(RefusalCode::WrongNetwork)?;
    // With our network in its header the tag betrays it, and with our tag the signature does.
    let received = scene
        .client
        .exchange(address, |buffer, envelope| meshpay_wire::transfer_request(buffer, envelope, &order, &digest))?;
    received.answer.refusal(RefusalCode::HeaderMismatch)?;
    scene.refused(&order, RefusalCode::BadSignature)?;
    Ok(())
}

#[test]
fn a_header_whose_tag_does_not_match_its_body() -> Result<()> {
    let mut scene = Scene::start()?;
    let address = scene.address();
    let order = scene.alice_pays(0, 100);
    let mut digest = scene.committee.network.digest(&order.body);
    digest.0[0] ^= 1;
    let received = scene
        .client
        .exchange(address, |buffer, envelope| meshpay_wire::transfer_request(buffer, envelope, &order, &digest))?;
    received.answer.refusal(RefusalCode::HeaderMismatch)?;
    let certificate = scene.certified(order).bytes();
    let received = scene.client.exchange(address, |buffer, envelope| {
        let (view, _) = meshpay_wire::CertificateView::parse(&certificate).expect("a certificate that was just made");
        meshpay_wire::confirmation_request(buffer, envelope, &view, &digest)
    })?;
    received.answer.refusal(RefusalCode::HeaderMismatch)?;
    scene.state_is_right()?;
    // Nothing was locked by either.
    let other = scene.alice_pays(0, 200);
    scene.voted(&other)?;
    Ok(())
}

#[test]
fn amount_above_supply() -> Result<()> {
    let mut scene = Scene::start()?;
    for amount in [ALICE + 1, u64::MAX] {
        let order = scene.alice_pays(0, amount);
        let (body, _) = scene.refused(&order, RefusalCode::AmountAboveSupply)?;
        ensure!(body.amount.get() == ALICE, "the refusal must name the supply: {body:?}");
    }
    Ok(())
}

#[test]
fn unknown_token() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut body = transfer(&scene.alice, &scene.bob.public, 0, 100);
    body.token = 4_711.into();
    let order = scene.committee.network.sign(body, &scene.alice);
    scene.refused(&order, RefusalCode::UnknownToken)?;
    Ok(())
}

#[test]
fn a_new_account_needs_the_least_first_credit() -> Result<()> {
    let mut scene = Scene::of(Plan::single().minimum_first_credit(50))?;
    let order = scene.alice_pays(0, 49);
    let (body, _) = scene.refused(&order, RefusalCode::BelowFirstCredit)?;
    ensure!(body.amount.get() == 50, "the refusal must name the least first credit: {body:?}");
    scene.pay(50)?;
    scene.pay(1)?;
    scene.stop_and_audit()
}
