//! A socket and AF_XDP together: both heard, answers by the way that is sure, falling and climbing while clients ask.

use crate::program::Redirect;
use crate::scene::{PATIENCE, PORT, SERVER_MAC, Scene, create_pair, look_up, receive_all, server_address};
use meshpay_net::combined::WayOut;
use meshpay_net::xsk::{LinkState, XskGroup};
use meshpay_net::{
    CombinedPort, Neighbours, PacketPort, UdpConfig, UdpPort, Waitable, XskConfig, XskMode, XskPort, XskSpare,
};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

fn open_socket(scene: &Scene) -> CombinedPort {
    let address = format!("[::]:{PORT}").parse().expect("an address");
    CombinedPort::new(scene.server.inside(|| UdpPort::open(&UdpConfig::new(address))).expect("a socket"))
}

/// In by the socket, out by AF_XDP. The program finds no sockets in its map and passes everything.
fn open_mixed(scene: &Scene) -> CombinedPort {
    let mut port = open_socket(scene);
    let config = XskConfig { receive: false, ..XskConfig::new(PORT) };
    scene.server.inside(|| {
        let xsk = XskGroup::open(&config, &scene.interface, 1, XskMode::Copy).expect("AF_XDP").ports.remove(0);
        let neighbours = Neighbours::open(scene.interface.index).expect("netlink");
        port.climb(xsk, Some(WayOut { neighbours, mac: SERVER_MAC }));
    });
    port
}

fn ask(port: &mut CombinedPort, client: &UdpSocket) {
    let address = client.local_addr().expect("its address").ip().to_string();
    client.send_to(b"hello", server_address(&address)).expect("sending");
    let (payload, peer) = receive_all(port, 1).remove(0);
    assert!(port.queue(&peer, &[&payload]));
    assert_eq!(port.flush().expect("flushing").sent, 1);
    let (length, from) = client.recv_from(&mut [0; 16]).expect("an answer whose checksum is right");
    assert_eq!((length, from), (5, server_address(&address)));
}

fn sent_by_xsk(port: &CombinedPort) -> u64 {
    port.xsk().map_or(0, |xsk| xsk.counters().sent)
}

#[test]
fn answers_to_confirmed_neighbours_leave_by_af_xdp_and_all_others_by_the_socket() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut port = open_mixed(&scene);
    for (client, address) in [("198.18.0.2:0", "198.18.0.2"), ("[2001:2::2]:0", "2001:2::2")] {
        let client = scene.client_socket(client);
        let before = (port.sent_by_socket(), sent_by_xsk(&port));
        // Nobody has resolved this neighbour yet: the socket's way, which makes the kernel resolve it.
        ask(&mut port, &client);
        assert_eq!((port.sent_by_socket(), sent_by_xsk(&port)), (before.0 + 1, before.1));
        let deadline = Instant::now() + PATIENCE;
        while sent_by_xsk(&port) == before.1 {
            assert!(Instant::now() < deadline, "the neighbour is never confirmed");
            port.wait(Duration::from_millis(10), &[]).expect("waiting");
            ask(&mut port, &client);
        }
        // Stale means unsure: by the socket again.
        scene.server.ip(&format!("neighbour change {address} lladdr 02:4d:50:00:00:02 dev xs0 nud stale"));
        port.wait(Duration::ZERO, &[]).expect("waiting");
        let sent = sent_by_xsk(&port);
        ask(&mut port, &client);
        assert_eq!(sent_by_xsk(&port), sent);
    }
}

#[test]
fn with_the_interface_gone_it_goes_on_by_the_socket() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut port = open_mixed(&scene);
    scene.server.ip("neighbour replace 198.18.0.2 lladdr 02:4d:50:00:00:02 dev xs0 nud permanent");
    let client = scene.client_socket("198.18.0.2:0");
    ask(&mut port, &client);
    assert_eq!(port.sent_by_socket(), 0);
    scene.server.ip("link delete xs0");
    create_pair(&scene.server, &scene.client, 1);
    port.wait(Duration::from_millis(1), &[]).expect("waiting");
    let client = scene.client_socket("198.18.0.2:0");
    ask(&mut port, &client);
    assert_eq!(port.sent_by_socket(), 1);
}

#[test]
fn both_halves_are_heard_and_each_is_answered_by_its_own_way() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut port = open_socket(&scene);
    let on_loopback = scene.server.inside(|| UdpSocket::bind("127.0.0.1:0")).expect("a socket");
    on_loopback.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let client = scene.client_socket("198.18.0.2:0");
    ask(&mut port, &client);
    port.climb(scene.open(&XskConfig::new(PORT), 1).remove(0), None);
    for _ in 0..30 {
        client.send_to(b"by AF_XDP", server_address("198.18.0.2")).expect("sending");
        on_loopback.send_to(b"by the socket", ("127.0.0.1", PORT)).expect("sending");
        for (payload, peer) in receive_all(&mut port, 2) {
            assert!(port.queue(&peer, &[&payload]));
        }
        assert_eq!(port.flush().expect("flushing").sent, 2);
        assert_eq!(client.recv(&mut [0; 16]).expect("an answer"), 9);
        assert_eq!(on_loopback.recv(&mut [0; 16]).expect("an answer"), 13);
    }
    assert_eq!((sent_by_xsk(&port), port.sent_by_socket()), (30, 31));
    let counters = port.counters();
    assert_eq!((counters.received, counters.sent), (61, 61));
    assert!(port.fall().is_some());
    assert_eq!(port.counters(), counters, "counters only grow");
}

fn wait_for(port: &mut CombinedPort, state: LinkState) {
    let deadline = Instant::now() + PATIENCE;
    while port.link_state() != Some(state) {
        assert!(Instant::now() < deadline, "the state stays {:?}", port.link_state());
        port.wait(Duration::from_millis(20), &[]).expect("an interface's state is no error");
        assert_eq!(port.receive().expect("nor here"), 0);
    }
}

#[test]
fn it_falls_to_the_socket_and_climbs_back_while_clients_ask() {
    let Some(mut scene) = Scene::build(1, 1) else { return };
    let mut port = open_socket(&scene);
    let config = XskConfig::new(PORT);
    port.climb(scene.open(&config, 1).remove(0), None);
    let spare = scene.server.inside(|| XskSpare::new(&config, 1, 1)).expect("spare sockets");
    let client = scene.client_socket("198.18.0.2:0");
    ask(&mut port, &client);
    assert_eq!((sent_by_xsk(&port), port.sent_by_socket()), (1, 0));

    // A request is taken, and before its answer leaves the interface goes and comes back without the program.
    client.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    let (payload, peer) = receive_all(&mut port, 1).remove(0);
    scene.server.ip("link delete xs0");
    wait_for(&mut port, LinkState::Away);
    drop(client);
    create_pair(&scene.server, &scene.client, 1);
    let client = scene.client_socket(&peer.address.to_string());
    assert!(port.queue(&peer, &[&payload]));
    assert_eq!(port.flush().expect("flushing").sent, 1);
    assert_eq!(client.recv(&mut [0; 16]).expect("an answer by the socket"), 5);
    ask(&mut port, &client);
    assert!(port.fall().is_some());
    ask(&mut port, &client);
    assert_eq!(port.sent_by_socket(), 3);

    scene.interface = look_up(&scene.server, 1);
    scene.program = scene.server.inside(|| Redirect::attach(scene.interface.index, 1, 1)).expect("native XDP on veth");
    let mut ports: Vec<XskPort> = scene.install(spare.bind(&scene.interface, XskMode::Copy).expect("spare sockets"));
    port.climb(ports.remove(0), None);
    ask(&mut port, &client);
    assert_eq!((sent_by_xsk(&port), port.sent_by_socket()), (1, 3));
}

#[test]
fn a_port_whose_interface_is_down_or_away_sleeps() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let mut port = open_socket(&scene);
    port.climb(scene.open(&XskConfig::new(PORT), 1).remove(0), None);
    for (line, state) in [("link set xs0 down", LinkState::Down), ("link delete xs0", LinkState::Away)] {
        scene.server.ip(line);
        wait_for(&mut port, state);
        let started = Instant::now();
        for _ in 0..5 {
            assert!(!port.wait(Duration::from_millis(10), &[]).expect("waiting").packets);
        }
        assert!(started.elapsed() >= Duration::from_millis(50), "{state:?}: it did not sleep");
    }
}
