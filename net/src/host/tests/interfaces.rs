//! What is read of interfaces is what was made.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::bpf::assembly::{Instruction, ProgramType, load};
use crate::host::bpf;
use crate::host::namespace::{in_namespace, ip};
use crate::host::{HostError, Interface, Link, XdpMode};

#[test]
fn a_veth_pair_says_what_it_is() {
    in_namespace(|| {
        ip(
            "link add left address 02:00:00:00:00:01 mtu 1400 numrxqueues 2 numtxqueues 2 type veth peer name right mtu 3000",
        );
        ip("address add 192.0.2.1/24 dev left");
        ip("address add 2001:db8::1/64 dev left nodad");
        let left = Interface::named("left").unwrap();
        assert_eq!(left.link.mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!((left.link.mtu, left.link.up, left.link.running), (1400, false, false));
        assert_eq!(left.link.kind.as_deref(), Some("veth"));
        assert_eq!(left.driver.as_ref().unwrap().name, "veth");
        assert_eq!(left.queues.receive, 2, "{:?}", left.queues);
        assert!(left.link.ethernet && !left.link.loopback && left.wireless.is_none());
        let peer = left.peer.unwrap();
        assert_eq!(peer.namespace, None);
        let right = Link::named("right").unwrap();
        assert_eq!(peer.link.as_ref(), Some(&right));
        assert_eq!((peer.index, right.mtu), (right.index, 3000));
        assert_eq!(left.addresses, ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<std::net::IpAddr>().unwrap()));
        if let Some(features) = left.xdp_features {
            assert!(features.native() && features.redirect() && !features.zero_copy(), "{features:?}");
        }

        ip("link set left up");
        ip("link set right up");
        let left = Interface::named("left").unwrap();
        assert!(left.link.up && left.link.running, "{left:?}");
        assert_eq!(Interface::all().unwrap().len(), 3, "loopback and the pair");
    });
}

#[test]
fn a_peer_in_another_namespace_is_seen_with_the_right_to() {
    in_namespace(|| {
        ip("link add left type veth peer name right mtu 2345");
        let (told, waits) = std::sync::mpsc::channel::<i32>();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // SAFETY: a network namespace is a thread's own; no memory or descriptor is affected.
                unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("a namespace");
                told.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
                let _ = ends.recv();
            });
            let thread = waits.recv().unwrap();
            ip(&format!("link set right netns {thread}"));
            let left = Interface::named("left").unwrap();
            let peer = left.peer.unwrap();
            assert!(peer.namespace.is_some(), "{peer:?}");
            assert_eq!(peer.link.unwrap().mtu, 2345);
            drop(end);
        });
    });
}

#[test]
fn a_bridge_and_its_port_are_told_apart() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        ip("link add bridge type bridge");
        ip("link set right master bridge");
        let bridge = Link::named("bridge").unwrap();
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        assert_eq!(Link::named("right").unwrap().master, Some(bridge.index));
    });
}

#[test]
fn attached_programs_are_seen_with_their_mode() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        let pass = load(ProgramType::Xdp, &[Instruction::set(0, 2), Instruction::exit()]).unwrap();
        let index = Link::named("left").unwrap().index;
        for mode in [XdpMode::Native, XdpMode::Generic] {
            let link = bpf::attach_xdp(pass.as_fd(), index, mode).unwrap();
            let programs = Link::named("left").unwrap().programs;
            assert_eq!(programs.iter().map(|program| program.mode).collect::<Vec<_>>(), [mode]);
            assert!(programs[0].program_id > 0);
            drop(link);
            // Another test may be starting a program right now, which has a copy of the descriptor until it runs.
            let deadline = Instant::now() + Duration::from_secs(10);
            while !Link::named("left").unwrap().programs.is_empty() {
                assert!(Instant::now() < deadline, "the program stays attached");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
}

#[test]
fn the_longest_mtu_of_a_veth_peer_with_a_native_program_is_as_told() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        let pass = load(ProgramType::Xdp, &[Instruction::set(0, 2), Instruction::exit()]).unwrap();
        let index = Link::named("left").unwrap().index;
        let longest = crate::host::VETH_PEER_MTU_MAX;
        ip(&format!("link set right mtu {}", longest + 1));
        let refused = bpf::attach_xdp(pass.as_fd(), index, XdpMode::Native).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ERANGE), "{refused}");
        ip(&format!("link set right mtu {longest}"));
        bpf::attach_xdp(pass.as_fd(), index, XdpMode::Native).unwrap();
    });
}

#[test]
fn an_absent_interface_is_named() {
    for name in ["no-such-if", "", "a-name-longer-than-fifteen-bytes"] {
        let error: HostError = Interface::named(name).unwrap_err();
        assert!(error.is_absent(), "{name:?}: {error} ({:?})", error.cause());
        assert!(error.to_string().contains(name), "{error}");
    }
}
