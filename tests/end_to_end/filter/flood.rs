//! A flood of everything at once while a client pays: each of its payments settles, and the kernel ends what can be ended there.

use super::{Meanwhile, certificate_datagram, order_datagram, scene_with};
use crate::scene::Scene;
use anyhow::{Result, ensure};
use meshpay_net::host;
use meshpay_net::xdp::{AttachMode, Bare, Program, Variation};
use meshpay_tests::attacker::{Attacker, SALVO};
use meshpay_tests::daemon::outcome_of;
use meshpay_tests::frames::{HEADERS, from_mesh};
use meshpay_tests::link::{GATEWAY_V4, INTERFACE, Link};
use meshpay_tests::network::Actor;
use meshpay_tests::random::Random;
use meshpay_wire::{Header, Kind};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Payments of the honest client without a flood.
const PAYMENTS: u64 = 40;
/// And with it, at most; she has money for no more.
const PAYMENTS_MAX: u64 = 900;
/// Rounds of the flood with the filter, at least; without, a fifth of them.
const ROUNDS: u64 = 200;
/// An account that has money and pays nobody.
const QUIET: usize = 100;
/// Where the attackers say that they are, a thousand of them, and somebody else's copies differ by their request ids.
const VARIATION: Variation = Variation {
    first_source: Ipv4Addr::new(198, 18, 8, 1),
    sources: 1_000,
    random_at: (HEADERS + std::mem::offset_of!(Header, request_id)) as u16,
};
/// Without a filter the daemon sees everything, and needs a core for it on a machine with two.
const PAUSE_WITHOUT_FILTER: Duration = Duration::from_millis(2);
/// What the filter's settings let pass of stale messages: at once, and each second (`wire/src/filter/config.rs`).
const STALE_BURST: f64 = 128.0;
const STALE_PER_SECOND: f64 = 1_000.0;
/// How much of what must end in the kernel does.
const ENDED: f64 = 0.99;

/// A round of the flood: frames, and whether their copies differ.
struct Round {
    /// One valid message, again and again.
    echo: Vec<u8>,
    /// A certificate that was executed long ago.
    stale: Vec<u8>,
    /// What no client sends.
    wrong_class: Vec<u8>,
    /// Random bytes.
    noise: Vec<u8>,
    /// A funded account, a sequence that it may use, a signature that is none: what costs an authority most.
    forged: Vec<u8>,
}

impl Round {
    fn new(scene: &Scene, random: &mut Random) -> Self {
        let gateway = SocketAddrV4::new(GATEWAY_V4, scene.address().port());
        let network = &scene.committee.network;
        let rules = &network.rules;
        let envelope = meshpay_wire::Envelope {
            network: rules.network,
            epoch: rules.epoch,
            request_id: [1; 8],
            return_token: [0; 8],
        };
        let framed = |message: &[u8]| {
            let mut frame = from_mesh((VARIATION.first_source, 4_000), gateway, message);
            VARIATION.prepare(&mut frame);
            frame
        };
        let executed = scene.alice_pays(0, 1);
        let digest = network.digest(&executed.body);
        let stale = certificate_datagram(&envelope, &scene.certified(executed), &digest);
        let mut wrong_class = order_datagram(&envelope, &executed, &digest);
        (wrong_class[5], wrong_class[6]) = (Kind::Refusal.class() as u8, Kind::Refusal as u8);
        let mut noise = vec![0; 100 + random.below(1_000)];
        random.fill(&mut noise);
        // Far too early, and so refused.
        let ahead = scene.alice_pays(5_000, 1);
        let echo = order_datagram(&envelope, &ahead, &network.digest(&ahead.body));
        let mut forged = network.order(&Actor::account(QUIET), &scene.bob, 0, 1);
        random.fill(&mut forged.signature);
        let forged = order_datagram(&envelope, &forged, &network.digest(&forged.body));
        Self {
            echo: framed(&echo),
            stale: framed(&stale),
            wrong_class: framed(&wrong_class),
            noise: framed(&noise),
            forged: framed(&forged),
        }
    }

    /// Sends a salvo of each.
    fn send(&self, attacker: &Attacker) -> Result<()> {
        attacker.send(&self.echo, false)?;
        [&self.stale, &self.wrong_class, &self.noise, &self.forged]
            .into_iter()
            .try_for_each(|frame| attacker.send(frame, true))
    }
}

/// Pays, one payment after the other, and returns how many a second were settled.
fn pay(scene: &mut Scene, mut goes_on: impl FnMut(u64) -> bool) -> Result<f64> {
    let (started, mut paid) = (Instant::now(), 0);
    while goes_on(paid) {
        scene.pay(1)?;
        paid += 1;
    }
    Ok(paid as f64 / started.elapsed().as_secs_f64())
}

#[test]
fn every_honest_payment_settles_during_a_flood() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["udp", "xdp-udp", "xsk-copy"] {
        let mut scene = scene_with(&link, rung, &[Actor::account(QUIET)])?;
        let has_filter = rung != "udp";
        // Live frames are taken only where a program runs.
        let _pass = (!has_filter).then(|| link.gateway.inside(|| pass_at(INTERFACE))).transpose()?.transpose()?;
        scene.pay(1)?;
        let calm = pay(&mut scene, |paid| paid < PAYMENTS)?;

        let flood = Round::new(&scene, &mut Random::new("flood")?);
        let attacker = Attacker::join(&link, VARIATION)?;
        let before = if has_filter { Some(scene.committee.daemons[0].filter("status")?) } else { None };
        let (sent, started) = (AtomicU64::new(0), Instant::now());
        let (rounds, pause) = if has_filter { (ROUNDS, Duration::ZERO) } else { (ROUNDS / 5, PAUSE_WITHOUT_FILTER) };
        let flooded = std::thread::scope(|scope| -> Result<f64> {
            let (flood, attacker, counted) = (&flood, &attacker, &sent);
            let during = Meanwhile::start(scope, move || {
                flood.send(attacker)?;
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(pause);
                Ok(1)
            });
            let enough = || sent.load(Ordering::Relaxed) >= rounds || during.has_ended();
            let goes_on = |paid| paid < PAYMENTS || (!enough() && paid < PAYMENTS_MAX);
            let flooded = pay(&mut scene, goes_on)?;
            during.end()?;
            Ok(flooded)
        })?;
        let (sent, seconds) = (sent.load(Ordering::Relaxed) * u64::from(SALVO), started.elapsed().as_secs_f64());
        println!(
            "{rung}: {calm:.0} payments/s without a flood, {flooded:.0} with {:.0} packets/s of it, {sent} of each kind",
            (5 * sent) as f64 / seconds
        );
        drop(attacker);
        if let Some(before) = before {
            let after = scene.committee.daemons[0].filter("status")?;
            ended_in_the_kernel(&before, &after, sent as f64, seconds)?;
        }
        scene.state_is_right()?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

fn pass_at(interface: &str) -> Result<meshpay_net::xdp::Attachment> {
    Ok(Program::bare(Bare::Pass)?.attach(host::Link::named(interface)?.index, AttachMode::Native)?)
}

/// The filter's counters account for the flood, reason by reason, of each of which `sent` frames were sent.
fn ended_in_the_kernel(before: &Value, after: &Value, sent: f64, seconds: f64) -> Result<()> {
    let gained = |outcomes: &[&str]| -> Result<f64> {
        let gained = outcomes.iter().map(|name| Ok(outcome_of(after, name)? - outcome_of(before, name)?));
        Ok(gained.sum::<Result<u64>>()? as f64)
    };
    println!("{}", after["outcomes"]);
    // Of no message and of no request all end for what they are.
    for reason in ["malformed_message", "wrong_class"] {
        let ended = gained(&[reason])?;
        ensure!((ENDED * sent..=sent).contains(&ended), "{ended} of {sent} ended as {reason}: {after}");
    }
    // Of what is stale all but the budget.
    let stale = gained(&["stale", "stale_over_budget", "delivered_stale", "over_shared_rate"])?;
    ensure!(stale >= ENDED * sent, "{stale} of {sent} were found to be stale: {after}");
    let (passed, budget) = (gained(&["delivered_stale"])?, STALE_BURST + STALE_PER_SECOND * (seconds + 1.0));
    ensure!(passed <= budget, "{passed} stale messages have passed in {seconds} s, the budget is {budget}");
    // Copies pass as often as the daemon has answered the one before; bad signatures as far as the rate of all without a token goes.
    ensure!(gained(&["echo"])? > 0.0, "none ended as an echo: {after}");
    let judged = gained(&["malformed_message", "wrong_class", "echo", "delivered"])? + stale;
    ensure!(judged >= ENDED * 5.0 * sent, "{judged} of {} are accounted for: {after}", 5.0 * sent);
    Ok(())
}
