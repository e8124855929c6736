//! Payments on every rung end as they do over plain sockets: the same answers, the same balances, an audit that passes.

use super::{RUNGS, certificate_datagram, order_datagram, scene};
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::client::Answer;
use meshpay_tests::committee::Plan;
use meshpay_tests::link::{GATEWAY_V4, GATEWAY_V6, Link};
use meshpay_tests::network::{Actor, EURO};
use meshpay_wire::RefusalCode;
use std::time::{Duration, Instant};

/// What an answer says that does not depend on keys, which differ from run to run.
fn essence(answer: &Answer) -> String {
    match answer {
        Answer::Vote(vote) => format!("vote of {}", vote.authority),
        Answer::Executed(executed) => format!("executed {}, next {}", executed.status, executed.next_sequence),
        Answer::Account(account) => format!("holds {} at {}", account.balance, account.next_sequence),
        Answer::Certificate(..) => "certificate".to_owned(),
        Answer::Refusal(body, locked) => format!("refusal {}, locked order {}", body.code, locked.is_some()),
    }
}

/// Payments, retries, refusals and a conflict; returns every answer.
fn story(scene: &mut Scene) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for sequence in 0..5 {
        let order = scene.alice_pays(sequence, 7);
        for _ in 0..2 {
            answers.push(essence(&scene.order(&order)?));
        }
        let certificate = scene.certified(order);
        for _ in 0..2 {
            answers.push(essence(&scene.confirm(&certificate)?));
        }
        scene.ledger.execute(&order);
        scene.state_is_right()?;
    }
    answers.push(essence(&scene.order(&scene.alice_pays(9, 1))?));
    answers.push(essence(&scene.order(&scene.alice_pays(5, 1_000_000))?));
    let locked = scene.alice_pays(5, 1);
    answers.push(essence(&scene.order(&locked)?));
    answers.push(essence(&scene.order(&scene.alice_pays(5, 2))?));
    let certificate = scene.certified(locked);
    answers.push(essence(&scene.confirm(&certificate)?));
    scene.ledger.execute(&locked);
    let address = scene.address();
    for account in [scene.alice.public, scene.bob.public] {
        answers.push(essence(&Answer::Account(scene.client.account(address, &account, EURO)?)));
        answers.push(essence(&scene.client.debit(address, &scene.committee.network.rules, &account, 0)?));
    }
    Ok(answers)
}

#[test]
fn on_every_rung_answers_and_balances_are_those_of_plain_sockets() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut without = None;
    for rung in RUNGS {
        let mut scene = scene(&link, rung, Plan::single())?;
        let answers = story(&mut scene).with_context(|| format!("on {rung}"))?;
        let daemon = &scene.committee.daemons[0];
        ensure!(daemon.status()?["rung"] == rung, "not on {rung}: {}", daemon.status()?);
        if rung != "udp" {
            let delivered = daemon.filtered("delivered")?;
            ensure!(delivered >= 20, "on {rung} the filter has delivered {delivered} packets only");
        }
        ensure!(
            without.get_or_insert_with(|| answers.clone()) == &answers,
            "on {rung}: {answers:#?}\nnot {without:#?}"
        );
        scene.stop_and_audit().with_context(|| format!("on {rung}"))?;
        ensure!(link.gateway.programs("mp0")?.is_empty(), "a clean stop on {rung} left a program");
    }
    Ok(())
}

#[test]
fn over_ipv6() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in RUNGS {
        let plan = Plan::single().on(&link, GATEWAY_V6.into()).flag("--rung", rung).flag("--require", rung);
        let mut scene = Scene::of(plan)?;
        story(&mut scene).with_context(|| format!("on {rung}"))?;
        if rung != "udp" {
            ensure!(scene.committee.daemons[0].filtered("delivered")? >= 20, "not by the filter on {rung}");
        }
        scene.stop_and_audit().with_context(|| format!("on {rung}"))?;
    }
    Ok(())
}

#[test]
fn two_workers_share_one_queue() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xdp-udp-xsk-out", "xsk-copy"] {
        // Odd shards are the second worker's.
        let (alice, bob) = (Actor::in_shard(2, 0), Actor::in_shard(3, 1));
        let plan = Plan::single()
            .flag("--workers", "2")
            .on(&link, GATEWAY_V4.into())
            .flag("--rung", rung)
            .flag("--require", rung);
        let mut scene = Scene::with(plan, alice, bob)?;
        for _ in 0..5 {
            scene.pay(10)?;
        }
        // And back, so that each worker has a payer.
        let order = scene.committee.network.order(&scene.bob, &scene.alice, 0, 20);
        scene.voted(&order)?;
        let certificate = scene.certified(order);
        scene.executed(&certificate)?;
        scene.stop_and_audit().with_context(|| format!("on {rung}"))?;
    }
    Ok(())
}

#[test]
fn a_bundle_with_messages_of_a_foreign_shard() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let (alice, bob, carol) = (Actor::in_shard(2, 0), Actor::in_shard(3, 1), Actor::in_shard(5, 2));
    let plan = Plan::single()
        .fund(&carol, 100)
        .flag("--workers", "2")
        .on(&link, GATEWAY_V4.into())
        .flag("--rung", "xsk-copy")
        .flag("--require", "xsk-copy");
    let mut scene = Scene::with(plan, alice, bob)?;
    let address = scene.address();
    let orders = [scene.alice_pays(0, 3), scene.committee.network.order(&carol, &scene.bob, 0, 4)];
    // The kernel steers by the first message; the other worker's must reach it all the same.
    for reversed in [false, true] {
        let mut messages = Vec::new();
        for order in &orders {
            let envelope = scene.client.envelope(address);
            messages.push(order_datagram(&envelope, order, &scene.committee.network.digest(&order.body)));
        }
        if reversed {
            messages.reverse();
        }
        let end = Instant::now() + meshpay_tests::DEADLINE;
        let mut votes = std::collections::HashSet::new();
        while votes.len() < 2 {
            ensure!(Instant::now() < end, "{} of 2 messages were answered", votes.len());
            scene.client.send(address, &messages.concat())?;
            while let Some(received) = scene.client.receive(Duration::from_millis(150))? {
                for message in received {
                    let vote = message.answer.vote()?;
                    votes.insert(vote.order.0);
                }
            }
        }
    }
    let mut bundle = Vec::new();
    for order in &orders {
        let envelope = scene.client.envelope(address);
        let certificate = scene.certified(*order);
        bundle.extend(certificate_datagram(&envelope, &certificate, &scene.committee.network.digest(&order.body)));
    }
    scene.client.send(address, &bundle)?;
    for order in &orders {
        let certificate = scene.certified(*order);
        let executed = scene.confirm(&certificate)?.executed()?;
        ensure!(executed.next_sequence.get() == 1, "not executed: {executed:?}");
        scene.ledger.execute(order);
    }
    scene.state_is_right()?;
    scene.refused(&scene.alice_pays(7, 1), RefusalCode::SequenceTooHigh)?;
    scene.stop_and_audit()
}
