//! From facts to verdicts: which rung an interface reaches, why not a higher one, and what to do. A pure function.

use meshpay_net::host::{AttachedProgram, Capability, VETH_PEER_MTU_MAX, Version, XdpMode};
use meshpay_net::rung::{Obstacle, Rung};

use super::Facts;

/// bpf_link for XDP, the only way we attach, is of this kernel.
const LINK_SINCE: Version = Version::new(5, 9);
/// Longest frame that fits our packet memory: 2,048 bytes less the kernel's headroom of 256.
const FRAME_MAX_BYTES: u32 = 2048 - 256;
/// Ethernet with one VLAN tag.
const ETHERNET_BYTES: u32 = 18;
/// [`VETH_PEER_MTU_MAX`] is for pages of this size.
const PAGE_BYTES: usize = 4096;

/// What is to be expected of a rung on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub rung: Rung,
    /// What stands in the way; empty if it can be reached.
    pub obstacles: Vec<Obstacle>,
    /// What an operator should know all the same.
    pub cautions: Vec<Obstacle>,
}

impl Verdict {
    /// Whether the rung can be reached.
    pub fn reached(&self) -> bool {
        self.obstacles.is_empty()
    }
}

/// The best rung that can be reached; sockets always can.
pub fn best(verdicts: &[Verdict]) -> Rung {
    verdicts.iter().find(|verdict| verdict.reached()).map_or(Rung::Udp, |verdict| verdict.rung)
}

/// A verdict for every rung, the best first. `probe` may try a rung that the facts allow and name what it met; doing without
/// (`|_| None`) changes nothing on the host.
pub fn verdicts(facts: &Facts, mut probe: impl FnMut(Rung) -> Option<Obstacle>) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = Rung::BEST_FIRST.into_iter().map(|rung| decide(facts, rung)).collect();
    for verdict in all.iter_mut().filter(|verdict| verdict.reached()) {
        verdict.obstacles.extend(probe(verdict.rung));
    }
    all
}

fn decide(facts: &Facts, rung: Rung) -> Verdict {
    let mut verdict = Verdict { rung, obstacles: Vec::new(), cautions: reachable(facts) };
    if rung.has_filter() {
        filter(facts, &mut verdict);
    }
    let (receives, sends) = match rung {
        Rung::Udp | Rung::XdpUdp => (false, false),
        Rung::XdpUdpXskOut => (false, true),
        Rung::XskCopy | Rung::XskZeroCopy => (true, true),
    };
    if sends {
        af_xdp(facts, receives, &mut verdict);
    }
    if rung == Rung::XskZeroCopy {
        zero_copy(facts, &mut verdict);
    }
    verdict
}

/// What is in the way of any packet.
fn reachable(facts: &Facts) -> Vec<Obstacle> {
    let link = &facts.interface.link;
    let mut cautions = Vec::new();
    if !link.up {
        cautions.push(Obstacle::new(
            format!("{} is down", link.name),
            format!("put it up with `ip link set {} up`", link.name),
        ));
    } else if !link.running {
        cautions.push(Obstacle::new(
            format!("{} is up but has no carrier", link.name),
            "look at the cable, the peer of the veth, or whether the radio has joined the mesh",
        ));
    }
    if facts.interface.addresses.is_empty() {
        cautions.push(Obstacle::new(
            format!("no address of this host can be reached over {}", link.name),
            format!("give it one with `ip address add ADDRESS/BITS dev {}`", link.name),
        ));
    }
    cautions
}

/// What the filter in the kernel needs.
fn filter(facts: &Facts, verdict: &mut Verdict) {
    let interface = &facts.interface;
    let link = &interface.link;
    let obstacles = &mut verdict.obstacles;
    if !link.ethernet {
        obstacles.push(Obstacle::new(
            format!("frames on {} have no Ethernet header (type {})", link.name, link.hardware_type),
            "",
        ));
    }
    if !facts.kernel.at_least(LINK_SINCE) {
        obstacles.push(Obstacle::new(
            format!("the kernel is {}, and XDP by bpf_link needs {LINK_SINCE}", facts.kernel.release),
            "install a newer kernel",
        ));
    }
    let with_sockets = [Capability::NetAdmin, Capability::Bpf, Capability::Perfmon, Capability::NetRaw];
    missing(facts, &with_sockets[..if verdict.rung == Rung::XdpUdp { 3 } else { 4 }], obstacles);
    obstacles.extend(link.programs.iter().map(|program| attached(&link.name, program)));

    let cautions = &mut verdict.cautions;
    if let Err(why) = native(facts) {
        cautions.push(Obstacle::new(
            format!("the filter runs generically, after the kernel has made a packet of the frame: {}", why.why),
            why.remedy,
        ));
    } else if interface.xdp_features.is_none() {
        cautions.push(Obstacle::new(
            format!("kernel {} does not say whether the driver runs XDP itself", facts.kernel.release),
            "the start tries it and says what it reached",
        ));
    }
    if link.master.is_some() {
        cautions.push(Obstacle::new(
            format!("{} is a port of a bridge or bond, whose Ethernet address may be another", link.name),
            "put the filter on the interface that has the IP address",
        ));
    }
    if !interface.vlans.is_empty() {
        cautions.push(Obstacle::new(
            format!("VLANs are on {}, and a driver that takes their tags out hides them from the filter", link.name),
            format!("`ethtool -K {} rxvlan off`", link.name),
        ));
    }
    if facts.kernel.bpf_jit == Some(0) {
        cautions.push(Obstacle::new(
            "the kernel interprets BPF programs, which is many times slower",
            "`sysctl net.core.bpf_jit_enable=1`",
        ));
    }
}

/// Whether the driver can run the program itself, or why not.
fn native(facts: &Facts) -> Result<(), Obstacle> {
    let interface = &facts.interface;
    if let Some(mode) = interface.wireless {
        // mac80211 takes generic programs only; a wireless driver that does better says so in its features.
        if !interface.xdp_features.is_some_and(|features| features.native()) {
            let why = format!("{} is wireless ({}), and mac80211 runs no programs", interface.link.name, mode.name());
            return Err(Obstacle::new(why, ""));
        }
    }
    if interface.xdp_features.is_some_and(|features| !features.native()) {
        return Err(Obstacle::new(format!("{} has no native XDP", driver(facts)), ""));
    }
    if let Some(peer) = interface.peer.as_ref().and_then(|peer| peer.link.as_ref())
        && facts.page_bytes == PAGE_BYTES
        && peer.mtu > VETH_PEER_MTU_MAX
    {
        return Err(Obstacle::new(
            format!("the veth's peer {} has an MTU of {}, above {VETH_PEER_MTU_MAX}", peer.name, peer.mtu),
            format!("`ip link set {} mtu {VETH_PEER_MTU_MAX}` or less, in the peer's namespace", peer.name),
        ));
    }
    Ok(())
}

/// What AF_XDP sockets need.
fn af_xdp(facts: &Facts, receives: bool, verdict: &mut Verdict) {
    let interface = &facts.interface;
    if !facts.kernel.af_xdp {
        verdict.obstacles.push(Obstacle::new(
            "the kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)",
            "install a kernel that has them; the distributions' do",
        ));
    }
    let needed = facts.locked_bytes();
    let exempt = facts.capabilities.has(Capability::IpcLock);
    if !exempt && !facts.kernel.memlock_max.allows(needed) {
        verdict.obstacles.push(Obstacle::new(
            format!("packet memory locks {}, and the limit is {}", mebibytes(needed), limit(facts.kernel.memlock_max)),
            "raise it: LimitMEMLOCK=infinity in the systemd unit, or `ulimit -l unlimited` as root",
        ));
    }
    if !interface.link.up {
        verdict.obstacles.push(Obstacle::new(
            format!("AF_XDP sockets cannot be bound while {} is down", interface.link.name),
            format!("`ip link set {} up`; the daemon climbs when it comes up", interface.link.name),
        ));
    }
    if receives && interface.queues.receive == 0 {
        verdict.cautions.push(Obstacle::new("the driver does not say how many queues it has", "one is assumed"));
    }
    if receives && !facts.kernel.maps_writable_without_rights() {
        verdict.cautions.push(Obstacle::new(
            format!(
                "kernel {} lets nobody change maps without CAP_BPF, so after a fall to sockets the daemon stays there",
                facts.kernel.release
            ),
            "restart it to climb again, or install kernel 5.19 or newer",
        ));
    }
}

/// What AF_XDP without a copy needs besides.
fn zero_copy(facts: &Facts, verdict: &mut Verdict) {
    let interface = &facts.interface;
    match interface.xdp_features {
        Some(features) if !features.zero_copy() => {
            verdict.obstacles.push(Obstacle::new(format!("{} has no zero-copy", driver(facts)), ""));
        }
        Some(_) => {}
        None => verdict.cautions.push(Obstacle::new(
            format!("kernel {} does not say whether the driver has zero-copy", facts.kernel.release),
            "the start tries it and says what it reached",
        )),
    }
    if let Err(why) = native(facts) {
        let why = Obstacle::new(format!("zero-copy needs native XDP: {}", why.why), why.remedy);
        // Said already where the driver has neither.
        if !verdict.obstacles.iter().any(|obstacle| obstacle.why.ends_with("has no zero-copy")) {
            verdict.obstacles.push(why);
        }
        verdict.cautions.retain(|caution| !caution.why.starts_with("the filter runs generically"));
    }
    if interface.link.mtu + ETHERNET_BYTES > FRAME_MAX_BYTES {
        verdict.cautions.push(Obstacle::new(
            format!("an MTU of {} is above what fits one frame of packet memory", interface.link.mtu),
            format!("some drivers refuse zero-copy then; set it to {} or less", FRAME_MAX_BYTES - ETHERNET_BYTES),
        ));
    }
}

fn driver(facts: &Facts) -> String {
    let interface = &facts.interface;
    match &interface.driver {
        Some(driver) => format!("the driver {}", driver.name),
        None => format!("the interface {}", interface.link.name),
    }
}

fn missing(facts: &Facts, needed: &[Capability], obstacles: &mut Vec<Obstacle>) {
    let names: Vec<&str> =
        needed.iter().filter(|capability| !facts.capabilities.has(**capability)).map(|one| one.name()).collect();
    if names.is_empty() {
        return;
    }
    let remedy = if facts.capabilities.in_user_namespace() {
        "run it outside of the container's user namespace, where the kernel grants them"
    } else {
        "run it as root, or from the systemd unit, which grants them (authority/dist)"
    };
    obstacles.push(Obstacle::new(format!("this process lacks {}", names.join(", ")), remedy));
}

fn attached(name: &str, program: &AttachedProgram) -> Obstacle {
    let flavour = match program.mode {
        XdpMode::Native => "xdpdrv",
        XdpMode::Generic => "xdpgeneric",
        XdpMode::Offloaded => "xdpoffload",
    };
    let (id, mode) = (program.program_id, program.mode.name());
    Obstacle::new(
        format!("a program is attached already (number {id}, {mode})"),
        format!(
            "if it is this authority's own, the daemon runs; else see whose it is with `bpftool prog show id {id}` and take it off: \
             end the process that holds its link, or `ip link set {name} {flavour} off`"
        ),
    )
}

/// Bytes as people read them.
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    if tenths.is_multiple_of(10) {
        format!("{} MiB", tenths / 10)
    } else {
        format!("{}.{} MiB", tenths / 10, tenths % 10)
    }
}

pub(super) fn limit(limit: meshpay_net::host::Limit) -> String {
    match limit {
        meshpay_net::host::Limit::Bytes(bytes) => mebibytes(bytes),
        meshpay_net::host::Limit::Unlimited => "unlimited".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshpay_net::host::{
        Capabilities, Driver, Interface, Kernel, Limit, Link, Queues, VethPeer, WirelessMode, XdpFeatures,
    };

    const NATIVE: u64 = 1 | 2 | 4;
    const ZERO_COPY: u64 = 8;

    /// A gateway with a good card, as root: every rung is reached.
    fn good() -> Facts {
        Facts {
            kernel: Kernel {
                release: "6.18.0".to_owned(),
                version: Some(Version::new(6, 18)),
                machine: "x86_64".to_owned(),
                btf: true,
                bpf_jit: Some(1),
                unprivileged_bpf_disabled: Some(2),
                lockdown: None,
                af_xdp: true,
                memlock: Limit::Unlimited,
                memlock_max: Limit::Unlimited,
                perf_event_paranoid: Some(2),
            },
            capabilities: Capabilities::of(&Capability::NEEDED),
            interface: Interface {
                link: Link {
                    index: 2,
                    name: "eth0".to_owned(),
                    mac: Some([2; 6]),
                    mtu: 1500,
                    up: true,
                    running: true,
                    ethernet: true,
                    ..Link::default()
                },
                driver: Some(Driver { name: "ice".to_owned(), version: String::new(), bus: String::new() }),
                queues: Queues { receive: 2, transmit: 2, receive_max: 8 },
                xdp_features: Some(XdpFeatures::from_bits(NATIVE | ZERO_COPY)),
                wireless: None,
                peer: None,
                vlans: Vec::new(),
                addresses: vec!["192.0.2.1".parse().unwrap()],
            },
            workers: 1,
            page_bytes: PAGE_BYTES,
        }
    }

    /// One row: what is different from a good gateway, which rung is the best then, and a word that the reason against the next higher
    /// one must contain.
    type Row = (&'static str, fn(&mut Facts), Rung, &'static str);

    const ROWS: [Row; 15] = [
        ("nothing", |_| {}, Rung::XskZeroCopy, ""),
        (
            "no zero-copy",
            |facts| facts.interface.xdp_features = Some(XdpFeatures::from_bits(NATIVE)),
            Rung::XskCopy,
            "ice has no zero-copy",
        ),
        (
            "no native XDP",
            |facts| facts.interface.xdp_features = Some(XdpFeatures::from_bits(0)),
            Rung::XskCopy,
            "ice has no zero-copy",
        ),
        (
            "a mesh point",
            |facts| {
                facts.interface.xdp_features = None;
                facts.interface.wireless = Some(WirelessMode::MeshPoint);
            },
            Rung::XskCopy,
            "mac80211",
        ),
        ("an old kernel that tells nothing", |facts| facts.interface.xdp_features = None, Rung::XskZeroCopy, ""),
        ("a kernel before bpf_link", |facts| facts.kernel.version = Some(Version::new(5, 4)), Rung::Udp, "bpf_link"),
        ("no rights", |facts| facts.capabilities = Capabilities::of(&[]), Rung::Udp, "CAP_BPF"),
        (
            "no CAP_NET_RAW",
            |facts| {
                facts.capabilities = Capabilities::of(&[Capability::NetAdmin, Capability::Bpf, Capability::Perfmon])
            },
            Rung::XdpUdp,
            "CAP_NET_RAW",
        ),
        ("no AF_XDP", |facts| facts.kernel.af_xdp = false, Rung::XdpUdp, "CONFIG_XDP_SOCKETS"),
        (
            "little memory to lock",
            |facts| facts.kernel.memlock_max = Limit::Bytes(8 << 20),
            Rung::XdpUdp,
            "LimitMEMLOCK",
        ),
        (
            "little memory, but the right to lock",
            |facts| {
                facts.kernel.memlock_max = Limit::Bytes(0);
                let mut held = Capability::NEEDED.to_vec();
                held.push(Capability::IpcLock);
                facts.capabilities = Capabilities::of(&held);
            },
            Rung::XskZeroCopy,
            "",
        ),
        ("down", |facts| facts.interface.link.up = false, Rung::XdpUdp, "ip link set eth0 up"),
        (
            "another program",
            |facts| facts.interface.link.programs = vec![AttachedProgram { mode: XdpMode::Generic, program_id: 77 }],
            Rung::Udp,
            "id 77",
        ),
        ("no Ethernet", |facts| facts.interface.link.ethernet = false, Rung::Udp, "Ethernet"),
        (
            "a veth whose peer has a large MTU",
            |facts| {
                facts.interface.peer = Some(VethPeer {
                    index: 3,
                    namespace: None,
                    link: Some(Link { name: "peer0".to_owned(), mtu: VETH_PEER_MTU_MAX + 1, ..Link::default() }),
                    xdp_features: None,
                });
            },
            Rung::XskCopy,
            "peer0",
        ),
    ];

    #[test]
    fn each_obstacle_leads_to_its_rung() {
        for (what, change, expected, word) in ROWS {
            let mut facts = good();
            change(&mut facts);
            let all = verdicts(&facts, |_| None);
            assert_eq!(best(&all), expected, "{what}: {all:#?}");
            assert_eq!(all.iter().map(|verdict| verdict.rung).collect::<Vec<_>>(), Rung::BEST_FIRST);
            let higher = all.iter().take_while(|verdict| verdict.rung != expected).last();
            let said = higher.map(|verdict| format!("{:?}", verdict.obstacles)).unwrap_or_default();
            assert!(said.contains(word), "{what}: {said}");
            // Sockets need nothing, and whoever reaches a rung reaches those without its needs.
            assert!(all.last().unwrap().reached(), "{what}");
        }
    }

    #[test]
    fn whoever_cannot_reach_a_rung_is_told_what_to_do_or_that_nothing_can_be_done() {
        for (what, change, _, _) in ROWS {
            let mut facts = good();
            change(&mut facts);
            for verdict in verdicts(&facts, |_| None) {
                for obstacle in verdict.obstacles.iter().chain(&verdict.cautions) {
                    assert!(!obstacle.why.is_empty(), "{what}: {verdict:?}");
                    let hopeless = ["no zero-copy", "Ethernet header", "no native XDP", "mac80211"];
                    let may_be_empty = hopeless.iter().any(|word| obstacle.why.contains(word));
                    assert!(may_be_empty || !obstacle.remedy.is_empty(), "{what}: {obstacle:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_probe_met_is_an_obstacle_and_only_what_is_allowed_is_probed() {
        let mut facts = good();
        facts.interface.xdp_features = Some(XdpFeatures::from_bits(NATIVE));
        let mut probed = Vec::new();
        let all = verdicts(&facts, |rung| {
            probed.push(rung);
            (rung == Rung::XskCopy).then(|| Obstacle::new("EBUSY", "wait"))
        });
        assert_eq!(probed, [Rung::XskCopy, Rung::XdpUdpXskOut, Rung::XdpUdp, Rung::Udp]);
        assert_eq!(best(&all), Rung::XdpUdpXskOut);
    }

    #[test]
    fn cautions_name_what_does_not_stand_in_the_way() {
        let mut facts = good();
        facts.interface.link.master = Some(9);
        facts.interface.addresses.clear();
        facts.interface.vlans = vec![7];
        facts.kernel.bpf_jit = Some(0);
        facts.kernel.version = Some(Version::new(5, 15));
        let all = verdicts(&facts, |_| None);
        let said = format!("{:?}", all[1].cautions);
        for word in ["bridge", "no address", "rxvlan off", "interprets", "5.19"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(best(&all), Rung::XskZeroCopy);
    }

    #[test]
    fn locked_memory_grows_with_queues_and_workers() {
        let mut facts = good();
        let one = facts.locked_bytes();
        facts.workers = 3;
        assert_eq!(facts.locked_bytes(), 3 * one);
        facts.interface.queues.receive = 8;
        assert_eq!(facts.locked_bytes(), 12 * one);
        assert_eq!(mebibytes(12 << 20), "12 MiB");
        assert_eq!(mebibytes(25 << 19), "12.5 MiB");
    }
}
