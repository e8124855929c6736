//! Both sides of each kind of map: what we write a program sees, and what it writes we read. Maps of the wrong kind are refused.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use meshpay_net::xdp::{KeySet, MappedArray, PerCpuCounters, Program, Ring, SocketMap, TestRun, XdpError};

use crate::support::{
    ARRAY, HASH, MAPPABLE, PER_CPU_ARRAY, RING_BUFFER, XDP_PASS, XDP_REDIRECT, XSK_MAP, counting, frame, is_root, map,
    reading, redirecting, telling,
};

fn run(program: &Program, repeat: u32) -> u32 {
    program.test_run(&TestRun { packet: &frame(64), repeat, ..TestRun::default() }).expect("a run").verdict
}

#[test]
fn a_mapped_array_is_the_programs_own_memory() {
    if !is_root() {
        return;
    }
    // Entries of three words, over more than a page.
    let array = map(ARRAY, 4, 24, 1000, MAPPABLE);
    let program = reading(array.as_fd());
    let mapped = MappedArray::from_descriptor("table", array).expect("mapped");
    assert_eq!((mapped.entries(), mapped.entry_words(), mapped.words().len()), (1000, 3, 3000));
    assert_eq!(mapped.entry(999).expect("the last").len(), 3);
    assert!(mapped.entry(1000).is_none() && mapped.entry(usize::MAX).is_none());
    mapped.words()[1].store(1234, Ordering::Release);
    assert_eq!(run(&program, 1), 1234);
    assert_eq!(mapped.words()[2].load(Ordering::Acquire), 77);
    // Another thread, and after program and first handle are gone.
    let clone = mapped.clone();
    drop((program, mapped));
    std::thread::spawn(move || {
        clone.entry(999).expect("the last")[2].store(9, Ordering::Relaxed);
        assert_eq!(clone.words()[2999].load(Ordering::Relaxed), 9);
    })
    .join()
    .expect("the thread");
}

#[test]
fn an_array_of_another_shape_is_refused() {
    if !is_root() {
        return;
    }
    for (descriptor, said) in [
        (map(ARRAY, 4, 8, 1, 0), "cannot be mapped"),
        (map(ARRAY, 4, 12, 1, MAPPABLE), "12 bytes"),
        (map(HASH, 4, 8, 1, 0), "not an array"),
    ] {
        let refused = MappedArray::from_descriptor("table", descriptor).expect_err("of another shape");
        assert!(matches!(refused, XdpError::WrongMap { .. }), "{refused}");
        assert!(refused.to_string().contains(said) && refused.to_string().contains("`table`"), "{refused}");
    }
}

#[test]
fn counters_of_all_processors_are_summed() {
    if !is_root() {
        return;
    }
    let array = map(PER_CPU_ARRAY, 4, 8, 3, 0);
    let program = counting(array.as_fd());
    let counters = PerCpuCounters::from_descriptor("counters", array).expect("counters");
    assert_eq!(counters.read_all().expect("zeros"), [0, 0, 0]);
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    for processor in 0..processors {
        let mut only = rustix::thread::CpuSet::new();
        only.set(processor);
        if rustix::thread::sched_setaffinity(None, &only).is_err() {
            continue;
        }
        run(&program, 100);
    }
    let total = counters.read(1).expect("a counter");
    assert!(total >= 500 && total.is_multiple_of(500), "{total}");
    assert_eq!(counters.read_all().expect("counters"), [0, total, 0]);
    assert!(counters.read(3).is_err());
    assert!(PerCpuCounters::from_descriptor("counters", map(PER_CPU_ARRAY, 4, 4, 1, 0)).is_err());
}

#[test]
fn messages_come_in_their_order_and_once() {
    if !is_root() {
        return;
    }
    let descriptor = map(RING_BUFFER, 0, 0, 4096, 0);
    let program = telling(descriptor.as_fd());
    let copy = descriptor.try_clone().expect("a copy");
    let mut ring = Ring::from_descriptor("evidence", descriptor).expect("a ring");
    assert_eq!(ring.next(<[u8]>::to_vec), None);
    assert!(!readable(&ring));
    run(&program, 3);
    assert!(readable(&ring));
    assert_eq!(ring.next(<[u8]>::to_vec), Some(42_u64.to_ne_bytes().to_vec()));
    // A later reader goes on where the first stopped.
    drop(ring);
    let mut ring = Ring::from_descriptor("evidence", copy).expect("a ring");
    assert_eq!(ring.next(<[u8]>::len), Some(8));
    assert_eq!(ring.next(<[u8]>::len), Some(8));
    assert_eq!(ring.next(<[u8]>::len), None);
    assert!(!readable(&ring));
    // Full and emptied several times round.
    let mut read = 0;
    for _ in 0..10 {
        run(&program, 1000);
        while ring.next(|message| assert_eq!(message, 42_u64.to_ne_bytes())).is_some() {
            read += 1;
        }
    }
    // 4,096 bytes hold at most 256 messages of 8 bytes with their heads.
    assert!((2000..=2560).contains(&read), "{read}");
}

fn readable(ring: &Ring) -> bool {
    let mut polled = [rustix::event::PollFd::new(ring, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") == 1
}

#[test]
fn a_set_of_keys_grows_shrinks_and_has_a_bound() {
    if !is_root() {
        return;
    }
    for value_bytes in [1, 4] {
        let set = KeySet::<16>::from_descriptor("own", map(HASH, 16, value_bytes, 8, 0)).expect("a set");
        let key = |number: u8| [number; 16];
        assert!(set.is_empty().expect("empty") && set.capacity() == 8);
        for number in 0..8 {
            set.insert(&key(number)).expect("inserted");
        }
        set.insert(&key(3)).expect("once more changes nothing");
        assert!(set.insert(&key(8)).expect_err("full").to_string().contains("insert"));
        assert_eq!(set.len().expect("a length"), 8);
        let mut keys = set.keys().expect("keys");
        keys.sort_unstable();
        assert_eq!(keys, (0..8).map(key).collect::<Vec<_>>());
        assert!(set.contains(&key(3)).expect("asked") && !set.contains(&key(8)).expect("asked"));
        assert!(set.remove(&key(3)).expect("removed") && !set.remove(&key(3)).expect("gone already"));
        assert!(!set.contains(&key(3)).expect("asked"));
        set.insert_with(&key(4), 200).expect("a value");
        assert_eq!(set.get(&key(4)).expect("asked"), Some(200));
        assert_eq!(set.insert_with(&key(4), 1 << 20).is_ok(), value_bytes == 4);
        set.clear().expect("cleared");
        assert_eq!(set.len().expect("a length"), 0);
    }
    assert!(KeySet::<4>::from_descriptor("own", map(HASH, 16, 1, 8, 0)).is_err());
    assert!(KeySet::<16>::from_descriptor("own", map(HASH, 16, 8, 8, 0)).is_err());
}

#[test]
fn a_socket_is_found_until_it_is_taken_out_or_closed() {
    if !is_root() {
        return;
    }
    let descriptor = map(XSK_MAP, 4, 4, 2, 0);
    let program = redirecting(descriptor.as_fd());
    let sockets = SocketMap::from_descriptor("sockets", descriptor).expect("a map");
    let xdp = rustix::net::AddressFamily::from_raw(libc::AF_XDP as _);
    let socket = || rustix::net::socket(xdp, rustix::net::SocketType::RAW, None).expect("a socket");
    assert_eq!((sockets.capacity(), run(&program, 1)), (2, XDP_PASS));
    let first = socket();
    sockets.set(0, first.as_fd()).expect("put in");
    assert_eq!(run(&program, 1), XDP_REDIRECT);
    let second = socket();
    sockets.set(0, second.as_fd()).expect("put in the place of the first");
    drop(first);
    assert_eq!(run(&program, 1), XDP_REDIRECT);
    sockets.clear(0).expect("taken out");
    sockets.clear(0).expect("nothing there");
    assert_eq!(run(&program, 1), XDP_PASS);
    sockets.set(0, second.as_fd()).expect("put in again");
    drop(second);
    assert_eq!(run(&program, 1), XDP_PASS, "a closed socket goes by itself");
    assert!(sockets.set(2, socket().as_fd()).is_err() && sockets.clear(2).is_err());
    let file = std::fs::File::open("/dev/null").expect("a file");
    assert!(sockets.set(0, file.as_fd()).is_err());
    assert!(sockets.id() > 0);
}
