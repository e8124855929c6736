//! `UdpPort` and `UdpGroup` against the real kernel, on loopback: bursts, hostile sizes, dead peers, addresses, steering.
//!
//! Loopback neither loses nor delays, but the kernel may deliver a moment after a send returns: every test waits until
//! what it expects is there, with a generous limit that fails loudly.

use meshpay_net::{
    BURST_MAX, DATAGRAM_MAX_BYTES, PacketPort, Peer, TrafficClass, UdpConfig, UdpGroup, UdpPort, Waitable, Waker,
};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn open(address: &str) -> UdpPort {
    UdpPort::open(&UdpConfig::new(address.parse().expect("an address"))).expect("a socket on loopback")
}

/// Receives until `count` datagrams have come, and returns them with their senders.
fn receive_all(port: &mut UdpPort, count: usize) -> Vec<(Vec<u8>, Peer)> {
    let mut received = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while received.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} datagrams came: {:?}", received.len(), port.counters());
        port.wait(Duration::from_millis(100), &[]).expect("waiting");
        for index in 0..port.receive().expect("receiving") {
            let (payload, peer) = port.packet(index);
            received.push((payload.to_vec(), peer));
        }
    }
    received
}

fn echo_bursts(server: &str, client: &str) {
    let mut server = open(server);
    let mut client = open(client);
    let to_server = Peer::new(server.local_address());
    for number in 0..BURST_MAX as u32 {
        let body = vec![number as u8; number as usize * 5];
        assert!(client.queue(&to_server, &[&number.to_le_bytes(), &body]));
    }
    assert!(!client.queue(&to_server, &[b"one too many"]));
    let sent = client.flush().expect("flushing");
    assert_eq!((sent.sent, sent.refused), (BURST_MAX, 0));

    let requests = receive_all(&mut server, BURST_MAX);
    for (number, (payload, peer)) in requests.iter().enumerate() {
        assert_eq!(payload.len(), 4 + number * 5);
        assert_eq!(payload[..4], (number as u32).to_le_bytes());
        assert_eq!(peer.address, client.local_address());
        assert!(server.queue(peer, &[payload]));
    }
    assert_eq!(server.flush().expect("flushing").sent, BURST_MAX);
    let answers = receive_all(&mut client, BURST_MAX);
    for ((request, _), (answer, _)) in requests.iter().zip(&answers) {
        assert_eq!(request, answer);
    }
    assert_eq!((server.counters().received, server.counters().sent), (BURST_MAX as u64, BURST_MAX as u64));
}

#[test]
fn a_burst_goes_there_and_back_over_ipv4() {
    echo_bursts("127.0.0.1:0", "127.0.0.1:0");
}

#[test]
fn a_burst_goes_there_and_back_over_ipv6() {
    echo_bursts("[::1]:0", "[::1]:0");
}

#[test]
fn one_receive_takes_no_more_than_a_burst() {
    let mut server = open("127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..BURST_MAX + 3 {
        client.send_to(b"x", server.local_address()).expect("sending");
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
    let mut server = open("127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let sizes = [0, 1, DATAGRAM_MAX_BYTES, DATAGRAM_MAX_BYTES + 1, 9_000, 65_507, 7];
    for size in sizes {
        client.send_to(&vec![0xa5; size], server.local_address()).expect("sending");
    }
    let received = receive_all(&mut server, 4);
    let lengths: Vec<usize> = received.iter().map(|(payload, _)| payload.len()).collect();
    assert_eq!(lengths, [0, 1, DATAGRAM_MAX_BYTES, 7]);
    assert_eq!(server.counters().received_oversized, 3);
    assert_eq!(server.counters().received, 4);
}

#[test]
fn peers_that_cannot_be_reached_do_not_disturb_others() {
    let mut server = open("127.0.0.1:0");
    let mut alive = open("127.0.0.1:0");
    let dead = UdpSocket::bind("127.0.0.1:0").expect("a socket").local_addr().expect("its address");
    let hopeless: [SocketAddr; 3] = [
        dead,                                           // nobody there: an ICMP error comes back
        "127.0.0.1:0".parse().expect("an address"),     // a sender may well claim port 0
        "[2001:db8::1]:9".parse().expect("an address"), // the wrong family for this socket
    ];
    for _ in 0..20 {
        for address in hopeless {
            assert!(server.queue(&Peer::new(address), &[b"lost"]));
        }
        assert!(server.queue(&Peer::new(alive.local_address()), &[b"kept"]));
    }
    let sent = server.flush().expect("a refusal is not fatal");
    assert_eq!(sent.sent + sent.refused, 80);
    assert!(sent.refused >= 40, "port 0 and the wrong family are refused at once: {sent:?}");
    assert_eq!(receive_all(&mut alive, 20).len(), 20);
    assert_eq!(server.counters().refused.total(), sent.refused as u64);

    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.send_to(b"still here", server.local_address()).expect("sending");
    assert_eq!(receive_all(&mut server, 1)[0].0, b"still here");
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for (server, asked) in [("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "127.0.0.78"), ("[::]:0", "::1")] {
        let mut server = open(server);
        let asked = SocketAddr::new(asked.parse().expect("an address"), server.local_address().port());
        // A connected socket takes answers from that one address only.
        let client = UdpSocket::bind(if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).expect("a socket");
        client.connect(asked).expect("connecting");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client.send(b"who are you?").expect("sending");
        let (_, peer) = receive_all(&mut server, 1)[0].clone();
        assert_eq!(peer.address, client.local_addr().expect("its address"));
        assert_eq!(peer.local, Some(asked.ip()));
        assert!(server.queue(&peer, &[b"me"]));
        assert_eq!(server.flush().expect("flushing").sent, 1);
        let mut answer = [0; 16];
        assert_eq!(client.recv(&mut answer).expect("an answer from the address asked"), 2);
    }
}

#[test]
fn one_socket_can_speak_from_many_addresses() {
    let mut server = open("127.0.0.1:0");
    let mut generator = open("0.0.0.0:0");
    let locals: HashSet<IpAddr> = (1..=100).map(|last| IpAddr::from([127, 1, 0, last])).collect();
    for local in &locals {
        assert!(generator.queue(&Peer::new(server.local_address()).from_local(*local), &[b"hello"]));
    }
    assert_eq!(generator.flush().expect("flushing").sent, 100);
    let seen: HashSet<IpAddr> = receive_all(&mut server, 100).iter().map(|(_, peer)| peer.address.ip()).collect();
    assert_eq!(seen, locals);
}

#[test]
fn a_waker_ends_a_wait() {
    let mut port = open("127.0.0.1:0");
    let waker = Waker::new().expect("an eventfd");
    let idle = Waker::new().expect("an eventfd");
    std::thread::scope(|scope| {
        scope.spawn(|| waker.wake());
        let woken = port.wait(PATIENCE, &[idle.as_fd(), waker.as_fd()]).expect("waiting");
        assert_eq!((woken.packets, woken.others), (false, 0b10));
    });
    assert!(waker.clear());
    assert!(!waker.clear());
    let woken = port.wait(Duration::ZERO, &[idle.as_fd(), waker.as_fd()]).expect("waiting");
    assert_eq!((woken.packets, woken.others), (false, 0));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.send_to(b"x", port.local_address()).expect("sending");
    assert!(port.wait(PATIENCE, &[]).expect("waiting").packets);
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let config = UdpConfig {
        receive_buffer_bytes: 4096,
        traffic_class: TrafficClass::BestEffort,
        ..UdpConfig::new("127.0.0.1:0".parse().expect("an address"))
    };
    let mut server = UdpPort::open(&config).expect("a socket");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..500 {
        client.send_to(&[0; 1000], server.local_address()).expect("sending");
    }
    let mut received = 0;
    let deadline = Instant::now() + PATIENCE;
    while received + server.counters().receive_dropped_by_kernel < 500 {
        assert!(Instant::now() < deadline, "{:?}", server.counters());
        std::thread::yield_now();
        // The first datagrams stay where they are until the rest has been dropped for want of room.
        if server.counters().receive_dropped_by_kernel > 0 {
            received += server.receive().expect("receiving") as u64;
        }
    }
    assert_eq!(server.counters().received, received);
    assert!(server.counters().receive_dropped_by_kernel > 0);
}

#[test]
fn payments_are_marked_cs6_in_both_families_and_other_traffic_is_not() {
    const CS6: u32 = 48 << 2;
    for (traffic_class, mark) in [(TrafficClass::Payment, CS6), (TrafficClass::BestEffort, 0)] {
        let config = UdpConfig { traffic_class, ..UdpConfig::new("[::]:0".parse().expect("an address")) };
        let port = UdpPort::open(&config).expect("a socket");
        let options = socket2::SockRef::from(&port);
        assert_eq!(options.tos_v4().expect("IP_TOS"), mark);
        assert_eq!(options.tclass_v6().expect("IPV6_TCLASS"), mark);
        assert!(port.receive_buffer_bytes() > 0 && port.send_buffer_bytes() > 0);
    }
}

fn steers_by_account(address: &str, client: &str, speak_to: &str) {
    const WORKERS: usize = 3;
    const OFFSET: usize = 24;
    let config = UdpConfig::new(address.parse().expect("an address"));
    let mut ports = UdpGroup::open(&config, WORKERS, OFFSET as u32).expect("a group");
    let port = ports[0].local_address().port();
    let server = SocketAddr::new(speak_to.parse().expect("an address"), port);
    // Several senders, so that steering by the kernel's own hash of addresses would show.
    let clients: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind(client).expect("a socket")).collect();
    for client in &clients {
        for account in 0..=255u8 {
            let mut payload = [0x55; 64];
            payload[OFFSET] = account;
            client.send_to(&payload, server).expect("sending");
        }
        for short in 0..=OFFSET {
            client.send_to(&vec![0xff; short], server).expect("sending");
        }
    }
    for (worker, port) in ports.iter_mut().enumerate() {
        let mine = (0..256).filter(|account| account % WORKERS == worker).count() * clients.len();
        let short = if worker == 0 { (OFFSET + 1) * clients.len() } else { 0 };
        let received = receive_all(port, mine + short);
        assert_eq!(received.len(), mine + short);
        for (payload, _) in &received {
            let steered_to = payload.get(OFFSET).map_or(0, |account| usize::from(*account) % WORKERS);
            assert_eq!(steered_to, worker, "a datagram of {} bytes", payload.len());
        }
    }
}

#[test]
fn the_kernel_steers_by_account_over_ipv4() {
    steers_by_account("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1");
}

#[test]
fn the_kernel_steers_by_account_over_ipv6() {
    steers_by_account("[::1]:0", "[::1]:0", "::1");
}

#[test]
fn the_kernel_steers_by_account_on_a_dual_stack_wildcard() {
    steers_by_account("[::]:0", "127.0.0.1:0", "127.0.0.1");
    steers_by_account("[::]:0", "[::1]:0", "::1");
}

#[test]
fn a_port_in_use_is_refused_even_to_the_same_user() {
    let config = UdpConfig::new("127.0.0.1:0".parse().expect("an address"));
    let group = UdpGroup::open(&config, 2, 24).expect("a group");
    let again = UdpConfig { address: group[0].local_address(), ..config };
    let error = UdpGroup::open(&again, 2, 24).err().expect("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another process"), "{error}");
    assert!(UdpGroup::open(&again, 0, 24).is_err());
}
