//! In steady state a port allocates nothing. Alone in its file: it counts every allocation of the process.

use meshpay_net::{PacketPort, Peer, UdpConfig, UdpPort, Waitable};
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

/// Three hundred echoes of a burst between two ports.
fn main() {
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
