//! In steady state a port allocates nothing. Alone in its file: it counts every allocation of the process.

#[path = "xsk/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "xsk/scene.rs"]
#[allow(dead_code)]
mod scene;

use meshpay_net::{PacketPort, Peer, UdpConfig, UdpPort, Waitable, XskConfig};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: likewise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    sockets();
    xsk();
}

/// Three hundred echoes of a burst between two ports.
fn sockets() {
    let open = || UdpPort::open(&UdpConfig::new("[::1]:0".parse().expect("an address"))).expect("a socket");
    let (mut server, mut client) = (open(), open());
    let to_server = Peer::new(server.local_address());
    let mut answers = 0;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..300 {
        for number in 0..64u8 {
            assert!(client.queue(&to_server, &[&[number; 200], b"tail"]));
        }
        assert_eq!(client.flush().expect("flushing").sent, 64);
        let mut left = 64;
        while left > 0 {
            assert!(server.wait(PATIENCE, &[]).expect("waiting").packets, "{left} of 64 datagrams are missing");
            let count = server.receive().expect("receiving");
            for index in 0..count {
                let (payload, peer) = server.packet(index);
                let length = payload.len();
                assert!(server.queue(&peer, &[&[0; 1400][..length]]));
            }
            left -= count;
        }
        assert_eq!(server.flush().expect("flushing").sent, 64);
        let mut left = 64;
        while left > 0 {
            assert!(client.wait(PATIENCE, &[]).expect("waiting").packets, "{left} of 64 answers are missing");
            left -= client.receive().expect("receiving");
        }
        answers += 64;
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "the data path allocated");
    println!("no allocation in {answers} echoes");
}

/// The same with AF_XDP as the server.
fn xsk() {
    let Some(scene) = scene::Scene::build(1, 1) else { return };
    let mut server = scene.open(&XskConfig::new(scene::PORT), 1).remove(0);
    let client = scene.client_socket("198.18.0.2:0");
    let to_server = scene::server_address("198.18.0.2");
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..300 {
        for number in 0..64u8 {
            client.send_to(&[number; 204], to_server).expect("sending");
        }
        let mut left = 64;
        while left > 0 {
            assert!(server.wait(PATIENCE, &[]).expect("waiting").packets, "{left} of 64 datagrams are missing");
            let count = server.receive().expect("receiving");
            for index in 0..count {
                let (payload, peer) = server.packet(index);
                let length = payload.len();
                assert!(server.queue(&peer, &[&[0; 1400][..length]]));
            }
            assert_eq!(server.flush().expect("flushing").sent, count);
            left -= count;
        }
        for _ in 0..64 {
            assert_eq!(client.recv(&mut [0; 1400]).expect("an answer"), 204);
        }
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "the data path allocated");
    println!("no allocation in {} echoes by AF_XDP", 300 * 64);
}
