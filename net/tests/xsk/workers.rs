//! Several workers and several queues.

use crate::scene::{PATIENCE, PORT, Scene, echo, receive_all, server_address};
use meshpay_net::xsk::XskGroup;
use meshpay_net::{PacketPort, XskConfig, XskInterface, XskMode};
use std::net::UdpSocket;
use std::time::Instant;

/// Clients of which half have an even source port, and half an odd one, which is how the program steers.
fn clients(scene: &Scene, each: usize) -> [Vec<UdpSocket>; 2] {
    let mut sorted: [Vec<UdpSocket>; 2] = [Vec::new(), Vec::new()];
    while sorted.iter().any(|clients| clients.len() < each) {
        let socket = scene.client_socket("198.18.0.2:0");
        let port = usize::from(socket.local_addr().expect("its address").port());
        if sorted[port % 2].len() < each {
            sorted[port % 2].push(socket);
        }
    }
    sorted
}

#[test]
fn two_workers_on_one_queue_answer_at_the_same_time_and_lose_no_frame() {
    let Some(scene) = Scene::build(1, 2) else { return };
    let config = XskConfig { ring_entries: 256, transmit_frames: 128, ..XskConfig::new(PORT) };
    let mut ports = scene.open(&config, 2);
    let before = ports[0].frames();
    let clients = clients(&scene, 2);
    const ROUNDS: usize = 200;
    const WINDOW: usize = 20;
    std::thread::scope(|scope| {
        for port in &mut ports {
            scope.spawn(move || echo(port, 2 * ROUNDS * WINDOW));
        }
        for (number, client) in clients.iter().flatten().enumerate() {
            scope.spawn(move || {
                let mut answer = [0; 2048];
                for round in 0..ROUNDS {
                    for _ in 0..WINDOW {
                        client.send_to(&[number as u8, round as u8], server_address("198.18.0.2")).expect("sending");
                    }
                    for _ in 0..WINDOW {
                        let length = client.recv(&mut answer).expect("an answer");
                        assert_eq!(answer[..length], [number as u8, round as u8]);
                    }
                }
            });
        }
    });
    for port in &ports {
        assert_eq!(port.counters().received, (2 * ROUNDS * WINDOW) as u64);
    }
    // Receive frames are counted for the queue, transmit frames of each worker by itself.
    let deadline = Instant::now() + PATIENCE;
    loop {
        for port in &mut ports {
            assert_eq!(port.receive().expect("receiving"), 0);
        }
        let (first, second) = (ports[0].frames(), ports[1].frames());
        let sending = first.free_to_send + second.free_to_send;
        if first.waiting_to_receive == before.waiting_to_receive && sending == before.free_to_send {
            break;
        }
        assert!(Instant::now() < deadline, "{before:?} {first:?} {second:?}");
    }
}

#[test]
fn a_worker_that_sleeps_does_not_starve_the_other() {
    let Some(scene) = Scene::build(1, 2) else { return };
    let config = XskConfig { ring_entries: 64, transmit_frames: 64, ..XskConfig::new(PORT) };
    let mut ports = scene.open(&config, 2);
    let [even, odd] = clients(&scene, 1);
    // Worker 1 never looks; its ring fills, and it is worker 0 that must still get frames, and its own sent frames back.
    for _ in 0..1000 {
        odd[0].send_to(b"nobody hears", server_address("198.18.0.2")).expect("sending");
    }
    let mut answer = [0; 16];
    for _ in 0..50 {
        for _ in 0..30 {
            even[0].send_to(b"hello", server_address("198.18.0.2")).expect("sending");
        }
        echo(&mut ports[0], 30);
        for _ in 0..30 {
            assert_eq!(even[0].recv(&mut answer).expect("an answer"), 5);
        }
    }
    assert!(ports[1].details().kernel_ring_full > 0, "{:?}", ports[1].details());
    assert_eq!(receive_all(&mut ports[1], 64).len(), 64);
}

#[test]
fn each_queue_has_a_socket_and_answers_leave_by_the_queue_they_came_from() {
    let Some(scene) = Scene::build(2, 1) else { return };
    let mut ports = scene.open(&XskConfig::new(PORT), 1);
    assert_eq!(ports[0].sockets().map(|(queue, _)| queue).collect::<Vec<_>>(), [0, 1]);
    // veth takes the receive queue of the sender's transmit queue, which is a hash of the flow: many flows reach both.
    let clients: Vec<UdpSocket> = (0..32).map(|_| scene.client_socket("198.18.0.2:0")).collect();
    for client in &clients {
        client.send_to(b"hello", server_address("198.18.0.2")).expect("sending");
    }
    let requests = receive_all(&mut ports[0], clients.len());
    let queues: std::collections::HashSet<[u8; 2]> =
        requests.iter().map(|(_, peer)| [peer.link.0[16], peer.link.0[17]]).collect();
    assert_eq!(queues.len(), 2, "packets came by both queues");
    for (payload, peer) in &requests {
        assert!(ports[0].queue(peer, &[payload]));
    }
    assert_eq!(ports[0].flush().expect("flushing").sent, clients.len());
    for client in &clients {
        assert_eq!(client.recv(&mut [0; 16]).expect("an answer"), 5);
    }
}

#[test]
fn an_interface_with_another_number_of_queues_is_refused() {
    let Some(scene) = Scene::build(1, 1) else { return };
    let too_many = XskInterface { queues: 2, ..scene.interface };
    let error = scene.server.inside(|| XskGroup::open(&XskConfig::new(PORT), &too_many, 1, XskMode::Copy));
    let error = error.err().expect("there is no queue 1");
    let obstacle = error.obstacle();
    assert!(obstacle.why.contains("queue 1") && obstacle.remedy.starts_with("does the interface"), "{obstacle:?}");
    let error = error.to_string();
    assert!(error.contains("queue 1") && error.contains("ethtool -l"), "{error}");
    for (queues, workers) in [(0, 1), (65, 1), (1, 0), (1, 257)] {
        assert!(meshpay_net::XskSpare::new(&XskConfig::new(PORT), queues, workers).is_err());
    }
}
