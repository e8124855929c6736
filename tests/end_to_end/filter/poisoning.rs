//! Nobody turns the filter against a client: whatever an attacker sends in his name, before, while and after he pays, each of his
//! messages is answered at the latest when it is sent a second time.
//!
//! The filter learns from verified facts only (DESIGN 5.11), a certificate beats a lock (5.7), and what may pass although it is stale
//! belongs to whoever proved his address. The attacker here hears everything and is faster than the network: he knows each order before
//! its owner sends it.

use super::{Meanwhile, certificate_datagram, order_datagram, scene, within};
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::client::Client;
use meshpay_tests::committee::Plan;
use meshpay_tests::frames::{ATTACKER_MAC, FrameSocket, udp_frame};
use meshpay_tests::link::{GATEWAY_V4, Link, MESH_MAC, OTHERS_V4};
use meshpay_tests::network::Certificate;
use meshpay_tests::random::Random;
use meshpay_wire::{Kind, SignedOrder};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Payments during each attack.
const PAYMENTS: u64 = 25;
/// Transmissions that a message may need: the second is the one retry.
const TRANSMISSIONS: usize = 2;
/// Frames of the attacker between two pauses: some thousands a second, so that no queue on the way overflows. What is tested here is that the
/// filter is not turned against a client; floods have a test of their own.
const SALVO: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);

/// What the attacker has overheard, or will.
#[derive(Clone)]
struct Overheard {
    /// The victim's messages of all payments to come: orders and certificates, with request ids and tokens of the attacker's choice.
    messages: Vec<Vec<u8>>,
    victim: SocketAddrV4,
    gateway: SocketAddrV4,
}

/// How he uses it.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Garbage under the victim's account and sequence, from an address of his own.
    Garbage,
    /// The victim's valid messages, from an address of his own.
    CopiesFromElsewhere,
    /// The same, and garbage, from the victim's address, and port.
    SpoofedAddress,
    /// The same with the return token that he overheard.
    SpoofedAddressAndToken,
    /// The same with his own hardware address in the frames.
    SpoofedAddressOtherMac,
    /// From the victim's address and other ports, so that no token fits.
    SpoofedOtherPorts,
    /// Refusals and other answers, as if they were the victim's.
    ForgedAnswers,
}

/// Frames of a salvo.
fn salvo(attack: Attack, overheard: &Overheard, random: &mut Random) -> Vec<Vec<u8>> {
    let elsewhere = |random: &mut Random| {
        let ip: Ipv4Addr = OTHERS_V4[random.below(OTHERS_V4.len())];
        SocketAddrV4::new(ip, 1_024 + random.below(60_000) as u16)
    };
    (0..SALVO)
        .map(|_| {
            let mut message = overheard.messages[random.below(overheard.messages.len())].clone();
            let garble = |message: &mut Vec<u8>, random: &mut Random| {
                // Another tag and another body; account and sequence stay.
                random.fill(&mut message[64..72]);
                random.fill(&mut message[88..]);
            };
            random.fill(&mut message[72..80]);
            if !matches!(attack, Attack::SpoofedAddressAndToken) {
                message[80..88].fill(0);
            }
            let (mac, source) = match attack {
                Attack::Garbage => {
                    garble(&mut message, random);
                    (MESH_MAC, elsewhere(random))
                }
                Attack::CopiesFromElsewhere => (MESH_MAC, elsewhere(random)),
                Attack::SpoofedAddress | Attack::SpoofedAddressAndToken | Attack::SpoofedAddressOtherMac => {
                    if random.chance(70) {
                        garble(&mut message, random);
                    }
                    let mac = if matches!(attack, Attack::SpoofedAddressOtherMac) { ATTACKER_MAC } else { MESH_MAC };
                    (mac, overheard.victim)
                }
                Attack::SpoofedOtherPorts => {
                    if random.chance(50) {
                        garble(&mut message, random);
                    }
                    let port = 1_024 + random.below(60_000) as u16;
                    (ATTACKER_MAC, SocketAddrV4::new(*overheard.victim.ip(), port))
                }
                Attack::ForgedAnswers => {
                    let kind = [Kind::Refusal, Kind::TransferResponse, Kind::ConfirmationResponse][random.below(3)];
                    (message[5], message[6]) = (kind.class() as u8, kind as u8);
                    let source = if random.chance(50) { overheard.victim } else { elsewhere(random) };
                    (MESH_MAC, source)
                }
            };
            udp_frame(mac, source, overheard.gateway, &message)
        })
        .collect()
}

/// Orders and certificates of the payments to come, as the victim will send them.
fn payments(scene: &Scene) -> Vec<(SignedOrder, Certificate)> {
    let first = scene.ledger.next_sequence(&scene.alice.public);
    (first..first + PAYMENTS)
        .map(|sequence| {
            let order = scene.alice_pays(sequence, 1);
            (order, scene.certified(order))
        })
        .collect()
}

/// Pays while attacked; each message within its transmissions, and each acknowledgement once more, as if the first had been lost.
fn pay_under(attack: Attack, scene: &mut Scene, link: &Link) -> Result<u64> {
    let payments = payments(scene);
    let address = scene.address();
    let std::net::SocketAddr::V4(victim) = scene.client.address()? else { anyhow::bail!("the client is on IPv4") };
    let envelope = scene.client.envelope(address);
    let mut messages = Vec::new();
    for (order, _) in &payments {
        let digest = scene.committee.network.digest(&order.body);
        messages.push(order_datagram(&envelope, order, &digest));
        // His are below a quorum: he may hear certificates early, but the victim's first acknowledgement shall be the victim's.
        let short = scene.committee.network.certificate(*order, &[1, 2]);
        messages.push(certificate_datagram(&envelope, &short, &digest));
    }
    let gateway = SocketAddrV4::new(GATEWAY_V4, address.port());
    let overheard = Overheard { messages, victim, gateway };
    let raw = FrameSocket::open(&link.mesh)?;
    let mut random = Random::new(&format!("{attack:?}"))?;
    // Before.
    for _ in 0..20 {
        raw.send(&salvo(attack, &overheard, &mut random))?;
    }
    let sent = std::thread::scope(|scope| -> Result<u64> {
        let during = Meanwhile::start(scope, || {
            let sent = raw.send(&salvo(attack, &overheard, &mut random))?;
            std::thread::sleep(PAUSE);
            Ok(sent as u64)
        });
        for (order, certificate) in &payments {
            let digest = scene.committee.network.digest(&order.body);
            let client: &mut Client = &mut scene.client;
            let said = || format!("{attack:?}, sequence {}", order.body.sequence);
            let vote = within(client, address, TRANSMISSIONS, |envelope| order_datagram(envelope, order, &digest))
                .and_then(|received| received.answer.vote())
                .with_context(said)?;
            ensure!(vote.order == digest, "{}: a vote for another order", said());
            // The second time its acknowledgement was lost; then too it gets it.
            // Against whoever overheard the token too, only what is not stale is safe: what he copies is hers in every byte that counts.
            let statuses = if matches!(attack, Attack::SpoofedAddressAndToken) { &[1][..] } else { &[1, 2] };
            for status in statuses.iter().copied() {
                if status == 2 {
                    // As wire.md tells clients: sooner it would be her own allowance that is spent.
                    std::thread::sleep(Duration::from_millis(meshpay_wire::FIRST_RETRY_MS));
                }
                let executed = within(client, address, TRANSMISSIONS, |envelope| {
                    certificate_datagram(envelope, certificate, &digest)
                })
                .and_then(|received| received.answer.executed())
                .with_context(said)?;
                // An answer to the first transmission may come when the second is out.
                let known = executed.status == status || executed.status == 2;
                ensure!(known && executed.order == digest, "{}: {executed:?}", said());
            }
            scene.ledger.execute(order);
        }
        during.end()
    })?;
    scene.state_is_right()?;
    // After.
    let order = scene.alice_pays(scene.ledger.next_sequence(&scene.alice.public), 1);
    scene.voted(&order)?;
    let certificate = scene.certified(order);
    scene.executed(&certificate)?;
    Ok(sent)
}

fn attacked(attack: Attack) -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        scene.pay(1)?;
        let outcome = pay_under(attack, &mut scene, &link);
        let status = scene.committee.daemons[0].filter("status")?;
        let sent = outcome.with_context(|| format!("on {rung}, filter {status}"))?;
        println!("{attack:?} on {rung}: {sent} frames of the attacker beside {PAYMENTS} payments");
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn garbage_with_the_victims_account_and_sequence() -> Result<()> {
    attacked(Attack::Garbage)
}

#[test]
fn copies_of_valid_messages_from_another_address() -> Result<()> {
    attacked(Attack::CopiesFromElsewhere)
}

#[test]
fn the_victims_source_address() -> Result<()> {
    attacked(Attack::SpoofedAddress)
}

#[test]
fn the_victims_source_address_and_its_return_token() -> Result<()> {
    attacked(Attack::SpoofedAddressAndToken)
}

#[test]
fn the_victims_source_address_and_the_attackers_hardware_address() -> Result<()> {
    attacked(Attack::SpoofedAddressOtherMac)
}

#[test]
fn the_victims_address_and_ports_of_others_spend_no_allowance() -> Result<()> {
    attacked(Attack::SpoofedOtherPorts)
}

#[test]
fn forged_refusals_and_other_answers() -> Result<()> {
    attacked(Attack::ForgedAnswers)
}

#[test]
fn a_certificate_against_a_lock_and_of_a_penalised_sender_arrives_at_once() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single().flag("--penalty-ms", "3600000"))?;
        let address = scene.address();
        for sequence in [0, 1, 2, 3] {
            // Another order is locked (unless the sender is penalised by now), and she shows a second one to everybody.
            let (locked, shown) = (scene.alice_pays(sequence, 5), scene.alice_pays(sequence, 6));
            for order in [locked, shown] {
                let digest = scene.committee.network.digest(&order.body);
                let envelope = scene.client.envelope(address);
                scene.client.send(address, &order_datagram(&envelope, &order, &digest))?;
            }
            scene.state_is_right()?;
            let certificate = scene.certified(shown);
            let digest = scene.committee.network.digest(&shown.body);
            // Not one retry: the first transmission arrives.
            let answer =
                within(&mut scene.client, address, 1, |envelope| certificate_datagram(envelope, &certificate, &digest))
                    .with_context(|| format!("on {rung}, sequence {sequence}"))?;
            let executed = answer.answer.executed()?;
            ensure!(executed.status == 1 && executed.order == digest, "{executed:?}");
            scene.ledger.execute(&shown);
        }
        ensure!(scene.committee.daemons[0].filtered("penalised")? > 0, "the sender was never penalised");
        scene.stop_and_audit()?;
    }
    Ok(())
}
