//! Packets that are lost between XDP and a socket are counted, and only those of the map that is watched.

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::bpf::assembly::{Instruction, ProgramType, load};
use crate::host::bpf;
use crate::host::namespace::{in_namespace, ip};
use crate::host::{Link, RedirectErrorCounts, RedirectErrors, Watched, XdpMode};

/// `BPF_FUNC_redirect` in linux/bpf.h.
const HELPER_REDIRECT: i32 = 23;
/// `BPF_FUNC_redirect_map`.
const HELPER_REDIRECT_MAP: i32 = 51;
const PACKETS: u64 = 20;

/// A pair with a program at its right end, to which `send` sends packets.
fn pair() {
    ip("link set lo up");
    ip("link add left type veth peer name right");
    ip("link set left up");
    ip("link set right up");
    ip("address add 192.0.2.1/24 dev left");
    ip("neighbor add 192.0.2.2 lladdr 02:00:00:00:00:02 dev left");
}

fn attached(program: &[Instruction]) -> OwnedFd {
    let program = load(ProgramType::Xdp, program).unwrap();
    bpf::attach_xdp(program.as_fd(), Link::named("right").unwrap().index, XdpMode::Native).unwrap()
}

/// Sends, and waits until at least as many losses of this kind were counted. Other tests may lose packets of other kinds meanwhile.
fn send(counter: &RedirectErrors, kind: fn(&RedirectErrorCounts) -> u64) {
    let before = kind(&counter.counts());
    let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
    for _ in 0..PACKETS {
        socket.send_to(b"lost", "192.0.2.2:7450").unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while kind(&counter.counts()) < before + PACKETS {
        assert!(Instant::now() < deadline, "{:?} after {before}", counter.counts());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_redirect_to_nowhere_is_counted() {
    in_namespace(|| {
        pair();
        let everything = RedirectErrors::open(Watched::Everything).unwrap();
        let nothing = RedirectErrors::open(Watched::Map(u32::MAX)).unwrap();
        let _attached = attached(&[
            Instruction::set(1, 0x7fff_ffff),
            Instruction::set(2, 0),
            Instruction::call(HELPER_REDIRECT),
            Instruction::exit(),
        ]);
        // No such interface: EINVAL.
        send(&everything, |counts| counts.wrong_queue);
        assert_eq!(nothing.counts().total(), 0, "those of another map are counted");
    });
}

#[test]
fn only_losses_through_the_watched_map_are_counted() {
    in_namespace(|| {
        pair();
        // The loopback takes no redirected frames (EOPNOTSUPP).
        let lo = Link::named("lo").unwrap().index;
        let (ours, our_number) = bpf::device_map(lo).unwrap();
        let (_others, other_number) = bpf::device_map(lo).unwrap();
        let watching = RedirectErrors::open(Watched::Map(our_number)).unwrap();
        let elsewhere = RedirectErrors::open(Watched::Map(other_number)).unwrap();
        let mut program = Instruction::map(1, ours.as_fd()).to_vec();
        program.extend([
            Instruction::set(2, 0),
            Instruction::set(3, 0),
            Instruction::call(HELPER_REDIRECT_MAP),
            Instruction::exit(),
        ]);
        let _attached = attached(&program);
        send(&watching, RedirectErrorCounts::total);
        let counts = watching.counts();
        assert_eq!(counts.other, counts.total(), "{counts:?}");
        assert_eq!(elsewhere.counts().total(), 0);
    });
}

#[test]
fn each_error_has_its_counter() {
    let errors = RedirectErrors::open(Watched::Everything);
    let Ok(errors) = errors else {
        assert!(!rustix::process::geteuid().is_root(), "{:?}", errors.err());
        eprintln!("skipped: needs CAP_BPF and CAP_PERFMON");
        return;
    };
    let names: Vec<_> = errors.counts().entries().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["wrong_queue", "not_bound", "ring_full", "no_frame", "too_long", "other"]);
}
