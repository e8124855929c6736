//! The measurement link on the real kernel. Needs CAP_NET_ADMIN; see `privileged`.

use meshpay_bench::link::{Link, LinkKind, LinkRequest, MORE_ADDRESSES, NapiScheduling, Side};
use meshpay_net::{PacketPort, Peer, UdpConfig, UdpPort, Waitable};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// With this variable set, `a_killed_process_leaves_nothing` is the process that is killed.
const VICTIM: &str = "MESHPAY_TEST_LINK_VICTIM";

/// Whether this process may build links. Without the right a test is skipped, visibly; on CI that is a failure.
fn privileged() -> bool {
    if meshpay_bench::link::has_rights() {
        return true;
    }
    // Not by `println!`, which the test harness would swallow.
    let _ = writeln!(std::io::stderr(), "skipped: needs CAP_NET_ADMIN");
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must run the privileged tests: run it as root");
    false
}

fn open_veth(request: LinkRequest) -> Link {
    Link::open_veth(request).unwrap_or_else(|error| panic!("{error:#}"))
}

fn open_port(side: &Side, address: IpAddr) -> UdpPort {
    side.inside(|| UdpPort::open(&UdpConfig::new(SocketAddr::new(address, 0)))).expect("a namespace").expect("a socket")
}

fn last_core() -> usize {
    meshpay_bench::cpu::core_count() - 1
}

/// Sends one datagram and returns what arrives, and from whom.
fn pass(from: &mut UdpPort, to: &mut UdpPort, peer: &Peer, payload: &[u8]) -> (Vec<u8>, Peer) {
    assert!(from.queue(peer, &[payload]));
    assert_eq!(from.flush().expect("flushing").sent, 1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing came: {:?}", to.counters());
        let _ = to.wait(Duration::from_millis(100), &[]).expect("waiting");
        if to.receive().expect("receiving") > 0 {
            let (payload, peer) = to.packet(0);
            return (payload.to_vec(), peer);
        }
    }
}

fn there_and_back(link: &Link, authority: IpAddr, generator: IpAddr) {
    let mut server = open_port(&link.authority, authority);
    let mut client = open_port(&link.generator, generator);
    let payload = [0x5a; 1400];
    let to_server = Peer::new(server.local_address());
    let (request, peer) = pass(&mut client, &mut server, &to_server, &payload);
    assert_eq!((request.as_slice(), peer.address), (&payload[..], client.local_address()));
    let (answer, peer) = pass(&mut server, &mut client, &peer, b"answer");
    assert_eq!((answer.as_slice(), peer.address), (&b"answer"[..], server.local_address()));
}

fn carries_packets(link: &Link) {
    there_and_back(link, link.authority.ipv4().into(), link.generator.ipv4().into());
    there_and_back(link, link.authority.ipv6().into(), link.generator.ipv6().into());
    for index in [0, 1, 4_000, MORE_ADDRESSES - 1] {
        there_and_back(link, link.authority.ipv4_further(index).into(), link.generator.ipv4_further(index).into());
    }
    // One socket of the generator speaks from many of its addresses.
    let mut server = open_port(&link.authority, link.authority.ipv4().into());
    let mut client = open_port(&link.generator, "0.0.0.0".parse().expect("an address"));
    for index in 0..50 {
        let local = IpAddr::from(link.generator.ipv4_further(index));
        let to_server = Peer::new(server.local_address()).from_local(local);
        let (_, peer) = pass(&mut client, &mut server, &to_server, b"request");
        assert_eq!(peer.address.ip(), local);
        let (_, peer) = pass(&mut server, &mut client, &peer, b"answer");
        assert_eq!(peer.local, Some(local));
    }
}

#[test]
fn a_veth_link_carries_packets_with_each_side_receiving_on_its_own_core() {
    if !privileged() {
        return;
    }
    let request = LinkRequest { napi_scheduling: NapiScheduling::Batch, ..LinkRequest::new(0, last_core()) };
    let link = open_veth(request);
    assert_eq!(link.kind(), LinkKind::Veth);
    assert!(link.description().starts_with("veth, native XDP pass both ends, threaded NAPI pinned"));
    carries_packets(&link);
    for side in [&link.authority, &link.generator] {
        let pids = side.napi_pids();
        assert_eq!(pids.len(), 1, "one queue, one thread");
        let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).expect("the thread's status");
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a line");
        assert_eq!(allowed.trim(), side.core().to_string());
        let threads = meshpay_bench::cpu::threads_of(pids[0]).expect("the thread's account");
        assert!(threads[0].name.starts_with(&format!("napi/{}", side.interface())), "{threads:?}");
        assert!(threads[0].cpu_us > 0, "it received our packets");
        assert_eq!(side.drops().expect("counters"), 0);
    }
}

#[test]
fn a_program_starts_on_its_side_and_sees_native_xdp_and_no_offloads() {
    if !privileged() {
        return;
    }
    let link = open_veth(LinkRequest::new(0, last_core()));
    for side in [&link.authority, &link.generator] {
        let mut command = Command::new("ip");
        command.args(["-details", "link", "show", side.interface()]);
        side.start_here(&mut command).expect("a descriptor");
        let shown = command.output().expect("ip runs");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        // "xdp" is native mode; generic mode shows as "xdpgeneric".
        assert!(shown.contains(" xdp ") && shown.contains("mtu 1500") && shown.contains("UP"), "{shown}");
    }
}

#[test]
fn a_dropped_link_leaves_nothing() {
    if !privileged() {
        return;
    }
    let link = open_veth(LinkRequest::new(0, last_core()));
    let paths = paths(&link);
    assert!(paths.iter().all(|path| path.exists()));
    drop(link);
    assert!(!paths.iter().any(|path| path.exists()), "{paths:?} are still there");
}

fn paths(link: &Link) -> Vec<PathBuf> {
    [&link.authority, &link.generator].iter().filter_map(|side| side.namespace()).map(Path::to_owned).collect()
}

#[test]
fn a_killed_process_leaves_nothing() {
    if !privileged() {
        return;
    }
    if std::env::var_os(VICTIM).is_some() {
        let link = open_veth(LinkRequest::new(0, last_core()));
        for path in paths(&link) {
            println!("namespace {}", path.display());
        }
        println!("ready");
        std::thread::sleep(PATIENCE);
        return;
    }
    let mut victim = Command::new(std::env::current_exe().expect("this test's path"))
        .args(["--exact", "a_killed_process_leaves_nothing", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test starts again");
    let lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let paths: Vec<PathBuf> = lines
        .take_while(|line| line != "ready")
        .filter_map(|line| Some(PathBuf::from(line.split_once("namespace ")?.1)))
        .collect();
    let existed = paths.len() == 2 && paths.iter().all(|path| path.exists());
    victim.kill().expect("SIGKILL");
    victim.wait().expect("its end");
    assert!(existed, "{paths:?}");
    let deadline = Instant::now() + PATIENCE;
    while paths.iter().any(|path| path.exists()) {
        assert!(Instant::now() < deadline, "{paths:?} are still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn leftovers_of_a_dead_process_are_removed_at_the_next_start() {
    if !privileged() {
        return;
    }
    let mut dead = Command::new("true").spawn().expect("a process");
    dead.wait().expect("its end");
    let name = format!("meshpay-{}-0-a", dead.id());
    let made = Command::new("ip").args(["netns", "add", &name]).status().expect("ip runs");
    assert!(made.success());
    let _link = open_veth(LinkRequest::new(0, last_core()));
    assert!(!Path::new("/run/netns").join(name).exists());
}

#[test]
fn loopback_stands_in_and_says_why() {
    let link = Link::open_loopback(LinkRequest::new(0, last_core()), "no rights").expect("loopback is always there");
    assert_eq!(link.kind(), LinkKind::Loopback);
    assert_eq!(link.description(), "loopback: sender pays for the peer's receive (no rights)");
    assert_eq!((link.authority.namespace(), link.generator.napi_pids().len()), (None, 0));
    carries_packets(&link);
}

#[test]
fn a_core_that_does_not_exist_is_an_error() {
    assert!(Link::open(LinkRequest::new(0, 9_999)).is_err());
}
