//! Each reason to drop a packet, reached by real packets and counted; and what is not ours passes untouched.

use super::{certificate_datagram, drain, order_datagram, scene, until_counted, within};
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use meshpay_tests::committee::Plan;
use meshpay_tests::frames::{self, FrameSocket};
use meshpay_tests::link::{CLIENT_V4, CLIENT_V6, GATEWAY_V4, GATEWAY_V6, Link, Namespace, OTHERS_V4, PEER};
use meshpay_wire::{Kind, RefusalCode};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Datagrams of one attempt: enough that some come within a window, however slow the machine.
const BURST: usize = 30;
/// A VLAN that the operator permits, and one that he does not.
const VLAN: u16 = 7;
/// See [`VLAN`].
const OTHER_VLAN: u16 = 8;
/// IPv6 extension headers that the filter walks (`wire/src/filter/frame.rs`).
const EXTENSION_HEADERS_MAX: usize = 6;

fn gateway(scene: &Scene) -> SocketAddrV4 {
    SocketAddrV4::new(GATEWAY_V4, scene.address().port())
}

/// A scene on the best rung that veth has, whose penalties outlast the test.
fn with_long_penalties(link: &Arc<Link>) -> Result<Scene> {
    scene(link, "xsk-copy", Plan::single().flag("--penalty-ms", "3600000"))
}

#[test]
fn malformed_messages_and_those_of_a_wrong_class() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        let address = scene.address();
        scene.pay(1)?;
        let before = scene.committee.daemons[0].metric("meshpay_datagrams_total")?;
        until_counted(&mut scene, "malformed_message", |scene| scene.client.send(address, &[7; 200]))?;
        until_counted(&mut scene, "malformed_message", |scene| scene.client.send(address, b"MPAY"))?;
        // An answer is no request: two authorities could otherwise be set upon each other.
        for kind in [Kind::TransferResponse, Kind::Refusal, Kind::AccountAnswer] {
            until_counted(&mut scene, "wrong_class", |scene| {
                let order = scene.alice_pays(1, 1);
                let envelope = scene.client.envelope(address);
                let mut datagram = order_datagram(&envelope, &order, &scene.committee.network.digest(&order.body));
                (datagram[5], datagram[6]) = (kind.class() as u8, kind as u8);
                scene.client.send(address, &datagram)
            })?;
        }
        let after = scene.committee.daemons[0].metric("meshpay_datagrams_total")?;
        ensure!(before == after, "on {rung} {} dropped packets have reached a worker", after - before);
        scene.pay(1)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn frames_that_contradict_themselves_and_fragments() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single())?;
    let (raw, to) = (FrameSocket::open(&link.mesh)?, gateway(&scene));
    let frame = frames::from_mesh((OTHERS_V4[0], 999), to, &[1; 200]);
    // UDP claims more than there is.
    let mut lying = frame.clone();
    lying[38..40].copy_from_slice(&5_000_u16.to_be_bytes());
    until_counted(&mut scene, "malformed_frame", |_| raw.send(&[&lying]).map(drop))?;
    // IPv4 claims a header longer than the frame.
    let mut cut = frame[..36].to_vec();
    cut[14] = 0x4f;
    until_counted(&mut scene, "malformed_frame", |_| raw.send(&[&cut]).map(drop))?;
    let with_flags = |flags: u16| {
        let mut fragment = frame.clone();
        fragment[20..22].copy_from_slice(&flags.to_be_bytes());
        fragment[24..26].fill(0);
        let sum = frames::checksum(&fragment[14..34]);
        fragment[24..26].copy_from_slice(&sum);
        fragment
    };
    let (first, later) = (with_flags(0x2000), with_flags(0x0010));
    until_counted(&mut scene, "fragmented", |_| raw.send(&[&first]).map(drop))?;
    until_counted(&mut scene, "later_fragment", |_| raw.send(&[&later]).map(drop))?;
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn more_extension_headers_than_are_walked() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let plan = Plan::single().on(&link, GATEWAY_V6.into()).flag("--rung", "xsk-copy").flag("--require", "xsk-copy");
    let mut scene = Scene::of(plan)?;
    let raw = FrameSocket::open(&link.mesh)?;
    let to = SocketAddrV6::new(GATEWAY_V6, scene.address().port(), 0, 0);
    let from = SocketAddrV6::new(CLIENT_V6, 999, 0, 0);
    let with_headers = |count| frames::from_mesh_v6(from, to, count, &[7; 200]);
    // As many as are walked: then the message is looked at. One more, and nobody looks any further.
    let walked = with_headers(EXTENSION_HEADERS_MAX);
    until_counted(&mut scene, "malformed_message", |_| raw.send(&[&walked]).map(drop))?;
    ensure!(scene.committee.daemons[0].filtered("deep_headers")? == 0, "headers that are walked are not too deep");
    let deeper = with_headers(EXTENSION_HEADERS_MAX + 1);
    until_counted(&mut scene, "deep_headers", |_| raw.send(&[&deeper]).map(drop))?;
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn what_is_for_another_card_vlan_or_port_is_ours_to_pass_and_not_to_judge() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single().filter_setting("vlans", vec![u32::from(VLAN)]))?;
        let (raw, to) = (FrameSocket::open(&link.mesh)?, gateway(&scene));
        // No message at all: whatever is judged is dropped for it.
        let frame = frames::from_mesh((OTHERS_V4[0], 999), to, &[7; 200]);
        let mut other_mac = frame.clone();
        other_mac[5] ^= 0x10;
        let other_vlan = frames::tagged(&frame, &[OTHER_VLAN]);
        let three_tags = frames::tagged(&frame, &[VLAN; 3]);
        let other_port = frames::from_mesh((OTHERS_V4[0], 999), SocketAddrV4::new(*to.ip(), 9), &[7; 200]);
        let passed = [
            ("other_mac", other_mac),
            ("other_vlan", other_vlan),
            ("other_vlan", three_tags),
            ("other_port", other_port),
        ];
        for (outcome, frame) in passed {
            until_counted(&mut scene, outcome, |_| raw.send(&[&frame]).map(drop))
                .with_context(|| format!("on {rung}"))?;
        }
        let judged = scene.committee.daemons[0].filtered("malformed_message")?;
        ensure!(judged == 0, "on {rung} {judged} frames were judged that are not ours");
        // On the permitted VLAN, with a priority alone and untagged it is ours.
        for tags in [&[VLAN][..], &[0], &[]] {
            let ours = frames::tagged(&frame, tags);
            until_counted(&mut scene, "malformed_message", |_| raw.send(&[&ours]).map(drop))
                .with_context(|| format!("on {rung}, with the tags {tags:?}"))?;
        }
        scene.pay(1)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn a_stale_message_once_its_allowance_is_spent() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single())?;
    let address = scene.address();
    let certificate = scene.pay(1)?;
    let digest = scene.committee.network.digest(&certificate.order.body);
    until_counted(&mut scene, "stale", |scene| {
        for _ in 0..BURST {
            let envelope = scene.client.envelope(address);
            scene.client.send(address, &certificate_datagram(&envelope, &certificate, &digest))?;
            let envelope = scene.client.envelope(address);
            scene.client.send(address, &order_datagram(&envelope, &certificate.order, &digest))?;
        }
        Ok(())
    })?;
    ensure!(scene.committee.daemons[0].filtered("delivered_stale")? >= 2, "no stale message has passed");
    drain(&mut scene)?;
    // Whoever retries as slowly as he should gets his acknowledgement again.
    let executed = scene.confirm(&certificate)?.executed()?;
    ensure!(executed.status == 2 && executed.order == digest, "{executed:?}");
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn an_order_in_conflict_and_then_those_of_a_penalised_sender() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = with_long_penalties(&link)?;
    let address = scene.address();
    scene.pay(1)?;
    let locked = scene.alice_pays(1, 5);
    scene.voted(&locked)?;
    let conflicting = scene.alice_pays(1, 6);
    // A first one passes, so that a forgetful wallet gets the locked order back. Signed by another, it is no evidence.
    let mut forged = conflicting;
    forged.signature = scene.alice_pays(1, 7).signature;
    let digest = scene.committee.network.digest(&forged.body);
    until_counted(&mut scene, "conflict", |scene| {
        for _ in 0..BURST {
            let envelope = scene.client.envelope(address);
            scene.client.send(address, &order_datagram(&envelope, &forged, &digest))?;
        }
        Ok(())
    })?;
    ensure!(scene.committee.daemons[0].filtered("delivered_conflict")? >= 1, "no conflicting order has passed");
    ensure!(scene.committee.daemons[0].filtered("penalised")? == 0, "penalised by a forgery");
    drain(&mut scene)?;
    // Signed by Alice, it is a proof: the filter keeps her orders away from then on.
    let digest = scene.committee.network.digest(&conflicting.body);
    until_counted(&mut scene, "penalised", |scene| {
        for _ in 0..BURST {
            let envelope = scene.client.envelope(address);
            scene.client.send(address, &order_datagram(&envelope, &conflicting, &digest))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })?;
    drain(&mut scene)?;
    // The locked order is no new one: a retry of it still gets its vote.
    scene.voted(&locked)?;
    // Her certificates are executed all the same, and at once: first the one that beats the lock, then one without any lock.
    for certificate in [scene.certified(conflicting), scene.certified(scene.alice_pays(2, 1))] {
        let digest = scene.committee.network.digest(&certificate.order.body);
        let answer =
            within(&mut scene.client, address, 1, |envelope| certificate_datagram(envelope, &certificate, &digest))?;
        let executed = answer.answer.executed()?;
        ensure!(executed.status == 1 && executed.order == digest, "{executed:?}");
        scene.ledger.execute(&certificate.order);
    }
    let before = scene.committee.daemons[0].filtered("penalised")?;
    let order = scene.alice_pays(3, 1);
    let envelope = scene.client.envelope(address);
    let digest = scene.committee.network.digest(&order.body);
    scene.client.send(address, &order_datagram(&envelope, &order, &digest))?;
    scene.state_is_right()?;
    ensure!(scene.committee.daemons[0].filtered("penalised")? > before, "the penalty has ended too early");
    scene.stop_and_audit()
}

#[test]
fn an_echo() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        let address = scene.address();
        let order = scene.alice_pays(0, 1);
        let digest = scene.committee.network.digest(&order.body);
        until_counted(&mut scene, "echo", |scene| {
            let envelope = scene.client.envelope(address);
            let datagram = order_datagram(&envelope, &order, &digest);
            (0..BURST).try_for_each(|_| scene.client.send(address, &datagram))
        })?;
        drain(&mut scene)?;
        scene.voted(&order)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

#[test]
fn an_order_that_the_stack_has_to_refuse_is_not_dropped() -> Result<()> {
    // Too high a sequence, another network: userspace refuses with a reason, so that an honest client learns it.
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut scene = scene(&link, "xsk-copy", Plan::single())?;
    scene.refused(&scene.alice_pays(3, 1), RefusalCode::SequenceTooHigh)?;
    scene.stop_and_audit()
}

/// Pings the gateway.
fn ping(mesh: &Namespace) -> Result<()> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sendto};
    mesh.inside(|| -> Result<()> {
        let kind = Some(ipproto::ICMP);
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, kind)?;
        let timeout = Some(meshpay_tests::DEADLINE);
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, timeout)?;
        let mut request = [8, 0, 0, 0, 0x4d, 0x50, 0, 1, 1, 2, 3, 4];
        let sum = frames::checksum(&request);
        request[2..4].copy_from_slice(&sum);
        sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(IpAddr::V4(GATEWAY_V4), 0))?;
        loop {
            let mut packet = [0; 200];
            let (length, _) =
                rustix::net::recv(&socket, &mut packet[..], RecvFlags::empty()).context("no echo reply")?;
            // An IPv4 header of 20 bytes, then an echo reply.
            if length >= 28 && packet[20] == 0 && packet[24..26] == [0x4d, 0x50] {
                return Ok(());
            }
        }
    })?
}

#[test]
fn arp_ping_tcp_and_transit_pass_untouched() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for rung in ["xdp-udp", "xsk-copy"] {
        let mut scene = scene(&link, rung, Plan::single())?;
        let port = scene.address().port();
        // ARP: nobody knows anybody.
        link.mesh.ip(&format!("neighbour flush dev {PEER}"))?;
        link.gateway.ip("neighbour flush dev mp0")?;
        ping(&link.mesh)?;
        // TCP to the very port of payments.
        let listener = link.gateway.inside(|| TcpListener::bind((GATEWAY_V4, port)))??;
        let echo = std::thread::spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes)?;
            Ok(stream.write_all(&bytes)?)
        });
        let address = SocketAddr::new(IpAddr::V4(GATEWAY_V4), port);
        let mut stream = link.mesh.inside(|| TcpStream::connect_timeout(&address, meshpay_tests::DEADLINE))??;
        stream.write_all(b"hello")?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        ensure!(&bytes == b"hello", "TCP came back changed");
        echo.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        transit(&link, port).with_context(|| format!("on {rung}"))?;
        let status = scene.committee.daemons[0].filter("status")?;
        // ARP that asks everybody counts as somebody else's MAC.
        for passed in ["other_mac", "other_protocol", "other_destination"] {
            ensure!(meshpay_tests::daemon::outcome_of(&status, passed)? > 0, "{passed} was not counted: {status}");
        }
        for dropped in ["malformed_frame", "malformed_message", "wrong_class", "stale", "shed_foreign"] {
            ensure!(meshpay_tests::daemon::outcome_of(&status, dropped)? == 0, "{dropped}: {status}");
        }
        scene.pay(1)?;
        scene.stop_and_audit()?;
    }
    Ok(())
}

/// Another authority lives behind the gateway, at the same port: its packets are its own, whatever is in them.
fn transit(link: &Link, port: u16) -> Result<()> {
    let behind = Namespace::new()?;
    let (near, far) = (Ipv4Addr::new(198, 19, 0, 1), Ipv4Addr::new(198, 19, 0, 2));
    link.gateway.ip(&format!("link add lan0 type veth peer name host0 netns {}", behind.path()))?;
    link.gateway.ip(&format!("address add {near}/24 dev lan0"))?;
    link.gateway.ip("link set lan0 up")?;
    link.gateway.set("net/ipv4/ip_forward", "1")?;
    behind.ip(&format!("address add {far}/24 dev host0"))?;
    behind.ip("link set host0 up")?;
    behind.ip(&format!("route add default via {near}"))?;
    link.mesh.ip(&format!("route replace 198.19.0.0/24 via {GATEWAY_V4}"))?;
    let host = behind.inside(|| UdpSocket::bind((far, port)))??;
    let sender = link.mesh.inside(|| UdpSocket::bind((CLIENT_V4, 0)))??;
    host.set_read_timeout(Some(Duration::from_millis(500)))?;
    sender.set_read_timeout(Some(Duration::from_millis(500)))?;
    let exchange = |request: &[u8]| -> Result<()> {
        let end = std::time::Instant::now() + meshpay_tests::DEADLINE;
        let mut buffer = [0; 2_000];
        loop {
            ensure!(std::time::Instant::now() < end, "what was for another host has not come there unchanged");
            sender.send_to(request, (far, port))?;
            let Ok((length, from)) = host.recv_from(&mut buffer) else { continue };
            // A late copy of what was sent before is none of this exchange.
            if buffer[..length] != *request {
                continue;
            }
            host.send_to(&buffer[..length], from)?;
            if sender.recv_from(&mut buffer).is_ok() {
                return Ok(());
            }
        }
    };
    exchange(&[9; 300])?;
    exchange(b"MPAY of another version")?;
    drop(sender);
    link.gateway.ip("link delete lan0").map(drop)
}
