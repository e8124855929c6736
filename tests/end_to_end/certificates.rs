//! Certificates: executed whenever a quorum has signed, whatever this authority knows; never otherwise.

use crate::scene::{ALICE, PUPPETS, Scene};
use anyhow::{Result, ensure};
use meshpay_tests::client::Answer;
use meshpay_tests::committee::Plan;
use meshpay_tests::network::{Actor, Certificate, EURO, transfer};
use meshpay_wire::{DATAGRAM_MAX, RefusalCode, account_flags};

#[test]
fn below_quorum() -> Result<()> {
    let mut scene = Scene::start()?;
    let order = scene.alice_pays(0, 100);
    for signers in [&[1, 2][..], &[3]] {
        let certificate = scene.committee.network.certificate(order, signers);
        scene.certificate_refused(&certificate, RefusalCode::BelowQuorum)?;
    }
    Ok(())
}

#[test]
fn more_votes_than_a_minimal_quorum() -> Result<()> {
    let mut scene = Scene::start()?;
    let order = scene.alice_pays(0, 100);
    let mut votes = vec![(0, scene.voted(&order)?.signature)];
    votes.extend(PUPPETS.map(|place| scene.committee.network.puppet_vote(place, &order.body)));
    let certificate = Certificate::assemble(order, &votes);
    scene.certificate_refused(&certificate, RefusalCode::NotMinimal)?;
    Ok(())
}

#[test]
fn with_a_non_member() -> Result<()> {
    let mut scene = Scene::start()?;
    let order = scene.alice_pays(0, 100);
    for stranger in [4, 31] {
        // A quorum of members besides makes it no better.
        let certificate = scene.committee.network.certificate(order, &[1, 2, 3, stranger]);
        scene.certificate_refused(&certificate, RefusalCode::NotAMember)?;
        let certificate = scene.committee.network.certificate(order, &[1, 2, stranger]);
        scene.certificate_refused(&certificate, RefusalCode::NotAMember)?;
    }
    Ok(())
}

#[test]
fn with_one_signer_twice() -> Result<()> {
    let mut scene = Scene::start()?;
    let order = scene.alice_pays(0, 100);
    // One vote at two places: the second place's key does not verify it.
    let mut certificate = scene.committee.network.certificate(order, &PUPPETS);
    certificate.signatures[2] = certificate.signatures[1];
    scene.certificate_refused(&certificate, RefusalCode::BadVote)?;
    // One place with two votes: not even well formed, since a place is a bit.
    let mut certificate = scene.committee.network.certificate(order, &[1, 2]);
    certificate.signatures.push(certificate.signatures[1]);
    let bytes = certificate.bytes();
    let address = scene.address();
    let envelope = scene.client.envelope(address);
    let whole = scene.committee.network.certificate(order, &PUPPETS).bytes();
    let mut datagram = [0; DATAGRAM_MAX];
    let (view, _) = meshpay_wire::CertificateView::parse(&whole).expect("a certificate that was just made");
    let digest = scene.committee.network.digest(&order.body);
    let length = meshpay_wire::confirmation_request(&mut datagram, &envelope, &view, &digest);
    datagram[meshpay_wire::HEADER_LENGTH..length].copy_from_slice(&bytes);
    let drawn = scene.client.answers_drawn(address, &datagram[..length], &scene.alice.public)?;
    ensure!(drawn.is_empty(), "a malformed message was answered: {drawn:?}");
    scene.state_is_right()
}

#[test]
fn with_votes_for_another_digest() -> Result<()> {
    let mut scene = Scene::start()?;
    let (order, other) = (scene.alice_pays(0, 100), scene.alice_pays(0, 900));
    let mut certificate = scene.certified(other);
    certificate.order = order;
    scene.certificate_refused(&certificate, RefusalCode::BadVote)?;
    // Two right votes and one for another digest.
    let mut certificate = scene.certified(order);
    certificate.signatures[0] = scene.committee.network.puppet_vote(1, &other.body).1;
    scene.certificate_refused(&certificate, RefusalCode::BadVote)?;
    Ok(())
}

#[test]
fn without_the_senders_signature() -> Result<()> {
    let mut scene = Scene::start()?;
    let mut order = scene.alice_pays(0, 100);
    order.signature[5] ^= 4;
    let certificate = scene.certified(order);
    scene.certificate_refused(&certificate, RefusalCode::BadSignature)?;
    Ok(())
}

#[test]
fn of_an_old_sequence() -> Result<()> {
    let mut scene = Scene::start()?;
    let first = scene.pay(100)?;
    scene.pay(10)?;
    let digest = scene.committee.network.digest(&first.order.body);
    // The same again, with other votes, and one for another order at that place.
    let others = [scene.certified(first.order), scene.certified(scene.alice_pays(0, 999)), first];
    for certificate in others {
        let executed = scene.confirm(&certificate)?.executed()?;
        ensure!(executed.order == digest && executed.status == 2, "wrong acknowledgement: {executed:?}");
        scene.state_is_right()?;
    }
    scene.stop_and_audit()
}

#[test]
fn after_a_gap() -> Result<()> {
    let mut scene = Scene::start()?;
    let orders = [0, 1, 2].map(|sequence| scene.alice_pays(sequence, 10));
    let certificates = orders.map(|order| scene.certified(order));
    let body = scene.certificate_refused(&certificates[2], RefusalCode::MissingCertificate)?;
    ensure!(body.sequence.get() == 0, "the refusal must name the missing sequence: {body:?}");
    let far = scene.certified(scene.alice_pays(1_000_000, 10));
    scene.certificate_refused(&far, RefusalCode::MissingCertificate)?;
    scene.executed(&certificates[0])?;
    let body = scene.certificate_refused(&certificates[2], RefusalCode::MissingCertificate)?;
    ensure!(body.sequence.get() == 1, "the refusal must name the missing sequence: {body:?}");
    scene.executed(&certificates[1])?;
    scene.executed(&certificates[2])?;
    scene.stop_and_audit()
}

#[test]
fn beyond_balance_is_executed_and_marked_as_owing() -> Result<()> {
    let carol = Actor::account(2);
    let mut scene = Scene::of(Plan::single().fund(&carol, 10_000))?;
    let certificate = scene.certified(scene.alice_pays(0, ALICE + 4_000));
    scene.executed(&certificate)?;
    let address = scene.address();
    let answer = scene.client.account(address, &scene.alice.public, EURO)?;
    ensure!(answer.balance.get() == -4_000 && answer.flags.get() & account_flags::OWING != 0, "{answer:?}");
    // A vote never goes below zero.
    let order = scene.alice_pays(1, 1);
    let (body, _) = scene.refused(&order, RefusalCode::InsufficientBalance)?;
    ensure!(body.amount.get() == 0, "the refusal must name the balance, cut at zero: {body:?}");
    // The credit that was missing here repairs it.
    let credit = scene.committee.network.order(&carol, &scene.alice, 0, 5_000);
    let certificate = scene.certified(credit);
    scene.executed(&certificate)?;
    let answer = scene.client.account(address, &scene.alice.public, EURO)?;
    ensure!(answer.balance.get() == 1_000 && answer.flags.get() & account_flags::OWING == 0, "{answer:?}");
    scene.voted(&order)?;
    scene.stop_and_audit()
}

#[test]
fn of_a_sender_that_is_unknown_here() -> Result<()> {
    let mut scene = Scene::start()?;
    let stranger = Actor::account(77);
    let order = scene.committee.network.order(&stranger, &scene.bob, 0, 300);
    let certificate = scene.certified(order);
    scene.executed(&certificate)?;
    ensure!(scene.ledger.balance(&stranger.public, EURO) == -300, "the stranger owes");
    scene.stop_and_audit()
}

#[test]
fn with_sender_equal_to_recipient() -> Result<()> {
    let mut scene = Scene::start()?;
    let body = transfer(&scene.alice, &scene.alice.public, 0, ALICE);
    let order = scene.committee.network.sign(body, &scene.alice);
    scene.voted(&order)?;
    let certificate = scene.certified(order);
    scene.executed(&certificate)?;
    ensure!(scene.ledger.balance(&scene.alice.public, EURO) == i128::from(ALICE), "the balance stays");
    ensure!(scene.ledger.next_sequence(&scene.alice.public) == 1, "the sequence advances");
    scene.pay(ALICE)?;
    scene.stop_and_audit()
}

#[test]
fn a_recipient_cannot_overflow() -> Result<()> {
    // Nobody could vote for this; a faulty quorum could certify it, and it must not wrap here.
    let mut scene = Scene::start()?;
    for number in 50..53 {
        let order = scene.committee.network.order(&Actor::account(number), &scene.bob, 0, u64::MAX);
        let certificate = scene.certified(order);
        scene.executed(&certificate)?;
    }
    ensure!(
        scene.ledger.balance(&scene.bob.public, EURO) == 3 * i128::from(u64::MAX),
        "three times the largest amount"
    );
    // What he can order is bounded by the supply all the same.
    let order = scene.committee.network.order(&scene.bob, &scene.alice, 0, u64::MAX);
    scene.refused(&order, RefusalCode::AmountAboveSupply)?;
    scene.stop_and_audit()
}

#[test]
fn beats_a_different_lock() -> Result<()> {
    let mut scene = Scene::start()?;
    let (locked, certified) = (scene.alice_pays(0, 100), scene.alice_pays(0, 200));
    scene.voted(&locked)?;
    let certificate = scene.certified(certified);
    scene.executed(&certificate)?;
    // The lock is gone: the old order is answered with what was executed, the next one is voted for.
    let executed = scene.order(&locked)?.executed()?;
    ensure!(executed.order == scene.committee.network.digest(&certified.body), "wrong acknowledgement: {executed:?}");
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn is_served_to_whoever_asks() -> Result<()> {
    let mut scene = Scene::start()?;
    let paid: Vec<Certificate> = (1..=5).map(|amount| scene.pay(amount)).collect::<Result<_>>()?;
    let (address, rules) = (scene.address(), scene.committee.network.rules.clone());
    for (sequence, certificate) in paid.iter().enumerate() {
        match scene.client.debit(address, &rules, &scene.alice.public, sequence as u64)? {
            Answer::Certificate(_, found) => ensure!(found == *certificate, "another certificate at {sequence}"),
            other => anyhow::bail!("expected a certificate, got {other:?}"),
        }
    }
    scene.client.debit(address, &rules, &scene.alice.public, 5)?.refusal(RefusalCode::NotFound)?;
    // What Bob received, newest first, by following the links.
    let mut locator = 0;
    for certificate in paid.iter().rev() {
        let query = meshpay_wire::CertificateQuery {
            direction: meshpay_wire::DIRECTION_CREDIT,
            reserved: [0; 7],
            locator: locator.into(),
        };
        let bob = scene.bob.public;
        let received = scene.client.exchange(address, |buffer, envelope| {
            meshpay_wire::certificate_query(buffer, envelope, &bob, 0, &query, 3)
        })?;
        let Answer::Certificate(links, found) = received.answer else {
            anyhow::bail!("expected a certificate, got {:?}", received.answer)
        };
        ensure!(found == *certificate, "another credit");
        locator = links.previous_credit.get();
    }
    ensure!(locator == 0, "a credit before the first");
    Ok(())
}
