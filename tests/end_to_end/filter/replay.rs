//! Recorded packets, replayed: nothing happens twice, the kernel ends nearly all of them, and an honest client among them is served.

use super::{Meanwhile, certificate_datagram, order_datagram, scene_with};
use crate::scene::ALICE;
use anyhow::{Context, Result, ensure};
use meshpay_tests::client::Answer;
use meshpay_tests::daemon::outcome_of;
use meshpay_tests::frames::{FrameSocket, from_mesh};
use meshpay_tests::link::{GATEWAY_V4, Link, OTHERS_V4};
use meshpay_tests::network::{Actor, EURO};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Accounts whose payments were recorded.
const ACCOUNTS: usize = 1_000;
/// Packets of an ordinary run; `cargo xtask test --long` replays ten times as many.
const PACKETS: u64 = 1_000_000;
/// Payments of the honest client meanwhile, at most: she has money for no more, and waits then.
const HONEST_MAX: u64 = ALICE - 100;
/// What the filter's settings let pass of stale messages: at once, and each second (`wire/src/filter/config.rs`).
const STALE_BURST: f64 = 128.0;
const STALE_PER_SECOND: f64 = 1_000.0;
/// Accounts of which the filter knows nothing because two share a place of its table; what it does not know passes.
const FORGOTTEN: f64 = 0.005;
/// Confirmations under way at the same time while the payments are made that will be replayed.
const WINDOW: usize = 100;

/// What has passed and what has ended of what the filter has judged to be ours.
fn judged(status: &Value) -> Result<(u64, u64)> {
    let sum = |names: &[&str]| names.iter().map(|name| outcome_of(status, name)).sum::<Result<u64>>();
    let passed = sum(&["delivered", "delivered_stale", "delivered_conflict"])?;
    let ended = sum(&["stale", "stale_over_budget", "conflict", "penalised", "echo", "over_shared_rate", "over_rate"])?;
    Ok((passed, ended))
}

#[test]
fn nothing_executes_twice_and_the_kernel_ends_nearly_all() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let actors: Vec<Actor> = (100..100 + ACCOUNTS).map(Actor::account).collect();
    let mut scene = scene_with(&link, "xsk-copy", &actors)?;
    let address = scene.address();
    let gateway = SocketAddrV4::new(GATEWAY_V4, address.port());
    scene.pay(1)?;

    // Every account pays once; orders and certificates are recorded as they were sent.
    let mut recorded = Vec::new();
    let mut waiting = HashMap::new();
    for actor in &actors {
        let order = scene.committee.network.order(actor, &scene.bob, 0, 1);
        let digest = scene.committee.network.digest(&order.body);
        let certificate = scene.certified(order);
        let envelope = scene.client.envelope(address);
        recorded.push(order_datagram(&envelope, &order, &digest));
        let envelope = scene.client.envelope(address);
        recorded.push(certificate_datagram(&envelope, &certificate, &digest));
        waiting.insert(actor.public, (certificate, digest));
        scene.ledger.execute(&order);
    }
    let mut left: Vec<_> = waiting.keys().copied().collect();
    let end = Instant::now() + meshpay_tests::DEADLINE;
    while !left.is_empty() {
        ensure!(Instant::now() < end, "{} of {ACCOUNTS} certificates were not executed in time", left.len());
        for key in left.iter().take(WINDOW) {
            let (certificate, digest) = &waiting[key];
            let envelope = scene.client.envelope(address);
            scene.client.send(address, &certificate_datagram(&envelope, certificate, digest))?;
        }
        while let Some(received) = scene.client.receive(Duration::from_millis(100))? {
            for message in received {
                let key = message.header.account;
                if message.answer.executed().is_ok() {
                    waiting.remove(&key);
                }
            }
        }
        left.retain(|key| waiting.contains_key(key));
    }

    // Replayed from three sources: somebody else, somebody else, and the recorded address with another port.
    let std::net::SocketAddr::V4(client) = scene.client.address()? else { anyhow::bail!("the client is on IPv4") };
    let sources = [(OTHERS_V4[0], 5_000), (OTHERS_V4[1], client.port()), (*client.ip(), client.port() ^ 1)];
    let frames: Vec<Vec<u8>> =
        recorded.iter().flat_map(|message| sources.map(|source| from_mesh(source, gateway, message))).collect();
    let daemon = &scene.committee.daemons[0];
    let (passed_before, ended_before) = judged(&daemon.filter("status")?)?;
    let executed_before = daemon.metric("meshpay_executed_total")?;
    let packets = PACKETS * meshpay_tests::scale() as u64;
    let raw = FrameSocket::open(&link.mesh)?;
    let (started, sent) = (Instant::now(), AtomicU64::new(0));
    let mut honest = 0;
    std::thread::scope(|scope| -> Result<()> {
        let (mut at, frames, raw, counted) = (0, &frames, &raw, &sent);
        let during = Meanwhile::start(scope, move || {
            let next = (at + 64).min(frames.len());
            let taken = raw.send(&frames[at..next])? as u64;
            at = next % frames.len();
            counted.fetch_add(taken, Ordering::Relaxed);
            Ok(taken)
        });
        // The honest client pays, and each time it loses its acknowledgement and asks again.
        while sent.load(Ordering::Relaxed) < packets && !during.has_ended() {
            if honest == HONEST_MAX {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let order = scene.alice_pays(scene.ledger.next_sequence(&scene.alice.public), 1);
            let digest = scene.committee.network.digest(&order.body);
            let certificate = scene.certified(order);
            scene.order(&order)?.vote()?;
            for what in ["its acknowledgement", "the acknowledgement that was lost"] {
                let executed = scene.confirm(&certificate).and_then(Answer::executed);
                let executed = executed.with_context(|| format!("{what}, sequence {}", order.body.sequence))?;
                ensure!(executed.order == digest, "{executed:?}");
            }
            scene.ledger.execute(&order);
            honest += 1;
        }
        during.end().map(drop)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let daemon = &scene.committee.daemons[0];
    let (passed, ended) = judged(&daemon.filter("status")?)?;
    // The honest client's messages pass, a few for each payment, and some more where it retried.
    let (passed, ended) = (passed - passed_before, ended - ended_before);
    let replayed = (passed + ended) as f64;
    let bound = STALE_BURST + STALE_PER_SECOND * (seconds + 1.0) + 20.0 * honest as f64 + FORGOTTEN * replayed;
    println!(
        "{} packets sent in {seconds:.1} s, {replayed} judged: {ended} ended in the kernel, {passed} passed ({:.2} %), \
         beside {honest} honest payments",
        sent.load(Ordering::Relaxed),
        passed as f64 / replayed * 100.0
    );
    ensure!((passed as f64) <= bound, "{passed} packets have passed in {seconds} s, the budget is {bound}");
    // The budget is in packets a second; where this machine sends fast enough, all that may pass is less than a hundredth.
    if bound <= replayed / 100.0 {
        ensure!(ended as f64 >= 0.99 * replayed, "only {ended} of {replayed} ended in the kernel");
    }
    let executed = daemon.metric("meshpay_executed_total")?;
    let executed = (executed - executed_before) as u64;
    ensure!(executed == honest, "{executed} certificates were executed, not {honest}");
    // Every account as it was: the audit below compares all of them too.
    for actor in actors.iter().step_by(50) {
        let answer = scene.client.account(address, &actor.public, EURO)?;
        ensure!(answer.next_sequence.get() == 1 && answer.balance.get() == i128::from(ALICE) - 1, "{answer:?}");
    }
    scene.stop_and_audit()
}
