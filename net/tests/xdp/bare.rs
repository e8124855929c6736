//! Bare programs: verdicts, and floods of frames that are all different.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use meshpay_net::xdp::{AttachMode, Bare, Program, TestRun, Variation};

use crate::support::{XDP_DROP, XDP_PASS, XDP_REDIRECT, frame, index, is_root, with_veth};

const XDP_TX: u32 = 3;

const VARIATION: Variation = Variation { first_source: Ipv4Addr::new(10, 1, 255, 250), sources: 5, random_at: 60 };

/// An IPv4 packet without options, 50 bytes long.
fn packet() -> Vec<u8> {
    let mut packet = frame(64);
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14..34].copy_from_slice(&[0x45, 0, 0, 50, 9, 9, 0, 0, 64, 17, 7, 7, 1, 2, 3, 4, 198, 18, 0, 1]);
    packet
}

/// The sum over the header, which is all ones where its checksum is right (RFC 1071).
fn header_sum(packet: &[u8]) -> u32 {
    let words = packet[14..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16)
}

#[test]
fn each_does_what_it_is_called() {
    if !is_root() {
        return;
    }
    let packet = packet();
    let run = TestRun { packet: &packet, ..TestRun::default() };
    let transmit = Bare::TransmitVaried(VARIATION);
    for (what, verdict) in [
        (Bare::Drop, XDP_DROP),
        (Bare::Pass, XDP_PASS),
        (Bare::Transmit, XDP_TX),
        (Bare::Redirect(1), XDP_REDIRECT),
        (transmit, XDP_TX),
    ] {
        let ran = Program::bare(what).expect("a program").test_run(&run).expect("a run");
        assert_eq!(ran.verdict, verdict, "{what:?}");
        assert!(what == transmit || ran.packet_out == packet, "{what:?} has changed the frame");
    }
}

#[test]
fn copies_differ_in_source_and_random_bytes_and_their_checksums_are_right() {
    if !is_root() {
        return;
    }
    let program = Program::bare(Bare::TransmitVaried(VARIATION)).expect("a program");
    let mut packet = packet();
    VARIATION.prepare(&mut packet);
    assert_eq!((&packet[26..30], header_sum(&packet)), (&VARIATION.first_source.octets()[..], 0xffff));
    let (mut sources, mut random) = (HashSet::new(), HashSet::new());
    for _ in 0..500 {
        let out = program.test_run(&TestRun { packet: &packet, ..TestRun::default() }).expect("a run").packet_out;
        assert_eq!(header_sum(&out), 0xffff, "{out:?}");
        sources.insert(Ipv4Addr::from(<[u8; 4]>::try_from(&out[26..30]).expect("four bytes")));
        random.insert(out[60..64].to_vec());
        for untouched in [0..18, 20..26, 30..60] {
            assert_eq!(out[untouched.clone()], packet[untouched], "{out:?}");
        }
    }
    assert_eq!(sources, (250..255).map(|last| Ipv4Addr::new(10, 1, 255, last)).collect());
    assert!(random.len() > 490, "{} of 500 are different", random.len());
    // Too short for a variation: it leaves as it is.
    let short = &packet[..63];
    let ran = program.test_run(&TestRun { packet: short, ..TestRun::default() }).expect("a run");
    assert_eq!((ran.verdict, ran.packet_out.as_slice()), (XDP_TX, short));
}

/// Packets that an interface of the calling thread's namespace has received.
fn received(interface: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("the interfaces' counters");
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
    let packets = line.expect("the interface").split_ascii_whitespace().nth(1);
    packets.and_then(|packets| packets.parse().ok()).expect("a number of packets")
}

#[test]
fn a_live_flood_arrives_at_the_other_end() {
    with_veth(|| {
        // veth takes frames only where the other end runs a program.
        let _drop =
            Program::bare(Bare::Drop).expect("a program").attach(index("right"), AttachMode::Native).expect("it");
        let program = Program::bare(Bare::TransmitVaried(VARIATION)).expect("a program");
        let packet = packet();
        let run =
            TestRun { packet: &packet, repeat: 10_000, arrived_at: Some((index("left"), 0)), live_batch: Some(64) };
        let before = received("right");
        program.test_run(&run).expect("a flood");
        // What finds no room in the other end's ring is lost, as on any wire; a machine with one core may lose most of it.
        let arrived = received("right") - before;
        // And the kernel itself may have a word with its neighbours meanwhile.
        assert!((64..=10_100).contains(&arrived), "{arrived} of 10,000 frames have arrived");
    });
}
