//! Whose frame it is.

use crate::scene::{ALICE, MAC, PORT, Scene, order};
use meshpay_wire::filter::Outcome;

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = [4000_u16, port, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    udp
}

fn ethernet(mac: [u8; 6], tags: &[u16], kind: u16) -> Vec<u8> {
    let mut frame = [mac, [2, 0, 0, 0, 0, 7]].concat();
    for tag in tags {
        frame.extend([0x8100_u16, *tag].map(u16::to_be_bytes).concat());
    }
    frame.extend(kind.to_be_bytes());
    frame
}

fn ipv4(mut frame: Vec<u8>, options: usize, fragment: u16, destination: [u8; 4], udp: &[u8]) -> Vec<u8> {
    let header = 20 + options;
    frame.extend([0x40 | (header / 4) as u8, 0]);
    frame.extend([(header + udp.len()) as u16, 1, fragment].map(u16::to_be_bytes).concat());
    frame.extend([64, 17, 0, 0, 10, 0, 0, 7]);
    frame.extend(destination);
    frame.extend(vec![1; options]);
    frame.extend(udp);
    frame
}

/// `headers` are extension headers by kind; each is 8 bytes.
fn ipv6(headers: &[(u8, [u8; 4])], destination: &str, udp: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(MAC, &[], 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(((headers.len() * 8 + udp.len()) as u16).to_be_bytes());
    frame.extend([headers.first().map_or(17, |header| header.0), 64]);
    frame.extend("fd00::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    frame.extend(destination.parse::<std::net::Ipv6Addr>().unwrap().octets());
    for (at, (_, head)) in headers.iter().enumerate() {
        frame.push(headers.get(at + 1).map_or(17, |next| next.0));
        frame.push(0);
        frame.extend([head[2], head[3], 0, 0, 0, 0]);
    }
    frame.extend(udp);
    frame
}

const OURS: [u8; 4] = [10, 0, 0, 1];

fn message() -> Vec<u8> {
    udp(PORT, &order(ALICE, 0).bytes())
}

fn plain(mac: [u8; 6], tags: &[u16]) -> Vec<u8> {
    ipv4(ethernet(mac, tags, 0x0800), 0, 0, OURS, &message())
}

#[test]
fn ours_is_mac_vlan_address_and_port_together() {
    let outcome = |frame: Vec<u8>| Scene::new().frame(&frame);
    assert_eq!(outcome(plain(MAC, &[])), Outcome::Delivered);
    assert_eq!(outcome(plain([0xff; 6], &[])), Outcome::OtherMac);
    assert_eq!(outcome(plain([0; 6], &[])), Outcome::OtherMac);
    let to = |address, port| ipv4(ethernet(MAC, &[], 0x0800), 0, 0, address, &udp(port, &[0; 200]));
    assert_eq!(outcome(to([10, 0, 0, 2], PORT)), Outcome::OtherDestination);
    assert_eq!(outcome(to(OURS, 22)), Outcome::OtherPort);
    assert_eq!(outcome(to(OURS, PORT)), Outcome::MalformedMessage);
    assert_eq!(outcome(ethernet([0xff; 6], &[], 0x0806)), Outcome::OtherMac);
    assert_eq!(outcome([ethernet(MAC, &[], 0x0806), vec![0; 28]].concat()), Outcome::OtherNetwork);
}

/// Who copies a client's packet and forges its IP address has another hardware address, to which the answer would go.
#[test]
fn a_copy_from_another_neighbour_makes_no_echo_of_the_original() {
    let scene = Scene::new();
    let original = plain(MAC, &[]);
    let mut forged = original.clone();
    forged[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x66]);
    assert_eq!(scene.frame(&forged), Outcome::Delivered);
    assert_eq!(scene.frame(&original), Outcome::Delivered);
    assert_eq!(scene.frame(&forged), Outcome::Echo);
    assert_eq!(scene.frame(&original), Outcome::Echo);
}

#[test]
fn vlans_are_permitted_one_by_one() {
    let scene = Scene::new();
    scene.writer().set_vlan(5, true);
    scene.writer().set_vlan(4094, true);
    assert_eq!(scene.frame(&plain(MAC, &[0x6005])), Outcome::Delivered);
    assert_eq!(scene.frame(&plain(MAC, &[5, 4094])), Outcome::Echo, "the same datagram");
    assert_eq!(scene.frame(&plain(MAC, &[6])), Outcome::OtherVlan);
    assert_eq!(scene.frame(&plain(MAC, &[5, 6])), Outcome::OtherVlan);
    assert_eq!(scene.frame(&plain(MAC, &[5, 5, 5])), Outcome::OtherVlan);
    assert_eq!(scene.frame(&plain(MAC, &[0])), Outcome::Echo, "a priority tag names no VLAN");
    let tagged_only = Scene::with(|settings| settings.untagged = false);
    assert_eq!(tagged_only.frame(&plain(MAC, &[])), Outcome::OtherVlan);
}

#[test]
fn options_and_fragments() {
    let outcome =
        |options, fragment| Scene::new().frame(&ipv4(ethernet(MAC, &[], 0x0800), options, fragment, OURS, &message()));
    assert_eq!(outcome(40, 0), Outcome::Delivered);
    assert_eq!(outcome(0, 0x4000), Outcome::Delivered, "do not fragment");
    assert_eq!(outcome(0, 0x2000), Outcome::Fragmented);
    assert_eq!(outcome(0, 0x0010), Outcome::LaterFragment);
}

#[test]
fn extension_headers_are_walked_six_deep() {
    let outcome = |headers: &[(u8, [u8; 4])], to| Scene::new().frame(&ipv6(headers, to, &message()));
    let options = (60, [0; 4]);
    assert_eq!(outcome(&[], "fd00::1"), Outcome::Delivered);
    assert_eq!(outcome(&[(0, [0; 4]), options, options, options, options, options], "fd00::1"), Outcome::Delivered);
    assert_eq!(outcome(&[options; 7], "fd00::1"), Outcome::DeepHeaders);
    assert_eq!(outcome(&[options; 7], "fd00::2"), Outcome::OtherDestination, "forwarded, and none of our business");
    assert_eq!(outcome(&[(44, [0, 0, 0, 8])], "fd00::1"), Outcome::LaterFragment);
    assert_eq!(outcome(&[(44, [0, 0, 0, 1])], "fd00::1"), Outcome::Fragmented);
    assert_eq!(outcome(&[(44, [0; 4])], "fd00::1"), Outcome::Delivered, "an atomic fragment");
    assert_eq!(outcome(&[(43, [0, 0, 0, 1])], "fd00::1"), Outcome::OtherDestination, "segments are left");
}

#[test]
fn shedding_the_interface_spares_what_keeps_it_alive() {
    let scene = Scene::with(|settings| settings.shed_interface = true);
    let to = |port, payload: &[u8]| ipv4(ethernet(MAC, &[], 0x0800), 0, 0, [10, 0, 0, 2], &udp(port, payload));
    assert_eq!(scene.frame(&to(9000, &[0; 100])), Outcome::OtherDestination);
    scene.writer().set_shed_level(1);
    assert_eq!(scene.frame(&to(9000, &[0; 100])), Outcome::ShedForeign);
    assert_eq!(scene.frame(&to(22, &[0; 100])), Outcome::OtherDestination);
    assert_eq!(scene.frame(&to(PORT, &order(ALICE, 0).bytes())), Outcome::OtherDestination, "others' payments");
    let mut control = to(9000, &[0; 100]);
    control[15] = 48 << 2;
    assert_eq!(scene.frame(&control), Outcome::OtherDestination);
    let mut ping = to(9000, &[0; 100]);
    ping[23] = 1;
    assert_eq!(scene.frame(&ping), Outcome::OtherProtocol);
    assert_eq!(scene.frame(&[ethernet(MAC, &[], 0x0806), vec![0; 46]].concat()), Outcome::OtherNetwork);
}
