//! Addresses and links are followed through everything that happens to them.

use std::net::IpAddr;
use std::time::Duration;

use crate::host::namespace::{in_namespace, ip};
use crate::host::{Change, Follower, HostState, Link};

const PATIENCE: Duration = Duration::from_secs(10);
/// After the last `ip` command its notifications are there already: the kernel queues them before it answers.
const QUIET: Duration = Duration::from_millis(300);

/// Reads until nothing comes for a while.
fn all(follower: &mut Follower) -> Vec<Change> {
    let mut changes = follower.wait(PATIENCE).unwrap();
    loop {
        let more = follower.wait(QUIET).unwrap();
        if more.is_empty() {
            return changes;
        }
        changes.extend(more);
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn added(changes: &[Change]) -> Vec<IpAddr> {
    changes
        .iter()
        .filter_map(|change| if let Change::AddressAdded(own) = change { Some(own.address) } else { None })
        .collect()
}

fn removed(changes: &[Change]) -> Vec<IpAddr> {
    changes
        .iter()
        .filter_map(|change| if let Change::AddressRemoved(own) = change { Some(own.address) } else { None })
        .collect()
}

/// What is followed must become what a fresh listing says; the kernel may be about to finish an address by itself.
fn check(follower: &mut Follower) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        follower.changes().unwrap();
        let fresh = HostState::read().unwrap();
        if follower.state() == &fresh {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{:#?}\nis not\n{fresh:#?}", follower.state());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn addresses_come_and_go() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        let mut follower = Follower::open().unwrap();
        assert_eq!(follower.changes().unwrap(), []);
        let left = follower.state().link_named("left").unwrap().index;
        ip("address add 192.0.2.1/24 dev left");
        ip("address add 2001:db8::1/64 dev left nodad");
        let changes = all(&mut follower);
        assert_eq!(added(&changes), [address("192.0.2.1"), address("2001:db8::1")]);
        assert_eq!(follower.state().addresses_at(left), [address("192.0.2.1"), address("2001:db8::1")]);
        ip("address del 192.0.2.1/24 dev left");
        assert_eq!(removed(&all(&mut follower)), [address("192.0.2.1")]);
        assert_eq!(follower.state().addresses_at(left), [address("2001:db8::1")]);
        check(&mut follower);
    });
}

#[test]
fn only_addresses_that_the_kernel_accepts_are_ours() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        ip("link set lo up");
        ip("link set left up");
        ip("link set right up");
        ip("address add 192.0.2.1 peer 192.0.2.99/32 dev left");
        ip("address add fe80::7/64 dev left nodad");
        ip("address add fe80::8/64 dev right nodad");
        ip("address add 198.51.100.7/32 dev lo");
        let mut follower = Follower::open().unwrap();
        let state = follower.state();
        let (left, right) = (state.link_named("left").unwrap().index, state.link_named("right").unwrap().index);
        let ours = state.addresses_at(left);
        assert!(ours.contains(&address("192.0.2.1")) && !ours.contains(&address("192.0.2.99")), "{ours:?}");
        assert!(ours.contains(&address("fe80::7")) && !ours.contains(&address("fe80::8")), "{ours:?}");
        assert!(ours.contains(&address("198.51.100.7")), "an address of the loopback is the host's: {ours:?}");
        assert!(!ours.contains(&address("127.0.0.1")) && !ours.contains(&address("::1")), "{ours:?}");
        assert!(state.addresses_at(right).contains(&address("fe80::8")));
        // An address in doubt (duplicate address detection under way) is not ours until the kernel says so.
        ip("address add 2001:db8::2/64 dev left");
        let deadline = std::time::Instant::now() + PATIENCE;
        while !follower.state().addresses_at(left).contains(&address("2001:db8::2")) {
            assert!(std::time::Instant::now() < deadline, "the address never became ours");
            follower.wait(PATIENCE).unwrap();
        }
        check(&mut follower);
    });
}

#[test]
fn links_go_down_change_and_go_away() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        // No address comes by itself.
        ip("link set left addrgenmode none");
        ip("link set right addrgenmode none");
        ip("link set left up");
        ip("link set right up");
        ip("address add 192.0.2.1/24 dev left");
        let mut follower = Follower::open().unwrap();
        let state = |changes: &[Change]| {
            changes
                .iter()
                .rev()
                .find_map(|change| match change {
                    Change::LinkChanged { now, .. } if now.name == "left" => Some(now.clone()),
                    _ => None,
                })
                .expect("no change of the link")
        };
        ip("link set right down");
        let now: Link = state(&all(&mut follower));
        assert!(now.up && !now.running, "the peer is down: {now:?}");
        ip("link set right up");
        assert!(state(&all(&mut follower)).running);
        ip("link set left mtu 1280");
        assert_eq!(state(&all(&mut follower)).mtu, 1280);
        ip("link set left down");
        let now = state(&all(&mut follower));
        assert!(!now.up && !now.running);
        check(&mut follower);
        ip("link add bridge type bridge");
        ip("link set left master bridge");
        ip("link set left nomaster");
        let changes = all(&mut follower);
        assert!(
            !changes.iter().any(|change| matches!(change, Change::LinkRemoved(_))),
            "leaving a bridge is not going away"
        );
        check(&mut follower);
        ip("link del left");
        let changes = all(&mut follower);
        assert_eq!(removed(&changes), [address("192.0.2.1")]);
        assert!(changes.iter().any(|change| matches!(change, Change::LinkRemoved(link) if link.name == "left")));
        assert!(follower.state().link_named("left").is_none() && follower.state().link_named("right").is_none());
        ip("link add left type veth peer name right");
        assert!(
            all(&mut follower).iter().any(|change| matches!(change, Change::LinkAdded(link) if link.name == "left"))
        );
        // The first end of a pair is told of before it has its peer; the next notification completes it.
        ip("link set left up");
        ip("link set right up");
        all(&mut follower);
        check(&mut follower);
    });
}

#[test]
fn after_an_overrun_all_is_listed_again() {
    in_namespace(|| {
        ip("link add left type veth peer name right");
        // The smallest buffer that the kernel gives holds a few notifications only.
        let mut follower = Follower::open_with_buffer(1).unwrap();
        let mut mirror: std::collections::BTreeSet<IpAddr> = Default::default();
        let batch: String = (0..200).map(|host| format!("address add 10.0.{host}.1/24 dev left\n")).collect();
        let file = std::env::temp_dir().join(format!("meshpay-addresses-{}", std::process::id()));
        std::fs::write(&file, batch).unwrap();
        ip(&format!("-batch {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        ip("address del 10.0.7.1/24 dev left");
        for change in all(&mut follower) {
            match change {
                Change::AddressAdded(own) => assert!(mirror.insert(own.address)),
                Change::AddressRemoved(own) => assert!(mirror.remove(&own.address)),
                _ => {}
            }
        }
        assert!(follower.overruns() > 0, "the buffer was large enough, so nothing was tested");
        let expected = (0..200).filter(|host| *host != 7).map(|host| address(&format!("10.0.{host}.1"))).collect();
        assert_eq!(mirror, expected);
        check(&mut follower);
    });
}
