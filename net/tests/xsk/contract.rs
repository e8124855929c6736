//! What every port promises (see `tests/udp.rs`), of AF_XDP.

use crate::scene::{CLIENT_MAC, PATIENCE, PORT, SERVER_MAC, Scene, echo, receive_all, server_address, settle};
use meshpay_net::xsk::{XskGroup, link_to};
use meshpay_net::{BURST_MAX, DATAGRAM_MAX_BYTES, PacketPort, Peer, Waitable, Waker, XskConfig, XskMode};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

fn echo_a_burst(client: &str) {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket(client);
    let local = socket.local_addr().expect("its address");
    for number in 0..BURST_MAX as u32 {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(4 + number as usize * 5, number as u8);
        socket.send_to(&payload, server_address(client)).expect("sending");
    }
    let requests = receive_all(&mut server, BURST_MAX);
    for (number, (payload, peer)) in requests.iter().enumerate() {
        assert_eq!(payload.len(), 4 + number * 5);
        assert_eq!(payload[..4], (number as u32).to_le_bytes());
        assert_eq!(peer.address, local);
        assert_eq!(peer.local, Some(server_address(client).ip()));
        let (head, tail) = payload.split_at(3);
        assert!(server.queue(peer, &[head, &[], tail]));
    }
    assert!(!server.queue(&requests[0].1, &[b"one too many"]));
    let sent = server.flush().expect("flushing");
    assert_eq!((sent.sent, sent.refused), (BURST_MAX, 0), "{:?}", server.counters());
    settle(&mut server);
    for (request, _) in &requests {
        let mut answer = [0; 2048];
        let (length, from) = socket.recv_from(&mut answer).expect("an answer whose checksum is right");
        assert_eq!(&answer[..length], request);
        assert_eq!(from, server_address(client));
    }
    assert_eq!((server.counters().received, server.counters().sent), (BURST_MAX as u64, BURST_MAX as u64));
}

#[test]
fn a_burst_goes_there_and_back_over_ipv4() {
    echo_a_burst("198.18.0.2:0");
}

#[test]
fn a_burst_goes_there_and_back_over_ipv6() {
    echo_a_burst("[2001:2::2]:0");
}

#[test]
fn two_af_xdp_ports_talk_and_either_may_speak_first() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let config = XskConfig::new(PORT);
    let mut server = scene.open(&config, 1).remove(0);
    let at_client = scene.client_interface();
    let group = scene.client.inside(|| XskGroup::open(&config, &at_client, 1, XskMode::Copy));
    let mut client = group.expect("AF_XDP").ports.remove(0);
    for (_, socket) in client.sockets() {
        scene.client_program.set(0, socket).expect("a place in the map");
    }
    let address = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), PORT);
    for (from, to) in [("198.18.0.2", "198.18.0.1"), ("2001:2::2", "2001:2::1")] {
        let local = Some(address(from).ip());
        let to_server = Peer { address: address(to), local, link: link_to(at_client.index, CLIENT_MAC, SERVER_MAC) };
        assert!(client.queue(&to_server, &[b"hel", b"lo"]));
        assert_eq!(client.flush().expect("flushing").sent, 1);
        let (payload, peer) = receive_all(&mut server, 1).remove(0);
        assert_eq!((payload.as_slice(), peer.address), (b"hello".as_slice(), address(from)));
        assert!(server.queue(&peer, &[&payload]));
        assert_eq!(server.flush().expect("flushing").sent, 1);
        let (payload, peer) = receive_all(&mut client, 1).remove(0);
        assert_eq!((payload.as_slice(), peer), (b"hello".as_slice(), to_server));
    }
}

#[test]
fn one_receive_takes_no_more_than_a_burst() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    for _ in 0..BURST_MAX + 3 {
        socket.send_to(b"x", server_address("198.18.0.2")).expect("sending");
    }
    let mut received = 0;
    let deadline = Instant::now() + PATIENCE;
    while received < BURST_MAX + 3 {
        assert!(Instant::now() < deadline, "only {received} datagrams came");
        let count = server.receive().expect("receiving");
        assert!(count <= BURST_MAX);
        received += count;
    }
    assert_eq!(server.receive().expect("receiving"), 0);
}

#[test]
fn datagrams_of_any_size_are_harmless() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    // The longest come as fragments, whose first has our port.
    for size in [0, 1, DATAGRAM_MAX_BYTES, DATAGRAM_MAX_BYTES + 1, 1472, 9_000, 65_507, 7] {
        socket.send_to(&vec![0xa5; size], server_address("198.18.0.2")).expect("sending");
    }
    let received = receive_all(&mut server, 4);
    let lengths: Vec<usize> = received.iter().map(|(payload, _)| payload.len()).collect();
    assert_eq!(lengths, [0, 1, DATAGRAM_MAX_BYTES, 7]);
    assert_eq!(server.counters().received_oversized, 2);
    assert!(server.counters().received_malformed > 2, "fragments: {:?}", server.details());
}

#[test]
fn peers_that_cannot_be_answered_do_not_disturb_others() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"who are you?", server_address("198.18.0.2")).expect("sending");
    let (_, alive) = receive_all(&mut server, 1).remove(0);
    let elsewhere: SocketAddr = "[2001:db8::1]:9".parse().expect("an address");
    let hopeless = [
        Peer::new("198.18.0.2:9".parse().expect("an address")), // nothing known of the link
        Peer { address: SocketAddr::new(alive.address.ip(), 0), ..alive }, // a sender may well claim port 0
        Peer { address: elsewhere, ..alive },                   // the other family
        Peer { local: None, ..alive },                          // nobody knows from where
    ];
    for _ in 0..20 {
        for peer in &hopeless {
            assert!(server.queue(peer, &[b"lost"]));
        }
        assert!(server.queue(&alive, &[b"kept"]));
    }
    let sent = server.flush().expect("a refusal is not fatal");
    assert_eq!((sent.sent, sent.refused), (20, 80));
    let refused = server.counters().refused;
    assert_eq!((refused.unreachable, refused.other, refused.total()), (40, 40, 80));
    let mut answer = [0; 16];
    for _ in 0..20 {
        assert_eq!(socket.recv(&mut answer).expect("an answer"), 4);
    }
    socket.send_to(b"still here", server_address("198.18.0.2")).expect("sending");
    assert_eq!(receive_all(&mut server, 1)[0].0, b"still here");
}

#[test]
fn a_waker_ends_a_wait() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let (waker, idle) = (Waker::new().expect("an eventfd"), Waker::new().expect("an eventfd"));
    std::thread::scope(|scope| {
        scope.spawn(|| waker.wake());
        let woken = server.wait(PATIENCE, &[idle.as_fd(), waker.as_fd()]).expect("waiting");
        assert_eq!((woken.packets, woken.others), (false, 0b10));
    });
    assert!(waker.clear());
    let woken = server.wait(Duration::ZERO, &[idle.as_fd(), waker.as_fd()]).expect("waiting");
    assert_eq!((woken.packets, woken.others), (false, 0));
    scene.client_socket("198.18.0.2:0").send_to(b"x", server_address("198.18.0.2")).expect("sending");
    assert!(server.wait(PATIENCE, &[]).expect("waiting").packets);
    assert!(server.wait(Duration::ZERO, &[waker.as_fd(); 8]).is_err());
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let config = XskConfig { ring_entries: 64, ..XskConfig::new(PORT) };
    let mut server = scene.open(&config, 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    for _ in 0..500 {
        socket.send_to(&[0; 100], server_address("198.18.0.2")).expect("sending");
    }
    let mut received = 0;
    let deadline = Instant::now() + PATIENCE;
    while received + server.counters().receive_dropped_by_kernel < 500 {
        assert!(Instant::now() < deadline, "{:?} {:?}", server.counters(), server.details());
        std::thread::yield_now();
        // The first stay where they are until others have been dropped for want of a place.
        if server.counters().receive_dropped_by_kernel > 0 {
            received += server.receive().expect("receiving") as u64;
        }
    }
    assert_eq!(server.counters().received, received);
    assert!(server.details().kernel_ring_full > 0, "{:?}", server.details());
}

#[test]
fn rings_wrap_many_times_and_no_frame_is_lost() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let config = XskConfig { ring_entries: 64, transmit_frames: 64, ..XskConfig::new(PORT) };
    let mut server = scene.open(&config, 1).remove(0);
    let before = server.frames();
    let socket = scene.client_socket("198.18.0.2:0");
    const WINDOW: usize = 40;
    let rounds = 100 * std::env::var("MESHPAY_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        for number in 0..WINDOW {
            let payload = [round as u8, number as u8].repeat(1 + number * 10);
            socket.send_to(&payload, server_address("198.18.0.2")).expect("sending");
        }
        echo(&mut server, WINDOW);
        let mut answer = [0; 2048];
        for number in 0..WINDOW {
            let length = socket.recv(&mut answer).expect("an answer");
            assert_eq!(answer[..length], [round as u8, number as u8].repeat(1 + number * 10));
        }
    }
    // The kernel gives the last frames back when the peer has consumed the packets.
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(server.receive().expect("receiving"), 0);
        let after = server.frames();
        if after == before {
            break;
        }
        assert!(Instant::now() < deadline, "{before:?} {after:?}");
        std::thread::yield_now();
    }
    assert_eq!(server.details().frames_lost, 0);
}

#[test]
fn with_all_frames_on_their_way_answers_are_refused_and_counted_and_then_it_goes_on() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let config = XskConfig { transmit_frames: 4, ..XskConfig::new(PORT) };
    let mut server = scene.open(&config, 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    let (_, peer) = receive_all(&mut server, 1).remove(0);
    for _ in 0..3 {
        for _ in 0..BURST_MAX {
            assert!(server.queue(&peer, &[b"answer"]));
        }
        let started = Instant::now();
        let sent = server.flush().expect("flushing");
        assert!(started.elapsed() < PATIENCE);
        assert_eq!((sent.sent, sent.refused), (4, BURST_MAX - 4));
        settle(&mut server);
        let mut answer = [0; 16];
        for _ in 0..4 {
            assert_eq!(socket.recv(&mut answer).expect("an answer"), 6);
        }
        let deadline = Instant::now() + PATIENCE;
        while server.frames().free_to_send < 4 {
            assert!(Instant::now() < deadline, "{:?}", server.frames());
            std::thread::yield_now();
        }
    }
    assert_eq!(server.counters().refused.would_block, 3 * (BURST_MAX as u64 - 4));
}

#[test]
fn what_exceeds_the_mtu_is_refused_and_counted() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    let (_, peer) = receive_all(&mut server, 1).remove(0);
    let gauge = server.gauge();
    gauge.set_mtu(600);
    for bytes in [600 - 28, 600 - 27, 1400] {
        assert!(server.queue(&peer, &[&[7; 1400][..bytes]]));
    }
    let sent = server.flush().expect("flushing");
    assert_eq!((sent.sent, sent.refused), (1, 2));
    assert_eq!(server.counters().refused.too_large, 2);
    let mut answer = [0; 2048];
    assert_eq!(socket.recv(&mut answer).expect("an answer"), 600 - 28);
    gauge.set_mtu(1500);
    assert!(server.queue(&peer, &[&[7; 1400]]));
    assert_eq!(server.flush().expect("flushing").sent, 1);
    assert_eq!(socket.recv(&mut answer).expect("an answer"), 1400);
}

#[test]
fn without_a_carrier_answers_are_refused_and_counted() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    let (_, peer) = receive_all(&mut server, 1).remove(0);
    // veth's carrier is its peer's being up.
    scene.client.ip("link set xc0 down");
    for _ in 0..100 {
        assert!(server.queue(&peer, &[b"answer"]));
    }
    let sent = server.flush().expect("flushing");
    assert_eq!((sent.sent, sent.refused), (0, 100), "{:?}", server.counters());
    assert_eq!(server.counters().refused.no_buffers, 100);
    assert_eq!(server.frames().being_sent, 0);
}

#[test]
fn a_burst_leaves_with_few_system_calls() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(PORT), 1).remove(0);
    let socket = scene.client_socket("198.18.0.2:0");
    socket.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    let (_, peer) = receive_all(&mut server, 1).remove(0);
    for _ in 0..BURST_MAX {
        assert!(server.queue(&peer, &[b"answer"]));
    }
    assert_eq!(server.flush().expect("flushing").sent, BURST_MAX);
    settle(&mut server);
    // One since Linux 6.17, one for each 32 packets before; and some more if the device held us up.
    let kicks = server.details().kicks;
    println!("{kicks} system calls for {BURST_MAX} answers");
    assert!(kicks <= BURST_MAX as u64 / 32 + 8, "{kicks}");
    assert_eq!(server.flush().expect("flushing").sent, 0);
    assert_eq!(server.details().kicks, kicks, "nothing to send, nothing to say");
}
