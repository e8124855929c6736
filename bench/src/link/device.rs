//! The two ends of the veth pair: addresses, offloads, and the threads that receive for them.

use super::namespace::Namespace;
use super::{NapiScheduling, run};
use crate::cpu;
use anyhow::{Context as _, Result, ensure};
use rustix::net::{AddressFamily, SocketType};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

/// Hardware addresses, locally administered; each end knows the other's beforehand.
const MACS: [&str; 2] = ["02:4d:50:00:00:01", "02:4d:50:00:00:02"];

/// Commands of SIOCETHTOOL that turn an offload on or off (linux/ethtool.h), with their names for errors.
const OFFLOADS: [(u32, &str); 3] = [(0x1f, "TSO"), (0x24, "GSO"), (0x2c, "GRO")];

/// Packets that an interface queues in each of its priorities while its peer's ring is full.
const QUEUE_PACKETS: u32 = 4096;

/// The address of side 0 (authorities) or 1 (generator).
pub(super) fn ipv4(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 1 + side as u8)
}

pub(super) fn ipv6(side: usize) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 1 + side as u16)
}

/// The /18 of which all addresses are the side's own.
pub(super) fn ipv4_more(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 64 * (1 + side as u8), 0)
}

/// Likewise on loopback, where all of 127/8 is this host's own.
pub(super) fn ipv4_more_loopback(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 18, 64 * (1 + side as u8), 0)
}

/// Makes a pair with one end in each namespace, and one queue at each end: one NAPI, so one thread that receives.
pub(super) fn create_pair(namespaces: &[Namespace; 2], devices: &[String; 2]) -> Result<()> {
    let end = |side: usize| {
        let (device, mac, namespace) = (&devices[side], MACS[side], namespaces[side].name());
        format!("{device} mtu 1500 address {mac} numtxqueues 1 numrxqueues 1 netns {namespace}")
    };
    let line = format!("link add {} type veth peer name {}", end(0), end(1));
    run("ip", &line.split(' ').collect::<Vec<_>>())
}

/// Gives one end its addresses and its way to the other, and takes it up.
pub(super) fn configure(namespace: &Namespace, device: &str, own: usize, other: usize) -> Result<()> {
    let ip = |line: &str| {
        let mut arguments = vec!["-n", namespace.name()];
        arguments.extend(line.split(' '));
        run("ip", &arguments)
    };
    namespace.inside(|| {
        OFFLOADS.iter().try_for_each(|(command, name)| {
            set_ethtool(device, *command, 0).with_context(|| format!("cannot turn off {name} of {device}"))
        })
    })??;
    ip("link set lo up")?;
    ip(&format!("address add {}/24 dev {device}", ipv4(own)))?;
    ip(&format!("address add {}/64 dev {device} nodad", ipv6(own)))?;
    // Without a queue veth drops what does not fit the 256 places of its ring. With one it stops the queue instead (since
    // Linux 6.16), like a network card, and a sender's burst waits.
    ip(&format!("link set {device} txqueuelen {QUEUE_PACKETS}"))?;
    run("tc", &["-n", namespace.name(), "qdisc", "replace", "dev", device, "root", "pfifo_fast"])?;
    ip(&format!("link set {device} up"))?;
    ip(&format!("route add local {}/18 dev {device}", ipv4_more(own)))?;
    ip(&format!("route add {}/18 via {} dev {device}", ipv4_more(other), ipv4(other)))?;
    // No ARP and no neighbour discovery in the middle of a measurement.
    ip(&format!("neighbour replace {} lladdr {} dev {device} nud permanent", ipv4(other), MACS[other]))?;
    ip(&format!("neighbour replace {} lladdr {} dev {device} nud permanent", ipv6(other), MACS[other]))
}

/// What ethtool(8) does for its on-off settings: struct ethtool_value through SIOCETHTOOL.
fn set_ethtool(device: &str, command: u32, value: u32) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut setting = [command, value];
    // SAFETY: all fields are integers, arrays of integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the interface's name is too long"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = setting.as_mut_ptr().cast();
    // SAFETY: `request` and the `setting` it points to live through the call, and these commands read two words.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A kernel thread that receives for an interface.
#[derive(Debug)]
pub(super) struct Napi {
    pub(super) pid: u32,
}

/// Moves the receiving of `device` into kernel threads, and those to `core`.
pub(super) fn thread_and_pin(
    namespace: &Namespace,
    device: &str,
    core: usize,
    scheduling: NapiScheduling,
) -> Result<Vec<Napi>> {
    // /sys shows the interfaces of the namespace in which it was mounted; `ip netns exec` mounts it anew.
    let script = r#"echo 1 > "/sys/class/net/$1/threaded""#;
    run("ip", &["netns", "exec", namespace.name(), "sh", "-c", script, "sh", device])?;
    let threads = find_napi(device)?;
    ensure!(!threads.is_empty(), "the kernel made no NAPI thread for {device}; is XDP attached natively?");
    for napi in &threads {
        cpu::pin_thread(napi.pid, core).with_context(|| format!("cannot pin the NAPI thread of {device}"))?;
        if scheduling == NapiScheduling::Batch {
            schedule_batch(napi.pid).with_context(|| format!("cannot set SCHED_BATCH for {device}'s NAPI thread"))?;
        }
    }
    Ok(threads)
}

/// Threads named `napi/<device>-<id>` (net/core/dev.c, `napi_kthread_create`).
fn find_napi(device: &str) -> Result<Vec<Napi>> {
    let prefix = format!("napi/{device}-");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        if name.starts_with(&prefix) {
            found.push(Napi { pid });
        }
    }
    Ok(found)
}

fn schedule_batch(pid: u32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` lives through the call, which only reads it.
    match unsafe { libc::sched_setscheduler(pid as libc::pid_t, libc::SCHED_BATCH, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receive and transmit drops of `device`, as seen from the calling thread's namespace.
pub(super) fn drops(device: &str) -> Result<u64> {
    counters(device).map(|columns| columns[3] + columns[11])
}

/// Packets that `device` has received, as seen from the calling thread's namespace. veth counts here what XDP has looked at.
pub(super) fn received(device: &str) -> Result<u64> {
    counters(device).map(|columns| columns[1])
}

/// The columns of /proc/net/dev: receive: bytes, packets, errs, drop, fifo, frame, compressed, multicast; then transmit, likewise.
fn counters(device: &str) -> Result<[u64; 12]> {
    // /proc/thread-self/net is that of the calling thread, unlike /sys.
    let table = fs::read_to_string("/proc/thread-self/net/dev").context("cannot read the interfaces' counters")?;
    let prefix = format!("{device}:");
    let line = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(&prefix))
        .with_context(|| format!("there is no interface {device} any more"))?;
    let columns: Vec<u64> = line.split_ascii_whitespace().map_while(|column| column.parse().ok()).collect();
    columns.first_chunk().copied().context("unknown format of /proc/net/dev")
}
