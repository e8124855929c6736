//! Packets that the filter drops because there are too many: over a rate, or of a class that is shed while the workers are behind.
//!
//! What always holds: meanwhile whoever holds a return token pays as ever.

use super::{drain, scene, until_counted};
use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_tests::client::Client;
use meshpay_tests::committee::Plan;
use meshpay_tests::daemon::outcome_of;
use meshpay_tests::frames::{self, FrameSocket};
use meshpay_tests::link::{GATEWAY_V4, GATEWAY_V6, Link, OTHERS_V4, PEER};
use meshpay_tests::network::EURO;
use meshpay_wire::{DATAGRAM_MAX, Envelope, PublicKey};
use std::net::{Ipv6Addr, SocketAddrV4};

/// Bundles of one attempt: some 20,000 messages.
const BUNDLES: usize = 2_000;
/// IPv6 clients, and bundles that each sends in turn: together more than all newcomers may, each less than it may by itself
/// (`wire/src/filter/config.rs`).
const NEWCOMERS: u16 = 16;
/// See [`NEWCOMERS`].
const BUNDLES_OF_NEWCOMER: usize = 80;

/// As many questions for an account as fit one datagram.
fn questions(account: &PublicKey, mut envelope: impl FnMut() -> Envelope) -> Vec<u8> {
    let mut datagram = Vec::new();
    let mut message = [0; DATAGRAM_MAX];
    loop {
        let length = meshpay_wire::account_query(&mut message, &envelope(), account, EURO);
        if datagram.len() + length > DATAGRAM_MAX {
            return datagram;
        }
        datagram.extend(&message[..length]);
    }
}

#[test]
fn more_than_the_rate_of_all_without_a_token_and_of_one_with() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single())?;
    let (address, key) = (scene.address(), scene.bob.public);
    let mut stranger = scene.committee.client_at(&link, OTHERS_V4[0].into())?;
    // It never listens, so it never holds a token.
    until_counted(&mut scene, "over_shared_rate", |_| {
        (0..BUNDLES).try_for_each(|_| {
            let datagram = questions(&key, || stranger.envelope(address));
            stranger.send(address, &datagram)
        })
    })?;
    // Meanwhile whoever holds one is served.
    scene.state_is_right()?;
    scene.pay(1)?;
    scene.client.account(address, &key, EURO)?;
    let mut flood = scene.client.clone_socket()?;
    until_counted(&mut scene, "over_rate", |_| {
        (0..BUNDLES).try_for_each(|_| {
            let datagram = questions(&key, || flood.envelope(address));
            flood.send(address, &datagram)
        })
    })?;
    drain(&mut scene)?;
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn more_than_the_rate_of_all_ipv6_sources_that_have_earned_nothing() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let plan = Plan::single().on(&link, GATEWAY_V6.into()).flag("--rung", "xsk-copy").flag("--require", "xsk-copy");
    let mut scene = Scene::of(plan)?;
    let (address, key) = (scene.address(), scene.bob.public);
    // One neighbour with a /64 has as many addresses as it likes, and gets a token for each.
    let mut newcomers: Vec<Client> = (0..NEWCOMERS)
        .map(|number| -> Result<Client> {
            let own = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 1, number);
            link.mesh.ip(&format!("address add {own}/64 dev {PEER} nodad"))?;
            let mut client = scene.committee.client_at(&link, own.into())?;
            client.account(address, &key, EURO)?;
            Ok(client)
        })
        .collect::<Result<_>>()?;
    until_counted(&mut scene, "over_newcomer_rate", |_| {
        newcomers.iter_mut().try_for_each(|newcomer| {
            (0..BUNDLES_OF_NEWCOMER).try_for_each(|_| {
                let datagram = questions(&key, || newcomer.envelope(address));
                newcomer.send(address, &datagram)
            })
        })
    })?;
    ensure!(scene.committee.daemons[0].filtered("over_rate")? == 0, "one of them was over its own rate");
    drain(&mut scene)?;
    scene.pay(1)?;
    scene.stop_and_audit()
}

/// Asks until the workers drop questions for want of room, so that the filter sheds them.
fn until_shed(scene: &mut Scene) -> Result<()> {
    let (address, key) = (scene.address(), scene.bob.public);
    scene.client.account(address, &key, EURO)?;
    let mut flood = scene.client.clone_socket()?;
    until_counted(scene, "shed", |_| {
        (0..BUNDLES).try_for_each(|_| {
            let datagram = questions(&key, || flood.envelope(address));
            flood.send(address, &datagram)
        })
    })
}

#[test]
fn questions_are_shed_under_load_and_payments_are_not() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        until_shed(&mut scene)?;
        let order = scene.alice_pays(0, 1);
        scene.voted(&order)?;
        let status = scene.committee.daemons[0].filter("status")?;
        ensure!(outcome_of(&status, "shed_foreign")? == 0, "nobody asked for others' traffic to be shed: {status}");
        // When the load is over, questions are answered again.
        scene.committee.daemons[0].wait_for_filter("nothing is shed", |status| status["shed_level"] == 0)?;
        drain(&mut scene)?;
        let certificate = scene.certified(order);
        scene.executed(&certificate)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn others_traffic_is_shed_where_the_operator_asks_for_it() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single().filter_setting("shed_interface", true))?;
    let raw = FrameSocket::open(&link.mesh)?;
    let to = |port| SocketAddrV4::new(GATEWAY_V4, port);
    let foreign = frames::from_mesh((OTHERS_V4[0], 999), to(5_001), &[7; 200]);
    let name_query = frames::from_mesh((OTHERS_V4[0], 999), to(53), &[7; 200]);
    // Without load it passes.
    until_counted(&mut scene, "other_port", |_| raw.send(&[&foreign]).map(drop))?;
    ensure!(scene.committee.daemons[0].filtered("shed_foreign")? == 0, "shed without load");
    until_shed(&mut scene)?;
    until_counted(&mut scene, "shed_foreign", |_| raw.send(&[&foreign]).map(drop))?;
    // What a hurried operator must not lose goes on, whatever the load.
    until_counted(&mut scene, "other_port", |_| raw.send(&[&name_query]).map(drop))?;
    let order = scene.alice_pays(0, 1);
    scene.voted(&order)?;
    scene.committee.daemons[0].wait_for_filter("nothing is shed", |status| status["shed_level"] == 0)?;
    drain(&mut scene)?;
    let certificate = scene.certified(order);
    scene.executed(&certificate)?;
    scene.stop_and_audit()
}
