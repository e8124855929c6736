//! Bundles: several messages in one datagram, each answered as if it had come alone.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_tests::client::Answer;
use meshpay_tests::committee::Plan;
use meshpay_tests::network::Actor;
use meshpay_wire::DATAGRAM_MAX;
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[test]
fn orders_of_several_senders_for_several_workers() -> Result<()> {
    let senders: Vec<Actor> = (0..4).map(|shard| Actor::in_shard(shard, 3)).collect();
    let plan = senders.iter().fold(Plan::single().flag("--workers", "2"), |plan, sender| plan.fund(sender, 100));
    let mut scene = Scene::of(plan)?;
    let address = scene.address();
    let mut waiting = HashMap::new();
    let end = Instant::now() + meshpay_tests::DEADLINE;
    let mut voted = [false; 4];
    while !voted.iter().all(|voted| *voted) {
        ensure!(Instant::now() < end, "votes came for {voted:?} only");
        let mut datagram = Vec::new();
        for (at, sender) in senders.iter().enumerate() {
            let order = scene.committee.network.order(sender, &scene.bob, 0, 5);
            let envelope = scene.client.envelope(address);
            waiting.insert(envelope.request_id, (at, scene.committee.network.digest(&order.body)));
            let mut message = [0; DATAGRAM_MAX];
            let digest = scene.committee.network.digest(&order.body);
            let length = meshpay_wire::transfer_request(&mut message, &envelope, &order, &digest);
            datagram.extend(&message[..length]);
        }
        scene.client.send(address, &datagram)?;
        let next = Instant::now() + Duration::from_millis(200);
        while Instant::now() < next && !voted.iter().all(|voted| *voted) {
            for received in scene.client.receive(Duration::from_millis(20))?.unwrap_or_default() {
                let Some((at, digest)) = waiting.get(&received.header.request_id) else { continue };
                ensure!(matches!(received.answer, Answer::Vote(vote) if vote.order == *digest), "{received:?}");
                voted[*at] = true;
            }
        }
    }
    Ok(())
}

#[test]
fn a_bundle_may_bring_missing_certificates_in_order() -> Result<()> {
    let mut scene = Scene::start()?;
    let address = scene.address();
    let certificates: Vec<_> = (0..3).map(|sequence| scene.certified(scene.alice_pays(sequence, 10))).collect();
    let mut datagram = Vec::new();
    for certificate in &certificates[..2] {
        let (bytes, envelope) = (certificate.bytes(), scene.client.envelope(address));
        let (view, _) = meshpay_wire::CertificateView::parse(&bytes).expect("a certificate that was just made");
        let mut message = [0; DATAGRAM_MAX];
        let digest = scene.committee.network.digest(&certificate.order.body);
        let length = meshpay_wire::confirmation_request(&mut message, &envelope, &view, &digest);
        datagram.extend(&message[..length]);
    }
    let end = Instant::now() + meshpay_tests::DEADLINE;
    loop {
        scene.client.send(address, &datagram)?;
        while scene.client.receive(Duration::from_millis(100))?.is_some() {}
        let answer = scene.client.account(address, &scene.alice.public, meshpay_tests::network::EURO)?;
        if answer.next_sequence.get() == 2 {
            break;
        }
        ensure!(Instant::now() < end, "the bundle was not executed: {answer:?}");
    }
    scene.ledger.execute(&certificates[0].order);
    scene.ledger.execute(&certificates[1].order);
    scene.executed(&certificates[2])?;
    scene.stop_and_audit()
}
