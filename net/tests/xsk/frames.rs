//! Frames as they are on the wire: VLAN tags, marks, and everything that is no datagram at all.

use crate::scene::{CLIENT_MAC, PATIENCE, PORT, RawSocket, SERVER_MAC, Scene, receive_all};
use meshpay_net::{PacketPort, XskConfig, XskPort};
use std::time::Instant;

/// An Ethernet frame with a UDP datagram from 198.18.0.2 port 4000 to the server, without checksums, as veth leaves them.
fn frame(tags: &[[u8; 4]], payload: &[u8]) -> Vec<u8> {
    let mut bytes = [SERVER_MAC, CLIENT_MAC].concat();
    bytes.extend(tags.iter().flatten());
    bytes.extend([0x08, 0x00]);
    let total = 28 + payload.len() as u16;
    bytes.extend([0x45, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 2, 198, 18, 0, 1]);
    bytes.extend(4000u16.to_be_bytes());
    bytes.extend(PORT.to_be_bytes());
    bytes.extend((total - 20).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

fn answer_one(server: &mut XskPort) {
    let (payload, peer) = receive_all(server, 1).remove(0);
    assert!(server.queue(&peer, &[&payload]));
    assert_eq!(server.flush().expect("flushing").sent, 1);
}

#[test]
fn an_answer_is_whole_marked_and_never_fragmented() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let client = RawSocket::open(&scene);
    client.send(&frame(&[], b"hello"));
    answer_one(&mut server);
    let (answer, tag) = client.receive().expect("an answer");
    assert_eq!(tag, None);
    assert_eq!(answer.len(), 60, "short frames are padded");
    let ip = &answer[14..34];
    assert_eq!(ip[1], 48 << 2, "CS6");
    assert_eq!(ip[6..8], [0x40, 0], "do not fragment");
    assert_eq!(ip[8], 64, "hops");
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum");
    assert_eq!(&answer[42..47], b"hello");
}

#[test]
fn a_tagged_request_gets_an_answer_with_its_tag() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let client = RawSocket::open(&scene);
    client.send(&frame(&[[0x81, 0x00, 0x00, 42]], b"tagged"));
    answer_one(&mut server);
    let (answer, tag) = client.receive().expect("an answer");
    assert_eq!(tag, Some(6 << 13 | 42), "the same VLAN, at the priority of payments");
    assert_eq!(&answer[42..48], b"tagged");

    // A service tag around it: the kernel takes out the outer one.
    client.send(&frame(&[[0x88, 0xa8, 0x00, 7], [0x81, 0x00, 0x00, 42]], b"twice"));
    answer_one(&mut server);
    let (answer, tag) = client.receive().expect("an answer");
    assert_eq!(tag, Some(6 << 13 | 7));
    assert_eq!(answer[12..18], [0x81, 0x00, 6 << 5, 42, 0x08, 0x00]);
}

#[test]
fn a_packet_cut_at_every_length_is_harmless_and_counted() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let client = RawSocket::open(&scene);
    let whole = frame(&[[0x81, 0x00, 0x00, 42]], &[0x5a; 100]);
    let mut sent = 0;
    for length in 14..whole.len() {
        client.send(&whole[..length]);
        sent += 1;
    }
    client.send(&whole);
    assert_eq!(receive_all(&mut server, 1)[0].0, [0x5a; 100]);
    let details = server.details();
    assert_eq!(server.counters().received, 1);
    assert_eq!(server.counters().received_malformed, sent, "{details:?}");
}

#[test]
fn frames_from_senders_that_must_not_be_answered_are_counted_and_dropped() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let client = RawSocket::open(&scene);
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = frame(&[], b"bad");
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let bad_addresses = [
        with(6, &[0xff; 6]),       // from the broadcast MAC
        with(26, &[224, 0, 0, 1]), // from a group
        with(26, &[127, 0, 0, 1]), // from loopback
        with(26, &[255; 4]),       // from everybody
        with(30, &[239, 1, 1, 1]), // to a group
    ];
    let not_ours = [
        with(36, &9u16.to_be_bytes()), // another port
        with(23, &[6]),                // TCP
        with(20, &[0x20, 0x00]),       // the first fragment
        with(20, &[0x00, 0x10]),       // a later one
    ];
    let truncated =
        [with(38, &[0, 7]), with(38, &[0xff, 0xff]), with(16, &[0xff, 0xff]), with(14, &[0x4f]), with(14, &[0x41])];
    let total = bad_addresses.len() + not_ours.len() + truncated.len();
    for frame in bad_addresses.iter().chain(&not_ours).chain(&truncated) {
        client.send(frame);
    }
    client.send(&frame(&[], b"good"));
    assert_eq!(receive_all(&mut server, 1)[0].0, b"good");
    let details = server.details();
    assert_eq!(details.bad_address, bad_addresses.len() as u64, "{details:?}");
    assert_eq!(details.not_ours, not_ours.len() as u64, "{details:?}");
    assert_eq!(details.truncated, truncated.len() as u64, "{details:?}");
    assert_eq!(server.counters().received_malformed, total as u64);
}

#[test]
fn a_flood_of_rubbish_costs_no_frame() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let config = XskConfig { ring_entries: 128, ..XskConfig::new(PORT) };
    let mut server = scene.open(&config, 1).remove(0);
    let before = server.frames();
    let client = RawSocket::open(&scene);
    let mut rubbish = frame(&[], &[1; 64]);
    rubbish[14] = 0x4f;
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..50 {
        for _ in 0..60 {
            client.send(&rubbish);
        }
        assert_eq!(server.receive().expect("receiving"), 0);
    }
    while server.counters().received_malformed + server.counters().receive_dropped_by_kernel < 3000 {
        assert!(Instant::now() < deadline, "{:?}", server.counters());
        assert_eq!(server.receive().expect("receiving"), 0);
    }
    assert_eq!(server.receive().expect("receiving"), 0);
    assert_eq!(server.frames(), before);
}
